"""What a reviewer has been given and has done, kept so that no correction is ever lost.

Pictures lie as PNG files (:mod:`~bandbridge.review.pictures`), everything else in one SQLite database
(:mod:`~bandbridge.review.keeping` says what happens when the disk or that file fails). Every correction is one
transaction, on the disk before the caller is answered, together with what was there before and with its entry of the
log (:mod:`~bandbridge.review.log`): undoing goes back step by step, and the whole history stays. One program at a time
may open a work folder.

Several pages may show one cell. Whoever changes it says which version of the cell the change rests on; where another
change has come since, :class:`~bandbridge.review.schema.StaleError` is raised and nothing is changed. Without a
version a change is made to whatever stands.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from bandbridge.errors import EnvironmentFault
from bandbridge.files import content_hash
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.review.field import StoredField, has_field, keep_field, pictures_of, stored_field
from bandbridge.review.keeping import BACKUP_EVERY_S, DATABASE, back_up, open_database, working_fault
from bandbridge.review.log import NOBODY, Entry, Reader, add_entry, entries, head, now
from bandbridge.review.others import has_others, keep_others
from bandbridge.review.pictures import Pictures
from bandbridge.review.pieces import Reshaping, files_of, reshape, restore
from bandbridge.review.schema import (
    CELLS,
    CHANGES,
    CHROMOSOMES,
    REDO,
    SAVE,
    TOOLS,
    CellRecord,
    Event,
    Incoming,
    StaleError,
    StoredSheet,
    read_chromosome,
    read_event,
    read_findings,
    read_record,
    sheet_columns,
    which,
    write_findings,
)
from bandbridge.review.signing import Signature, sign, signatures

__all__ = ["DATABASE", "Store"]

#: What only a full or failing disk, or a damaged file, brings up: what rows hold is never anything but what is written.
_OF_THE_FILE = (sqlite3.Error, json.JSONDecodeError)


class Store:
    """The work folder of a review; may be used from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder``, made if absent.

        Raises as :func:`~bandbridge.review.keeping.open_database` does, and :class:`EnvironmentFault` when it cannot be
        written.
        """
        self.folder = folder
        self._lock = threading.RLock()
        self._intake = threading.Lock()
        self._pictures = Pictures(folder)
        try:
            # Cells may be patients': for the owner's eyes only, also in a folder that was there before.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._pictures.open()
            self._database = open_database(folder)
        except OSError as fault:
            raise EnvironmentFault(
                f"cannot write {folder}: {fault.strerror or fault}", "Name another with --work."
            ) from fault
        self._copied_at = time.monotonic()

    def close(self) -> None:
        """Make a backup of what has changed and let other programs open the folder."""
        with self._lock:
            with suppress(sqlite3.ProgrammingError):  # closed before
                back_up(self._database, self.folder)
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Make the changes inside one: all of them are on the disk in the end, or none is.

        Raises :class:`~bandbridge.review.keeping.NotKeptError` where the disk or the file fails.
        """
        with self._lock:
            try:
                self._database.execute("BEGIN EXCLUSIVE")
                yield
                self._database.execute("COMMIT")
            except BaseException as fault:
                self._roll_back()
                if isinstance(fault, _OF_THE_FILE):
                    raise working_fault(fault, self.folder, changing=True) from fault
                raise
            if time.monotonic() - self._copied_at > BACKUP_EVERY_S:
                self._copied_at = time.monotonic()
                back_up(self._database, self.folder)

    def _roll_back(self) -> None:
        # Where even this fails, nothing is on the disk, and the next change is refused as well.
        with suppress(sqlite3.Error):
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Say in one sentence what fails while rows are read and understood; one look, no change between."""
        with self._lock:
            try:
                yield
            except _OF_THE_FILE as fault:
                if self._database.in_transaction:  # the change that looks here says it
                    raise
                raise working_fault(fault, self.folder, changing=False) from fault

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    # Pictures

    def put_image(self, pixels: np.ndarray) -> str:
        """Keep uint8 ``pixels`` [H, W] and return the hash that names them, 64 hexadecimal digits."""
        return self._pictures.put(pixels)

    def image_path(self, image: str) -> Path:
        """Return the file of the picture with that hash."""
        return self._pictures.path(image)

    def read_image(self, image: str) -> np.ndarray:
        """Return uint8 [H, W]; :class:`EnvironmentFault` when the picture's file is gone or damaged."""
        return self._pictures.read(image)

    @contextmanager
    def taking_in(self) -> Iterator[None]:
        """Let one hand in at a time; pictures whose cells are not kept in the end are not kept either."""
        with self._intake:
            self._pictures.new.clear()
            try:
                yield
            finally:
                with suppress(EnvironmentFault, OSError), self._reading():
                    rows = self._rows("SELECT image FROM chromosomes UNION SELECT picture FROM fields")
                    self._pictures.drop_unused({row["image"] for row in rows})

    # Cells

    def add_cell(self, cell: Incoming, by: Reader = NOBODY) -> tuple[int, bool]:
        """Return the id of ``cell`` and whether it is new; the same images under the same name are one cell."""
        return self.add_cells([cell], by)[0]

    def add_cells(self, cells: Sequence[Incoming], by: Reader = NOBODY) -> list[tuple[int, bool]]:
        """Return as :meth:`add_cell` does for each of ``cells``; all are kept or none."""
        with self._transaction():
            return [self._add(cell, by) for cell in cells]

    def _add(self, cell: Incoming, by: Reader) -> tuple[int, bool]:
        fingerprint = content_hash([cell.name, sorted(cell.images)])
        known = self._rows("SELECT id FROM cells WHERE fingerprint = ?", fingerprint)
        if known:
            self._database.execute("UPDATE cells SET removed = 0 WHERE id = ?", (known[0]["id"],))
            # One that was handed in before its metaphase could be kept gets it now.
            fresh = cell.field is not None and not has_field(self._database, known[0]["id"])
            field = keep_field(self._database, known[0]["id"], cell.field) if fresh and cell.field else {}
            field |= self._keep_others(known[0]["id"], cell)
            self._log(by, "add", {"set": {"removed": 0}, **field}, known[0]["id"])
            return known[0]["id"], False
        found = self._database.execute(
            "INSERT INTO cells (fingerprint, name, patient, stain, notes) VALUES (?, ?, ?, ?, ?)",
            (fingerprint, cell.name, cell.patient, cell.stain, json.dumps(cell.notes)),
        ).lastrowid
        assert found is not None
        self._database.executemany(
            "INSERT INTO chromosomes (cell, file, image) VALUES (?, ?, ?)",
            [(found, file, image) for file, image in cell.images],
        )
        held = self._rows("SELECT id, image FROM chromosomes WHERE cell = ?", found)
        told = {"name": cell.name, "image": {str(one["id"]): one["image"] for one in held}}
        begun = {"patient": cell.patient, "stain": cell.stain, "accepted": 0, "counted": 0, "removed": 0}
        begun |= {"arm": "", "turn": 0}
        field = keep_field(self._database, found, cell.field) if cell.field else {}
        field |= self._keep_others(found, cell)
        self._log(by, "add", {**told, **field, "set": begun}, found)
        return found, True

    def _keep_others(self, number: int, cell: Incoming) -> dict[str, Any]:
        if cell.field is None or has_others(self._database, number):
            return {}
        return keep_others(self._database, number, cell.field.others)

    def _log(
        self, by: Reader, kind: str, content: dict[str, Any], cell: int, chromosome: int | None = None, at: str = ""
    ) -> None:
        add_entry(self._database, by, kind, content, cell, chromosome, at)

    def cells(self, patient: str | None = None) -> list[CellRecord]:
        """Return every cell that was not removed, in the order they came, or those of one patient."""
        condition = "removed = 0 AND patient = coalesce(?, patient)"
        with self._reading():
            return [read_record(row) for row in self._rows(CELLS.format(condition=condition), patient)]

    def cell(self, cell: int) -> CellRecord:
        """Return one cell; KeyError when there is none."""
        with self._reading():
            found = self._rows(CELLS.format(condition="removed = 0 AND cells.id = ?"), cell)
            if not found:
                raise KeyError(cell)
            return read_record(found[0])

    def images_of(self, cell: int) -> list[tuple[str, str]]:
        """Return (file, hash) of the images of a cell."""
        with self._reading():
            return [(row["file"], row["image"]) for row in self._rows(CHROMOSOMES, cell)]

    def field(self, cell: int) -> StoredField | None:
        """Return the metaphase of a cell, its chromosomes as they stand; None where it was not cut from one."""
        with self._reading():
            return stored_field(self._database, cell)

    def fields(self) -> dict[int, str]:
        """Return the hash of the field's picture of each cell that has one."""
        with self._reading():
            return pictures_of(self._database)

    def files_of(self, cell: int) -> Sequence[str]:
        """Return the name of every image that a cell ever had, those that are gone too."""
        with self._reading():
            return files_of(self._database, cell)

    def describe(self, cell: int, patient: str, stain: str, version: int | None = None, by: Reader = NOBODY) -> None:
        """Set what a cell's patient and stain are called."""
        with self._transaction():
            self._check(cell, version)
            self._advance(cell)
            self._database.execute("UPDATE cells SET patient = ?, stain = ? WHERE id = ?", (patient, stain, cell))
            self._log(by, "describe", {"set": {"patient": patient, "stain": stain}}, cell)

    def remove(self, cell: int, version: int | None = None, by: Reader = NOBODY) -> None:
        """Take a cell off the list. Nothing of it is deleted: given again, it comes back with its corrections."""
        with self._transaction():
            self._check(cell, version)
            self._advance(cell)
            self._database.execute("UPDATE cells SET removed = 1 WHERE id = ?", (cell,))
            self._log(by, "remove", {"set": {"removed": 1}}, cell)

    # Sheets

    def save_sheet(self, cell: int, sheet: CellSheet, model: str) -> None:
        """Keep what ``model`` thinks of a waiting cell. Raises ValueError when ``sheet`` is not of its images."""
        with self._transaction():
            held = {row["file"]: row["id"] for row in self._rows(CHROMOSOMES, cell)}
            if sorted(held) != sorted(one.file for one in sheet.chromosomes):
                raise ValueError(f"the sheet of cell {cell} is not of its images")
            self._database.execute(
                "UPDATE cells SET state = 'ready', problem = '', model = ?, classes = ?, findings = ? WHERE id = ?",
                (model, json.dumps(sheet.classes), write_findings(sheet), cell),
            )
            self._database.executemany(SAVE, [(*sheet_columns(one), held[one.file]) for one in sheet.chromosomes])
            blind = self.cell(cell).arm == "without"
            if blind:  # what the model proposes is kept as suggested, and not shown
                self._database.execute("UPDATE chromosomes SET placed = '' WHERE cell = ?", (cell,))
            placed = {str(held[one.file]): "" if blind else one.placed for one in sheet.chromosomes}
            self._log(NOBODY, "sort", {"model": model, "placed": placed}, cell)

    def begin_reader_study(self, arms: Mapping[int, tuple[int, str]], by: Reader = NOBODY) -> None:
        """Give cells that are not sorted yet their turn, and say whether their proposals are to be shown."""
        with self._transaction():
            for cell, (turn, arm) in arms.items():
                self._database.execute("UPDATE cells SET turn = ?, arm = ? WHERE id = ?", (turn, arm, cell))
                self._log(by, "study", {"set": {"turn": turn, "arm": arm}}, cell)

    def note_shown(self, cell: int, by: Reader) -> None:
        """Note in the log that a cell of a reader study came up before ``by``."""
        with self._transaction():
            if self.cell(cell).arm:
                self._log(by, "shown", {}, cell)

    def fail(self, cell: int, problem: str) -> None:
        """Note why a cell could not be classified."""
        with self._transaction():
            self._database.execute("UPDATE cells SET state = 'failed', problem = ? WHERE id = ?", (problem, cell))

    def retry(self, cell: int, version: int | None = None, by: Reader = NOBODY) -> None:
        """Let a failed cell wait to be classified again."""
        with self._transaction():
            self._check(cell, version)
            self._advance(cell)
            self._database.execute("UPDATE cells SET state = 'waiting' WHERE id = ? AND state = 'failed'", (cell,))
            self._log(by, "retry", {}, cell)

    def sheet(self, cell: int) -> StoredSheet:
        """Return a classified cell as corrected so far; KeyError when there is none."""
        with self._reading():
            record = self.cell(cell)
            if record.state != "ready":
                raise KeyError(cell)
            (row,) = self._rows("SELECT classes, findings FROM cells WHERE id = ?", cell)
            found = self._rows(CHROMOSOMES, cell)
            findings, unknown = read_findings(row["findings"])
            chromosomes = tuple(read_chromosome(one, self.read_image(one["image"])) for one in found)
            ids, images, suggested = (tuple(one[name] for one in found) for name in ("id", "image", "suggested"))
            classes = tuple(json.loads(row["classes"]))
        sheet = CellSheet(record.name, classes, chromosomes, findings, unknown)
        return StoredSheet(record, sheet, ids, images, suggested)

    # Corrections

    def _check(self, cell: int, version: int | None) -> None:
        """Refuse a change that rests on an older ``version`` of a cell."""
        if self.cell(cell).version != version and version is not None:
            raise StaleError

    def _advance(self, cell: int) -> None:
        self._database.execute("UPDATE cells SET version = version + 1 WHERE id = ?", (cell,))

    def change(
        self,
        cell: int,
        kind: str,
        values: Sequence[Any],
        chromosome: int | None = None,
        version: int | None = None,
        by: Reader = NOBODY,
    ) -> Event | None:
        """Make one change and return it, once it is safe on the disk; None when everything was so already.

        kind: ``place`` (class, 1), ``turn`` (angle, flipped, certainty), or ``accept`` or ``count`` (1 or 0) without a
        chromosome.
        Raises KeyError when the cell or the chromosome in it does not exist.
        """
        table, names = CHANGES[kind]
        with self._transaction():
            self._check(cell, version)
            before = self._current(table, names, cell, chromosome)
            after = dict(zip(names, values, strict=True))
            if before == after:
                return None
            self._advance(cell)
            self._set(table, after, cell, chromosome)
            made = self._add_event(cell, chromosome, kind, before, after)
            self._log(by, kind, {"before": before, "set": after}, cell, chromosome, made.at)
        return made

    def _add_event(
        self, cell: int, chromosome: int | None, kind: str, before: dict[str, Any], after: dict[str, Any]
    ) -> Event:
        at = now()
        made = self._database.execute(
            "INSERT INTO events (cell, chromosome, kind, before, after, at) VALUES (?, ?, ?, ?, ?, ?)",
            (cell, chromosome, kind, json.dumps(before), json.dumps(after), at),
        ).lastrowid
        return Event(made or 0, chromosome, kind, before, after, at, False)

    def reshape(self, cell: int, change: Reshaping, version: int | None = None, by: Reader = NOBODY) -> Event:
        """Change which pieces of its metaphase are a cell's chromosomes, with how it is sorted then; all or nothing.

        Raises as :func:`bandbridge.review.pieces.reshape` does.
        """
        with self._transaction():
            self._check(cell, version)
            self._advance(cell)
            found = reshape(self._database, cell, change, self.cell(cell).arm == "without")
            made = self._add_event(cell, None, change.tool, found["before"], found["after"])
            self._log(by, change.tool, found["told"], cell, at=made.at)
        return made

    def undo(self, cell: int, version: int | None = None, by: Reader = NOBODY) -> Event | None:
        """Take back the last change to a cell that still stands, and return it; None when there is none."""
        query = "SELECT * FROM events WHERE cell = ? AND undone = 0 ORDER BY id DESC LIMIT 1"
        return self._step(cell, query, "before", version, by)

    def redo(self, cell: int, version: int | None = None, by: Reader = NOBODY) -> Event | None:
        """Make again the change that was taken back last, unless another came since; None when there is none."""
        return self._step(cell, REDO, "after", version, by)

    def _step(self, cell: int, query: str, side: str, version: int | None, by: Reader) -> Event | None:
        with self._transaction():
            self._check(cell, version)
            found = self._rows(query, *[cell] * query.count("?"))
            if not found:
                return None
            event = read_event(found[0])
            self._advance(cell)
            if event.kind in TOOLS:
                content = {"before": {}, "set": {}, **restore(self._database, cell, getattr(event, side))}
            else:
                self._set(CHANGES[event.kind][0], getattr(event, side), cell, event.chromosome)
                content = {"before": event.after if side == "before" else event.before, "set": getattr(event, side)}
            self._database.execute("UPDATE events SET undone = ? WHERE id = ?", (side == "before", event.id))
            content["of"] = event.kind
            self._log(by, "undo" if side == "before" else "redo", content, cell, event.chromosome)
        return event

    def history(self, cell: int) -> list[Event]:
        """Return every change ever made to a cell, those taken back too, in order."""
        with self._reading():
            return [read_event(row) for row in self._rows("SELECT * FROM events WHERE cell = ? ORDER BY id", cell)]

    def undone(self, cell: int) -> list[bool]:
        """Return of every change ever made to a cell, in order, whether it was taken back."""
        with self._reading():
            return [
                bool(row["undone"]) for row in self._rows("SELECT undone FROM events WHERE cell = ? ORDER BY id", cell)
            ]

    # The log, and those who sign

    def log(self) -> list[Entry]:
        """Return every entry of the log, in order."""
        with self._reading():
            return list(entries(self._database))

    def head(self) -> str:
        """Return the hash of the last entry of the log, which tells whether anything was taken from its end."""
        with self._reading():
            return head(self._database)

    def signatures(self, patient: str) -> list[Signature]:
        """Return who signed the cells of ``patient``, and which signatures hold for them as they stand."""
        with self._reading():
            return signatures(self._database, patient)

    def sign(self, patient: str, by: Reader) -> None:
        """Sign the cells of ``patient``; raises as :func:`bandbridge.review.signing.sign` does."""
        with self._transaction():
            sign(self._database, patient, by)

    def _current(self, table: str, names: tuple[str, ...], cell: int, chromosome: int | None) -> dict[str, Any]:
        condition, values = which(table, cell, chromosome)
        found = self._rows(f"SELECT {', '.join(names)} FROM {table} WHERE {condition}", *values)
        if not found:
            raise KeyError(chromosome)
        return dict(found[0])

    def _set(self, table: str, values: dict[str, Any], cell: int, chromosome: int | None) -> None:
        condition, where = which(table, cell, chromosome)
        names = ", ".join(f"{name} = ?" for name in values)
        self._database.execute(f"UPDATE {table} SET {names} WHERE {condition}", (*values.values(), *where))
