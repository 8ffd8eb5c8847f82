"""The table of a dataset, in each of the forms that Hugging Face's ``imagefolder`` reads, as spreadsheets leave it.

A set holds ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet``; or each of its split folders (``train``,
``test``, ...) holds one of its own, whose file names begin in that folder
(https://huggingface.co/docs/datasets/image_dataset). The rows of all splits are one set here: folds are made anew.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from bandbridge.errors import ManyErrors, UserError, in_plain_signs, visible
from bandbridge.extras import need
from bandbridge.filenames import folded
from bandbridge.files import parse_json, unguard_formula

COLUMNS = ("file_name", "label", "cell", "patient", "copy", "stain", "source")
#: An optional column: how many bits the values of a file of 16 bits a sample use.
BITS = "bits"
METADATA = "metadata.csv"
#: Where a folder holds several, the first counts.
TABLES = (METADATA, "metadata.jsonl", "metadata.parquet")
#: Folders that may hold the splits.
_HOMES = ("", "data/")
_SPLIT = re.compile(r"(^|[^a-z])(train|training|test|testing|eval|evaluation|val|valid|validation|dev)([^a-z]|$)")
_READ = (*COLUMNS, BITS)
_NEEDED = ("file_name", "label")
_IMPORT_REMEDY = f"Make one with 'bandbridge data import', or write the columns {','.join(COLUMNS)}."
#: A name's letters and folders; rows, and columns of one; bytes of the texts of a compressed table, unfolded.
_LONGEST_NAME, _DEEPEST, _MOST_ROWS, _MOST_COLUMNS, _MOST_TEXT = 4096, 100, 10**6, 1000, 2**27
#: Columns whose cells must not be divided among folds. Left unread for a spelling, they would be.
_ALIKE = 0.85
_DIVIDING = ("cell", "patient")
_PACKED_REMEDY = (
    "Hugging Face datasets has packed these images into its tables: save each as a file, beside a "
    "metadata.csv with the columns file_name and label."
)


class Row(NamedTuple):
    """A row of a table: where it stands, in words, and its texts by column."""

    place: str
    texts: dict[str, str]


def tables_among(names: Collection[str]) -> list[str]:
    """Return which of ``names`` are the tables of a set: one in its root, or one in each of its split folders.

    ``names`` are files with "/", relative to the set; of folders no deeper than two are looked at.
    """
    held = {name for name in names if PurePosixPath(name).name in TABLES}
    if root := next((name for name in TABLES if name in held), None):
        return [root]
    for home in _HOMES:
        folders = sorted({name.removeprefix(home).partition("/")[0] for name in held if name.startswith(home)})
        first = (
            next((name for table in TABLES if (name := f"{home}{folder}/{table}") in held), None)
            for folder in folders
            if _SPLIT.search(folder.lower())
        )
        if found := [name for name in first if name]:
            return found
    return []


def rivals(table: str, names: Collection[str]) -> list[str]:
    """Return the tables of another kind among ``names`` that lie beside ``table``; Hugging Face refuses them, too."""
    beside = (PurePosixPath(table).with_name(name).as_posix() for name in TABLES)
    return [name for name in beside if name != table and name in names]


def remedy_without_table(names: Iterable[str]) -> str:
    """Say what to do about a set without a table, from the ``names`` of what it holds, in the root and below."""
    names = list(names)
    holders = sorted({PurePosixPath(name).parent.as_posix() for name in names if PurePosixPath(name).name in TABLES})
    if holders:
        shown = ", ".join(holders[:5]) + (", ..." if len(holders) > 5 else "")
        return (
            f"There is one in {shown}: name that folder, or call the folders train, test and so on to have them as one."
        )
    if any(name.endswith((".arrow", ".parquet")) for name in names):
        return _PACKED_REMEDY
    return _IMPORT_REMEDY


def read_table(name: str, data: bytes, path: str) -> list[Row]:
    """Return the rows of the table ``name`` of the set ``path``; file names are then relative to the set.

    Rows without a text are none, columns without a name are left out. Raises :class:`UserError` for a table that
    cannot be read, lists nothing or lacks a needed column; :class:`ManyErrors` for rows that do not fit it.
    """
    place = f"{path}: {name}"
    read = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[PurePosixPath(name).suffix]
    header, rows = read(data, place)
    rows = [row for row in rows if any(row.texts.values())]
    _refuse_near_columns(header, place)
    _refuse_odd_texts(rows, place)
    missing = [column for column in _NEEDED if column not in header]
    if missing:
        raise UserError(f"{place} lacks the column {' and '.join(missing)}", _remedy_for_header(header))
    if not rows:
        raise UserError(f"{place} lists no image", _IMPORT_REMEDY)
    home = PurePosixPath(name).parent
    prefix = "" if home.as_posix() == "." else f"{name}, "
    found = []
    for where, texts in rows:
        file = texts["file_name"]
        # An absolute path stays one; what leads nowhere is told later, with all other rows.
        inner = (home / file.replace("\\", "/")).as_posix() if prefix and file else file
        found.append(
            Row(f"{prefix}{where}", {column: texts.get(column, "") for column in _READ} | {"file_name": inner})
        )
    return found


def _refuse_near_columns(header: list[str], place: str) -> None:
    """Refuse a column that is called nearly as one that says which images belong together, where that is not there."""
    near = [
        (column, meant)
        for meant in _DIVIDING
        if meant not in header
        for column in header
        if column not in _READ and _is_near(column, meant)
    ]
    if near:
        named = ", ".join(f"'{column}' ({meant}?)" for column, meant in near)
        raise UserError(
            f"{place} has a column that is not read, and is called nearly as one that is: {named}",
            "Call it so where it is meant, else by another name or take it out: images of one patient, or cell, would "
            "be trained on and tested on.",
        )


def _is_near(column: str, meant: str) -> bool:
    plain = re.sub(r"[^a-z]", "", column.lower())
    plain = re.sub(r"(ids?|no|nr|num|numbers?|names?|code)$", "", plain) or plain
    return difflib.SequenceMatcher(None, plain, meant).ratio() >= _ALIKE or plain == f"{meant}s"


def _refuse_odd_texts(rows: list[Row], place: str) -> None:
    problems = [
        f"{row.place}: {column} {visible(text)!r}"
        for row in rows
        for column, text in row.texts.items()
        if column != "file_name" and column in _READ and not in_plain_signs(text)
    ]
    if problems:
        raise ManyErrors(f"{place} has texts with control signs:", problems, "Write them without.")


def _read_csv(data: bytes, place: str) -> tuple[list[str], list[Row]]:
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = []
        for line in reader:
            lines.append(line)
            if len(lines) > _MOST_ROWS or len(line) > _MOST_COLUMNS:
                raise _too_large(place)
    except (csv.Error, UnicodeDecodeError) as fault:
        raise UserError(f"{place} is not a readable CSV table: {fault}", "Save it as UTF-8 CSV.") from None
    numbered = [(number, [text.strip() for text in line]) for number, line in enumerate(lines, 1)]
    (_, header), *rows = [(number, line) for number, line in numbered if any(line)] or [(1, [])]
    # "Patient" left unread would put the cells of one patient on both sides.
    header = [
        column.lower() if column.lower() in _READ and column.lower() not in header else column for column in header
    ]
    named = [column for column in header if column]
    if len(set(named)) < len(named):
        raise UserError(f"{place} has a column twice: {', '.join(named)}", "Keep one of each.")
    least = max((position for position, column in enumerate(header, 1) if column), default=0)
    odd = [f"row {number}: {','.join(line)}" for number, line in rows if len(line) < least or any(line[len(header) :])]
    if odd:
        headline = f"{place} has rows with more or fewer than the {least} columns of its header:"
        raise ManyErrors(headline, odd, "Quote texts that hold commas.")
    return named, [
        Row(
            f"row {number}",
            {column: unguard_formula(text).strip() for column, text in zip(header, line, strict=False) if column},
        )
        for number, line in rows
    ]


def _read_jsonl(data: bytes, place: str) -> tuple[list[str], list[Row]]:
    rows, problems = [], []
    header: dict[str, None] = {}
    try:
        lines = data.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as fault:
        raise UserError(f"{place} is not readable: {fault}", "Save it as UTF-8.") from None
    if len(lines) > _MOST_ROWS:
        raise _too_large(place)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
            if not isinstance(values, dict):
                raise ValueError("not an object")
            header |= dict.fromkeys(values)
            rows.append(_as_row(f"line {number}", values))
        except ValueError as fault:
            problems.append(f"line {number}: {fault}")
    if problems:
        raise ManyErrors(f"{place} has lines that are no rows of a table:", problems, 'Write {"file_name": ..., ...}.')
    return list(header), rows


def _read_parquet(data: bytes, place: str) -> tuple[list[str], list[Row]]:
    pa, pq = need("pyarrow", "formats"), need("pyarrow.parquet", "formats")
    try:
        schema = pq.read_schema(io.BytesIO(data))
        kept = _within_bounds(data, [name for name in dict.fromkeys(schema.names) if name in _READ], place)
        rows = [_as_row(f"row {number}", values) for number, values in enumerate(kept.to_pylist(), 1)]
    except (pa.ArrowException, OSError, ValueError) as fault:
        raise UserError(f"{place} is not a readable table: {fault}", f"Save it as {METADATA}.") from None
    if "file_name" not in schema.names and any(pa.types.is_struct(field.type) for field in schema):
        raise UserError(f"{place} names no files", _PACKED_REMEDY)
    return schema.names, rows


def _within_bounds(data: bytes, names: list[str], place: str) -> Any:
    """The columns ``names`` of a parquet file, in which a text that is repeated may stand once: counted unfolded."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(data))
    facts = file.metadata
    groups = [facts.row_group(number) for number in range(min(facts.num_row_groups, _MOST_ROWS))]
    held = sum(group.column(column).total_uncompressed_size for group in groups for column in range(group.num_columns))
    if facts.num_rows > _MOST_ROWS or held > _MOST_TEXT:
        raise _too_large(place)
    texts = [name for name in names if pa.types.is_string(file.schema_arrow.field(name).type)]
    table = pq.read_table(io.BytesIO(data), columns=names, read_dictionary=texts)
    total = 0
    for column in table.columns:
        for chunk in column.chunks:
            if pa.types.is_dictionary(chunk.type):
                total += pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0
    if total > _MOST_TEXT:
        raise _too_large(place)
    return table


def _too_large(place: str) -> UserError:
    return UserError(f"{place} is larger than the table of any set of images", "Is it the right file?")


def _as_row(place: str, values: dict[str, Any]) -> Row:
    """Return a row of typed values as texts; ValueError for one that is no text and no number."""
    texts = {}
    for column in _READ:
        value = values.get(column)
        if value is None or value != value:
            value = ""
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{column} is no text")
        texts[column] = str(value).strip()
    return Row(place, texts)


def _remedy_for_header(header: list[str]) -> str:
    """Say what is wrong with a header that lacks a needed column, where that can be seen."""
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            return f"Its columns stand between {name}: save it with commas."
    return f"It has: {', '.join(header) or 'no column'}. {_IMPORT_REMEDY}"


# Names of files, as people and systems write them


def is_inside(name: str) -> bool:
    """Say whether ``name`` is a plain relative path: no root, no drive, no ``..``, no backslash, no NUL."""
    return "\\" not in name and not _fault_of_path(name)


def fault_of_name(name: str) -> str:
    """Say why ``name``, with "/" or "\\", is no path below the set that an image may have; "" where it is one."""
    if fault := _fault_of_path(name):
        return fault
    return "" if in_plain_signs(name) else f"'{visible(name)}' has control signs in its name, or is not UTF-8"


def _fault_of_path(name: str) -> str:
    plain = name.replace("\\", "/")
    if not plain:
        return "no file is named"
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        return f"{name!r} leads out of the dataset: it is a path of one computer, not one that begins in the set"
    if len(plain) > _LONGEST_NAME or plain.count("/") > _DEEPEST:
        return f"{plain[:60]!r}... is longer, or lies in more folders, than a file can"
    parts = PurePosixPath(plain).parts
    # Windows drops dots and spaces at the end of a name: nobody should have to know what it makes of ".. ".
    outward = any(set(part) <= {".", " "} for part in parts)
    return f"{name!r} leads out of the dataset" if not parts or outward or "\0" in name else ""


def find_file(
    name: str, is_there: Callable[[str], bool], others: Callable[[], dict[str, list[str]]]
) -> tuple[str, str]:
    """Return the file of a set that ``name`` means, and "", or what is wrong with it.

    A name that works as it is written stays so: it is part of what the set is. Else backslashes, ``./`` and another
    case, or another form of the same letters, are taken as meant. others: gives the files by their :func:`folded` name.
    """
    if is_inside(name) and is_there(name):
        return name, ""
    if fault := fault_of_name(name):
        return name, fault
    plain = PurePosixPath(name.replace("\\", "/")).as_posix()
    if is_there(plain):
        return plain, ""
    alike = sorted(others().get(folded(plain), []))
    if len(alike) == 1:
        return alike[0], ""
    return name, f"{name} is not there" + (f"; {' and '.join(alike)} are called nearly so" if alike else "")
