"""The log: its chain against hashes computed here, and every way in which a file can be altered behind its back."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from tests.review.conftest import NamedAnalyst, picture

from bandbridge.errors import UserError
from bandbridge.review.database import DATABASE, Store
from bandbridge.review.keeping import BACKUPS, DamagedError, restore
from bandbridge.review.log import Reader
from bandbridge.review.schema import Incoming

ANNA, BEN = Reader("Anna", "first"), Reader("Ben", "second")


@pytest.fixture
def worked(store):
    """A cell of three chromosomes that two people worked on; (store, cell, ids)."""
    names = ("21a.png", "21b-unsure.png", "Xa.png")
    images = [(name, picture(seed)) for seed, name in enumerate(names)]
    held = tuple((name, store.put_image(pixels)) for name, pixels in images)
    cell, _ = store.add_cell(Incoming("c1", held, "p7", "G"), ANNA)
    store.save_sheet(cell, NamedAnalyst().sheet("c1", images), "m")
    ids = store.sheet(cell).ids
    store.change(cell, "place", ("22", 1), ids[1], by=ANNA)
    store.change(cell, "turn", (12.5, 1, 1.0), ids[0], by=ANNA)
    store.undo(cell, by=BEN)
    store.redo(cell, by=BEN)
    store.describe(cell, "p8", "Q", by=ANNA)
    store.change(cell, "count", (1,), by=BEN)
    store.change(cell, "accept", (1,), by=BEN)
    return store, cell, ids


def altered(path, script):
    """Change the database at ``path`` as its owner could, who takes away what guards the log."""
    with closing(sqlite3.connect(path)) as database:
        for name in ("log_is_not_changed", "log_is_not_shortened"):
            database.execute(f"DROP TRIGGER {name}")
        database.executescript(script)
        database.commit()


def test_every_entry_says_who_did_what_and_holds_the_hash_of_the_one_before(worked):
    store, cell, ids = worked
    log = store.log()
    kinds = ["add", "sort", "place", "turn", "undo", "redo", "describe", "count", "accept"]
    assert [one.kind for one in log] == kinds and [one.id for one in log] == list(range(1, 10))
    assert [one.reader.name for one in log] == ["Anna", "", "Anna", "Anna", "Ben", "Ben", "Anna", "Ben", "Ben"]
    assert log[-1].reader.role == "second" and {one.cell for one in log} == {cell}
    assert log[2].chromosome == ids[1]
    assert log[2].content == {"before": {"placed": "21", "corrected": 0}, "set": {"placed": "22", "corrected": 1}}
    assert log[4].content["set"] == log[3].content["before"] and log[4].content["of"] == "turn"
    before = ""
    for one in log:
        fields = [before, one.id, one.at, one.reader.name, one.reader.role, one.cell, one.chromosome, one.kind]
        text = json.dumps([*fields, dict(one.content)], sort_keys=True, separators=(",", ":"))
        before = hashlib.sha256(text.encode()).hexdigest()
        assert one.hash == before
    assert store.head() == before


def test_a_change_that_changes_nothing_is_no_entry(worked):
    store, cell, ids = worked
    assert store.change(cell, "place", ("22", 1), ids[1], by=ANNA) is None and len(store.log()) == 9


def test_the_database_itself_refuses_to_alter_or_shorten_it(worked):
    store, *_ = worked
    store.close()
    with closing(sqlite3.connect(store.folder / DATABASE)) as database:
        for change in ("UPDATE log SET reader = 'Eve'", "DELETE FROM log WHERE id = 9"):
            with pytest.raises(sqlite3.IntegrityError, match="the log is only added to"):
                database.execute(change)


ALTERED = {
    "another reader": ("UPDATE log SET reader = 'Eve' WHERE id = 3", "entry 3 of its log was altered"),
    "another time": ("UPDATE log SET at = '2020-01-01T00:00:00.000+00:00' WHERE id = 1", "entry 1 of its log was"),
    "another class": ("""UPDATE log SET content = replace(content, '"22"', '"21"') WHERE id = 3""", "entry 3"),
    "one is gone": ("DELETE FROM log WHERE id = 4", "entry 4 of its log is gone"),
    "one is gone and the rest moved up": (
        "DELETE FROM log WHERE id = 4; UPDATE log SET id = id - 1 WHERE id > 4",
        "entry 4 of its log was altered",
    ),
    "what an entry holds is no JSON": ("UPDATE log SET content = '{' WHERE id = 5", "entry 5 of its log was altered"),
    "the last is gone": ("DELETE FROM log WHERE id = 9", "cell c1 does not stand as its log says"),
    "a chromosome stands elsewhere": (
        "UPDATE chromosomes SET placed = '1' WHERE file = 'Xa.png'",
        "Xa.png does not stand as its log says",
    ),
    "another picture": ("UPDATE chromosomes SET image = 'a' WHERE file = 'Xa.png'", "Xa.png does not stand"),
    "not accepted": ("UPDATE cells SET accepted = 0", "cell c1 does not stand"),
    "another patient": ("UPDATE cells SET patient = 'p9'", "cell c1 does not stand"),
}


@pytest.mark.parametrize("how", ALTERED)
def test_what_was_altered_is_noticed_on_opening_and_the_backup_is_named(worked, how):
    store, *_ = worked
    script, said = ALTERED[how]
    store.close()
    altered(store.folder / DATABASE, script)
    with pytest.raises(DamagedError) as refused:
        Store(store.folder)
    assert said in refused.value.message and BACKUPS in refused.value.remedy and "--restore" in refused.value.remedy
    restore(store.folder)
    opened = Store(store.folder)
    assert len(opened.log()) == 9 and opened.cell(1).accepted
    opened.close()


def test_a_backup_whose_log_was_altered_is_passed_over(worked):
    store, *_ = worked
    store.close()
    places = [store.folder / DATABASE, *sorted((store.folder / BACKUPS).glob("*.sqlite"))]
    assert len(places) == 2
    for place in places:
        altered(place, "UPDATE log SET reader = 'Eve' WHERE id = 3")
    with pytest.raises(UserError, match="holds no backup that is whole"):
        restore(store.folder)


def test_random_work_always_stands_as_the_log_says(worked):
    store, cell, ids = worked
    store.change(cell, "accept", (0,), by=BEN)
    rng = np.random.default_rng(0)
    for _ in range(60):
        step = rng.integers(5)
        if step == 0:
            store.undo(cell)
        elif step == 1:
            store.redo(cell)
        elif step == 2:
            store.change(cell, "turn", (float(rng.normal()), int(rng.integers(2)), 1.0), ids[rng.integers(3)])
        else:
            store.change(cell, "place", (("1", "21", "X")[rng.integers(3)], 1), ids[rng.integers(3)])
    sheet = store.sheet(cell).sheet
    store.close()
    opened = Store(store.folder)
    found = opened.sheet(cell).sheet
    assert [(one.placed, one.pose) for one in found.chromosomes] == [
        (one.placed, one.pose) for one in sheet.chromosomes
    ]
    opened.close()
