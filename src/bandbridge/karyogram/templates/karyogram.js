"use strict";
(() => {
  const places = [...document.querySelectorAll("figure.place")];
  const button = document.getElementById("download");
  const undo = document.getElementById("undo");
  const count = document.getElementById("count");
  const original = new Map(places.map((place) => {
    const select = place.querySelector("select");
    return [place, select.querySelector("option[selected]").value];
  }));

  const changed = () => places.filter((place) => place.querySelector("select").value !== original.get(place));

  function tell() {
    const moved = changed();
    places.forEach((place) => place.classList.toggle("changed", moved.includes(place)));
    button.disabled = undo.disabled = moved.length === 0;
    count.textContent = moved.length === 0 ? "No correction noted."
      : `${moved.length} correction${moved.length === 1 ? "" : "s"} noted, not yet part of the result: download them.`;
  }

  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  undo.addEventListener("click", () => {
    places.forEach((place) => { place.querySelector("select").value = original.get(place); });
    tell();
  });
  button.addEventListener("click", () => {
    const rows = changed().map((place) => `${quoted(place.dataset.file)},${quoted(place.querySelector("select").value)}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([["file,class", ...rows].join("\r\n") + "\r\n"], { type: "text/csv" }));
    link.download = `corrections-${button.dataset.name.replace(/[^\w.-]+/g, "_")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  places.forEach((place) => place.querySelector("select").addEventListener("change", tell));
  window.addEventListener("beforeunload", (event) => { if (changed().length) event.preventDefault(); });
  tell();
})();
