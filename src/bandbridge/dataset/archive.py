"""Reading a public distribution (folder, zip, tar, tar.gz) as named image files, within bounds.

An archive is read as a stream and never unpacked, so nothing in it can be written where it likes; still, a
name that leads out of it, a link or a device is refused: an archive with one was not made to hold images.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from bandbridge.dataset.imagefolder import MAX_IMAGE_BYTES, is_inside, read_bounded
from bandbridge.disk import without_limit
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError

IMAGE_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg"})
#: Folders that systems put beside what people keep: of macOS (archives), of Synology (thumbnails), of Windows.
_LEFT_BEHIND = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information"})
_LEFT_FILES = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Bounds:
    """What an archive may grow to. ``ratio``: unpacked over packed, looked at above ``free`` bytes only."""

    member: int = MAX_IMAGE_BYTES
    total: int = 16 * 2**30
    ratio: int = 200
    free: int = 32 * 2**20


class _Meter:
    """Counts unpacked bytes and stops an archive that grows beyond its bounds."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        self.path = path
        self.bounds = bounds
        self.limit = min(bounds.total, max(bounds.free, bounds.ratio * path.stat().st_size))
        self.seen = 0

    def add(self, size: int) -> None:
        self.seen += size
        if self.seen > self.limit:
            raise UserError(
                f"{self.path} unpacks to more than {self.limit} bytes; refused as a decompression bomb",
                "If it is genuine, unpack it yourself and import the folder.",
            )

    def check_member(self, name: str, size: int) -> None:
        if size > self.bounds.member:
            raise UserError(
                f"{self.path}: {name} unpacks to {size} bytes, more than the {self.bounds.member} allowed",
                "An image of one chromosome is far smaller: remove the file from the archive.",
            )


class _MeteredStream(io.RawIOBase):
    """A readable stream that reports what passes through it."""

    def __init__(self, stream: IO[bytes], meter: _Meter) -> None:
        super().__init__()
        self._stream = stream
        self._meter = meter

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if size >= 0 else self._meter.limit + 1)
        self._meter.add(len(data))
        return data


def read_images(
    source: Path, bounds: Bounds | None = None, wanted: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield (relative name with "/", bytes) of every image file in a folder, zip, tar or tar.gz.

    wanted: what to take by its name instead of images.

    Raises :class:`UserError` when ``source`` does not exist or is none of these, is damaged or outgrows
    ``bounds``; :class:`ManyErrors` for members that lead out of it or are not plain files.
    """
    bounds, wanted = bounds or Bounds(), wanted or is_image
    if source.is_dir():
        yield from _read_folder(source, bounds, wanted)
        return
    if not source.is_file():
        raise UserError(f"no such folder or archive: {source}", "Give the downloaded file, or its folder.")
    try:
        with source.open("rb") as file:
            head = file.read(512)
        if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            yield from _read_zip(source, bounds, wanted)
        elif head[:2] == b"\x1f\x8b" or head[257:262] == b"ustar":
            yield from _read_tar(source, bounds, wanted, packed=head[:2] == b"\x1f\x8b")
        else:
            raise UserError(
                f"{source} is not a folder, zip, tar or tar.gz",
                "Give the folder itself; another archive is to be unpacked first.",
            )
    except PermissionError as fault:
        raise EnvironmentFault(f"cannot read {source}: {fault.strerror}", "Check its permissions.") from fault
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        NotImplementedError,
        UnicodeDecodeError,
    ) as fault:
        raise UserError(f"{source} is damaged: {fault}", "Download it again.") from fault


def is_left_behind(name: str) -> bool:
    """Say whether ``name`` (relative, with "/") is what a system left, not a person: hidden, a resource fork, a cache.

    >>> [is_left_behind(name) for name in ("__MACOSX/c1/1a.png", "c1/._1a.png", "c1/1a.png")]
    [True, True, False]
    """
    parts = PurePosixPath(name).parts
    hidden = any((part.startswith(".") and part != "..") or part.lower() in _LEFT_BEHIND for part in parts)
    return hidden or PurePosixPath(name).name.lower() in _LEFT_FILES


def is_image(name: str) -> bool:
    """Say whether ``name`` (relative to what was handed in, with "/") is an image's; its content may still be none.

    The one rule of all intakes, for folders and archives alike.
    """
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not is_left_behind(name)


def image_files(folder: Path, wanted: Callable[[str], bool] = is_image) -> list[str]:
    """Return the names of all images in ``folder`` and below, relative to it with "/", sorted as paths are.

    wanted: as :func:`read_images` has it.
    """
    root = without_limit(folder)
    names = ((path, PurePosixPath(path.relative_to(root).as_posix())) for path in root.rglob("*"))
    # By the parts as they are written: Windows sorts paths without regard to case.
    return [str(name) for name in sorted(name for path, name in names if wanted(str(name)) and path.is_file())]


def folders_and_images(source: Path) -> tuple[list[str], list[str]]:
    """Return the names of all folders and of all images below ``source``, a folder or a zip, which is not unpacked.

    They are relative to it, with "/"; what systems left is not among them. Of any other file: none.
    """
    if source.is_dir():
        root = without_limit(source)
        folders = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_dir()}
        return sorted(one for one in folders if not is_left_behind(one)), image_files(source)
    try:
        with zipfile.ZipFile(source) as archive:
            names = [_with_slashes(entry.filename) for entry in archive.infolist()]
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError):
        return [], []  # no zip, or whoever reads it says what is wrong with it
    folders = {folder.as_posix() for name in names for folder in list(PurePosixPath(f"{name}x").parents)[:-1]}
    images = [_plain(name) for name in names if not name.endswith("/") and is_image(name)]
    return sorted(one for one in folders if not is_left_behind(one)), images


def _read_folder(source: Path, bounds: Bounds, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for name in image_files(source, wanted):
        yield name, read_bounded(source / name, bounds.member)


def _read_zip(source: Path, bounds: Bounds, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    meter = _Meter(source, bounds)
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        times = Counter(entry.filename for entry in entries)
        twice = [f"{name!r} is stored {number} times" for name, number in times.items() if number > 1]
        _refuse(source, [why for entry in entries if (why := _zip_fault(entry))] + twice)
        for entry in entries:
            name = _with_slashes(entry.filename)
            if name.endswith("/") or not wanted(name):
                continue
            meter.check_member(name, entry.file_size)
            meter.add(entry.file_size)
            with archive.open(entry) as file:
                yield _plain(name), file.read(entry.file_size)


def _zip_fault(entry: zipfile.ZipInfo) -> str:
    kind = (entry.external_attr >> 16) & 0o170000
    if kind == 0o120000:
        return f"{entry.filename!r} is a link"
    if entry.flag_bits & 0x1:
        return f"{entry.filename!r} is encrypted"
    return "" if is_inside(_with_slashes(entry.filename)) else f"{entry.filename!r} leads out of the archive"


def _with_slashes(name: str) -> str:
    """Return the name of a zip's member with "/" between folders, for which some programs of Windows write a backslash.

    The format knows "/" alone (APPNOTE.TXT 4.4.17.1), and no image is called by a backslash.
    """
    return name.replace("\\", "/")


def _read_tar(source: Path, bounds: Bounds, wanted: Callable[[str], bool], packed: bool) -> Iterator[tuple[str, bytes]]:
    meter = _Meter(source, bounds)
    opener = gzip.open if packed else open
    with cast(IO[bytes], opener(source, "rb")) as stream:
        metered = cast(IO[bytes], _MeteredStream(stream, meter))
        with tarfile.open(fileobj=metered, mode="r|") as archive:
            for member in archive:
                _refuse(source, [why for why in [_tar_fault(member)] if why])
                if not member.isfile() or not wanted(member.name):
                    continue
                meter.check_member(member.name, member.size)
                file = archive.extractfile(member)
                data = file.read() if file else b""
                if len(data) != member.size:
                    raise EOFError(f"{member.name} is cut short")
                yield _plain(member.name), data


def _tar_fault(member: tarfile.TarInfo) -> str:
    if member.name.rstrip("/") in ("", "."):
        return ""
    if not is_inside(member.name):
        return f"{member.name!r} leads out of the archive"
    if member.issparse():
        return f"{member.name!r} has holes, which may unpack to any size"
    return "" if member.isfile() or member.isdir() else f"{member.name!r} is a link or a device"


def _plain(name: str) -> str:
    return PurePosixPath(name).as_posix()


def _refuse(source: Path, faults: list[str]) -> None:
    if faults:
        raise ManyErrors(f"{source} is refused:", faults, "Get the archive from its publisher again.")
