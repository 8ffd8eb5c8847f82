"use strict";
// Everything can be read without this: it lets columns be sorted and opens what is folded before printing.
function sortKey(row, index) {
  const text = row.cells[index].textContent.trim();
  const number = parseFloat(text.replace(/,/g, "").replace("−", "-").replace(/^</, ""));
  return { text, number: Number.isNaN(number) ? null : number };
}

function compare(first, second) {
  if (first.number !== null && second.number !== null) return first.number - second.number;
  if (first.number === null && second.number === null) return first.text.localeCompare(second.text, "en", { numeric: true });
  return first.number === null ? 1 : -1;
}

function sortBy(table, heading, index) {
  const direction = heading.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
  for (const other of table.querySelectorAll(".titles th")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction);
  table.classList.add("sorted");
  const sign = direction === "ascending" ? 1 : -1;
  // Rows stay within their section.
  for (const body of table.tBodies) {
    const rows = [...body.rows].filter((row) => !row.classList.contains("section"));
    const keyed = rows.map((row) => [sortKey(row, index), row]);
    keyed.sort(([first], [second]) => {
      const order = compare(first, second);
      const empty = first.number === null || second.number === null;
      return empty && (first.number === null) !== (second.number === null) ? order : sign * order;
    });
    for (const [, row] of keyed) body.append(row);
  }
}

for (const table of document.querySelectorAll("table")) {
  if (table.querySelectorAll("tbody tr").length < 3) continue;
  table.querySelectorAll(".titles th").forEach((heading, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, heading, index));
    heading.append(button);
  });
}

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});
