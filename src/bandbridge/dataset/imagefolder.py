"""A dataset as it lies on disk: a folder or a zip of images with a ``metadata.csv`` beside them.

The layout is Hugging Face's ``imagefolder``; :mod:`bandbridge.dataset.metadata` has its other forms. Reading a zip
needs no unpacking: its directory is read once, and each image is then fetched by its offset with a file handle of its
own, so one :class:`ImageFolder` may be used from many threads and processes at a time.
"""

from __future__ import annotations

import errno
import hashlib
import html
import io
import os
import struct
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from bandbridge.dataset.depth import SetDepth, read_bits
from bandbridge.dataset.findings import counted
from bandbridge.dataset.metadata import (
    BITS,
    COLUMNS,
    METADATA,
    TABLES,
    Row,
    find_file,
    is_inside,
    read_table,
    remedy_without_table,
    rivals,
    tables_among,
)
from bandbridge.dataset.names import with_unknown
from bandbridge.disk import without_limit
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError, first_few
from bandbridge.filenames import folded
from bandbridge.files import is_present, read_regular
from bandbridge.karyotype import order_classes

#: A cropped chromosome is kilobytes, a whole metaphase a few megabytes; anything near this is neither.
MAX_IMAGE_BYTES = 64 * 2**20
_MAX_METADATA_BYTES = 32 * 2**20
_LARGE_TABLE_REMEDY = "A table of a million images is smaller: is it the right file? Take other columns out of it."
_TOO_LARGE_REMEDY = "This is not an image of one chromosome: remove it, and its row of metadata.csv."
_DAMAGED_REMEDY = "The zip is damaged: copy it again."
_IN_FOLDER = tuple(f"/{name}" for name in TABLES)


class ChangedError(UserError):
    """A file of a set was exchanged while the set was in use. Exit code 2."""


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
    bits: how many bits the values of files use, of those that the column bits speaks of. largest: see
    :class:`~bandbridge.dataset.depth.SetDepth`. hashed: the SHA-256 of each file, from :meth:`content_hashes` on: what
    is read later must be the same.

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
    bits: Mapping[str, int] = field(default_factory=dict, repr=False)
    largest: int | None = field(default=None, repr=False)
    hashed: dict[str, str] = field(default_factory=dict, repr=False)

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

        Raises :class:`UserError` naming the file when it is absent, lies outside the dataset, is damaged, is another
        than it was at first, or is larger than ``MAX_IMAGE_BYTES``. Links in a folder are followed: download caches
        consist of them.
        """
        data = self._read(file_name)
        if file_name in self.hashed and hashlib.sha256(data).hexdigest() != self.hashed[file_name]:
            raise ChangedError(
                f"{self.path}: {file_name} is not the file that it was when it was first read",
                "Leave a set as it is while it is in use; run the command again for the set as it is now.",
            )
        return data

    def _read(self, file_name: str) -> bytes:
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

    def gray(self, file_name: str, expected: int | None = None) -> np.ndarray:
        """Return one image as uint8 gray [H, W], on the scale of the whole set.

        expected: as :meth:`SetDepth.gray` has it. Raises as that and :meth:`read_bytes` do.
        """
        return self.depth.gray(self.read_bytes(file_name), file_name, expected)

    @cached_property
    def depth(self) -> SetDepth:
        """The scale of this set's images of more than 8 bits."""
        return SetDepth(self._each if len(self.samples) else None, self.bits, largest=self.largest)

    def __getstate__(self) -> dict[str, object]:
        """Leave the open scale behind, which no other process can have, and take along what it found."""
        found = {name: value for name, value in vars(self).items() if name != "depth"}
        return found | {"largest": self.depth.largest}

    @property
    def depths(self) -> tuple[SetDepth, ...]:
        """Of each camera, which here is one."""
        return (self.depth,)

    def settle(self) -> None:
        """Find that scale."""
        self.depth.settle()

    def decided_bits(self, expected: int | None = None) -> int | None:
        """Return the bits of those of the images read so far that do not say it; None where there was none."""
        return self.depth.bits(expected)

    def _each(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        return ((name, partial(self.read_bytes, name)) for name in self.samples["file_name"])

    def only(self, names: list[str]) -> ImageFolder:
        """Return what it takes to read the files ``names``, and no table: little to send to another process."""
        members = self.members
        found = None if members is None else {name: members[name] for name in names if name in members}
        held = None if self.contents is None else {name: self.contents[name] for name in names if name in self.contents}
        bits = {name: self.bits[name] for name in names if name in self.bits}
        hashed = {name: self.hashed[name] for name in names if name in self.hashed}
        return ImageFolder(self.path, self.samples.iloc[:0], found, held, bits, self.depth.largest, hashed)

    def content_hashes(self) -> list[str]:
        """Return the SHA-256 (64 hexadecimal digits) of each image file, in the order of ``samples``.

        From then on :meth:`read_bytes` gives no other file: what is prepared is what the set is known by.
        """
        for name in self.samples["file_name"]:
            data = self.read_bytes(name)  # which compares, where it is known already
            if name not in self.hashed:
                self.hashed[name] = hashlib.sha256(data).hexdigest()
        return [self.hashed[name] for name in self.samples["file_name"]]


def open_dataset(path: Path | str) -> ImageFolder:
    """Open a folder or zip that holds ``metadata.csv``, in the zip's root or in its one top folder.

    ``metadata.jsonl``, ``metadata.parquet`` and a table in each split folder are read, too. Raises :class:`UserError`
    when there is no such path, no table, a needed column (file_name, label) is missing; and, many at once, for empty
    labels, rows given twice, names that lead outside and absent files.

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
    require_file_or_folder(path)
    members = None if path.is_dir() else _zip_directory(path)
    names = _names_in_folder(path) if members is None else members
    tables = tables_among(names)
    if not tables:
        raise UserError(f"{path} holds no {METADATA}", remedy_without_table(names))
    beside = [name for table in tables for name in rivals(table, names)]
    if beside:
        remedy = "Keep the one that is right in the set, and move the other out of it."
        raise UserError(f"{path} holds {first_few([*tables, *beside])}: which of them is meant is not known", remedy)
    rows = []
    for table in tables:
        data = (
            read_bounded(path / table, _MAX_METADATA_BYTES, _LARGE_TABLE_REMEDY)
            if members is None
            else _read_member(path, table, members[table], _MAX_METADATA_BYTES, _LARGE_TABLE_REMEDY)
        )
        rows += read_table(table, data, str(path))
    return _with_files_found(ImageFolder(path, pd.DataFrame(), members), rows, tables)


def require_file_or_folder(path: Path) -> None:
    """Raise :class:`UserError` where ``path`` is a pipe or a device, which would be read or waited for without end."""
    if is_present(path) and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path} is no file or folder, but a pipe or a device", "Name a folder or a zip.")


def holds_table(path: Path) -> bool:
    """Say whether there is a dataset in the folder or zip ``path``: whether :func:`open_dataset` finds its table.

    Raises :class:`UserError` for a pipe or a device.
    """
    require_file_or_folder(path)
    if path.is_dir():
        return bool(tables_among(_names_in_folder(path)))
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError):
        return False  # whoever reads it says what is wrong with it
    prefix = _top_folder(names)
    return bool(tables_among([name.removeprefix(prefix) for name in names]))


def _names_in_folder(path: Path) -> list[str]:
    """Return the names of the files in the folder ``path`` that may be tables: in its root, and in folders below."""
    found = [name for name in TABLES if (path / name).is_file()]
    if not found:
        kinds = [f"metadata{PurePosixPath(name).suffix}" for name in TABLES]
        globs = [f"{depth}{name}" for depth in ("*/", "*/*/") for name in kinds] + [
            "*.arrow",
            "*.parquet",
            "*/*.parquet",
        ]
        found = sorted({file.relative_to(path).as_posix() for one in globs for file in path.glob(one)})
    return found


def _with_files_found(folder: ImageFolder, rows: list[Row], tables: list[str]) -> ImageFolder:
    """Return ``folder`` with ``rows`` of its tables as samples, each with the file that it means.

    Raises :class:`ManyErrors` for all that mean none.
    """

    def is_there(name: str) -> bool:
        if folder.members is not None:
            return name in folder.members
        try:
            return (folder.path / name).is_file() and (not blind() or PurePosixPath(name).as_posix() in exact())
        except OSError as fault:
            if fault.errno in (errno.ENAMETOOLONG, errno.EINVAL):  # no name that a file could have
                return False
            raise

    @cache
    def blind() -> bool:
        return _is_case_blind(folder.path / tables[0])

    @cache
    def exact() -> frozenset[str]:
        return frozenset(_all_files(folder.path))

    @cache
    def others() -> dict[str, list[str]]:
        alike: dict[str, list[str]] = defaultdict(list)
        for name in exact() if folder.members is None else folder.members:
            alike[folded(name)].append(name)
        return alike

    found = [find_file(row.texts["file_name"], is_there, others) for row in rows]
    files = [PurePosixPath(name).as_posix() for name, _ in found]
    times = Counter(files)
    problems: list[str] = []
    bits: dict[str, int] = {}
    for row, file, (_, fault) in zip(rows, files, found, strict=True):
        if not fault and times[file] > 1:
            fault = f"{file} is listed {times[file]} times"
        elif not fault and not row.texts["label"]:
            fault = f"{file} has no label"
        try:
            bits |= {} if (stated := read_bits(row.texts[BITS])) is None else {file: stated}
        except ValueError:
            fault = fault or f"bits {row.texts[BITS]!r} is no whole number from 8 to 16"
        problems += [f"{row.place}: {fault}"] if fault else []
    if problems:
        headline = f"{folder.path}: {len(problems)} of {len(rows)} rows of {' and '.join(tables)} cannot be used"
        raise ManyErrors(headline, problems, "Correct these rows, or restore the files they name.")
    texts = [row.texts | {"file_name": name} for row, (name, _) in zip(rows, found, strict=True)]
    return replace(folder, samples=with_unknown(pd.DataFrame(texts, columns=list(COLUMNS), dtype=str)), bits=bits)


def _is_case_blind(file: Path) -> bool:
    """Whether the disk takes the name of ``file``, which is there, in capitals for the same: every name then is there
    in many spellings, and one file would count as several, or be called otherwise than on other systems."""
    capitals = file.with_name(file.name.upper())
    return capitals.exists() and capitals.name not in {each.name for each in file.parent.iterdir()}


def _all_files(path: Path) -> Iterator[str]:
    path = without_limit(path)
    for directory, _, files in os.walk(path, followlinks=True):
        yield from ((Path(directory) / file).relative_to(path).as_posix() for file in files)


def read_bounded(path: Path, limit: int, too_large: str = _TOO_LARGE_REMEDY) -> bytes:
    """Return the content of the file ``path``, of no more than ``limit`` bytes.

    Raises :class:`UserError` for a larger file, with the remedy ``too_large``, and for what is no file, such as a pipe;
    :class:`EnvironmentFault` for one that cannot be read.
    """
    try:
        return read_regular(path, limit, too_large)
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise EnvironmentFault(f"cannot read {path}: {fault.strerror or fault}", "Check its permissions.") from None


def _zip_directory(path: Path) -> dict[str, ZipMember]:
    """Read the directory of a zip: name -> member, names as seen from its table."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, NotImplementedError) as fault:
        raise UserError(f"{path} is not a readable zip: {fault}", "Give a folder, or a complete zip.") from None
    names = [entry.filename for entry in entries]
    outside = [
        f"{name!r} has backslashes where folders have /"
        if is_inside(name.replace("\\", "/"))
        else f"{name!r} leads out of the zip"
        for name in names
        if not is_inside(name)
    ]
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
    """Return ``"name/"`` when the table lies in one top folder and not in the root, else ``""``."""
    if any(name in names for name in TABLES):
        return ""
    holders = {name.partition("/")[0] + "/" for name in names if name.count("/") == 1 and name.endswith(_IN_FOLDER)}
    if not holders and not tables_among(names):
        # A set in splits may have been packed with its own folder.
        tops = {name.partition("/")[0] + "/" for name in names if "/" in name and PurePosixPath(name).name in TABLES}
        holders = {top for top in tops if tables_among([name.removeprefix(top) for name in names])}
    return holders.pop() if len(holders) == 1 else ""


def _read_member(path: Path, name: str, member: ZipMember, limit: int, too_large: str = _TOO_LARGE_REMEDY) -> bytes:
    if member.bytes > limit:
        raise UserError(f"{path}: {name} is larger than {limit} bytes", too_large)
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
