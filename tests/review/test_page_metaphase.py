"""The metaphase on the page in a real Chromium: lit on both, cut, joined, erased, taken, reloaded, undone, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.review.chromium import SHIFT, Tab
from tests.review.conftest import served
from tests.review.metaphases import SizeAnalyst, hand_in_cut, make_folder
from tests.review.test_cuts import iou, standing

from bandbridge.review.actions import Review
from bandbridge.review.worker import Worker

uvicorn = pytest.importorskip("uvicorn", reason="needs bandbridge[review]")


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("cut"))


@pytest.fixture
def cell(store, cut) -> int:
    return hand_in_cut(store, cut.folder, SizeAnalyst())


@pytest.fixture
def tab(chromium, store, cell, reader) -> Iterator[Tab]:
    review = Review(store, Worker(store, SizeAnalyst(), "the model"), reader=reader)
    with served(review) as address:
        opened = chromium.open(address)
        ready(opened)
        yield opened
        opened.close()


def ready(tab: Tab) -> None:
    tab.wait(
        "typeof page !== 'undefined' && page.sheet !== null && document.querySelector('#field-pieces path') !== null"
    )
    tab.settle()


def on_screen(tab: Tab, points: list[list[float]]) -> list[list[float]]:
    """Where places of the field are in the window."""
    script = (
        f"{json.dumps(points)}.map(([x, y]) => {{ const at = new DOMPoint(x, y).matrixTransform("
        "document.querySelector('#field').getScreenCTM()); return [at.x, at.y]; })"
    )
    return tab.run(script)


def drag(tab: Tab, points: list[list[float]]) -> None:
    """Press the mouse at the first of ``points`` of the field, move over the others and let go."""
    places = on_screen(tab, points)
    for kind, (x, y) in [
        ("mousePressed", places[0]),
        *(("mouseMoved", one) for one in places),
        ("mouseReleased", places[-1]),
    ]:
        held = {"button": "left", "buttons": 1, "clickCount": 1}
        tab.browser.ask("Input.dispatchMouseEvent", tab._session, type=kind, x=x, y=y, **held)
    tab.settle()


def pick(tab: Tab, file: str) -> int:
    number = tab.run(f"page.sheet.chromosomes.find((item) => item.file === '{file}').id")
    tab.run(f"pick({number})")
    return number


def test_a_chromosome_is_lit_and_chosen_on_both(tab, cut):
    number = tab.run("page.sheet.chromosomes[4].id")
    (place,) = on_screen(tab, [tab.run(f"middleOf({number})")])
    mouse = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
    tab.browser.ask("Input.dispatchMouseEvent", tab._session, **{**mouse, "type": "mouseMoved", "button": "none"})
    tab.wait(f"document.querySelector('.one.lit')?.dataset.id === '{number}'")
    assert tab.run("document.querySelector('#field .piece.lit').dataset.id") == str(number)
    for kind in ("mousePressed", "mouseReleased"):
        tab.browser.ask("Input.dispatchMouseEvent", tab._session, **mouse, type=kind)
    tab.wait(f"page.picked === {number} && document.querySelector('#field .piece.picked').dataset.id === '{number}'")
    other = tab.run("page.sheet.chromosomes[9].id")
    tab.click(f'.one[data-id="{other}"]')
    assert tab.run("document.querySelector('#field .piece.picked').dataset.id") == str(other)
    tab.press("ArrowRight")
    assert tab.run("Number(document.querySelector('#field .piece.picked').dataset.id) === page.picked")


def test_cut_join_erase_and_take_by_mouse_outlive_a_reload_and_are_undone_and_exported(tab, cell, cut, store):
    steps = [standing(store, cell)]
    tab.click("#tool-cut")
    drag(tab, cut.line)
    steps.append(standing(store, cell))
    made = sorted(store.field(cell).pieces)[-2:]
    assert "Cut. The cell is sorted again. Saved." in tab.status() and tab.run("page.picked") in made
    for truth in cut.truths:
        assert max(iou(truth, store.field(cell).pieces[number]) for number in made) > 0.8
    tab.run(f"pick({made[0]})")
    tab.click("#tool-join")
    (place,) = on_screen(tab, [tab.run(f"middleOf({made[1]})")])
    for kind in ("mousePressed", "mouseReleased"):
        values = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1, "type": kind}
        tab.browser.ask("Input.dispatchMouseEvent", tab._session, **values)
    assert tab.wait("document.querySelector('#tool-join').textContent") == "Join 2"
    tab.click("#tool-join")
    tab.settle()
    steps.append(standing(store, cell))
    pick(tab, "02.png")
    tab.click("#tool-erase")
    tab.settle()
    steps.append(standing(store, cell))
    tab.click("#tool-take")
    rows, columns = cut.missed.box
    left, top, right, bottom = columns.start - 3, rows.start - 3, columns.stop + 3, rows.stop + 3
    drag(tab, [[left, top], [right, top], [right, bottom], [left, bottom], [left, top + 1]])
    steps.append(standing(store, cell))
    assert iou(store.field(cell).pieces[tab.run("page.picked")], cut.missed) > 0.7
    assert [event.kind for event in store.history(cell)] == ["cut", "join", "erase", "take"]
    tab.reload()
    ready(tab)
    shown = "Object.keys(page.sheet.field.outlines).map(Number)"
    assert tab.run(shown) == sorted(store.field(cell).pieces)
    for before in reversed(steps[:-1]):
        tab.press("z")
        tab.settle()
        assert standing(store, cell) == before
    tab.press("Z", held=SHIFT)
    tab.settle()
    assert standing(store, cell) == steps[1]
    assert tab.run(shown) == sorted(store.field(cell).pieces)
    store.change(cell, "accept", (1,))
    tab.reload()
    ready(tab)
    assert tab.run("document.querySelector('#tool-cut').disabled")
    tab.click("#export")
    told = tab.wait("document.querySelector('#ask').open && document.querySelector('#ask-body').innerText")
    assert "1 metaphase with where each chromosome lies" in told
    folder = Path(told.split("Folder: ")[1].split("\n")[0])
    assert (folder / "metaphases" / "truth" / "00001_mask.png").is_file()
    assert tab.alert() == ""


def test_all_of_it_goes_by_keyboard(tab, cell, cut, store):
    pair = pick(tab, f"{cut.pair:02d}.png")
    tab.press("c")
    tab.run(f"field.line.x = {cut.between[0]}, field.line.y = {cut.between[1]}")
    for key, code in (("ArrowLeft", ""), ("ArrowRight", ""), ("[", "BracketLeft"), ("]", "BracketRight")):
        tab.press(key, code)
    tab.press("Enter")
    tab.settle()
    assert [event.kind for event in store.history(cell)] == ["cut"] and pair not in store.field(cell).pieces
    tab.press("j")
    tab.press("ArrowRight")
    tab.press(" ", "Space")
    tab.press("Enter")
    tab.settle()
    tab.press("e")
    tab.settle()
    tab.press("t")
    row, column = cut.missed.middle
    away = tab.run("[field.ring.x, field.ring.y, page.sheet.field.width]")
    for key, far in (("ArrowRight", column - away[0]), ("ArrowDown", row - away[1])):
        key = key if far > 0 else {"ArrowRight": "ArrowLeft", "ArrowDown": "ArrowUp"}[key]
        for _ in range(round(abs(far) / (away[2] / 2))):
            tab.press(key)
    tab.press("]", "BracketRight")
    tab.press("]", "BracketRight")
    tab.press("Enter")
    tab.settle()
    assert [event.kind for event in store.history(cell)] == ["cut", "join", "erase", "take"]
    assert iou(store.field(cell).pieces[tab.run("page.picked")], cut.missed) > 0.3
    tab.press("c")
    tab.press("Escape")
    assert tab.run("field.mode") == "" and "put down" in tab.status()


def test_doubtful_cuts_are_marked_listed_and_taken_by_keyboard_and_mouse(tab, cell, cut, store):
    before = standing(store, cell)
    shown = "[...document.querySelectorAll('#others li')].map((one) => one.querySelector('span').textContent)"
    doubtful = [f"⇄ {cut.pair:02d}.png may be two, nearly even", "⇄ 01.png and 02.png may be one chromosome"]
    assert tab.run(shown) == doubtful
    marked = "[...document.querySelectorAll('#field .piece.otherwise')].map((one) => Number(one.dataset.id)).sort()"
    pair = tab.run(f"page.sheet.chromosomes.find((item) => item.file === '{cut.pair:02d}.png').id")
    assert pair in tab.run(marked) and len(tab.run(marked)) == 3
    assert "its cut is doubtful" in tab.run(f"document.querySelector('.one[data-id=\"{pair}\"]').title")
    other = "document.querySelectorAll('#field-other path').length"
    assert tab.run(other) == 0
    tab.press("o")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert tab.run(focused) == f"Take the other way: {cut.pair:02d}.png may be two"
    assert tab.run(other) == 2, "both are drawn over the field"
    assert tab.run("document.querySelector('#field .piece.replaced').dataset.id") == str(pair)
    tab.press("o")
    assert tab.run(focused) == "Take the other way: 01.png and 02.png may be one chromosome"
    tab.press("o")
    tab.press("Enter")
    tab.settle()
    assert "Taken the other way" in tab.status() and "The cell is sorted again. Saved." in tab.status()
    new = sorted(store.field(cell).pieces)[-2:]
    for truth in cut.truths:
        assert max(iou(truth, store.field(cell).pieces[number]) for number in new) == 1
    assert tab.run(shown) == doubtful[1:] and tab.run("page.picked") in new
    tab.click("#others button")
    tab.settle()
    assert tab.run("document.querySelector('#doubtful').hidden") and tab.run(marked) == []
    tab.press("o")
    assert tab.status() == "No cut of this cell is doubtful."
    for _ in range(2):
        tab.press("z")
        tab.settle()
    assert standing(store, cell) == before and tab.run(shown) == doubtful
    store.change(cell, "accept", (1,))
    tab.reload()
    ready(tab)
    assert tab.run("[...document.querySelectorAll('#others button')].every((one) => one.disabled)")
    assert tab.alert() == ""


def test_what_cannot_be_done_is_said_and_nothing_is_changed(tab, cell, cut, store):
    tab.click("#tool-cut")
    left, top, *_ = tab.run("page.sheet.field.box")
    drag(tab, [[left + 4, top + 4], [left + 20, top + 12], [left + 40, top + 15]])
    assert "crosses no chromosome" in tab.alert() and store.history(cell) == []
    assert tab.run("field.mode") == ""
    # It goes with the next change, unless there was no time to read it.
    for file, refused, stays in (("02.png", "performance.now() + 1e6", True), ("03.png", "1", False)):
        tab.run(f"page.refused = {refused}")
        pick(tab, file)
        tab.click("#tool-erase")
        tab.settle()
        assert ("crosses no chromosome" in tab.alert()) == stays
    assert [event.kind for event in store.history(cell)] == ["erase", "erase"]


@pytest.mark.parametrize("size", ["beside", "large", "hidden"])
def test_nothing_lies_beside_the_page_in_a_narrow_window_or_a_wide_one(tab, size):
    while tab.run("field.size") != size:
        tab.press("m")
    for width, height in ((390, 900), (1150, 800), (1280, 800), (1920, 1000)):
        tab.size(width, height)
        shown = (
            "[...document.querySelectorAll('header *, #metaphase *, .sheet *')].filter((one) => !one.closest('svg'))"
        )
        beside = f"{shown}.filter((one) => one.getBoundingClientRect().right > {width + 1})"
        assert tab.wait("innerWidth") == width and tab.run(f"{beside}.map((one) => one.id + one.className)") == []
