"""What a reviewer has been given and has done, kept so that no correction is ever lost.

Pictures lie as PNG files named by the hash of their pixels, everything else in one SQLite database. Every correction
is one transaction, on the disk before the caller is answered, together with what was there before: undoing goes back
step by step, and the whole history stays. One program at a time may open a work folder.

Several pages may show one cell. Whoever changes it says which version of the cell the change rests on; where another
change has come since, :class:`~bandbridge.review.schema.StaleError` is raised and nothing is changed. Without a
version a change is made to whatever stands.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import content_hash, replacing
from bandbridge.karyogram.sheet import CellSheet
from bandbridge.review.picture import decode_png, encode_png, pixel_hash
from bandbridge.review.schema import (
    CELLS,
    CHANGES,
    CHROMOSOMES,
    REDO,
    SAVE,
    SCHEMA,
    UPGRADES,
    VERSION,
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

DATABASE = "review.sqlite"


class Store:
    """The work folder of a review; may be used from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder``, made if absent.

        Raises :class:`UserError` when another program has it open or its database is none of this version,
        :class:`EnvironmentFault` when it cannot be written.
        """
        self.folder = folder
        self._lock = threading.RLock()
        try:
            # Cells may be patients': for the owner's eyes only.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "images").mkdir(exist_ok=True)
            self._database = sqlite3.connect(
                folder / DATABASE, timeout=0.5, isolation_level=None, check_same_thread=False
            )
            self._database.row_factory = sqlite3.Row
            for setting in ("locking_mode = EXCLUSIVE", "synchronous = FULL", "foreign_keys = ON"):
                self._database.execute(f"PRAGMA {setting}")
            self._create()
        except OSError as fault:
            raise EnvironmentFault(
                f"cannot write {folder}: {fault.strerror or fault}", "Name another with --work."
            ) from fault
        except sqlite3.Error as fault:
            raise self._refusal(fault) from fault

    def _create(self) -> None:
        with self._transaction():
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in SCHEMA.split(";\n"):
                    self._database.execute(statement)
            elif not 1 <= version <= VERSION:
                raise UserError(
                    f"{self.folder / DATABASE} was written by another version of bandbridge",
                    "Use that version, or another folder with --work.",
                )
            else:
                for old in range(version, VERSION):
                    self._database.execute(UPGRADES[old])
            self._database.execute(f"PRAGMA user_version = {VERSION}")

    def _refusal(self, fault: sqlite3.Error) -> UserError:
        if "locked" in str(fault):
            return UserError(
                f"another review is open on {self.folder}", "Close it, or name another folder with --work."
            )
        return EnvironmentFault(f"cannot open {self.folder / DATABASE}: {fault}", "Name another folder with --work.")

    def close(self) -> None:
        """Let other programs open the folder."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN EXCLUSIVE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    # Pictures

    def put_image(self, pixels: np.ndarray) -> str:
        """Keep uint8 ``pixels`` [H, W] and return the hash that names them, 64 hexadecimal digits."""
        name = pixel_hash(pixels)
        path = self.image_path(name)
        if not path.is_file():
            with replacing(path) as temporary:
                temporary.write_bytes(encode_png(pixels))
        return name

    def image_path(self, image: str) -> Path:
        """Return the file of the picture with that hash."""
        return self.folder / "images" / f"{image}.png"

    def read_image(self, image: str) -> np.ndarray:
        """Return uint8 [H, W]; :class:`EnvironmentFault` when the picture's file is gone."""
        try:
            return decode_png(self.image_path(image).read_bytes())
        except OSError as fault:
            raise EnvironmentFault(f"cannot read {self.image_path(image)}", "Restore the work folder.") from fault

    # Cells

    def add_cell(self, cell: Incoming) -> tuple[int, bool]:
        """Return the id of ``cell`` and whether it is new; the same images under the same name are one cell."""
        fingerprint = content_hash([cell.name, sorted(cell.images)])
        with self._transaction():
            known = self._rows("SELECT id FROM cells WHERE fingerprint = ?", fingerprint)
            if known:
                self._database.execute("UPDATE cells SET removed = 0 WHERE id = ?", (known[0]["id"],))
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
            return found, True

    def cells(self) -> list[CellRecord]:
        """Return every cell that was not removed, in the order they came."""
        return [read_record(row) for row in self._rows(CELLS.format(condition="removed = 0"))]

    def cell(self, cell: int) -> CellRecord:
        """Return one cell; KeyError when there is none."""
        found = self._rows(CELLS.format(condition="removed = 0 AND cells.id = ?"), cell)
        if not found:
            raise KeyError(cell)
        return read_record(found[0])

    def images_of(self, cell: int) -> list[tuple[str, str]]:
        """Return (file, hash) of the images of a cell."""
        return [(row["file"], row["image"]) for row in self._rows(CHROMOSOMES, cell)]

    def describe(self, cell: int, patient: str, stain: str, version: int | None = None) -> None:
        """Set what a cell's patient and stain are called."""
        with self._transaction():
            self._check(cell, version)
            self._advance(cell)
            self._database.execute("UPDATE cells SET patient = ?, stain = ? WHERE id = ?", (patient, stain, cell))

    def remove(self, cell: int, version: int | None = None) -> None:
        """Take a cell off the list. Nothing of it is deleted: given again, it comes back with its corrections."""
        with self._transaction():
            self._check(cell, version)
            self._advance(cell)
            self._database.execute("UPDATE cells SET removed = 1 WHERE id = ?", (cell,))

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

    def fail(self, cell: int, problem: str) -> None:
        """Note why a cell could not be classified."""
        with self._transaction():
            self._database.execute("UPDATE cells SET state = 'failed', problem = ? WHERE id = ?", (problem, cell))

    def retry(self, cell: int, version: int | None = None) -> None:
        """Let a failed cell wait to be classified again."""
        with self._transaction():
            self._check(cell, version)
            self._advance(cell)
            self._database.execute("UPDATE cells SET state = 'waiting' WHERE id = ? AND state = 'failed'", (cell,))

    def sheet(self, cell: int) -> StoredSheet:
        """Return a classified cell as corrected so far; KeyError when there is none."""
        with self._lock:
            record = self.cell(cell)
            if record.state != "ready":
                raise KeyError(cell)
            (row,) = self._rows("SELECT classes, findings FROM cells WHERE id = ?", cell)
            found = self._rows(CHROMOSOMES, cell)
        findings, unknown = read_findings(row["findings"])
        chromosomes = tuple(read_chromosome(one, self.read_image(one["image"])) for one in found)
        ids, images, suggested = (tuple(one[name] for one in found) for name in ("id", "image", "suggested"))
        return StoredSheet(
            record,
            CellSheet(record.name, tuple(json.loads(row["classes"])), chromosomes, findings, unknown),
            ids,
            images,
            suggested,
        )

    # Corrections

    def _check(self, cell: int, version: int | None) -> None:
        """Refuse a change that rests on an older ``version`` of a cell."""
        if self.cell(cell).version != version and version is not None:
            raise StaleError

    def _advance(self, cell: int) -> None:
        self._database.execute("UPDATE cells SET version = version + 1 WHERE id = ?", (cell,))

    def change(
        self, cell: int, kind: str, values: Sequence[Any], chromosome: int | None = None, version: int | None = None
    ) -> Event | None:
        """Make one change and return it, once it is safe on the disk; None when everything was so already.

        kind: ``place`` (class, 1), ``turn`` (angle, flipped, certainty), or ``accept`` (1 or 0) without a chromosome.
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
            texts = (json.dumps(before), json.dumps(after), datetime.now(UTC).isoformat(timespec="milliseconds"))
            made = self._database.execute(
                "INSERT INTO events (cell, chromosome, kind, before, after, at) VALUES (?, ?, ?, ?, ?, ?)",
                (cell, chromosome, kind, *texts),
            ).lastrowid
        return Event(made or 0, chromosome, kind, before, after, texts[2], False)

    def undo(self, cell: int, version: int | None = None) -> Event | None:
        """Take back the last change to a cell that still stands, and return it; None when there is none."""
        query = "SELECT * FROM events WHERE cell = ? AND undone = 0 ORDER BY id DESC LIMIT 1"
        return self._step(cell, query, "before", version)

    def redo(self, cell: int, version: int | None = None) -> Event | None:
        """Make again the change that was taken back last, unless another came since; None when there is none."""
        return self._step(cell, REDO, "after", version)

    def _step(self, cell: int, query: str, side: str, version: int | None) -> Event | None:
        with self._transaction():
            self._check(cell, version)
            found = self._rows(query, *[cell] * query.count("?"))
            if not found:
                return None
            event = read_event(found[0])
            self._advance(cell)
            self._set(CHANGES[event.kind][0], getattr(event, side), cell, event.chromosome)
            self._database.execute("UPDATE events SET undone = ? WHERE id = ?", (side == "before", event.id))
        return event

    def history(self, cell: int) -> list[Event]:
        """Return every change ever made to a cell, those taken back too, in order."""
        return [read_event(row) for row in self._rows("SELECT * FROM events WHERE cell = ? ORDER BY id", cell)]

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
