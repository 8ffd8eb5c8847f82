"use strict";
// The metaphase beside the karyogram, and the tools that change its pieces. Places are pixels of the field.

// line, ring: what the keyboard moves. drawn: what the mouse draws. chosen: to be joined. middle, zoom: what is seen.
const field = {
  mode: "", line: null, ring: null, drawn: null, chosen: new Set(), zoom: 1, middle: null, cell: null, lit: null, size: "beside",
};
const FIELD = { click: 4, apart: 1.5, points: 200, turn: 5, grow: 1.15, mostZoom: 12, ring: 32, sizes: ["beside", "large", "hidden"] };
const HINTS = {
  "": "Point at a chromosome: it is lit on both. Click to choose it.",
  cut: "Draw a line across a chromosome. Keys: arrows move the line, [ ] turn it, Enter cuts, Esc leaves.",
  join: "Click the pieces of one chromosome, then Join again. Keys: arrows, Space chooses, Enter joins, Esc leaves.",
  take: "Click what was missed, or draw around it. Keys: arrows move the ring, [ ] size it, Enter takes, Esc leaves.",
};
const MODES = ["cut", "join", "take"];

function draw(tag, values = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// What is seen

const hasField = () => Boolean(page.sheet && page.sheet.field);
const outlinesOf = (id) => page.sheet.field.outlines[id] || [];
const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, at) => [flat[2 * at], flat[2 * at + 1]]);
const pathOf = (points, closed) => `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}${closed ? "Z" : ""}`;

function showField() {
  const seen = hasField();
  $("metaphase").hidden = !seen;
  $("main").classList.toggle("with-field", seen);
  for (const size of FIELD.sizes) $("main").classList.toggle(`field-${size}`, seen && field.size === size);
  showOthers();
  if (!seen) { field.cell = null; leaveMode(); return; }
  const { picture, box, outlines } = page.sheet.field;
  const [left, top, right, bottom] = box;
  if (field.cell !== page.sheet.id) {
    Object.assign(field, { cell: page.sheet.id, zoom: 1, middle: null });
    leaveMode();
  }
  const svg = $("field");
  const known = svg.querySelector("image");
  if (!known || known.getAttribute("href") !== picture) {
    svg.replaceChildren(
      draw("image", { href: picture, x: left, y: top, width: right - left, height: bottom - top, preserveAspectRatio: "none" }),
      draw("g", { id: "field-pieces" }), draw("g", { id: "field-names" }), draw("g", { id: "field-other" }), draw("path", { id: "field-draft", d: "" }),
    );
  }
  $("field-pieces").replaceChildren(...page.sheet.chromosomes.filter((item) => outlines[item.id]).map(showPiece));
  $("field-names").replaceChildren(...page.sheet.chromosomes.filter((item) => outlines[item.id]).map(showName));
  for (const id of [...field.chosen]) if (!one(id)) field.chosen.delete(id);
  for (const tool of ["cut", "join", "erase", "take"]) $(`tool-${tool}`).disabled = page.sheet.accepted;
  if (page.sheet.accepted) leaveMode();
  showSize();
  showMode();
  look();
}

function showPiece(item) {
  const d = outlinesOf(item.id).map((flat) => pathOf(pairs(flat), true)).join("");
  const path = draw("path", { d, "data-id": item.id, class: `piece${item.open ? " open" : ""}${othersOf(item.id).length ? " otherwise" : ""}`, "fill-rule": "evenodd" });
  path.append(draw("title", {}));
  path.firstChild.textContent = [`${item.file}: ${item.placed ? `placed in ${item.placed}` : "not placed"}`, ...othersOf(item.id).map((other) => `⇄ ${other.text}`)].join("\n");
  path.addEventListener("pointerenter", () => light(item.id));
  path.addEventListener("pointerleave", () => light(null));
  return path;
}

function showName(item) {
  const [x, y] = middleOf(item.id);
  const name = draw("text", { x, y, "data-id": item.id });
  name.textContent = item.placed || "–";
  return name;
}

function lightField() {
  if (!hasField()) return;
  for (const node of document.querySelectorAll("#field [data-id]")) {
    const id = Number(node.dataset.id);
    node.classList.toggle("picked", id === page.picked);
    node.classList.toggle("lit", id === field.lit);
    node.classList.toggle("chosen", field.chosen.has(id));
  }
  const picked = document.querySelector("#field-pieces .picked");
  if (picked) picked.parentNode.append(picked); // over the others
  for (const button of document.querySelectorAll(".one")) {
    const id = Number(button.dataset.id);
    button.classList.toggle("lit", id === field.lit);
    button.classList.toggle("chosen", field.chosen.has(id));
  }
}

function light(id) {
  if (field.lit === id) return;
  field.lit = id;
  lightField();
}

// Called when a chromosome is chosen: seen at its place, and what the keyboard moves goes there.
function showPicked() {
  if (!hasField()) return;
  if (field.mode === "cut" && !field.drawn) field.line = lineAcross(page.picked);
  keepInView();
  lightField();
  showDraft();
}

// The part that is seen

function look() {
  const [left, top, right, bottom] = page.sheet.field.box;
  const [width, height] = [(right - left) / field.zoom, (bottom - top) / field.zoom];
  const within = (at, half, low, high) => Math.min(high - half, Math.max(low + half, at));
  const [x, y] = field.middle || [(left + right) / 2, (top + bottom) / 2];
  field.middle = [within(x, width / 2, left, right), within(y, height / 2, top, bottom)];
  $("field").setAttribute("viewBox", [field.middle[0] - width / 2, field.middle[1] - height / 2, width, height].join(" "));
  // Letters stay as large on the screen, whatever is seen of the field.
  const unit = width / ($("field").clientWidth || width);
  $("field-names").setAttribute("font-size", Math.min(13 * unit, 1.6 * page.sheet.field.width).toFixed(2));
  $("zoom-out").disabled = field.zoom <= 1;
  $("zoom-in").disabled = field.zoom >= FIELD.mostZoom;
}

function zoomBy(factor, at = null) {
  const before = field.zoom;
  field.zoom = Math.min(FIELD.mostZoom, Math.max(1, field.zoom * factor));
  if (at && field.middle) field.middle = field.middle.map((value, axis) => at[axis] + (value - at[axis]) * (before / field.zoom));
  else if (factor > 1 && one(page.picked) && outlinesOf(page.picked).length) field.middle = middleOf(page.picked);
  look();
}

function keepInView() {
  if (field.zoom === 1 || !outlinesOf(page.picked).length) return;
  const [left, top, right, bottom] = page.sheet.field.box;
  const middle = middleOf(page.picked);
  const half = [(right - left) / field.zoom / 2, (bottom - top) / field.zoom / 2];
  if (middle.some((value, axis) => Math.abs(value - field.middle[axis]) > 0.8 * half[axis])) { field.middle = middle; look(); }
}

function showSize() {
  const next = { beside: ["⤢", "Larger"], large: ["Hide", "Hide"], hidden: ["Show metaphase", "Show metaphase"] };
  const [text, label] = next[field.size];
  $("field-size").textContent = text;
  $("field-size").setAttribute("aria-label", label);
  $("field-size").title = `${label} (m)`;
}

function nextSize() {
  field.size = FIELD.sizes[(FIELD.sizes.indexOf(field.size) + 1) % FIELD.sizes.length];
  try { localStorage.setItem("field-size", field.size); } catch { /* kept for this visit only */ }
  showField();
  fit();
  lightField();
  say({ beside: "The metaphase stands beside the karyogram.", large: "The metaphase is larger.", hidden: "The metaphase is hidden; m shows it." }[field.size]);
}

// How much of the room for the karyogram the metaphase takes.
function fieldRoom() {
  if (!hasField()) return { width: 0, height: 0, free: false };
  const box = $("metaphase").getBoundingClientRect();
  if (field.size === "hidden") return { width: 0, height: box.height + 8, free: false };
  const beside = field.size === "beside" && window.matchMedia("(min-width: 1260px)").matches;
  return { width: beside ? box.width + 10 : 0, height: 0, free: !beside };
}

// Shapes

function middleOf(id) {
  const points = outlinesOf(id).flatMap(pairs);
  return [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
}

// A line across the middle of a chromosome, at right angles to its length.
function lineAcross(id) {
  if (!outlinesOf(id).length) return null;
  const [x, y] = middleOf(id);
  const away = outlinesOf(id).flatMap(pairs).map((point) => [point[0] - x, point[1] - y]);
  const sum = (product) => away.reduce((total, point) => total + product(point), 0);
  const along = 0.5 * Math.atan2(2 * sum(([u, v]) => u * v), sum(([u, v]) => u * u - v * v));
  return { x, y, angle: along + Math.PI / 2, half: 1.2 * page.sheet.field.width };
}

const endsOf = ({ x, y, angle, half }) => [-1, 1].map((side) => [x + side * half * Math.cos(angle), y + side * half * Math.sin(angle)]);
const ringOf = ({ x, y, radius }) => Array.from({ length: FIELD.ring }, (_, at) => {
  const angle = 2 * Math.PI * at / FIELD.ring;
  return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
});
const within = ([x, y]) => {
  const [left, top, right, bottom] = page.sheet.field.box;
  return [Math.min(right, Math.max(left, x)), Math.min(bottom, Math.max(top, y))];
};

function showDraft() {
  const draft = $("field-draft");
  if (!draft) return;
  const drawn = field.drawn || (field.mode === "cut" && field.line && endsOf(field.line)) || (field.mode === "take" && field.ring && ringOf(field.ring));
  draft.setAttribute("d", drawn && drawn.length > 1 ? pathOf(drawn, field.mode === "take") : "");
}

// Tools

function showMode() {
  for (const tool of MODES) $(`tool-${tool}`).setAttribute("aria-pressed", String(field.mode === tool));
  const many = field.chosen.size;
  $("tool-join").textContent = field.mode === "join" && many > 1 ? `Join ${many}` : "Join";
  $("field-hint").textContent = HINTS[field.mode];
  $("field").setAttribute("class", field.mode ? `tool ${field.mode}` : "");
  showDraft();
  lightField();
}

function leaveMode() {
  Object.assign(field, { mode: "", line: null, ring: null, drawn: null });
  field.chosen.clear();
  if ($("field-draft")) showMode();
}

function enterMode(mode) {
  if (!hasField() || isClosed()) return;
  if (field.mode === mode) {
    if (mode === "join" && field.chosen.size > 1) joinChosen(); else { leaveMode(); say("The tool is put down."); }
    return;
  }
  leaveMode();
  field.mode = mode;
  if (field.size === "hidden") { field.size = "beside"; showField(); fit(); }
  if (mode === "cut") field.line = lineAcross(page.picked);
  if (mode === "join" && one(page.picked)) field.chosen.add(page.picked);
  if (mode === "take") field.ring = { x: field.middle[0], y: field.middle[1], radius: 3 * page.sheet.field.width };
  showMode();
  say(HINTS[mode]);
}

// Asks for a change of the pieces; the whole cell is sorted again with it.
function reshape(tool, values, done, chromosome = null) {
  const told = $("field-hint");
  told.textContent = "Sorting the cell again …";
  $("metaphase").setAttribute("aria-busy", "true");
  return act(tool, () => (isClosed() ? null : values), (sheet) => {
    if (sheet.chromosome) pick(sheet.chromosome, true);
    say(`${done} The cell is sorted again. Saved.`);
  }, { chromosome }).finally(() => {
    $("metaphase").removeAttribute("aria-busy");
    if ($("field-draft")) leaveMode();
  });
}

const thinned = (points) => {
  const step = Math.ceil(points.length / FIELD.points);
  return points.filter((_, at) => at % step === 0 || at === points.length - 1).map(within);
};
const cutAlong = (line) => reshape("cut", { line: thinned(line) }, "Cut.", page.picked);
const takeInside = (outline) => reshape("take", { outline: thinned(outline) }, "Taken.");
const takeAt = (at) => reshape("take", { at: within(at) }, "Taken.");

function joinChosen() {
  const chromosomes = [...field.chosen];
  if (chromosomes.length < 2) { say("Choose two or more pieces to join."); return null; }
  return reshape("join", { chromosomes }, `${chromosomes.length} pieces joined.`);
}

function erase() {
  if (!hasField() || !one(page.picked)) return null;
  return reshape("erase", {}, `${one(page.picked).file} is erased: no chromosome.`, page.picked);
}

function toggle(id) {
  if (field.chosen.has(id)) field.chosen.delete(id); else field.chosen.add(id);
  showMode();
  say(`${field.chosen.size} chosen to be joined: ${[...field.chosen].map((each) => one(each).file).join(", ")}.`);
}

// What the cut may be otherwise: each is offered for as long as the pieces stand that it replaces.

const othersOf = (id = null) => (hasField() ? page.sheet.field.others.filter((item) => id === null || item.chromosomes.includes(id)) : []);

function showOthers() {
  const others = othersOf();
  $("doubtful").hidden = !others.length;
  $("others").replaceChildren(...others.map((item) => make("li", { class: item.even ? "note doubt" : "note" },
    make("span", { text: `⇄ ${item.text}${item.even ? ", nearly even" : ""}` }),
    make("button", {
      type: "button", text: "Take the other way", "aria-label": `Take the other way: ${item.text}`, disabled: page.sheet.accepted,
      onclick: () => takeOther(item), onfocus: () => showOther(item), onblur: () => showOther(null),
      onpointerenter: () => showOther(item), onpointerleave: () => showOther(null),
    }))));
  showOther(null);
}

// Draws it over the field; nothing where it is none.
function showOther(item) {
  if (!$("field-other")) return;
  const outlined = (lines) => draw("path", { d: lines.map((flat) => pathOf(pairs(flat), true)).join(""), "fill-rule": "evenodd" });
  $("field-other").replaceChildren(...(item ? item.outlines.map(outlined) : []));
  for (const node of document.querySelectorAll("#field [data-id], .one")) node.classList.toggle("replaced", Boolean(item && item.chromosomes.includes(Number(node.dataset.id))));
  if (!item || field.zoom === 1) return;
  const points = item.outlines.flat().flatMap(pairs);
  field.middle = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  look();
}

const takeOther = (item) => reshape("other", { other: item.other }, `Taken the other way: ${item.text}.`);

function nextOther() {
  const buttons = [...document.querySelectorAll("#others button:not(:disabled)")];
  if (!buttons.length) { say(isClosed() ? "" : "No cut of this cell is doubtful."); return; }
  leaveMode();
  if (field.size === "hidden") { field.size = "beside"; showField(); fit(); nextOther(); return; }
  const next = buttons[(buttons.indexOf(document.activeElement) + 1) % buttons.length];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  say(`${next.getAttribute("aria-label")}? Enter takes it.`);
}

// Mouse, pen and finger

function placeOf(event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform($("field").getScreenCTM().inverse());
  return [at.x, at.y];
}

function startOnField(event) {
  if (event.button !== 0 || !hasField()) return;
  const from = [event.clientX, event.clientY];
  const piece = event.target.closest("[data-id]");
  const start = field.middle;
  const { mode } = field;
  const drawing = mode === "cut" || mode === "take";
  const points = [placeOf(event)];
  let moved = false;
  if (drawing) event.preventDefault();
  const move = (now) => {
    const away = [now.clientX - from[0], now.clientY - from[1]];
    if (!moved && Math.hypot(...away) < FIELD.click) return;
    moved = true;
    if (drawing) {
      const at = placeOf(now);
      const last = points.at(-1);
      if (Math.hypot(at[0] - last[0], at[1] - last[1]) * field.zoom >= FIELD.apart) points.push(at);
      field.drawn = points;
      showDraft();
    } else if (field.zoom > 1) {
      const scale = $("field").getScreenCTM().a;
      field.middle = start.map((value, axis) => value - away[axis] / scale);
      look();
    }
  };
  const end = (keep) => {
    for (const [name, handler] of Object.entries(handlers)) window.removeEventListener(name, handler, true);
    field.drawn = null;
    showDraft();
    if (!keep || field.mode !== mode) return;
    if (mode === "cut") { if (points.length > 1) cutAlong(points); else say("Draw a line across the chromosome: press, move, let go."); }
    else if (mode === "take") { if (points.length > 2) takeInside(points); else takeAt(points[0]); }
    else if (moved || !piece) return;
    else if (mode === "join") toggle(Number(piece.dataset.id));
    else pick(Number(piece.dataset.id), true);
  };
  const handlers = {
    pointermove: move, pointerup: () => end(true), pointercancel: () => end(false),
    keydown: (pressed) => { if (pressed.key === "Escape") { pressed.stopPropagation(); end(false); } },
  };
  for (const [name, handler] of Object.entries(handlers)) window.addEventListener(name, handler, true);
}

// Keys

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Whether a key was meant for the metaphase.
function fieldKey(name, event) {
  if (!hasField()) return false;
  const commands = {
    c: () => enterMode("cut"), j: () => enterMode("join"), t: () => enterMode("take"), e: erase, o: nextOther, m: nextSize, "+": () => zoomBy(1.4), "-": () => zoomBy(1 / 1.4),
  };
  if (commands[name]) { commands[name](); return true; }
  if (!field.mode) return false;
  if (name === "Escape") { leaveMode(); say("The tool is put down."); return true; }
  if (event.target.closest("button, a, #panel") && !event.target.closest(".one")) return false;
  if (field.mode === "join") return joinKey(name);
  const moving = field.mode === "cut" ? field.line : field.ring;
  if (!moving) return false;
  const { width } = page.sheet.field;
  if (ARROWS[name]) {
    // Fine, and by half a chromosome with Shift; a ring, which has farther to go, the other way around.
    const far = event.shiftKey === (field.mode === "cut") ? width / 2 : width / 10;
    [moving.x, moving.y] = within([moving.x + far * ARROWS[name][0], moving.y + far * ARROWS[name][1]]);
  } else if (name === "[" || name === "]") {
    const side = name === "[" ? -1 : 1;
    if (field.mode === "cut") moving.angle += side * FIELD.turn * Math.PI / 180;
    else moving.radius = Math.min(20 * width, Math.max(width / 2, moving.radius * FIELD.grow ** side));
  } else if (name === "Enter") {
    if (field.mode === "cut") cutAlong(endsOf(moving)); else takeInside(ringOf(moving));
  } else return false;
  showDraft();
  return true;
}

function joinKey(name) {
  if (name === " " && one(page.picked)) toggle(page.picked);
  else if (name === "Enter") joinChosen();
  else return false;
  return true;
}

// What an export holds for the separator to learn from.
function metaphasesTold({ metaphases, left_out: left }) {
  const told = [
    metaphases && `${many(metaphases, "metaphase")} with where each chromosome lies, for the separator, in the folder metaphases: look whether a name is written on the picture.`,
    left && `${many(left, "metaphase")} left out: another cell on it is not accepted.`,
  ];
  return told.filter(Boolean).map((text) => make("p", { text }));
}

function listenToField() {
  try { field.size = FIELD.sizes.find((size) => size === localStorage.getItem("field-size")) || "beside"; } catch { /* as if never chosen */ }
  const buttons = {
    "tool-cut": () => enterMode("cut"), "tool-join": () => enterMode("join"), "tool-take": () => enterMode("take"), "tool-erase": erase,
    "zoom-in": () => zoomBy(1.4), "zoom-out": () => zoomBy(1 / 1.4), "field-size": nextSize,
  };
  // The keys that a tool takes go to the chromosomes, not to the button that chose it.
  for (const [id, then] of Object.entries(buttons)) $(id).addEventListener("click", () => { then(); back(true); });
  $("field").addEventListener("pointerdown", startOnField);
  $("field").addEventListener("wheel", (event) => {
    if (!event.ctrlKey || !hasField()) return;
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15, placeOf(event));
  }, { passive: false });
  $("sheet").addEventListener("pointerover", (event) => {
    const button = event.target.closest(".one");
    if (hasField()) light(button ? Number(button.dataset.id) : null);
  });
  $("sheet").addEventListener("pointerleave", () => { if (hasField()) light(null); });
}
