"""A reader study: who sees which proposals, the time against a clock set by hand, and the page of a made-up one."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import beta
from tests.review.conftest import NamedAnalyst, picture

from bandbridge.errors import UserError
from bandbridge.review import database, log
from bandbridge.review.database import Store
from bandbridge.review.log import Reader
from bandbridge.review.reader_page import write_reader_study
from bandbridge.review.reader_study import PAUSE_S, Measured, arms_of, difference, mean, read_cells, share
from bandbridge.review.schema import Incoming
from bandbridge.review.session import show_sheet

ANNA = Reader("Anna")
FILES = ("21a.png", "21b-unsure.png", "Xa.png")


class Clock:
    """The time that the log notes, moved on by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def on(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def __call__(self) -> str:
        return self.time.isoformat(timespec="milliseconds")


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(log, "now", made)
    monkeypatch.setattr(database, "now", made)
    return made


def with_cells(store, count):
    """Hand in cells, let them be a study of seed 5, and have them sorted; their ids by arm."""
    cells = []
    for number in range(count):
        images = [(file, picture(10 * number + seed)) for seed, file in enumerate(FILES)]
        held = tuple((file, store.put_image(pixels)) for file, pixels in images)
        cells.append(store.add_cell(Incoming(f"c{number}", held), ANNA)[0])
    store.begin_reader_study(arms_of(cells, 5))
    for number, cell in enumerate(cells):
        images = [(file, picture(10 * number + seed)) for seed, file in enumerate(FILES)]
        store.save_sheet(cell, NamedAnalyst().sheet(f"c{number}", images), "m")
    arms = {cell: store.cell(cell).arm for cell in cells}
    return [cell for cell in cells if arms[cell] == "with"], [cell for cell in cells if arms[cell] == "without"]


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_every_other_cell_of_a_drawn_order_is_shown_without_and_the_other_half_turns_them_round(count):
    cells = list(range(10, 10 + count))
    arms, other = arms_of(cells, 3), arms_of(cells, 3, other_half=True)
    assert sorted(turn for turn, _ in arms.values()) == list(range(1, count + 1))
    kinds = Counter(kind for _, kind in arms.values())
    assert abs(kinds["with"] - kinds["without"]) <= 1 and set(kinds) <= {"with", "without"}
    for cell in cells:
        assert arms[cell][0] == other[cell][0] and arms[cell][1] != other[cell][1]
    assert arms == arms_of(cells, 3)
    if count == 20:
        assert arms != arms_of(cells, 4)


def test_a_cell_without_proposals_shows_nothing_of_what_the_model_thinks(store):
    (seen, *_), (blind, *_) = with_cells(store, 4)
    shown = {cell: show_sheet(store.sheet(cell), lambda *_: (1, 1), {}) for cell in (seen, blind)}
    assert shown[seen]["flagged"] == 1 and shown[seen]["order"]["21"]
    told = shown[blind]
    assert told["flagged"] == 0 and len(told["order"][""]) == 3 and told["arm"] == "without"
    for one in told["chromosomes"]:
        assert (one["predicted"], one["suggested"], one["placed"], one["probability"]) == ("", "", "", None)
        assert one["ranked"] == [] and not one["reasons"] and not one["labels"] and not one["open"]
    number = store.sheet(blind).ids[0]
    store.change(blind, "place", ("21", 1), number, by=ANNA)
    placed = show_sheet(store.sheet(blind), lambda *_: (1, 1), {})
    assert placed["order"]["21"] == [number] and placed["chromosomes"][0]["probability"] is None
    assert store.sheet(blind).suggested == ("21", "21", "X"), "kept to compare with"


def test_the_time_of_a_cell_is_that_between_its_own_entries_and_a_pause_is_short(store, clock):
    (first, second, *_), _ = with_cells(store, 6)
    ids = store.sheet(first).ids
    store.note_shown(first, ANNA)
    clock.on(10)
    store.change(first, "place", ("20", 1), ids[0], by=ANNA)
    clock.on(4000)  # lunch
    store.change(first, "place", ("21", 1), ids[1], by=ANNA)
    clock.on(7)
    store.note_shown(second, ANNA)  # another cell meanwhile
    clock.on(500)
    store.note_shown(first, ANNA)
    clock.on(5)
    store.change(first, "accept", (1,), by=ANNA)
    (read,) = read_cells(store)
    assert read.seconds == pytest.approx(10 + PAUSE_S + 5)
    assert (read.name, read.reader, read.arm, read.chromosomes) == (store.cell(first).name, "Anna", "with", 3)
    assert (read.moves, read.changed, read.untouched) == (2, 1, False)
    assert read.proposed == {"21": 2, "X": 1} and read.kept == {"21": 1, "X": 1}


def test_means_and_differences_have_intervals_that_cover():
    """Of made-up studies with known means, about nineteen of twenty intervals hold the truth."""
    rng = np.random.default_rng(0)
    held = {"mean": 0, "difference": 0}
    for trial in range(150):
        one, other = rng.gamma(4, 10, 20), rng.gamma(4, 15, 20)
        found, apart = mean(one, trial), difference(one, other, trial)
        held["mean"] += found.low <= 40 <= found.high
        held["difference"] += apart.low <= -20 <= apart.high
        assert found.value == pytest.approx(one.mean()) and apart.value == pytest.approx(one.mean() - other.mean())
    assert 0.86 < held["mean"] / 150 < 1 and 0.86 < held["difference"] / 150 < 1


def test_few_cells_and_equal_ones_have_no_interval():
    assert np.isnan(mean([1.0, 2.0]).low) and np.isnan(mean([3.0] * 9).low) and mean([3.0] * 9).value == 3.0
    assert np.isnan(mean([]).value) and np.isnan(share(0, 0).value)
    found = share(3, 10)
    assert (found.low, found.high) == pytest.approx((beta.ppf(0.025, 3, 8), beta.ppf(0.975, 4, 7)))
    assert isinstance(found, Measured) and found.n == 10


def test_the_page_and_its_tables_say_what_was_read(store, clock, tmp_path):
    seen, blind = with_cells(store, 20)
    for place, cell in enumerate([*seen, *blind]):
        ids = store.sheet(cell).ids
        store.note_shown(cell, ANNA)
        clock.on(20 + place)
        if cell in blind:
            for number, label in zip(ids, ("21", "21", "X"), strict=True):
                clock.on(30)
                store.change(cell, "place", (label, 1), number, by=ANNA)
        elif place < 3:
            store.change(cell, "place", ("22", 1), ids[1], by=ANNA)
        store.change(cell, "accept", (1,), by=ANNA)
    store.close()
    told = write_reader_study([store.folder], tmp_path)
    assert told[0] == "20 cells read by Anna"
    means = (np.mean([20 + k for k in range(10)]), np.mean([110 + k for k in range(10, 20)]))
    assert told[1].startswith(f"Seconds a cell: {means[0]:.1f} (") and f", {means[1]:.1f} (" in told[1]
    assert f"difference {means[0] - means[1]:+.1f} (" in told[1]
    assert "0.3 (" in told[2] and ", 3.0 without" in told[2]
    assert told[5].startswith("Cells that stand as proposed: 70% (35 to 93) with proposals, 100% (69 to 100) without")
    assert (
        told[4].startswith("Percent of a cell's chromosomes that stand as proposed: 90.0 (")
        and "100.0 without" in told[4]
    )
    with (tmp_path / "reader_cells.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and {row["proposals"] for row in rows} == {"with", "without"}
    with (tmp_path / "reader_classes.csv").open(encoding="utf-8", newline="") as file:
        classes = {row["class"]: (row["proposed"], row["kept"]) for row in csv.DictReader(file)}
    assert classes == {"21": ("20", "17"), "X": ("10", "10")}
    page = (tmp_path / "readers.html").read_text(encoding="utf-8")
    assert "Seconds a cell" in page and "Anna" in page and "http" not in page


def test_folders_that_hold_no_study_are_named(store, tmp_path):
    with pytest.raises(UserError, match="no work folder of a review"):
        write_reader_study([tmp_path / "nowhere"], tmp_path)
    store.close()
    with pytest.raises(UserError, match="no cell of a reader study is accepted") as refused:
        write_reader_study([store.folder], tmp_path)
    assert "--reader-study" in refused.value.remedy


def test_a_study_goes_on_after_a_restart(store):
    seen, blind = with_cells(store, 4)
    store.close()
    opened = Store(store.folder)
    assert {one.id for one in opened.cells() if one.arm == "with"} == set(seen)
    assert {one.id for one in opened.cells() if one.arm == "without"} == set(blind)
    opened.close()
