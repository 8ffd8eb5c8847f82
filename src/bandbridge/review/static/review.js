"use strict";
// The review page. Whatever comes from files is only ever set as text; nothing is shown as done before it is saved.

const $ = (id) => document.getElementById(id);
// look: how long (ms) a chromosome, a cell or a question must have been shown before it can be decided: an eye needs as
// long to see it, and browsers hold their own questions back for a second, too.
const LIMITS = {
  longestEntry: 2, dragStart: 5, camDelay: 120, poll: 500, step: 5, shown: 5, typing: 300, read: 1500, look: { chromosome: 300, cell: 1000 },
};
// read: how long (ms) what was refused stays in sight at least. refused: when that was, 0 where nothing is told of it.
// pending: a chromosome (or null) for each change on its way. round: counts refusals. typed: texts not saved yet, by cell.
const page = {
  state: null, sheet: null, picked: null, entry: "", cam: "", open: null, queue: Promise.resolve(), polling: 0, scale: 0,
  pending: [], round: 0, refused: 0, trouble: "", typed: new Map(), since: { chromosome: 0, cell: 0 }, who: { reader: "", role: "first" },
};

function make(tag, values = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Talking to the server

// lost: a change was asked for and is not on the disk, through no fault of the person's.
class Refusal extends Error {
  constructor(message, status = 0, lost = false) { super(message); this.status = status; this.lost = lost; }
}

async function ask(address, values) {
  const options = values === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json", "x-bandbridge": "review" }, body: JSON.stringify({ ...values, ...page.who }), keepalive: true,
  };
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    if (values === undefined) throw new Refusal("The program does not answer. Start 'bandbridge review' again.");
    throw new Refusal("The program does not answer: nothing was saved. Start 'bandbridge review' again, open the address that it prints, then repeat it.", 0, true);
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal([content.message || `refused (${answer.status})`, content.remedy].filter(Boolean).join(". "), answer.status, values !== undefined && (answer.status === 403 || answer.status >= 500));
  if (values !== undefined) calmIfDone();
  return content;
}

// One at a time, in the order of the keys.
function inTurn(task) {
  page.queue = page.queue.then(task).catch(async (error) => {
    if (!(error instanceof Refusal)) throw error;
    const told = [error.message];
    await lookAgain(error).catch((fault) => told.push(fault.message));
    if (page.typed.has(page.open)) told.push("What you typed about this cell is not saved. It still stands there: press Keep to save it.");
    complain(told);
    page.refused = performance.now();
    if (error.lost) tellLost(told);
  });
  return page.queue;
}

// Where the cell is no longer what this page shows, show it as it is now.
async function lookAgain(error) {
  if (error.status !== 409 && error.status !== 404) return;
  await refresh();
  const cell = page.state.cells.find((item) => item.id === page.open);
  if (cell && cell.state === "ready") take(await ask(`/api/cells/${cell.id}`));
  beginLooking();
}

function say(text) { $("status").textContent = text; }

function complain(sentences) {
  const list = make("ul", {}, ...sentences.map((text) => make("li", { text })));
  const close = make("button", { type: "button", text: "Dismiss", onclick: () => { calm(); back(); } });
  $("alert").replaceChildren(list, close);
  $("alert").hidden = false;
  page.refused = 0;
  fit();
}

function calm() {
  $("alert").hidden = true;
  page.refused = 0;
  fit();
}

// What was refused is of no interest once something was done after it, if it could be read, and nothing typed waits for it.
function calmIfDone() {
  if (page.refused && performance.now() - page.refused > LIMITS.read && !page.typed.size) calm();
}

// What is not kept stops the work until it has been read: it stands in the way, and no key that was on its way closes it.
let lostTimer = 0;
function tellLost(sentences) {
  $("lost-body").replaceChildren(...sentences.map((text) => make("li", { text })));
  $("lost-read").disabled = true;
  clearTimeout(lostTimer);
  lostTimer = setTimeout(() => { $("lost-read").disabled = false; }, LIMITS.look.cell);
  say("Not kept.");
  if (!$("lost").open) $("lost").showModal();
}

// Cells

async function refresh() {
  page.state = await ask("/api/state");
  if (!page.who.reader) page.who.reader = page.state.reader;
  showCells();
  const { trouble } = page.state;
  if (trouble && trouble !== page.trouble) complain([trouble]);
  page.trouble = trouble;
  clearTimeout(page.polling);
  if (page.state.waiting) page.polling = setTimeout(() => inTurn(refresh), LIMITS.poll);
  const chosen = page.state.cells.find((cell) => cell.id === page.open);
  if (!chosen) {
    const first = page.state.cells.find((cell) => cell.state === "ready" && !cell.accepted) || page.state.cells[0];
    await openCell(first ? first.id : null);
  } else if (!page.sheet && chosen.state !== "waiting") await openCell(chosen.id);
}

function stateOf(cell) {
  if (cell.state === "waiting") return ["", page.state.current === cell.name ? "… being sorted" : "… waits"];
  if (cell.state === "failed") return ["bad", "✕ not sorted"];
  if (cell.accepted) return ["good", "✓ accepted"];
  if (cell.counted) return ["good", "Σ counted only"];
  return cell.flagged ? ["doubt", `⚑ ${cell.flagged} to check`] : ["", "○ to accept"];
}

function showCells() {
  const { cells, waiting } = page.state;
  $("cells").replaceChildren(...cells.map((cell) => {
    const [kind, text] = stateOf(cell);
    const name = make("span", { class: "name", text: cell.name });
    const button = make("button", {
      type: "button", "aria-current": cell.id === page.open ? "true" : null, title: `${cell.name}, ${cell.images} images`,
      onclick: () => inTurn(() => openCell(cell.id)),
    }, name, make("span", { class: `state ${kind}`, text }));
    return make("li", {}, button);
  }));
  $("model").textContent = page.state.model;
  $("export").disabled = !cells.some((cell) => cell.accepted);
  $("progress").hidden = !waiting;
  if (waiting) {
    $("progress-text").textContent = `Sorting ${page.state.current || "…"}: ${cells.length - waiting} of ${cells.length} cells done`;
    $("progress-bar").max = cells.length;
    $("progress-bar").value = cells.length - waiting;
  }
  $("empty").hidden = cells.length > 0;
}

async function openCell(id) {
  page.open = id;
  page.picked = null;
  page.entry = "";
  page.sheet = null;
  history.replaceState(null, "", id === null ? "/" : `/#cell=${id}`);
  const cell = page.state.cells.find((one) => one.id === id);
  if (cell && cell.state === "ready") {
    const answer = await ask(`/api/cells/${id}`);
    beginLooking();
    take(answer);
    if (cell.arm && page.who.reader) await ask(`/api/cells/${id}/shown`, {});
    const first = page.sheet.chromosomes.find((one) => one.open) || one(order()[0]);
    if (first) pick(first.id);
    say(`Cell ${cell.name}: ${cell.images} images, ${cell.flagged} to check.`);
  } else {
    show();
  }
  $("trouble").hidden = !cell || cell.state !== "failed";
  if (cell) $("trouble-text").textContent = cell.problem;
  showCells();
}

function neighbour(step) {
  const cells = page.state.cells;
  const place = cells.findIndex((cell) => cell.id === page.open);
  return cells[(place + step + cells.length) % cells.length];
}

// The sheet

const one = (id) => page.sheet && page.sheet.chromosomes.find((item) => item.id === id);
const labels = () => page.sheet.rows.flat().flatMap((group) => group.labels);
const order = () => [...labels(), ""].flatMap((label) => page.sheet.order[label]);
const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const short = (value) => (value === null ? "" : value > 0.995 ? ">99" : String(Math.round(100 * value)));
const percent = (value) => (value === null ? "" : value > 0.995 ? ">99 %" : value < 0.005 ? "<1 %" : `${Math.round(100 * value)} %`);

// Shows what a request answered, unless another cell has been opened meanwhile.
function take(sheet) {
  const cell = page.state.cells.find((item) => item.id === sheet.id);
  if (cell) Object.assign(cell, { accepted: sheet.accepted, counted: sheet.counted, flagged: sheet.flagged, version: sheet.version });
  if (sheet.id !== page.open) { showCells(); return; }
  page.sheet = sheet;
  if (!one(page.picked)) page.picked = order()[0] ?? null;
  show();
  showCells();
}

function show() {
  const sheet = page.sheet;
  const held = document.activeElement && document.activeElement.closest("#sheet, #detail, #others") !== null;
  for (const id of ["sheet", "panel"]) $(id).hidden = !sheet;
  for (const id of ["previous", "next", "accept", "undo", "redo"]) $(id).disabled = !sheet;
  $("title").textContent = sheet ? sheet.name : "Review";
  document.title = sheet ? `${sheet.name} · Bandbridge review` : "Bandbridge review";
  if (!sheet) { $("summary").textContent = ""; $("flagged").textContent = ""; showField(); return; }
  const placed = sheet.chromosomes.filter((item) => item.placed).length;
  $("summary").textContent = [
    `${sheet.chromosomes.length} images`, `${placed} placed`, sheet.patient && `patient ${sheet.patient}`, sheet.stain && `${sheet.stain}-banded`,
  ].filter(Boolean).join(" · ");
  $("flagged").textContent = sheet.flagged ? `⚑ ${sheet.flagged} to check` : "✓ all checked";
  $("flagged").classList.toggle("open", sheet.flagged > 0);
  $("undo").disabled = !sheet.undo;
  $("redo").disabled = !sheet.redo;
  $("accept").textContent = sheet.accepted ? "Open again" : "Accept cell";
  $("sheet").classList.toggle("accepted", sheet.accepted);
  $("sheet").setAttribute("aria-label", `Karyogram of ${sheet.name}${sheet.accepted ? ", accepted" : ""}`);
  $("sheet").replaceChildren(...sheet.rows.map(showRow), showTray());
  showField();
  fit();
  showFindings();
  showDetail();
  showAbout();
  showSigning();
  $("sorted-by").textContent = sheet.model;
  if (held) back();
}

function showRow(groups) {
  return make("div", { class: "line", role: "row" }, ...groups.map((group) => {
    const letter = make("span", { class: "letter", "aria-hidden": "true", text: group.name === "sex" ? "" : group.name });
    return make("div", { class: "group", role: "none" }, letter, ...group.labels.map(showClass));
  }));
}

// What is being typed stays as it is, until it is saved and the field is left.
function showAbout() {
  const { id } = page.sheet;
  const texts = page.typed.get(id) || page.sheet;
  for (const name of ["patient", "stain"]) {
    const field = $(name);
    if (field === document.activeElement && field.dataset.cell === String(id)) continue;
    field.value = texts[name];
    field.dataset.cell = id;
  }
}

// Who has signed the patient's cells, and what is open before the next may.
function showSigning() {
  const { patient, of_patient: cells, signatures, counted } = page.sheet;
  $("counted").checked = counted;
  const open = cells.cells - cells.accepted - cells.counted;
  const told = [`${many(cells.cells, "cell")}`, `${cells.accepted} accepted`, `${cells.counted} counted only`, open && `${open} open`];
  $("patient-cells").textContent = patient ? `Patient ${patient}: ${told.filter(Boolean).join(", ")}` : "No patient is named: write one under About this cell.";
  const inOrder = [...signatures.filter((item) => item.stands), ...signatures.filter((item) => !item.stands).reverse()];
  $("signatures").replaceChildren(...inOrder.map((item) => make("li", {
    class: item.stands ? "note good" : "note doubt",
    text: `${item.stands ? "✓" : "⚑"} ${item.reader}, ${item.role} reader, ${item.at.slice(0, 16).replace("T", " ")} UTC${item.stands ? "" : ": changed since"}`,
  })));
  const signed = signatures.some((item) => item.stands && item.role === page.who.role && item.reader === page.who.reader);
  $("sign").textContent = signed ? `Signed as ${page.who.role} reader` : `Sign as ${page.who.role} reader`;
  $("sign").disabled = !patient || open > 0 || signed;
  $("patient-page").disabled = !patient;
  showTogether();
}

// What all that is closed of the patient shows: asked for while one looks at it, for it takes every cell.
async function showTogether() {
  const { id, patient, of_patient: cells } = page.sheet;
  if (!patient || !$("signing").open || !(cells.accepted + cells.counted)) { $("together").hidden = true; return; }
  const found = await ask(`/api/cells/${id}/patient`).catch(() => null);
  if (!found || !page.sheet || page.sheet.id !== id) return;
  $("together").hidden = !found.lines.length;
  const items = (texts) => texts.map((text) => make("li", { text }));
  $("together-lines").replaceChildren(...items(found.lines));
  $("draft").textContent = found.draft || "none";
  $("draft-notes").replaceChildren(...items(found.notes));
}

function showWho() {
  const { reader, role } = page.who;
  $("who").textContent = reader ? `${reader}, ${role} reader` : "Who reviews?";
  if (page.sheet) showSigning();
}

// Asked once, and kept in this browser.
function askWho() {
  $("who-name").value = page.who.reader;
  document.querySelector(`[name="role"][value="${page.who.role}"]`).checked = true;
  $("ask-who").showModal();
}

function rememberWho(who) {
  page.who = who;
  try { localStorage.setItem("who", JSON.stringify(who)); } catch { /* asked again at the next visit */ }
  showWho();
  if (page.sheet && page.sheet.arm) inTurn(() => ask(`/api/cells/${page.open}/shown`, {}));
}

function recallWho() {
  try { page.who = { ...page.who, ...JSON.parse(localStorage.getItem("who") || "{}") }; } catch { /* as if never asked */ }
  showWho();
}

async function start() {
  recallWho();
  await refresh();
  showWho();
  if (!page.who.reader) askWho();
}

function count() {
  const counted = $("counted").checked;
  const list = counted && !page.sheet.accepted ? stillOpen() : null;
  if (!list) return setCounted(counted);
  const cell = page.sheet.id;
  $("counted").checked = false;
  confirm("Count this cell with", list, "Count it as it is", () => setCounted(true, cell));
  return null;
}

function setCounted(counted, cell = page.sheet.id) {
  return act("count", () => ({ counted }), () => say(counted ? "Counted only. Saved." : "No longer counted only. Saved."), { cell });
}

function sign() {
  const { patient } = page.sheet;
  const cell = page.sheet.id;
  const body = make("p", { text: `${page.who.reader} signs all cells of ${patient} as they stand.` });
  confirm(`Sign ${patient} as ${page.who.role} reader?`, body, "Sign", () => act("sign", () => ({}), () => say(`${patient} is signed. Saved.`), { cell }));
}

const signOf = (finding) => (finding.possible ? "?" : finding.extra ? "▲" : "▼");

function showClass(label) {
  const finding = page.sheet.findings.find((item) => item.label === label);
  const members = page.sheet.order[label];
  const off = finding ? make("span", { class: "off", text: `${signOf(finding)}${finding.copies}`, title: finding.text }) : "";
  const spoken = `Chromosome ${label}, ${finding ? finding.text : `${members.length} placed`}`;
  return make("div", { class: !finding ? "class" : finding.possible ? "class possible" : "class off", role: "gridcell", "data-label": label },
    make("div", { class: "plate" }, ...members.map(showOne)),
    make("span", { class: "hidden", text: spoken }),
    make("div", { class: "label", "aria-hidden": "true" }, make("span", { text: label }), off));
}

function showTray() {
  const members = page.sheet.order[""];
  const text = members.length ? `Not placed: ${members.length}` : "Not placed: none";
  return make("div", { class: "line", role: "row" },
    make("div", { class: "tray", role: "gridcell", "data-label": "" }, make("span", { class: "label", text }),
      ...(members.length ? [make("div", { class: "plate" }, ...members.map(showOne))] : [])));
}

function showOne(id) {
  const item = one(id);
  const sure = item.corrected ? "✓" : `${item.open ? "⚑" : ""}${short(item.probability)}`;
  const about = [
    item.placed ? `placed in ${item.placed}` : item.predicted ? `not placed, likeliest ${item.predicted}` : "not placed", percent(item.probability),
    item.open ? `to check: ${item.reasons.join("; ")}` : item.corrected ? "checked by a person" : "", item.file,
    othersOf(id).length ? `its cut is doubtful: ${othersOf(id)[0].text}` : "",
  ].filter(Boolean).join(", ");
  return make("button", {
    type: "button", class: `one${item.open ? " open" : ""}${item.corrected ? " by-person" : ""}${othersOf(id).length ? " otherwise" : ""}`, "data-id": id, "aria-label": about,
    title: about, tabindex: id === page.picked ? "0" : "-1", "aria-current": id === page.picked ? "true" : null,
    onclick: () => pick(id), onfocus: () => { if (page.picked !== id) pick(id); }, onpointerdown: startDrag,
  }, make("img", { src: item.tile, alt: "", draggable: "false" }), make("span", { class: "sure", "aria-hidden": "true", text: sure }));
}

// All chromosomes at one scale: the largest at which the whole sheet is seen.
function fit() {
  if (!page.sheet || $("sheet").hidden) return;
  const main = $("main");
  const tight = window.matchMedia("(max-width: 1100px)").matches;
  const taken = fieldRoom();
  const width = main.clientWidth - 16 - (tight ? 0 : taken.width);
  const height = tight || taken.free ? Infinity : main.clientHeight - 16 - ($("progress").hidden ? 0 : 34) - taken.height;
  let scale = 4;
  while (scale > 0.5 && !fits(scale, width, height)) scale -= 0.05;
  page.scale = scale;
  for (const button of document.querySelectorAll(".one")) {
    const item = one(Number(button.dataset.id));
    const picture = button.firstChild;
    picture.style.width = `${item.width * scale}px`;
    picture.style.height = `${item.height * scale}px`;
  }
  for (const plate of document.querySelectorAll(".plate")) {
    plate.style.background = `rgb(${page.sheet.ground}, ${page.sheet.ground}, ${page.sheet.ground})`;
  }
}

function fits(scale, width, height) {
  const least = fieldRoom().width ? 24 : 26;
  let used = 0;
  const lines = [...page.sheet.rows, [{ labels: [""] }]];
  for (const groups of lines) {
    let across = (groups.length - 1) * 14;
    let tallest = 0;
    for (const group of groups) {
      across += 17 + (group.labels.length - 1) * 4;
      for (const label of group.labels) {
        const members = page.sheet.order[label].map(one);
        const widths = members.map((item) => Math.max(least, item.width * scale + 4) + 2);
        across += Math.max(34, widths.reduce((sum, value) => sum + value, 6));
        tallest = Math.max(tallest, ...members.map((item) => item.height * scale + 19));
      }
    }
    if (across > width) return false;
    used += Math.max(36, tallest + 6) + 6 + (groups[0].labels[0] === "" ? 8 : 20);
  }
  return used <= height;
}

function pick(id, still = false) {
  if (page.picked !== id) page.since.chromosome = performance.now();
  page.picked = id;
  page.entry = "";
  page.cam = "";
  for (const button of document.querySelectorAll(".one")) {
    const mine = Number(button.dataset.id) === id;
    button.tabIndex = mine ? 0 : -1;
    if (mine) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
  }
  showEntry();
  showDetail();
  showPicked();
  back(still);
}

function back(still = false) {
  const button = document.querySelector(`.one[data-id="${page.picked}"]`);
  if (button && !document.querySelector("dialog[open]")) button.focus({ preventScroll: still || !window.matchMedia("(max-width: 1100px)").matches });
}

// What to check, and the chromosome at hand

function showFindings() {
  const { findings, notes, flagged } = page.sheet;
  const items = [
    ...notes.map((text) => make("div", { class: "note bad", text: `✕ ${text}` })),
    ...findings.map((item) => make("button", {
      type: "button", class: item.possible ? "note doubt" : "note bad", title: item.text,
      text: `${signOf(item)} ${item.copies} of ${item.label}, not ${item.expected}`, onclick: () => pickClass(item.label),
    })),
  ];
  if (flagged) items.push(make("button", { type: "button", class: "note doubt", text: `⚑ ${many(flagged, "chromosome")} to check`, onclick: () => nextFlagged(1) }));
  if (!items.length) items.push(make("div", { class: "note good", text: "✓ Counts as in a normal cell, nothing to check" }));
  $("findings").replaceChildren(make("h2", { text: "To check in this cell" }), make("ul", { class: "findings" }, ...items.map((item) => make("li", { class: item.title ? "" : "wide" }, item))));
}

function pickClass(label) {
  const [first] = page.sheet.order[label];
  if (first !== undefined) pick(first); else say(`Nothing is placed in ${label}.`);
}

function showDetail() {
  const item = one(page.picked);
  if (!item) { $("detail").replaceChildren(); return; }
  const shown = page.cam || item.placed || item.predicted;
  const locked = page.sheet.accepted;
  const who = item.corrected ? "by a person" : "by the model";
  const blind = item.probability === null;
  const heading = item.placed ? [`Placed in ${item.placed}`, percent(item.probability)].filter(Boolean).join(" · ") : "Not placed";
  const left = make("div", {},
    make("h2", { text: item.file }),
    make("p", { class: "placed", text: heading }),
    make("p", { class: "soft", text: blind ? "a cell without proposals" : item.placed === item.suggested ? who : `${who}; the model suggested ${item.suggested || "no place"}` }),
    make("ul", {}, ...item.reasons.map((text) => make("li", { class: `note ${item.open ? "doubt" : ""}`, text: `⚑ ${text}` })),
      ...othersOf(item.id).map((other) => make("li", { class: "note", text: `⇄ ${other.text}` }))),
    make("div", { class: "pictures" },
      make("figure", {}, make("div", { class: "hold" }, make("img", { src: item.large, alt: `${item.file}, turned upright` })), make("figcaption", { text: "upright" })),
      ...(blind ? [] : [make("figure", {}, make("div", { class: "hold" }, camPicture(item, shown)), make("figcaption", { text: `speaks for ${shown}` }))])));
  const ranked = make("div", { class: "ranked", role: "group", "aria-label": "Likeliest classes" },
    ...item.ranked.slice(0, LIMITS.shown).map(([label, value]) => showOption(item, label, value, shown, locked)));
  const pad = make("div", { class: "pad", role: "group", "aria-label": "Place in" }, ...page.sheet.classes.map((label) => make("button", {
    type: "button", text: label, class: label === item.placed ? "here" : "", disabled: locked, "aria-label": `Place in ${label}`, onclick: () => place(item.id, label),
  })));
  const tools = make("div", { class: "row" },
    make("button", { type: "button", text: "Unplace", title: "u", disabled: locked, onclick: () => place(item.id, "") }),
    make("button", { type: "button", text: "Flip", title: "f", disabled: locked, onclick: () => flip(item.id) }),
    make("button", { type: "button", text: "⟲", "aria-label": "Turn left by 5 degrees", title: "[", disabled: locked, onclick: () => turnBy(item.id, LIMITS.step) }),
    make("button", { type: "button", text: "⟳", "aria-label": "Turn right by 5 degrees", title: "]", disabled: locked, onclick: () => turnBy(item.id, -LIMITS.step) }),
    make("button", { type: "button", text: "Confirm", title: "Enter", disabled: locked || !item.placed, onclick: () => confirmPlace(item.id) }));
  $("detail").replaceChildren(left, make("div", {}, ...(blind ? [] : [make("h2", { text: "Likeliest classes" }), ranked]), pad, tools));
}

function showOption(item, label, value, shown, locked) {
  const button = make("button", {
    type: "button", class: "show", "aria-pressed": String(label === shown),
    onclick: () => { page.cam = label; showDetail(); document.querySelector('.show[aria-pressed="true"]').focus(); },
  }, make("strong", { text: label }), make("meter", { min: 0, max: 1, value, "aria-hidden": "true" }), make("span", { class: "value", text: percent(value) }), make("span", { class: "hidden", text: "show what speaks for it" }));
  const put = make("button", { type: "button", text: "Place", disabled: locked || label === item.placed, "aria-label": `Place in ${label}`, onclick: () => place(item.id, label) });
  return make("div", { class: "option" }, button, put);
}

let camTimer = 0;
function camPicture(item, label) {
  const picture = make("img", { class: "old", src: item.large, alt: `What speaks for class ${label}` });
  const cell = page.sheet.id;
  clearTimeout(camTimer);
  // Walking over chromosomes with the arrows should not ask for the map of each.
  camTimer = setTimeout(() => {
    picture.addEventListener("load", () => picture.classList.remove("old"), { once: true });
    picture.addEventListener("error", () => tellWhyNot(picture, item), { once: true });
    const pose = new URLSearchParams({ angle: item.angle, flipped: item.flipped });
    picture.src = `/api/chromosomes/${cell}/${item.id}/${encodeURIComponent(label)}.png?${pose}`;
  }, LIMITS.camDelay);
  return picture;
}

// Not every model tells where it looks: in the place of a broken picture, why.
async function tellWhyNot(picture, item) {
  const caption = picture.closest("figure")?.querySelector("figcaption");
  const asked = picture.src;
  picture.src = item.large;
  try {
    const { message, remedy } = await (await fetch(asked)).json();
    if (caption) caption.textContent = `not shown: ${message}. ${remedy}`;
  } catch {
    if (caption) caption.textContent = "not shown: the program did not answer";
  }
}

// Corrections

const versionOf = (id) => page.state.cells.find((item) => item.id === id)?.version;

// A change of the cell, and mostly of a chromosome, that was shown when the key fell; what it comes to is computed when
// its turn comes. It is dropped when a refusal or another cell came in between: it was meant for what is not there.
function act(action, values, then, { cell = page.sheet.id, chromosome = null, anywhere = false } = {}) {
  const { round } = page;
  page.pending.push(chromosome);
  return inTurn(async () => {
    try {
      if (round !== page.round) return;
      if (!anywhere && page.sheet?.id !== cell) { say("Another cell has come up meanwhile: look, then press again."); return; }
      const before = one(chromosome);
      const asked = values(before);
      if (asked === null) return;
      const answer = await ask(`/api/cells/${cell}/${action}`, { chromosome, ...asked, version: versionOf(cell) });
      take(answer);
      await then(answer, before);
    } catch (error) {
      page.round += 1;
      throw error;
    } finally {
      page.pending.splice(page.pending.indexOf(chromosome), 1);
    }
  });
}

const beginLooking = () => { page.since = { chromosome: performance.now(), cell: performance.now() }; };

// Whether it has been shown long enough to have been looked at. One asked too early begins anew, so that a key which
// falls over and over, as a held one does over a remote desktop, never decides.
function looked(what) {
  const long = performance.now() - page.since[what] >= LIMITS.look[what];
  if (!long) { page.since[what] = performance.now(); say(`This ${what} has only just come up: look, then press again.`); }
  return long;
}

function place(id, label) {
  page.entry = "";
  showEntry();
  return act("place", () => (isClosed() ? null : { label }), (sheet, item) => {
    const what = label === "" ? "placed nowhere" : label === item.placed ? `confirmed in ${label}` : `placed in ${label}`;
    if (!sheet.done) { say(`${item.file} is ${what} already.`); return; }
    const was = label !== item.placed && item.placed ? `, was in ${item.placed}` : "";
    say([`${item.file} ${what}${was}.`, countText(sheet, label, item.placed), "Saved."].filter(Boolean).join(" "));
  }, { chromosome: id });
}

function confirmPlace(id) {
  const { placed } = one(id);
  return looked("chromosome") ? place(id, placed) : null;
}

function isClosed() {
  if (page.sheet.accepted) say("This cell is accepted: open it again with the key a to correct it.");
  return page.sheet.accepted;
}

function countText(sheet, ...touched) {
  const found = sheet.findings.filter((item) => touched.includes(item.label));
  return found.length ? `${found.map((item) => item.text).join("; ")}.` : "";
}

function turn(id, pose) {
  return act("turn", (item) => {
    if (isClosed()) return null;
    const { angle, flipped } = { ...item, ...pose(item) };
    return { angle: angle > 180 ? angle - 360 : angle < -180 ? angle + 360 : angle, flipped: flipped ? "1" : "0" };
  }, (_, item) => say(`${item.file} turned. Saved.`), { chromosome: id });
}

const turnBy = (id, step) => turn(id, (item) => ({ angle: item.angle + step }));
const flip = (id) => turn(id, (item) => ({ flipped: !item.flipped }));

const STEPS = {
  undo: { done: "The last change is taken back.", nothing: "There is nothing to take back." },
  redo: { done: "The change is made again.", nothing: "There is nothing to make again." },
};

function step(action) {
  const from = page.picked;
  return act(action, () => ({}), (sheet) => {
    if (sheet.chromosome && (page.picked === from || !one(from))) pick(sheet.chromosome);
    say(sheet.done ? `${STEPS[action].done} Saved.` : STEPS[action].nothing);
  });
}

function accept() {
  const cell = page.sheet.id;
  if (!looked("cell")) return null;
  // In turn: what was confirmed just before counts.
  return inTurn(() => { if (page.sheet?.id === cell) askToAccept(); });
}

// What a person should have looked at before a cell is closed.
function stillOpen() {
  const { flagged, findings, notes, order: places } = page.sheet;
  const open = [...notes, ...findings.map((item) => item.text)];
  if (flagged) open.push(`${many(flagged, "chromosome")} flagged and not confirmed`);
  if (places[""].length) open.push(`${many(places[""].length, "chromosome")} not placed`);
  return open.length ? make("ul", {}, ...open.map((text) => make("li", { text }))) : null;
}

function askToAccept() {
  if (page.sheet.accepted) { setAccepted(false); return; }
  const list = stillOpen();
  if (!list) { setAccepted(true); return; }
  const cell = page.sheet.id;
  confirm("Accept this cell with", list, "Accept as it is (a)", () => setAccepted(true, cell));
}

function setAccepted(accepted, cell = page.sheet.id) {
  return act("accept", () => ({ accepted }), async (sheet) => {
    page.since.cell = performance.now();
    const next = accepted && page.state.cells.find((item) => item.state === "ready" && !item.accepted);
    if (next && sheet.id === page.open) await openCell(next.id);
    const done = accepted ? `${sheet.name} is accepted. Saved.` : `${sheet.name} is open again. Saved.`;
    say(next ? `${done} Now ${next.name}: ${next.flagged} to check.` : done);
  }, { cell });
}

// What is typed about a cell is kept at once.

let typingTimer = 0;
function typeAbout() {
  // The fields may still show the cell that the typing began with.
  page.typed.set(Number($("patient").dataset.cell), { patient: $("patient").value, stain: $("stain").value, sent: false });
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => keepTyped(), LIMITS.typing);
}

// Texts that were refused are sent again only where a person asks for it.
function keepTyped(refused = false) {
  clearTimeout(typingTimer);
  for (const [cell, texts] of page.typed) {
    if (texts.sent && !refused) continue;
    texts.sent = true;
    act("describe", () => ({ patient: texts.patient, stain: texts.stain }), () => {
      if (page.typed.get(cell) === texts) page.typed.delete(cell);
      if (page.sheet?.id === cell) showAbout();
      say("Kept.");
    }, { cell, anywhere: true });
  }
}

let afterYes = null;
let readTimer = 0;
function confirm(title, body, yes, then) {
  $("ask-title").textContent = title;
  $("ask-body").replaceChildren(body);
  $("ask-yes").textContent = yes;
  $("ask-yes").disabled = true;
  clearTimeout(readTimer);
  readTimer = setTimeout(() => { $("ask-yes").disabled = false; }, LIMITS.look.cell);
  afterYes = then;
  $("ask").showModal();
  $("ask-no").focus();
}

function remove() {
  const name = (page.state.cells.find((cell) => cell.id === page.open) || {}).name;
  const signed = page.sheet?.id === page.open && page.sheet.signatures.some((item) => item.stands);
  const text = make("p", { text: `Nothing is deleted: handed in again, the same images come back with their corrections.${signed ? ` The signatures of ${page.sheet.patient} hold no longer, and the patient's page says that the cell was taken off.` : ""}` });
  const cell = page.open;
  confirm(`Remove ${name} from the list?`, text, "Remove", () => inTurn(async () => {
    await ask(`/api/cells/${cell}/remove`, { version: versionOf(cell) });
    if (page.open === cell) page.open = null;
    await refresh();
    say(`${name} is off the list.`);
  }));
}

// Keys

function showEntry() {
  $("entry").hidden = !page.entry;
  $("entry").textContent = `Place in ${page.entry} — Enter`;
}

function type(sign) {
  const grown = /^[0-9]$/.test(sign) && /^[0-9]+$/.test(page.entry) ? (page.entry + sign).slice(-LIMITS.longestEntry) : sign.toUpperCase();
  page.entry = grown;
  showEntry();
  say(`Place in ${grown}: press Enter.`);
}

function enter() {
  const item = one(page.picked);
  if (!item) return;
  if (!page.entry) {
    if (item.placed) confirmPlace(item.id); else say("It is placed nowhere: type a class first.");
  } else if (page.sheet.classes.includes(page.entry)) place(item.id, page.entry);
  else { say(`There is no class ${page.entry}.`); page.entry = ""; showEntry(); }
}

function nextFlagged(step) {
  const ids = order();
  const from = ids.indexOf(page.picked);
  for (let far = 1; far <= ids.length; far += 1) {
    const item = one(ids[(from + step * far + ids.length * 2) % ids.length]);
    if (item.open && !page.pending.includes(item.id)) { pick(item.id); say(`${item.file}: ${item.reasons.join("; ")}.`); return; }
  }
  say("Nothing is left to check.");
}

function along(step) {
  const ids = order();
  const next = ids[ids.indexOf(page.picked) + step];
  if (next !== undefined) pick(next);
}

function across(step) {
  const here = document.querySelector(`.one[data-id="${page.picked}"]`);
  if (!here) return;
  const lines = [...document.querySelectorAll(".line")];
  const middle = (node) => { const box = node.getBoundingClientRect(); return box.left + box.width / 2; };
  for (let at = lines.indexOf(here.closest(".line")) + step; lines[at]; at += step) {
    const near = [...lines[at].querySelectorAll(".one")].sort((a, b) => Math.abs(middle(a) - middle(here)) - Math.abs(middle(b) - middle(here)))[0];
    if (near) { pick(Number(near.dataset.id)); return; }
  }
}

const correct = (then) => () => { if (one(page.picked)) then(page.picked); };
const KEYS = {
  ArrowLeft: () => along(-1), ArrowRight: () => along(1), ArrowUp: () => across(-1), ArrowDown: () => across(1),
  Home: () => pick(order()[0]), End: () => pick(order().at(-1)),
  n: () => nextFlagged(1), p: () => nextFlagged(-1), Enter: enter,
  u: correct((id) => place(id, "")), f: correct(flip),
  "[": correct((id) => turnBy(id, LIMITS.step)), "]": correct((id) => turnBy(id, -LIMITS.step)),
  z: () => step("undo"), "Shift+z": () => step("redo"), a: () => accept(),
  ",": () => inTurn(() => openCell(neighbour(-1).id)), ".": () => inTurn(() => openCell(neighbour(1).id)),
  Escape: () => { page.entry = ""; showEntry(); }, Backspace: () => { page.entry = page.entry.slice(0, -1); showEntry(); },
};
const EDITING = { z: () => step("undo"), "Shift+z": () => step("redo"), y: () => step("redo") };
// Held down, a key may move, or turn by degrees as fast as that is saved; it decides nothing.
const WHILE_HELD = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "n", "p", "[", "]"]);
const PLACES = { BracketLeft: "[", BracketRight: "]", Comma: ",", Period: "." };

// The command that a key stands for. Where the layout has no such sign (AZERTY has its digits, Cyrillic its letters, a
// German one its brackets elsewhere), the place of the key on a US keyboard counts; never against a letter of its own.
function commandOf(event) {
  let name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const [, letter, digit] = /^(?:Key([A-Z])|Digit([0-9]))$/.exec(event.code) || [];
  const foreign = (name.length === 1 || name === "Dead") && !/^[a-z0-9?]$/.test(name) && !(name in KEYS);
  if (foreign && letter && name > "~") name = letter.toLowerCase();
  else if (foreign && !event.shiftKey) name = digit || PLACES[event.code] || name;
  return event.shiftKey && /^[a-wz]$/.test(name) ? `Shift+${name}` : name;
}

// Option and AltGr make signs, such as the brackets of a German keyboard: they are no command of their own then.
const makesSign = (event) => event.getModifierState("AltGraph") || (event.altKey && event.key.length === 1 && !/^[a-z0-9]$/i.test(event.key));

function onKey(event) {
  const target = event.target;
  const text = target.closest("input:not([type=checkbox]), textarea, select");
  if (event.repeat && event.key === "Enter") event.preventDefault();
  if (event.isComposing || text) return;
  const signed = makesSign(event);
  const name = signed ? event.key : commandOf(event);
  if (event.repeat && (!WHILE_HELD.has(name) || (page.pending.length && "[]".includes(name)))) return;
  if (!signed && (event.ctrlKey || event.metaKey || event.altKey)) {
    if (event.altKey || !page.sheet || !(name in EDITING) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    EDITING[name]();
    return;
  }
  if ($("ask").open && name === "a" && $("ask-yes").textContent.includes("(a)")) { event.preventDefault(); $("ask-yes").click(); return; }
  if (target.closest("input, dialog, summary")) return;
  const single = event.key.length === 1 || event.key === "Dead";
  if (single && !$("single-keys").checked) return;
  if (name === "?") { event.preventDefault(); $("keys").showModal(); return; }
  if (!page.sheet) return;
  if (!page.entry && fieldKey(name, event)) { event.preventDefault(); return; }
  const onButton = target.closest("button, a") && !target.closest(".one");
  // Enter on a button presses that button, unless a class was typed; arrows scroll the panel.
  const typed = page.entry && ["Enter", "Escape", "Backspace"].includes(event.key);
  if (!single && !typed && (onButton || target.closest("#panel"))) return;
  if (/^[0-9xy]$/.test(name)) { event.preventDefault(); type(name); return; }
  const known = KEYS[name];
  if (known) { event.preventDefault(); known(); }
}

// Dragging, with mouse, pen or finger

function startDrag(event) {
  if (event.button !== 0 || page.sheet.accepted) return;
  const button = event.currentTarget;
  const from = { x: event.clientX, y: event.clientY };
  let ghost = null;
  let over = null;
  const move = (moved) => {
    if (!ghost) {
      if (Math.hypot(moved.clientX - from.x, moved.clientY - from.y) < LIMITS.dragStart) return;
      ghost = button.firstChild.cloneNode();
      ghost.className = "ghost";
      document.body.append(ghost);
      button.classList.add("dragged");
    }
    ghost.style.left = `${moved.clientX - ghost.offsetWidth / 2}px`;
    ghost.style.top = `${moved.clientY - ghost.offsetHeight / 2}px`;
    const below = document.elementFromPoint(moved.clientX, moved.clientY);
    const found = below && below.closest("[data-label]");
    if (found !== over) {
      if (over) over.classList.remove("over");
      if (found) found.classList.add("over");
      over = found;
    }
  };
  const end = (keep) => {
    for (const [name, handler] of Object.entries(handlers)) window.removeEventListener(name, handler, true);
    if (ghost) ghost.remove();
    button.classList.remove("dragged");
    if (over) over.classList.remove("over");
    const id = Number(button.dataset.id);
    if (keep && ghost && over && over.dataset.label !== one(id).placed) place(id, over.dataset.label);
  };
  const handlers = {
    pointermove: move, pointerup: () => end(true), pointercancel: () => end(false),
    keydown: (pressed) => { if (pressed.key === "Escape") { pressed.stopPropagation(); end(false); } },
  };
  for (const [name, handler] of Object.entries(handlers)) window.addEventListener(name, handler, true);
}

// Handing in and taking out

async function filesOf(entry, above = "") {
  if (entry.isFile) {
    const file = await new Promise((done, fail) => entry.file(done, fail));
    return [[above + file.name, file]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const entries = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!entries.length) return found;
    for (const inner of entries) found.push(...await filesOf(inner, `${above}${entry.name}/`));
  }
}

function handIn(files) {
  if (!page.state) return;
  const { file: largest, files: most, upload } = page.state.limits;
  const archive = (name) => /\.(zip|tar|gz|tgz)$/i.test(name);
  const large = files.filter(([name, file]) => file.size > (archive(name) ? upload : largest));
  const problems = large.map(([name]) => `${name} is too large. An image of one chromosome is far smaller.`);
  const kept = files.filter((pair) => !large.includes(pair));
  const total = kept.reduce((sum, [, file]) => sum + file.size, 0);
  if (kept.length > most) problems.push(`${kept.length} files at once are too many. Hand in at most ${most}.`);
  else if (total > upload) problems.push(`${Math.round(total / 2 ** 20)} MiB at once are too much. Hand in fewer cells at a time.`);
  else if (kept.length) { send(kept, problems); return; }
  if (problems.length) complain(problems);
}

function send(files, problems) {
  const form = new FormData();
  for (const [name, file] of files) form.append("files", file, name);
  form.append("reader", page.who.reader);
  const request = new XMLHttpRequest();
  request.open("POST", "/api/cells");
  request.setRequestHeader("x-bandbridge", "review");
  request.responseType = "json";
  $("progress").hidden = false;
  $("progress-bar").removeAttribute("value");
  $("progress-text").textContent = `Reading ${files.length} ${files.length === 1 ? "file" : "files"} …`;
  request.onload = () => inTurn(async () => {
    const answer = request.response || {};
    if (request.status !== 200) problems.push([answer.message || `refused (${request.status})`, answer.remedy].filter(Boolean).join(". "));
    else problems.push(...answer.problems);
    await refresh();
    if (problems.length) complain(problems);
    if (request.status >= 500) tellLost(problems);
    if (answer.cells && answer.cells.length) {
      // Whoever is at work on a cell stays there.
      if (!page.sheet || page.sheet.accepted || answer.cells.includes(page.open)) await openCell(answer.cells[0]);
      const known = answer.cells.length - answer.new;
      // The folder around theirs said whose they are: who finds another name here puts it right below the sheet.
      const of = answer.patients.length === 1 ? ` of the patient ${answer.patients[0]}` : answer.patients.length ? ` of ${answer.patients.length} patients` : "";
      say(`${answer.new} new ${answer.new === 1 ? "cell" : "cells"}${of}${known ? `, ${known} already here` : ""}.`);
    }
  });
  request.onerror = () => { $("progress").hidden = true; tellLost([...problems, "The program did not take the files: nothing was saved. See that it still runs, and hand them in again."]); };
  request.send(form);
}

// In every export: the names of patients, cells and files, or codes whose key stays in the work folder.
const coded = () => $("coded").checked;
const apart = () => (coded() ? [make("p", { text: "Codes stand for the names of patients, cells and files. What they stand for is in codes.csv of the work folder: keep it apart." })] : []);

function writePage() {
  const { patient, id } = page.sheet;
  return inTurn(async () => {
    const made = await ask(`/api/cells/${id}/page`, { coded: coded() });
    const body = make("div", {}, make("p", { text: `Folder: ${made.folder}` }), make("p", { text: "patient.html, patient.pdf, what was changed by whom, and where the readers differ." }), ...apart());
    confirm(`The page of ${patient} is written`, body, "Download as zip", () => { make("a", { href: made.address, download: "" }).click(); });
    $("ask-no").textContent = "Close";
    say("The page is written.");
  });
}

function exportAccepted() {
  return inTurn(async () => {
    const made = await ask("/api/export", { coded: coded() });
    const text = `${made.images} images of ${made.cells} accepted ${made.cells === 1 ? "cell" : "cells"}, ${made.unplaced} left out because they are placed nowhere.`;
    const body = make("div", {}, make("p", { text }), ...metaphasesTold(made), make("p", { text: `Folder: ${made.folder}` }),
      make("p", { text: "A study trains on it as it is; corrections.csv tells what was changed." }), ...apart());
    confirm("The dataset is written", body, "Download as zip", () => { make("a", { href: made.address, download: "" }).click(); });
    $("ask-no").textContent = "Close";
    say("The dataset is written.");
  });
}

// Start

function listen() {
  listenToField();
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", fit);
  const buttons = {
    previous: () => nextFlagged(-1), next: () => nextFlagged(1), undo: () => step("undo"), redo: () => step("redo"), accept,
    help: () => $("keys").showModal(), export: exportAccepted, remove, "trouble-remove": remove,
    who: askWho, sign, "patient-page": writePage,
    "lost-read": () => $("lost").close(), "keys-close": () => $("keys").close(), "ask-no": () => $("ask").close(),
    "ask-yes": () => { $("ask").close(); if (afterYes) afterYes(); },
    retry: () => inTurn(async () => { await ask(`/api/cells/${page.open}/retry`, { version: versionOf(page.open) }); $("trouble").hidden = true; await refresh(); }),
    "add-files": () => $("files").click(), "choose-files": () => $("files").click(),
    "add-folder": () => $("folder").click(), "choose-folder": () => $("folder").click(),
  };
  for (const [id, then] of Object.entries(buttons)) $(id).addEventListener("click", then);
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => { $("ask-no").textContent = "Look again"; back(); });
  for (const input of [$("files"), $("folder")]) {
    input.addEventListener("change", () => {
      handIn([...input.files].map((file) => [file.webkitRelativePath || file.name, file]));
      input.value = "";
    });
  }
  $("counted").addEventListener("change", count);
  $("signing").addEventListener("toggle", () => { if (page.sheet) showTogether(); });
  $("who-form").addEventListener("submit", (event) => {
    event.preventDefault();
    rememberWho({ reader: $("who-name").value.trim(), role: document.querySelector('[name="role"]:checked').value });
    $("ask-who").close();
  });
  // Without a name nothing can be changed: the question stays until it is answered.
  $("ask-who").addEventListener("close", () => { if (!page.who.reader) askWho(); });
  $("about").addEventListener("submit", (event) => {
    event.preventDefault();
    keepTyped(true);
  });
  $("about").addEventListener("input", typeAbout);
  $("about").addEventListener("focusout", () => { keepTyped(); setTimeout(() => { if (page.sheet) showAbout(); }); });
  window.addEventListener("pagehide", () => keepTyped());
  window.addEventListener("beforeunload", (event) => { keepTyped(); if (page.pending.length || page.typed.size) event.preventDefault(); });
  try { $("single-keys").checked = localStorage.getItem("single-keys") !== "off"; } catch { /* a browser without storage starts with keys on */ }
  $("single-keys").addEventListener("change", () => { try { localStorage.setItem("single-keys", $("single-keys").checked ? "on" : "off"); } catch { /* kept for this visit only */ } });
  $("lost").addEventListener("cancel", (event) => { if ($("lost-read").disabled) event.preventDefault(); });
  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  window.addEventListener("dragenter", (event) => { if (carriesFiles(event)) { depth += 1; $("drop").hidden = false; } });
  window.addEventListener("dragleave", (event) => { if (carriesFiles(event) && (depth -= 1) <= 0) { depth = 0; $("drop").hidden = true; } });
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    $("drop").hidden = true;
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
    const found = [];
    for (const entry of entries) found.push(...await filesOf(entry));
    if (found.length) handIn(found);
  });
}

listen();
page.open = Number((location.hash.match(/^#cell=(\d+)$/) || [])[1]) || null;
inTurn(start);
