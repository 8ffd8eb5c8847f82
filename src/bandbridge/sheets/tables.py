"""What a person says of sheets, in small tables: how labels stand, karyotypes, and labels set by hand."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import read_regular, unguard_formula
from bandbridge.karyotype import AUTOSOMES, CLASSES, parse_label
from bandbridge.sheets.judging import Expected

#: What a label set by hand may be besides a class: left out, kept aside, all as read.
LEAVE_OUT, ASIDE, AS_READ = "-", "mar", "ok"
_CHANGE = re.compile(r"([+-])(?:der\(|i\(|r\(|\w*\()?(\d{1,2}|X|Y|mar)\b", re.IGNORECASE)
_HEAD = re.compile(r"\s*(\d+)\s*,\s*([XY]+)\s*(?:,|$|\[|/)", re.IGNORECASE)


@dataclass(frozen=True)
class ByHand:
    """Labels that a person set on one sheet: of pieces ("12", joined "12+13") their label. whole: the rest is right."""

    labels: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, str]:
        """Return what decides whether it is the same."""
        return dict(self.labels)


def read_layout(path: Path) -> Expected:
    """Return how labels stand on every sheet: a CSV with a row for each row of the sheet; empty fields are skipped.

    Raises :class:`ManyErrors` for fields that are no labels, and labels given twice.
    """
    rows, problems = [], []
    seen: dict[str, str] = {}
    for number, line in enumerate(_lines(path), start=1):
        row = []
        for text in (entry.strip() for entry in line):
            if not text or text.startswith("#"):
                continue
            label = text if text.upper() in ("XY", "M", "MAR") else _label(text)
            if not label:
                problems.append(f"row {number}: {text!r} is no label")
            elif label in seen:
                problems.append(f"row {number}: {label} stands in {seen[label]} already")
            else:
                seen[label] = f"row {number}"
                row.append(label)
        if row:
            rows.append(row)
    if not rows and not problems:
        problems.append("it has no labels")
    if problems:
        raise ManyErrors(f"{path} is no layout:", problems, "A line for each row of the sheet, such as 1,2,3,,4,5.")
    return Expected(tuple(label for row in rows for label in row), tuple(len(row) for row in rows))


def read_karyotypes(path: Path) -> dict[str, str]:
    """Return the karyotype of each sheet: a CSV with the columns ``sheet`` and ``karyotype``.

    Raises :class:`ManyErrors` for rows whose karyotype is not understood.
    """
    found, problems = {}, []
    for number, row in _rows(path, ("sheet", "karyotype")):
        try:
            counts_of(row["karyotype"])
        except UserError as fault:
            problems.append(f"row {number}: {fault.message}")
        found[row["sheet"]] = row["karyotype"]
    if problems:
        raise ManyErrors(f"{path}: karyotypes that are not understood:", problems, "Write them as 46,XX or 47,XY,+21.")
    return found


def read_labels(path: Path) -> dict[str, ByHand]:
    """Return the labels set by hand on each sheet: a CSV with the columns ``sheet``, ``piece`` and ``label``.

    Rows without a label are those that nobody filled in. Raises :class:`ManyErrors` for labels that are none.
    """
    found: dict[str, dict[str, str]] = {}
    problems = []
    for number, row in _rows(path, ("sheet", "piece", "label")):
        text, piece = row["label"], row["piece"].replace(" ", "")
        if not text:
            continue
        labels = [_hand_label(part) for part in text.split("/")]
        if not piece and text.lower() != AS_READ:
            problems.append(f"row {number}: a label without a piece can only be {AS_READ}")
        elif piece and (not all(labels) or len(labels) > 2):
            problems.append(f"row {number}: {text!r} is no label")
        elif piece and not re.fullmatch(r"\d+(\+\d+)*", piece):
            problems.append(f"row {number}: {piece!r} is no number of a piece, nor several as 12+13")
        else:
            found.setdefault(row["sheet"], {})[piece] = "/".join(labels) if piece else AS_READ
    if problems:
        remedy = (
            f"Labels are 1 to 22, X, Y, {LEAVE_OUT} (leave out) and {ASIDE} (keep aside); 21/21 cuts a piece in two."
        )
        raise ManyErrors(f"{path}: labels that cannot be used:", problems, remedy)
    return {sheet: ByHand(labels) for sheet, labels in found.items()}


def read_pairs(path: Path) -> dict[str, str]:
    """Return the metaphase of each sheet: a CSV with the columns ``sheet`` and ``metaphase``.

    Raises :class:`ManyErrors` for sheets and metaphases that are named twice.
    """
    found: dict[str, str] = {}
    problems, seen = [], set()
    for number, row in _rows(path, ("sheet", "metaphase")):
        sheet, metaphase = row["sheet"], row["metaphase"]
        problems += [f"row {number}: {sheet} is named already"] if sheet in found else []
        problems += [f"row {number}: {metaphase} is named already"] if metaphase in seen else []
        found[sheet] = metaphase
        seen.add(metaphase)
    if problems:
        raise ManyErrors(
            f"{path}: more than one of a cell:", problems, "A sheet has one metaphase, and that one sheet."
        )
    return found


def counts_of(karyotype: str) -> dict[str, int]:
    """Return how many of each class a cell of ``karyotype`` has, of the first clone; markers are not counted.

    >>> {label: count for label, count in counts_of("47,XY,+21").items() if count != 2}
    {'21': 3, 'X': 1, 'Y': 1}

    Raises :class:`UserError` for what is no karyotype, or does not add up to its own number.
    """
    first = re.split(r"/|\[", karyotype)[0]
    head = _HEAD.match(first)
    if head is None:
        raise UserError(f"{karyotype!r} is no karyotype", "Write it as 46,XX or 47,XY,+21.")
    counts = dict.fromkeys(AUTOSOMES, 2) | {"X": head[2].upper().count("X"), "Y": head[2].upper().count("Y")}
    markers = 0
    for sign, what in _CHANGE.findall(first[head.end(2) :]):
        change = 1 if sign == "+" else -1
        if what.lower() == "mar":
            markers += change
        elif what.upper() in CLASSES:
            counts[what.upper()] += change
    total = sum(counts.values()) + markers
    if total != int(head[1]):
        raise UserError(f"{karyotype!r} says {head[1]} chromosomes and adds up to {total}", "Correct it.")
    return counts


def matching(table: Mapping[str, object], name: str, cell: str) -> str | None:
    """Return the key of ``table`` that means the sheet ``name``: as it is listed, its file, its stem, its cell."""
    path = PurePosixPath(name)
    return next((key for key in (name, path.name, path.stem, cell) if key in table), None)


def _label(text: str) -> str:
    try:
        return parse_label(text)
    except UserError:
        return ""


def _hand_label(text: str) -> str:
    return text.lower() if text.lower() in (LEAVE_OUT, ASIDE) else _label(text)


def _lines(path: Path) -> list[list[str]]:
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as fault:
        raise UserError(f"cannot read {path}: {fault.strerror or fault}", "Name a CSV file.") from fault
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8", "Save it as CSV, UTF-8.") from None
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    return [[unguard_formula(field) for field in line] for line in csv.reader(io.StringIO(text), delimiter=separator)]


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    lines = _lines(path)
    header = [field.strip().lower() for field in lines[0]] if lines else []
    lacking = [column for column in columns if column not in header]
    if lacking:
        raise UserError(f"{path} lacks the column {', '.join(lacking)}", f"Its columns are {', '.join(columns)}.")
    places = {column: header.index(column) for column in columns}
    return [
        (number, {column: line[place].strip() if place < len(line) else "" for column, place in places.items()})
        for number, line in enumerate(lines[1:], start=2)
        if any(field.strip() for field in line)
    ]
