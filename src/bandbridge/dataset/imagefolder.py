"""A dataset as it lies on disk: a folder or a zip of images with a ``metadata.csv`` beside them.

The layout is Hugging Face's ``imagefolder``. Reading a zip needs no unpacking: its directory is read once,
and each image is then fetched by its offset with a file handle of its own, so one :class:`ImageFolder` may be
used from many threads and processes at a time.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.dataset.names import with_unknown
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.files import is_present
from bandbridge.karyotype import order_classes

COLUMNS = ("file_name", "label", "cell", "patient", "copy", "stain", "source")
METADATA = "metadata.csv"
#: A cropped chromosome is kilobytes, a whole metaphase a few megabytes; anything near this is neither.
MAX_IMAGE_BYTES = 64 * 2**20
_MAX_METADATA_BYTES = 512 * 2**20
_TOO_LARGE_REMEDY = "This is not an image of one chromosome: remove it, and its row of metadata.csv."
_DAMAGED_REMEDY = "The zip is damaged: copy it again."
_IMPORT_REMEDY = f"Make one with 'bandbridge data import', or write the columns {','.join(COLUMNS)}."


class ZipMember(NamedTuple):
    """Where one stored file lies in a zip, and what it must come out as."""

    offset: int
    packed_bytes: int
    bytes: int
    deflated: bool
    crc: int


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """A dataset. ``samples``: string columns ``COLUMNS`` ("" = unknown), one row per image, in file order.

    A cell or patient that is written as unknown ("NA", "?") is "" (:mod:`bandbridge.dataset.names`).

    members: where each file lies in the zip that it is. contents: the files themselves, of a set that lies on no disk.

    >>> cells = open_dataset("sets/q")
    >>> cells
    ImageFolder(sets/q: 184 images, 4 cells, 2 patients, stain Q)
    >>> cells.samples[["file_name", "label", "cell"]].iloc[0].tolist()
    ['images/synthetic-q0001/1a.png', '1', 'synthetic-q0001']
    """

    path: Path
    samples: pd.DataFrame = field(repr=False)
    members: Mapping[str, ZipMember] | None = field(default=None, repr=False)
    contents: Mapping[str, bytes] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path}: {', '.join(self._facts())})"

    def _repr_html_(self) -> str:
        counts = self.samples["label"].value_counts()
        classes = pd.DataFrame([counts[name] for name in order_classes(counts.index)], order_classes(counts.index)).T
        table = classes.to_html(index=False, escape=True)
        return f"<p>{html.escape(str(self.path))}: {html.escape(', '.join(self._facts()))}</p>{table}"

    def _facts(self) -> list[str]:
        """Images, cells, patients and stains in words; what is not known is left out."""
        facts = [counted(len(self.samples), "image")]
        for column in ("cell", "patient"):
            known = self.samples.loc[self.samples[column] != "", column].nunique()
            facts += [counted(known, column)] if known else []
        stains = sorted({stain for stain in self.samples["stain"] if stain})
        return [*facts, f"stain {', '.join(stains)}"] if stains else facts

    def read_bytes(self, file_name: str) -> bytes:
        """Return the bytes of one image as stored.

        Raises :class:`UserError` naming the file when it is absent, lies outside the dataset, is damaged, or
        is larger than ``MAX_IMAGE_BYTES``. Links in a folder are followed: download caches consist of them.
        """
        if not is_inside(file_name):
            raise UserError(f"{self.path}: {file_name!r} leads out of the dataset", "Use paths beside metadata.csv.")
        if self.contents is not None:
            if file_name not in self.contents:
                raise UserError(f"{self.path}: no image {file_name!r} in this set", "Its table and its images differ.")
            return self.contents[file_name]
        if self.members is not None:
            member = self.members.get(file_name)
            if member is None:
                raise UserError(f"{self.path}: no file {file_name!r} in this zip", "Check metadata.csv.")
            return _read_member(self.path, file_name, member, MAX_IMAGE_BYTES)
        return read_bounded(self.path / file_name, MAX_IMAGE_BYTES)

    def only(self, names: list[str]) -> ImageFolder:
        """Return what it takes to read the files ``names``, and no table: little to send to another process."""
        members = self.members
        found = None if members is None else {name: members[name] for name in names if name in members}
        held = None if self.contents is None else {name: self.contents[name] for name in names if name in self.contents}
        return ImageFolder(self.path, self.samples.iloc[:0], found, held)

    def content_hashes(self) -> list[str]:
        """Return the SHA-256 (64 hexadecimal digits) of each image file, in the order of ``samples``."""
        return [hashlib.sha256(self.read_bytes(name)).hexdigest() for name in self.samples["file_name"]]


def open_dataset(path: Path | str) -> ImageFolder:
    """Open a folder or zip that holds ``metadata.csv``, in the zip's root or in its one top folder.

    Raises :class:`UserError` when there is no such path, no ``metadata.csv``, a needed column (file_name,
    label) is missing; and, many at once, for empty labels, rows given twice, names that lead outside and
    absent files.

    >>> open_dataset("sets/mine")
    Traceback (most recent call last):
    bandbridge.errors.UserError: no such dataset: sets/mine
    Give a folder or a zip that holds metadata.csv.
    """
    if not isinstance(path, str | Path):
        raise UserError(f"{type(path).__name__} names no dataset", "Give the path of a folder or zip.")
    path = Path(path)
    if not is_present(path):
        raise UserError(f"no such dataset: {path}", "Give a folder or a zip that holds metadata.csv.")
    if path.is_dir():
        if not (path / METADATA).is_file():
            raise UserError(f"{path} holds no {METADATA}", _IMPORT_REMEDY)
        table = read_bounded(path / METADATA, _MAX_METADATA_BYTES)
        members = None
    else:
        members = _zip_directory(path)
        if METADATA not in members:
            raise UserError(f"{path} holds no {METADATA}", _IMPORT_REMEDY)
        table = _read_member(path, METADATA, members[METADATA], _MAX_METADATA_BYTES)
    folder = ImageFolder(path, _parse_metadata(table, path), members)
    _check_rows(folder)
    return folder


def is_inside(name: str) -> bool:
    """Say whether ``name`` is a plain relative path: no root, no drive, no ``..``, no backslash, no NUL."""
    pure = PurePosixPath(name)
    plain = bool(pure.parts) and not any(sign in name for sign in ("\\", "\0"))
    return plain and not pure.is_absolute() and ".." not in pure.parts and not _has_drive(name)


def _has_drive(name: str) -> bool:
    return len(name) >= 2 and name[1] == ":" and name[0].isalpha()


def _parse_metadata(table: bytes, path: Path) -> pd.DataFrame:
    place = f"{path}: {METADATA}"
    try:
        lines = csv.reader(io.StringIO(table.decode("utf-8-sig"), newline=""), strict=True)
        header, *rows = [[text.strip() for text in line] for line in lines if line] or [[]]
    except (csv.Error, UnicodeDecodeError) as fault:
        raise UserError(f"{place} is not a readable CSV table: {fault}", "Save it as UTF-8 CSV.") from None
    missing = [column for column in ("file_name", "label") if column not in header]
    if missing:
        raise UserError(f"{place} lacks the column {' and '.join(missing)}", _remedy_for_header(header))
    if len(set(header)) < len(header):
        raise UserError(f"{place} has a column twice: {', '.join(header)}", "Keep one of each.")
    if not rows:
        raise UserError(f"{place} lists no image", _IMPORT_REMEDY)
    odd = [f"row {row}: {','.join(line)}" for row, line in enumerate(rows, 2) if len(line) != len(header)]
    if odd:
        headline = f"{place} has rows with more or fewer than the {len(header)} columns of its header:"
        raise ManyErrors(headline, odd, "Quote texts that hold commas.")
    return with_unknown(pd.DataFrame(rows, columns=header, dtype=str).reindex(columns=list(COLUMNS), fill_value=""))


def _remedy_for_header(header: list[str]) -> str:
    """Say what is wrong with a header that lacks a needed column, where that can be seen."""
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and sign in header[0]:
            return f"Its columns stand between {name}: save it with commas."
    if {"file_name", "label"} <= {column.lower() for column in header}:
        return f"Write the names of its columns in small letters: {','.join(COLUMNS)}."
    return f"It has: {', '.join(header) or 'no column'}. {_IMPORT_REMEDY}"


def _check_rows(folder: ImageFolder) -> None:
    problems = []
    names = folder.samples["file_name"].tolist()
    times = Counter(names)
    for row, (name, label) in enumerate(zip(names, folder.samples["label"], strict=True), start=2):
        if not is_inside(name):
            problems.append(f"row {row}: {name!r} leads out of the dataset")
        elif times[name] > 1:
            problems.append(f"row {row}: {name} is listed {times[name]} times")
        elif not label:
            problems.append(f"row {row}: {name} has no label")
        elif not _is_there(folder, name):
            problems.append(f"row {row}: {name} is not there")
    if problems:
        headline = f"{folder.path}: {len(problems)} of {len(names)} rows of {METADATA} cannot be used"
        raise ManyErrors(headline, problems, "Correct these rows, or restore the files they name.")


def _is_there(folder: ImageFolder, name: str) -> bool:
    return (folder.path / name).is_file() if folder.members is None else name in folder.members


def read_bounded(path: Path, limit: int) -> bytes:
    """Return the content of the file ``path``, of no more than ``limit`` bytes.

    Raises :class:`UserError` for a larger file, :class:`EnvironmentFault` for one that cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as fault:
        raise EnvironmentFault(f"cannot read {path}: {fault.strerror or fault}", "Check its permissions.") from None
    if len(data) > limit:
        raise UserError(f"{path} is larger than {limit} bytes", _TOO_LARGE_REMEDY)
    return data


def _zip_directory(path: Path) -> dict[str, ZipMember]:
    """Read the directory of a zip: name -> member, names as seen from ``metadata.csv``."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, NotImplementedError) as fault:
        raise UserError(f"{path} is not a readable zip: {fault}", "Give a folder, or a complete zip.") from None
    names = [entry.filename for entry in entries]
    outside = [f"{name!r} leads out of the zip" for name in names if not is_inside(name)]
    twice = [f"{name} is stored {times} times" for name, times in Counter(names).items() if times > 1]
    unknown = [f"{entry.filename} is {_odd_packing(entry)}" for entry in entries if _odd_packing(entry)]
    if outside or twice or unknown:
        raise ManyErrors(f"{path} cannot be read safely", outside + twice + unknown, "Make the zip again.")
    prefix = _top_folder(names)
    return {
        entry.filename.removeprefix(prefix): ZipMember(
            entry.header_offset,
            entry.compress_size,
            entry.file_size,
            entry.compress_type == zipfile.ZIP_DEFLATED,
            entry.CRC,
        )
        for entry in entries
    }


def _odd_packing(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & 0x1:
        return "encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "packed by a method other than store and deflate"
    return ""


def _top_folder(names: list[str]) -> str:
    """Return ``"name/"`` when ``metadata.csv`` lies in one top folder and not in the root, else ``""``."""
    if METADATA in names:
        return ""
    holders = [name.removesuffix(METADATA) for name in names if name.count("/") == 1 and name.endswith("/" + METADATA)]
    return holders[0] if len(holders) == 1 else ""


def _read_member(path: Path, name: str, member: ZipMember, limit: int) -> bytes:
    if member.bytes > limit:
        raise UserError(f"{path}: {name} is larger than {limit} bytes", _TOO_LARGE_REMEDY)
    try:
        with path.open("rb") as file:
            file.seek(member.offset)
            signature, lengths = struct.unpack("<4s22x4s", file.read(30))
            if signature != b"PK\x03\x04":
                raise ValueError("no file starts where the directory says")
            name_length, extra_length = struct.unpack("<HH", lengths)
            file.seek(name_length + extra_length, io.SEEK_CUR)
            packed = file.read(member.packed_bytes)
        data = _inflate(packed, member.bytes) if member.deflated else packed
    except (OSError, struct.error, zlib.error, ValueError) as fault:
        raise UserError(f"{path}: {name} cannot be unpacked: {fault}", _DAMAGED_REMEDY) from None
    if len(data) != member.bytes or zlib.crc32(data) != member.crc:
        raise UserError(f"{path}: {name} is damaged (wrong checksum)", _DAMAGED_REMEDY)
    return data


def _inflate(packed: bytes, size: int) -> bytes:
    # One byte more than promised shows a member that lies about its size, whatever it would grow to.
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
