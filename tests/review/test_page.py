"""The page in a real Chromium: keys held, pressed in haste or on other keyboards, two windows, texts half typed."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest
from tests.review.chromium import ALT, CTRL, META, SHIFT, Tab
from tests.review.conftest import KEY, NamedAnalyst, picture, png, served

from bandbridge.errors import UserError
from bandbridge.karyotype import AUTOSOMES
from bandbridge.review.guard import forwarding_page
from bandbridge.review.schema import Incoming

uvicorn = pytest.importorskip("uvicorn", reason="needs bandbridge[review]")
#: Long enough to have looked at a chromosome, and at a cell or a question, in seconds.
GLANCE, LOOK = 0.35, 1.05
FLAGGED = tuple(f"{label}-unsure.png" for label in ("21a", "21b", "Xa", "Ya"))
WHOLE = tuple(f"{label}{copy}.png" for label in (*AUTOSOMES, "X") for copy in "ab")


@pytest.fixture
def add(store):
    """Return a function that has a cell of ``files`` sorted and returns its id."""

    def sorted_cell(name: str, files: tuple[str, ...] = FLAGGED) -> int:
        images = [(file, picture(len(name) * 100 + seed)) for seed, file in enumerate(files)]
        cell, _ = store.add_cell(Incoming(name, tuple((file, store.put_image(image)) for file, image in images)))
        store.save_sheet(cell, NamedAnalyst().sheet(name, images), "m")
        return cell

    return sorted_cell


@pytest.fixture
def show(chromium, review) -> Iterator:
    """Return a function that opens the page in a tab of its own, with a cell shown."""
    tabs = []

    def opened(cell: int | None = None) -> Tab:
        tab = chromium.open(address + (f"#cell={cell}" if cell else ""))
        tabs.append(tab)
        tab.wait("typeof page !== 'undefined' && page.sheet !== null && document.querySelector('.one') !== null")
        return tab

    with served(review) as address:
        yield opened
        for tab in tabs:
            tab.close()


@pytest.fixture
def slowly(store, monkeypatch):
    """Let every change take 0.1 s."""
    for name in ("change", "undo", "describe"):
        quick = getattr(store, name)

        def slow(*values, quick=quick, **named):
            time.sleep(0.1)
            return quick(*values, **named)

        monkeypatch.setattr(store, name, slow)


def kinds(store, cell: int) -> list[str]:
    return [event.kind for event in store.history(cell)]


def standing(store, cell: int) -> list[str]:
    return [event.kind for event in store.history(cell) if not event.undone]


def first(store, cell: int):
    return store.sheet(cell).sheet.chromosomes[0]


def focus(tab: Tab, file: str) -> None:
    """Select a chromosome and look at it."""
    tab.run(f"pick(page.sheet.chromosomes.find((item) => item.file === '{file}').id)")
    time.sleep(GLANCE)


# Narrow windows


@pytest.mark.parametrize("reader", ["Anna Long-Surname von und zu Somewhere Else"])
def test_on_a_phone_no_button_and_no_chromosome_lies_beside_the_page(show, add):
    tab = show(add("one", WHOLE))
    tab.size(390, 900)
    shown = "[...document.querySelectorAll('header *, .sheet *')]"
    beside = f"{shown}.filter((one) => one.getBoundingClientRect().right > 391)"
    assert tab.wait("innerWidth") == 390 and tab.run(f"{beside}.map((one) => one.id + one.className)") == []


# Handing in


def test_a_patients_folder_that_is_chosen_gives_its_cells_the_patient_and_says_so(show, add, store):
    tab = show(add("one"))
    files = [(f"Anna/cell {number}/21a.png", base64.b64encode(png(number)).decode()) for number in (1, 2)]
    read = "new File([Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0))], name)"
    tab.run(f"handIn({json.dumps(files)}.map(([name, data]) => [name, {read}]))")
    tab.wait("document.querySelector('#status').textContent === '2 new cells of the patient Anna.'")
    assert [record.patient for record in store.cells() if record.name != "one"] == ["Anna", "Anna"]


# Held keys and hasty ones


def test_a_held_key_accepts_no_cell_and_confirms_no_chromosome(show, add, store):
    cells = [add(name) for name in ("one", "two", "three")]
    tab = show(cells[0])
    time.sleep(LOOK)
    tab.hold("a", 42)
    tab.settle()
    assert [store.history(cell) for cell in cells] == [[], [], []]
    assert "Accept this cell with" in tab.run("document.querySelector('#ask').innerText")
    assert not tab.run("document.querySelector('#ask-yes').disabled")
    # Whoever has read the question may answer it.
    tab.press("a")
    tab.wait(f"page.open === {cells[1]}")
    assert kinds(store, cells[0]) == ["accept"]


@pytest.mark.slow
def test_of_cells_without_a_doubt_a_held_key_accepts_the_one_that_was_seen(show, add, store):
    cells = [add(name, WHOLE) for name in ("one", "two", "three")]
    tab = show(cells[0])
    tab.press("a")
    tab.settle()
    assert not store.cell(cells[0]).accepted and "only just come up" in tab.status()
    time.sleep(LOOK)
    tab.hold("a", 10)
    # As keys fall over a remote desktop: each repetition is let go and pressed anew.
    for _ in range(30):
        tab.press("a")
        time.sleep(0.04)
    tab.settle()
    assert [store.cell(cell).accepted for cell in cells] == [True, False, False]


@pytest.mark.parametrize(
    ("key", "events"),
    [("f", ["turn"]), *(pytest.param(key, ["place"], marks=pytest.mark.slow) for key in ("Enter", "u"))],
)
def test_what_a_held_key_does_it_does_once(show, add, store, key, events):
    tab = show(cell := add("one"))
    focus(tab, FLAGGED[0])
    tab.hold(key, 15)
    tab.settle()
    assert kinds(store, cell) == events


@pytest.mark.slow
@pytest.mark.parametrize(("key", "held", "left"), [("z", 0, 2), ("z", CTRL, 2), ("z", META, 2)])
def test_a_held_key_takes_one_change_back(show, add, store, key, held, left):
    cell = add("one")
    ids = store.sheet(cell).ids
    for number in ids[:3]:
        store.change(cell, "place", ("1", 1), number)
    tab = show(cell)
    for repeat in range(10):
        tab.press(key, held=held, repeat=repeat > 0)
    tab.settle()
    assert len(standing(store, cell)) == left


@pytest.mark.slow
@pytest.mark.parametrize("button", ["#accept", "#undo"])
def test_a_held_key_presses_a_button_once(show, add, store, button):
    cells = [add(name, WHOLE) for name in ("one", "two")]
    for number in store.sheet(cells[0]).ids[:3]:
        store.change(cells[0], "turn", (5.0, 0, 1.0), number)
    tab = show(cells[0])
    time.sleep(LOOK)
    tab.run(f"document.querySelector('{button}').focus()")
    tab.hold("Enter", 40)
    tab.settle()
    assert [store.cell(cell).accepted for cell in cells] == [button == "#accept", False]
    assert len(standing(store, cells[0])) == (4 if button == "#accept" else 2)


@pytest.mark.slow
def test_a_held_digit_types_one(show, add):
    tab = show(add("one"))
    tab.hold("2", 5)
    assert tab.run("page.entry") == "2"


@pytest.mark.slow
def test_a_held_key_moves_and_turns_no_longer_than_it_is_held(show, add, store, slowly):
    tab = show(cell := add("one"))
    start = tab.run("page.picked")
    tab.hold("ArrowRight", 3)
    assert tab.run("page.picked") != start
    tab.hold("]", 30, "BracketRight")
    assert tab.run("page.pending.length") <= 1
    tab.settle()
    # A second at 0.1 s each.
    assert 3 <= len(kinds(store, cell)) <= 12


@pytest.mark.slow
def test_what_nobody_can_have_looked_at_is_not_confirmed(show, add, store):
    tab = show(cell := add("one"))
    time.sleep(GLANCE)
    for _ in range(4):
        tab.press("Enter")
        tab.press("n")
    tab.settle()
    assert len(kinds(store, cell)) == 1 and store.cell(cell).flagged == 3
    time.sleep(GLANCE)
    tab.press("Enter")
    tab.settle()
    assert store.cell(cell).flagged == 2


@pytest.mark.slow
def test_a_double_click_accepts_one_cell(show, add, store):
    cells = [add(name, WHOLE) for name in ("one", "two")]
    tab = show(cells[0])
    time.sleep(LOOK)
    tab.click("#accept", times=2)
    tab.settle()
    time.sleep(0.1)
    tab.settle()
    assert [store.cell(cell).accepted for cell in cells] == [True, False]


# Presses in quick succession


def test_every_press_counts_however_quick(show, add, store, slowly):
    tab = show(cell := add("one"))
    focus(tab, FLAGGED[0])
    for _ in range(6):
        tab.press("]", "BracketRight")
    tab.settle()
    assert first(store, cell).pose.angle == -30 and tab.run("one(page.picked).angle") == -30
    for _ in range(6):
        tab.press("z")
    tab.settle()
    assert first(store, cell).pose.angle == 0 and standing(store, cell) == []


@pytest.mark.slow
def test_two_flips_are_none_and_buttons_count_too(show, add, store, slowly):
    tab = show(cell := add("one"))
    focus(tab, FLAGGED[0])
    tab.press("f")
    tab.press("f")
    tab.run("[1, 2, 3].forEach(() => document.querySelector('[title=\"[\"]').click())")
    tab.settle()
    assert (first(store, cell).pose.flipped, first(store, cell).pose.angle) == (False, 15)


@pytest.mark.slow
def test_a_late_answer_moves_neither_the_selection_nor_what_is_typed(show, add, store, slowly):
    tab = show(cell := add("one"))
    focus(tab, FLAGGED[0])
    tab.press("Enter")
    tab.press("n")
    tab.press("2")
    time.sleep(0.3)
    tab.press("2")
    tab.press("Enter")
    tab.settle()
    placed = [(one.placed, one.corrected) for one in store.sheet(cell).sheet.chromosomes]
    assert placed[:2] == [("21", True), ("22", True)] and not placed[2][1]


@pytest.mark.slow
def test_the_next_to_check_is_not_one_whose_confirmation_is_on_its_way(show, add, store, slowly):
    tab = show(add("one", (FLAGGED[0], "1a.png")))
    focus(tab, FLAGGED[0])
    tab.press("Enter")
    tab.press("n")
    assert "Nothing is left to check" in tab.status()


@pytest.mark.slow
def test_what_is_pressed_while_another_cell_comes_up_is_done_to_neither(show, add, store, slowly, monkeypatch):
    cells = [add("one"), add("two")]
    tab = show(cells[0])
    focus(tab, FLAGGED[0])
    quick = store.sheet

    def slow(cell):
        time.sleep(1)  # the keys are pressed before, on a busy machine too
        return quick(cell)

    monkeypatch.setattr(store, "sheet", slow)
    tab.press(".", "Period")
    tab.press("Enter")
    tab.press("f")
    tab.settle()
    assert [store.history(cell) for cell in cells] == [[], []] and tab.run("page.open") == cells[1]


# Keyboards


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "code", "held", "left"),
    [
        ("Z", "KeyZ", 0, 1),  # Caps Lock
        ("z", "KeyY", 0, 1),  # German
        ("я", "KeyZ", 0, 1),  # Russian
        ("z", "KeyZ", CTRL, 1),
        ("z", "KeyZ", META, 1),
        ("Z", "KeyZ", CTRL, 1),
        ("я", "KeyZ", CTRL, 1),
        ("Z", "KeyZ", SHIFT, 3),
        ("z", "KeyZ", SHIFT, 3),  # Caps Lock and Shift
        ("Я", "KeyZ", SHIFT, 3),
        ("Z", "KeyZ", META | SHIFT, 3),
        ("y", "KeyY", CTRL, 3),
        ("н", "KeyY", CTRL, 3),
        ("Ω", "KeyZ", ALT, 2),  # Option on a Mac
        (";", "KeyZ", 0, 2),  # Dvorak
        ("z", "KeyZ", CTRL | ALT, 2),
    ],
)
def test_undo_and_redo_on_every_keyboard(show, add, store, key, code, held, left):
    cell = add("one")
    for number in store.sheet(cell).ids[:3]:
        store.change(cell, "place", ("1", 1), number)
    store.undo(cell)
    tab = show(cell)
    tab.press(key, code, held)
    tab.settle()
    assert len(standing(store, cell)) == left


def test_brackets_digits_and_letters_on_every_keyboard(show, add, store):
    tab = show(add("one"))
    focus(tab, FLAGGED[0])
    for key, code, held, turned in [
        ("[", "Digit5", ALT, 5),  # German Mac, Option
        ("]", "Digit6", ALT, -5),
        ("ü", "BracketLeft", 0, 5),  # German
        ("+", "BracketRight", 0, -5),
        ("Dead", "BracketLeft", 0, 5),  # French, Spanish
        ("$", "BracketRight", 0, -5),
        ("х", "BracketLeft", 0, 5),  # Russian
        ("ъ", "BracketRight", 0, -5),
        ("{", "BracketLeft", SHIFT, 0),
        ("[", "BracketLeft", CTRL, 0),
    ]:
        before = tab.run("one(page.picked).angle")
        tab.press(key, code, held)
        tab.settle()
        assert tab.run("one(page.picked).angle") - before == turned, (key, code)
    for key, code, held, entry in [
        ("&", "Digit1", 0, "1"),  # French
        ("à", "Digit0", 0, "0"),
        ("1", "Digit1", SHIFT, "1"),
        ("ě", "Digit2", 0, "2"),  # Czech
        ("٢", "Digit2", 0, "2"),  # Arabic
        ("2", "Numpad2", 0, "2"),
        ("X", "KeyX", 0, "X"),
        ("ч", "KeyX", 0, "X"),  # Russian
        ("Υ", "KeyY", SHIFT, "Y"),  # Greek
        ("@", "Digit2", SHIFT, ""),
        ("2", "Digit2", CTRL, ""),
    ]:
        tab.press("Escape")
        tab.press(key, code, held)
        assert tab.run("page.entry") == entry, (key, code)
    tab.press("Escape")
    for key, code, moves in [("т", "KeyN", True), ("N", "KeyN", True), ("з", "KeyP", True), ("b", "KeyN", False)]:
        before = tab.run("page.picked")
        tab.press(key, code)
        assert (tab.run("page.picked") != before) == moves, (key, code)
    tab.press("ArrowRight", held=ALT)
    # The browser has AltGr alone tell it; it is not among what the protocol can hold.
    sign = "{key: '[', code: 'Digit8', ctrlKey: true, altKey: true, modifierAltGraph: true, bubbles: true}"
    before = tab.run("one(page.picked).angle")
    tab.run(f"document.querySelector('.one').dispatchEvent(new KeyboardEvent('keydown', {sign}))")
    tab.settle()
    assert tab.run("one(page.picked).angle") - before == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "code", "held"), [("q", "KeyA", 0), ("å", "KeyA", ALT), ("a", "KeyA", CTRL), ("A", "KeyA", SHIFT)]
)
def test_a_key_that_says_something_else_accepts_nothing(show, add, key, code, held):
    tab = show(add("one"))
    time.sleep(LOOK)
    tab.press(key, code, held)
    tab.settle()
    assert not tab.run("document.querySelector('#ask').open") and "accept" not in tab.status()


@pytest.mark.slow
@pytest.mark.parametrize(("key", "code"), [("A", "KeyA"), ("ф", "KeyA"), ("a", "KeyQ")])
def test_accept_on_other_keyboards(show, add, key, code):
    tab = show(add("one"))
    time.sleep(LOOK)
    tab.press(key, code)
    tab.wait("document.querySelector('#ask').open")


# Two windows


@pytest.mark.parametrize(
    ("key", "code"), [("Enter", ""), ("u", ""), ("f", ""), ("]", "BracketRight"), ("z", ""), ("y", "")]
)
def test_a_stale_window_changes_nothing_and_shows_what_stands(show, add, store, key, code):
    cell = add("one")
    old, new = show(cell), show(cell)
    for tab in (new, old):
        focus(tab, FLAGGED[0])
    new.write("22")
    new.press("Enter")
    new.settle()
    before = store.history(cell)
    old.press(key, code, CTRL if key == "y" else 0)
    old.settle()
    assert store.history(cell) == before and first(store, cell).placed == "22"
    assert "changed in another window" in old.alert() and "Saved" not in old.status()
    assert old.run("one(page.picked).placed") == "22"
    time.sleep(GLANCE)
    old.press("u")
    old.settle()
    assert first(store, cell).placed == ""


@pytest.mark.slow
def test_a_stale_window_accepts_nothing(show, add, store):
    cell = add("one", WHOLE)
    old, new = show(cell), show(cell)
    new.press("f")
    new.settle()
    time.sleep(LOOK)
    old.press("a")
    old.settle()
    assert not store.cell(cell).accepted and "changed in another window" in old.alert()


@pytest.mark.slow
def test_what_was_pressed_after_a_refused_change_is_dropped(show, add, store):
    cell = add("one")
    tab = show(cell)
    focus(tab, FLAGGED[0])
    store.change(cell, "place", ("22", 1), store.sheet(cell).ids[0])
    tab.run("flip(page.picked); turnBy(page.picked, 5); step('undo'); place(page.picked, '1')")
    tab.settle()
    assert kinds(store, cell) == ["place"] and first(store, cell).placed == "22"


@pytest.mark.slow
def test_a_cell_removed_in_another_window_is_gone(show, add, store):
    cells = [add("one"), add("two")]
    tab = show(cells[0])
    focus(tab, FLAGGED[0])
    store.remove(cells[0])
    tab.press("Enter")
    tab.settle()
    assert "no such cell" in tab.alert() and tab.run("page.open") == cells[1] and store.history(cells[1]) == []


# Texts about a cell


@pytest.fixture
def typing(show, add):
    """A page of two cells, with the patient field of the first open."""
    cells = [add("one", WHOLE), add("two")]
    tab = show(cells[0])
    tab.run("(document.querySelector('details.about').open = true, document.querySelector('#patient').focus())")
    return tab, cells


@pytest.mark.slow
def test_text_is_kept_while_it_is_typed(typing, store):
    tab, cells = typing
    tab.write("P 7 ")
    time.sleep(0.4)
    tab.settle()
    # What is kept of a space at the end does not push the next sign to the word before.
    assert store.cell(cells[0]).patient == "P 7"
    tab.write("b")
    assert tab.run("document.querySelector('#patient').value") == "P 7 b"


@pytest.mark.parametrize(
    "then",
    [
        "a correction",
        "another cell",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("accept", "the other field")),
    ],
)
def test_text_outlives_what_comes_next(typing, store, then):
    tab, cells = typing
    tab.write("P 7")
    if then == "a correction":
        tab.click(".one")
        tab.press("f")
    elif then == "another cell":
        tab.click("#cells li:nth-child(2) button")
    elif then == "accept":
        time.sleep(LOOK)
        tab.click("#accept")
    else:
        tab.click("#stain")
        tab.write("Q")
        time.sleep(0.4)
    tab.settle()
    assert store.cell(cells[0]).patient == "P 7" and store.cell(cells[1]).patient == ""
    assert store.cell(cells[0]).stain == ("Q" if then == "the other field" else "")
    if then in ("another cell", "accept"):
        assert tab.run("page.open") == cells[1] and tab.run("document.querySelector('#patient').value") == ""


@pytest.mark.slow
def test_a_late_answer_does_not_take_the_text(typing, store, slowly):
    tab, cells = typing
    tab.run("flip(page.picked)")
    tab.write("P")
    time.sleep(0.25)
    tab.write("7")
    assert tab.run("document.querySelector('#patient').value") == "P7"
    time.sleep(0.35)
    tab.settle()
    assert store.cell(cells[0]).patient == "P7"


@pytest.mark.slow
def test_text_that_another_window_refuses_stays_until_it_is_kept(typing, store):
    tab, cells = typing
    store.describe(cells[0], "P8", "")
    tab.write("P7")
    time.sleep(0.4)
    tab.settle()
    assert store.cell(cells[0]).patient == "P8" and "press Keep" in tab.alert()
    tab.click(".one")
    tab.settle()
    assert store.cell(cells[0]).patient == "P8" and tab.run("document.querySelector('#patient').value") == "P7"
    tab.click("#about button")
    tab.settle()
    assert store.cell(cells[0]).patient == "P7"


# Nothing to do


@pytest.mark.parametrize(
    ("key", "held", "said"),
    [
        ("z", 0, "nothing to take back"),
        ("Z", SHIFT, "nothing to make again"),
        pytest.param("z", CTRL, "nothing to take back", marks=pytest.mark.slow),
        pytest.param("y", CTRL, "nothing to make again", marks=pytest.mark.slow),
    ],
)
def test_without_a_change_nothing_is_said_to_be_taken_back(show, add, store, key, held, said):
    tab = show(cell := add("one"))
    tab.press(key, held=held)
    tab.settle()
    assert said in tab.status() and "Saved" not in tab.status() and store.cell(cell).version == 0


@pytest.mark.slow
def test_what_is_confirmed_already_is_said_to_be(show, add, store):
    tab = show(cell := add("one"))
    focus(tab, FLAGGED[0])
    tab.press("Enter")
    tab.settle()
    assert "confirmed in 21" in tab.status() and "Saved" in tab.status()
    time.sleep(GLANCE)
    tab.press("Enter")
    tab.settle()
    assert "already" in tab.status() and "Saved" not in tab.status() and kinds(store, cell) == ["place"]


# What is not kept


def test_what_the_disk_does_not_take_stops_the_work_until_it_was_read(show, add, store):
    cell = add("one")
    tab = show(cell)
    store._database.execute("DROP TABLE events")  # any change fails, as on a damaged file
    tab.press("1")
    tab.press("Enter")
    tab.wait("document.querySelector('#lost').open")
    # Keys in haste neither close it nor correct anything behind it.
    for key in ("Enter", " ", "Escape", "u", "a", "z"):
        tab.press(key)
    assert tab.run("document.querySelector('#lost').open")
    said = tab.run("document.querySelector('#lost').innerText")
    assert said.startswith("Not kept") and "nothing was saved" in said and "is damaged" in said and "Ctrl-C" in said
    assert tab.status() == "Not kept." and "nothing was saved" in tab.alert()
    assert store.cell(cell).version == 0
    time.sleep(LOOK)
    tab.click("#lost-read")
    tab.wait("!document.querySelector('#lost').open")
    assert "nothing was saved" in tab.alert()


def test_a_page_of_a_program_that_was_started_again_says_what_was_not_saved(show, add, store, chromium):
    cell = add("one")
    tab = show(cell)
    tab.run("fetch('/').then(() => 0)")
    chromium.ask("Storage.clearCookies")  # the key of the start before is none any more
    tab.press("1")
    tab.press("Enter")
    tab.wait("document.querySelector('#lost').open")
    assert "the key of this review is missing" in tab.run("document.querySelector('#lost').innerText")
    assert store.cell(cell).version == 0


def test_the_page_that_forwards_opens_the_review(show, add, chromium, tmp_path):
    tab = show(add("one"))
    address = tab.run("location.origin") + f"/?key={KEY}"
    chromium.ask("Storage.clearCookies")
    page = tmp_path / "open.html"
    page.write_text(forwarding_page(address))
    forwarded = chromium.open(page.as_uri())
    forwarded.wait("typeof page !== 'undefined' && page.sheet !== null && document.querySelector('.one') !== null")
    assert forwarded.run("location.href").startswith(address.partition("?")[0] + "#cell=")
    forwarded.close()


def test_a_model_that_does_not_tell_where_it_looks_says_why_in_the_place_of_a_picture(show, add, monkeypatch):
    def silent(*_: object) -> None:
        raise UserError("the graph of this model does not tell where it looks", "That takes a model folder.")

    monkeypatch.setattr(NamedAnalyst, "cam", silent)
    tab = show(add("one"))
    focus(tab, FLAGGED[0])
    told = tab.wait(
        "[...document.querySelectorAll('.pictures figcaption')].map((one) => one.textContent)"
        ".find((text) => text.startsWith('not shown'))"
    )
    assert told == "not shown: the graph of this model does not tell where it looks. That takes a model folder."
    tab.wait("[...document.querySelectorAll('.pictures img')].every((one) => one.complete && one.naturalWidth > 0)")


# Who reviews, and who signs


@pytest.mark.parametrize("reader", [""])
def test_the_name_is_asked_once_and_stands_in_the_log(show, add, store):
    cell = add("c1")
    tab = show(cell)
    tab.wait("document.querySelector('#ask-who').open")
    tab.press("Escape")
    tab.wait("document.querySelector('#ask-who').open")  # without a name nothing can be changed
    tab.run("document.querySelector('#who-name').value = ' Carla '; document.querySelector('[value=second]').click()")
    tab.run("document.querySelector('#who-form button').click()")
    assert tab.run("document.querySelector('#who').textContent") == "Carla, second reader"
    time.sleep(GLANCE)
    tab.run("place(page.picked, 'X')")
    tab.wait("page.pending.length === 0")
    last = store.log()[-1]
    assert (last.kind, last.reader.name, last.reader.role) == ("place", "Carla", "second")
    again = show(cell)
    assert not again.run("document.querySelector('#ask-who').open")
    assert again.run("page.who") == {"reader": "Carla", "role": "second"}
    again.run("localStorage.removeItem('who')")


def test_two_readers_sign_a_patient_and_a_change_takes_the_signatures_away(show, add, store):
    first, second = add("c1", WHOLE), add("c2", WHOLE[::-1])
    for cell in (first, second):
        store.describe(cell, "p7", "G")
    store.change(second, "accept", (1,))
    tab = show(first)
    tab.run("document.querySelector('#signing').open = true")
    assert tab.run("document.querySelector('#sign').disabled")
    assert tab.run("document.querySelector('#patient-cells').textContent") == (
        "Patient p7: 2 cells, 1 accepted, 0 counted only, 1 open"
    )
    tab.run("document.querySelector('#counted').click()")
    tab.wait("!document.querySelector('#sign').disabled")
    tab.wait("document.querySelector('#together').innerText.includes('2 cells counted')")
    assert tab.run("document.querySelector('#draft').textContent") == "none"
    assert "takes 3" in tab.run("document.querySelector('#draft-notes').textContent")

    def sign() -> None:
        tab.run("document.querySelector('#sign').click()")
        time.sleep(LOOK)
        before = tab.run("page.sheet.signatures.length")
        tab.run("document.querySelector('#ask-yes').click()")
        tab.wait(f"page.sheet.signatures.length === {before + 1}")

    sign()
    tab.run("rememberWho({ reader: 'Ben', role: 'second' })")
    assert tab.run("document.querySelector('#sign').textContent") == "Sign as second reader"
    sign()
    told = "[...document.querySelectorAll('#signatures li')].map((one) => one.textContent.slice(0, 22))"
    assert tab.run(told) == ["✓ Anna, first reader, ", "✓ Ben, second reader, "]
    tab.run("document.querySelector('#counted').click()")
    tab.wait("document.querySelectorAll('#signatures .doubt').length === 2")
    tab.run("localStorage.removeItem('who')")


def test_a_cell_without_proposals_can_be_read_and_its_time_is_noted(show, store):
    """All wait in the tray, without a word of the model's; the keys place them; the log has the beginning."""
    images = [(file, picture(seed)) for seed, file in enumerate(FLAGGED)]
    cell, _ = store.add_cell(Incoming("c1", tuple((file, store.put_image(image)) for file, image in images)))
    store.begin_reader_study({cell: (1, "without")})
    store.save_sheet(cell, NamedAnalyst().sheet("c1", images), "m")
    tab = show(cell)
    assert tab.run("page.sheet.order[''].length") == len(FLAGGED)
    shown = tab.run("document.body.innerText")
    assert "Not placed" in shown and "%" not in shown and "Likeliest" not in shown and "speaks for" not in shown
    assert "to check" not in tab.run("document.querySelector('#cells').innerText")
    time.sleep(GLANCE)
    tab.press("x")
    tab.press("Enter")
    tab.wait("page.sheet.order['X'].length === 1")
    assert "%" not in tab.run("document.body.innerText")
    kinds = [one.kind for one in store.log() if one.reader.name]
    assert kinds == ["shown", "place"]
