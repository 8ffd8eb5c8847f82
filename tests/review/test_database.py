"""What is acknowledged is kept: over undo and redo, over a second program, over a killed one."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountFinding, Pose
from bandbridge.review.database import DATABASE, Store
from bandbridge.review.log import Reader
from bandbridge.review.schema import Incoming, StaleError

CLASSES = ("1", "2", "X")


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (7, 5)).astype(np.uint8)


def sheet_of(name: str = "c1") -> CellSheet:
    rows = np.random.default_rng(5).dirichlet(np.ones(3), 2)
    one = Chromosome("a.png", pixels(0), "1", "1", rows[0], ("1", "2"), ("unsure",), Pose(3.5, True, 0.9), margin=1.25)
    other = Chromosome("b.png", pixels(1), "2", "", rows[1])
    return CellSheet(name, CLASSES, (one, other), (CountFinding("X", 0, 1, 2.25),))


@pytest.fixture
def cell(store) -> int:
    images = tuple((one.file, store.put_image(one.image)) for one in sheet_of().chromosomes)
    number, new = store.add_cell(Incoming("c1", images, "p7", "G", ("a note",)))
    assert new
    store.save_sheet(number, sheet_of(), "m")
    return number


def placed(store, cell) -> list[str]:
    return [one.placed for one in store.sheet(cell).sheet.chromosomes]


def test_a_sheet_comes_back_as_it_was_given(store, cell):
    stored = store.sheet(cell)
    assert stored.suggested == ("1", "") and stored.sheet.classes == CLASSES
    assert stored.sheet.findings == sheet_of().findings
    for found, given in zip(stored.sheet.chromosomes, sheet_of().chromosomes, strict=True):
        np.testing.assert_array_equal(found.image, given.image)
        np.testing.assert_array_equal(found.probabilities, given.probabilities)
        assert (found.file, found.placed, found.labels) == (given.file, given.placed, given.labels)
        np.testing.assert_equal(found.margin, given.margin)
        assert (found.reasons, found.pose, found.corrected) == (given.reasons, given.pose, given.corrected)
    record = stored.record
    assert (record.patient, record.stain, record.notes, record.model) == ("p7", "G", ("a note",), "m")
    assert (record.images, record.flagged) == (2, 1)


def test_every_change_can_be_taken_back_and_made_again(store, cell):
    first, second = store.sheet(cell).ids
    store.change(cell, "place", ("X", 1), first)
    store.change(cell, "turn", (10.0, 0, 1.0), second)
    store.change(cell, "place", ("2", 1), second)
    store.change(cell, "accept", (1,))
    assert placed(store, cell) == ["X", "2"] and store.cell(cell).accepted
    assert store.sheet(cell).sheet.chromosomes[1].pose == Pose(10.0, False, 1.0)
    assert [store.undo(cell).kind for _ in range(4)] == ["accept", "place", "turn", "place"]
    assert placed(store, cell) == ["1", ""] and not store.cell(cell).accepted
    assert store.sheet(cell).sheet.chromosomes[1].pose == Pose() and store.undo(cell) is None
    assert not any(one.corrected for one in store.sheet(cell).sheet.chromosomes)
    assert [store.redo(cell).kind for _ in range(4)] == ["place", "turn", "place", "accept"]
    assert placed(store, cell) == ["X", "2"] and store.cell(cell).accepted and store.redo(cell) is None


def test_a_new_change_ends_what_could_be_made_again_but_the_history_stays(store, cell):
    first, _ = store.sheet(cell).ids
    store.change(cell, "place", ("2", 1), first)
    store.undo(cell)
    store.change(cell, "place", ("X", 1), first)
    assert store.redo(cell) is None and placed(store, cell) == ["X", ""]
    assert [(event.before["placed"], event.after["placed"], event.undone) for event in store.history(cell)] == [
        ("1", "2", True),
        ("1", "X", False),
    ]


def test_the_same_images_are_one_cell_and_a_removed_one_comes_back_corrected(store, cell):
    store.change(cell, "place", ("2", 1), store.sheet(cell).ids[0])
    store.remove(cell)
    assert store.cells() == []
    with pytest.raises(KeyError):
        store.sheet(cell)
    images = tuple((one.file, store.put_image(one.image)) for one in reversed(sheet_of().chromosomes))
    assert store.add_cell(Incoming("c1", images)) == (cell, False)
    assert placed(store, cell) == ["2", ""]
    assert store.add_cell(Incoming("c2", images)) == (cell + 1, True)


def test_what_is_not_there_cannot_be_changed(store, cell):
    number = store.sheet(cell).ids[0]
    for wrong in ((cell, "place", ("2", 1), 99), (99, "place", ("2", 1), number), (99, "accept", (1,))):
        with pytest.raises(KeyError):
            store.change(*wrong)
    assert store.history(cell) == [] and placed(store, cell) == ["1", ""]


def test_a_sheet_of_other_images_is_refused(store):
    other = store.add_cell(Incoming("c", (("z.png", store.put_image(pixels(3))),)))[0]
    with pytest.raises(ValueError, match="not of its images"):
        store.save_sheet(other, sheet_of(), "m")
    assert store.cell(other).state == "waiting"


def changes(store, cell, version):
    """Return every way in which a person changes a cell, by name, resting on ``version``."""
    first, _ = store.sheet(cell).ids
    return {
        "place": lambda: store.change(cell, "place", ("X", 1), first, version),
        "turn": lambda: store.change(cell, "turn", (10.0, 0, 1.0), first, version),
        "accept": lambda: store.change(cell, "accept", (1,), version=version),
        "undo": lambda: store.undo(cell, version),
        "redo": lambda: store.redo(cell, version),
        "describe": lambda: store.describe(cell, "p8", "Q", version),
        "remove": lambda: store.remove(cell, version),
        "retry": lambda: store.retry(cell, version),
    }


KINDS = ("place", "turn", "accept", "undo", "redo", "describe", "remove", "retry")


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_that_rests_on_what_is_no_more_is_refused(store, cell, kind):
    first, second = store.sheet(cell).ids
    store.change(cell, "place", ("2", 1), first)
    store.change(cell, "place", ("2", 1), second)
    store.undo(cell)
    now = store.cell(cell)
    events = store.history(cell)
    for old in (now.version - 1, now.version + 1):
        with pytest.raises(StaleError, match="changed in another window"):
            changes(store, cell, old)[kind]()
    assert store.cell(cell) == now and store.history(cell) == events
    changes(store, cell, now.version)[kind]()
    with pytest.raises((StaleError, KeyError)):
        changes(store, cell, now.version)[kind]() if kind != "remove" else store.remove(cell, now.version)


def test_of_many_at_once_one_changes_the_cell(store, cell):
    first, _ = store.sheet(cell).ids
    start = threading.Barrier(8)

    def place(number: int) -> bool:
        start.wait()
        try:
            return store.change(cell, "place", (("2", "X")[number % 2], 1), first, 0) is not None
        except StaleError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(place, range(8))) == 1
    assert len(store.history(cell)) == 1 and store.cell(cell).version == 1


def test_what_changes_nothing_is_no_change(store, cell):
    first, second = store.sheet(cell).ids
    assert store.undo(cell) is None and store.redo(cell) is None and store.cell(cell).version == 0
    for kind, values, of in (("place", ("2", 1), second), ("turn", (5.0, 1, 1.0), first), ("accept", (1,), None)):
        assert store.change(cell, kind, values, of) is not None
        version = store.cell(cell).version
        assert store.change(cell, kind, values, of) is None and store.cell(cell).version == version
    assert len(store.history(cell)) == 3


def made_older(database: sqlite3.Connection, version: int) -> None:
    """Take out of an open database what ``version`` did not have."""
    database.executescript(
        "DROP TABLE alternatives; DROP TABLE masks; DROP TABLE fields; ALTER TABLE chromosomes DROP COLUMN gone"
    )
    if version < 3:
        database.execute("DROP TABLE log")
        for column in ("counted", "arm", "turn"):
            database.execute(f"ALTER TABLE cells DROP COLUMN {column}")
    if version == 1:
        database.execute("ALTER TABLE cells DROP COLUMN version")
    database.execute(f"PRAGMA user_version = {version}")


def test_a_database_of_before_metaphases_is_brought_up_with_its_log_whole(store, cell):
    first, second = store.sheet(cell).ids
    store.change(cell, "place", ("2", 1), first, by=Reader("Anna"))
    store.change(cell, "turn", (10.0, 0, 1.0), second)
    store.undo(cell)
    known, history, log = store.sheet(cell).record, store.history(cell), store.log()
    store.close()
    with sqlite3.connect(store.folder / DATABASE) as database:
        made_older(database, 3)
    database.close()
    for _ in range(2):
        opened = Store(store.folder)
        assert opened.sheet(cell).record == known and placed(opened, cell) == ["2", ""]
        assert opened.history(cell) == history and opened.log() == log and opened.field(cell) is None
        opened.close()
    opened = Store(store.folder)
    assert opened.redo(cell).kind == "turn" and opened.undo(cell).kind == "turn" and opened.undo(cell).kind == "place"
    opened.close()
    # What was altered before it was brought up is noticed then.
    with sqlite3.connect(store.folder / DATABASE) as database:
        made_older(database, 3)
        database.execute("UPDATE chromosomes SET placed = 'X' WHERE file = 'a.png'")
    database.close()
    with pytest.raises(EnvironmentFault, match=r"a\.png does not stand as its log says"):
        Store(store.folder)


@pytest.mark.parametrize("version", [1, 2])
def test_a_database_of_a_version_before_is_brought_up_with_a_log_of_what_is_known(store, cell, version):
    first, second = store.sheet(cell).ids
    store.change(cell, "place", ("2", 1), first)
    store.change(cell, "turn", (10.0, 0, 1.0), second)
    store.change(cell, "place", ("X", 1), second)
    store.undo(cell)
    known, history = store.sheet(cell).record, store.history(cell)
    store.close()
    with sqlite3.connect(store.folder / DATABASE) as database:
        made_older(database, version)
    database.close()
    for _ in range(2):
        opened = Store(store.folder)
        assert opened.sheet(cell).record == (dataclasses.replace(known, version=0) if version == 1 else known)
        assert placed(opened, cell) == ["2", ""]
        log = opened.log()
        assert [(one.kind, one.at) for one in log[:3]] == [(one.kind, one.at) for one in history]
        assert [one.content.get("undone") for one in log] == [False, False, True, None] and log[3].kind == "earlier"
        assert {one.reader.name for one in log} == {""}
        opened.close()


WRITER = """
import sys
from pathlib import Path
from bandbridge.review.database import Store
store = Store(Path(sys.argv[1]))
cell, chromosome = int(sys.argv[2]), int(sys.argv[3])
for number in range(100_000):
    store.change(cell, "place", (("1", "2", "X")[number % 3], 1), chromosome)
    print(number, flush=True)
"""


def test_a_killed_program_loses_no_acknowledged_correction(store, cell):
    number = store.sheet(cell).ids[0]
    store.close()
    command = [sys.executable, "-c", WRITER, str(store.folder), str(cell), str(number)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = -1
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged >= 40:
            break
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    writer.stdout.close()
    writer.wait()
    opened = Store(store.folder)
    try:
        history = opened.history(cell)
        # One more may have been committed and not yet told.
        assert len(history) in (acknowledged + 1, acknowledged + 2)
        assert placed(opened, cell)[0] == CLASSES[(len(history) - 1) % 3] == history[-1].after["placed"]
        assert opened.undo(cell) == history[-1]
    finally:
        opened.close()


def test_the_folder_is_for_its_owner_only(store):
    assert store.folder.stat().st_mode & 0o077 == 0


def test_a_second_program_is_told_that_the_folder_is_in_use(store):
    with pytest.raises(UserError, match="another review is open on"):
        Store(store.folder)


def test_a_database_of_another_version_is_left_alone(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(UserError, match="another version"):
        Store(tmp_path)


def test_a_file_that_is_no_database_and_a_folder_that_is_a_file(tmp_path):
    (tmp_path / DATABASE).write_text("not a database, but long enough to be looked at " * 20)
    with pytest.raises(EnvironmentFault, match=DATABASE):
        Store(tmp_path)
    with pytest.raises(EnvironmentFault, match="cannot write"):
        Store(tmp_path / DATABASE)
