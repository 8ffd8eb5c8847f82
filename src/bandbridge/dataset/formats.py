"""From a public distribution to a dataset: ``images/`` with the files unchanged, and ``metadata.csv``.

``metadata.csv`` is written last, after what tells other readers of it (:mod:`bandbridge.dataset.cards`). The same
command goes on with an import that was stopped: what is there is compared and kept, what is missing or half written is
written again.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from bandbridge.dataset.archive import Bounds, read_images
from bandbridge.dataset.cards import write_cards
from bandbridge.dataset.decode import DecodeError
from bandbridge.dataset.imagefolder import BITS, COLUMNS, METADATA
from bandbridge.dataset.layouts import LAYOUTS, Layout, Specimen, read_cir_names
from bandbridge.dataset.planes import choose_plane
from bandbridge.disk import cannot_write, reachable
from bandbridge.errors import ManyErrors, UserError, refuse_odd_names
from bandbridge.filenames import folded, safe_paths
from bandbridge.files import csv_lines, is_present, load_json, write_json, write_text
from bandbridge.karyotype import CLASSES, is_number
from bandbridge.leftovers import clear_leftovers
from bandbridge.progress import track

#: Written first, so that a half-done import is known for what it is; kept, as a note on the images' origin.
ORIGIN = "import.json"


@dataclass(frozen=True)
class Imported:
    """What an import gave: where, how many images, and what the reader should know of them."""

    destination: Path
    images: int
    cells: int
    notes: tuple[str, ...]


def import_distribution(
    layout_name: str,
    source: Path,
    destination: Path,
    *,
    stain: str = "",
    first_label: int | None = None,
    bit_depth: int | None = None,
    page: int | None = None,
    channel: int | None = None,
    bounds: Bounds | None = None,
) -> Imported:
    """Import ``source`` (folder, zip, tar, tar.gz), laid out as ``layout_name``, into ``destination``.

    ``stain`` replaces the layout's own; ``first_label`` (0 or 1) is for ``cir``, see
    :func:`~bandbridge.dataset.layouts.read_cir_names`. ``bit_depth``, 8 to 16, is how many bits the camera used, of
    files of 16 that do not say it; it is written down. Of files with several pages or channels, ``page`` and
    ``channel``, counted from 1, choose one, which is written as PNG in their place. A name that some system cannot have
    is written as :func:`bandbridge.filenames.safe_paths` makes it. Raises :class:`UserError` for an
    unknown layout, a source without images, a destination that holds anything else; for all names of another layout,
    and all files without such a page, at once.
    """
    layout = _find_layout(layout_name)
    origin = {"layout": layout_name, "source": source.resolve().name}
    chosen = {"page": page, "channel": channel, "bit_depth": bit_depth}
    origin |= {name: str(number) for name, number in chosen.items() if number is not None}
    check_apart(source, destination)
    check_own(destination, origin)
    names = _strip_common_folder([name for name, _ in read_images(source, bounds)], layout_name)
    if not names:
        raise UserError(f"{source} holds no image", "Images are .png, .bmp, .tif, .tiff, .jpg or .jpeg files.")
    _refuse_unwritable_names(names)
    whole = page is None and channel is None
    kept_as = names if whole else [_as_png_name(name) for name in names]
    _refuse_same_names(kept_as)
    kept_as = safe_paths(kept_as)
    read_names = layout.read_names
    if layout_name == "cir":
        read_names = partial(read_cir_names, first_label=first_label)
    specimens = read_names(names)
    begun = (destination / ORIGIN).exists()
    write_json(destination / ORIGIN, origin)
    contents = (data for _, data in read_images(source, bounds))
    problems: list[str] = []
    stated: dict[str, str] = {}
    read = zip(names, kept_as, contents, strict=True)
    for name, written, data in track(read, len(names), "importing"):
        try:
            kept, bits = (data, bit_depth) if whole else choose_plane(data, name, page or 1, channel or 1, bit_depth)
        except DecodeError as error:
            problems.append(error.message)
            continue
        _put(destination / "images" / written, kept)
        stated[f"images/{written}"] = "" if bits is None else str(bits)
    if problems:
        if not begun:
            _forget(destination)
        raise ManyErrors("images of which no such page or channel can be read:", problems, "Choose another.")
    rows = _rows(
        kept_as,
        specimens,
        stain or layout.stain,
        layout.title or source.resolve().name,
    )
    columns: tuple[str, ...] = COLUMNS
    if any(stated.values()):
        columns, rows = (*COLUMNS, BITS), [(*row, stated[row[0]]) for row in rows]
    table = csv_lines(columns, rows)
    write_cards(destination, layout.title or source.resolve().name, columns, rows, table)
    write_text(destination / METADATA, table)
    cells = {specimen.cell for specimen in specimens} - {""}
    return Imported(destination, len(names), len(cells), tuple(_notes(layout, specimens)))


def _forget(destination: Path) -> None:
    """Take away what a refused import has begun: another choice would find the folder taken."""
    shutil.rmtree(destination / "images", ignore_errors=True)
    with suppress(OSError):
        (destination / ORIGIN).unlink()
        destination.rmdir()  # where it was there before, it stays, empty


def compare_with_published(labels: Sequence[str], layout: Layout) -> list[str]:
    """Say, one sentence each, where the counts of ``labels`` differ from those published for ``layout``."""
    if layout.images is None:
        return []
    counts = Counter(labels)
    notes = []
    if len(labels) != layout.images:
        notes.append(f"this copy holds {len(labels):,} images; {layout.images:,} were published.")
    different = [
        f"{label}: {counts[label]} ({' or '.join(map(str, expected))})"
        for label, expected in layout.published.items()
        if counts[label] not in expected
    ]
    if different:
        notes.append("counts that differ from the published ones (in brackets): " + ", ".join(different) + ".")
    return notes or [f"all {layout.images:,} published images, each class with its published count."]


def _notes(layout: Layout, specimens: Sequence[Specimen]) -> list[str]:
    notes = compare_with_published([specimen.label for specimen in specimens], layout)
    unknown = sum(not specimen.cell for specimen in specimens)
    if unknown:
        notes.append(f"{unknown:,} file names do not tell the cell: folds grouped by cell cannot be made of them.")
    return notes


def _find_layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise UserError(f"no such layout: {name}", f"Layouts are {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]


def check_apart(source: Path, destination: Path) -> None:
    """Raise :class:`UserError` where ``source`` is absent, or one of both lies in the other."""
    if not is_present(source):
        raise UserError(f"no such folder or archive: {source}", "Give the downloaded file, or its folder.")
    refuse_nested(source, destination)


def refuse_nested(source: Path, destination: Path) -> None:
    """Raise :class:`UserError` where one lies in the other: what is written would be read the next time."""
    given, target = source.resolve(), destination.resolve()
    if target == given or target.is_relative_to(given) or (given.is_dir() and given.is_relative_to(target)):
        raise UserError(f"{destination} and {source} lie in one another", "Choose another destination.")


def _strip_common_folder(names: list[str], layout_name: str) -> list[str]:
    """Drop a top folder that holds everything, but never the last one, nor a single Pki-3 cell."""
    needed = 3 if layout_name == "pki3" else 2
    parts = [PurePosixPath(name).parts for name in names]
    while parts and len({part[0] for part in parts}) == 1 and all(len(part) > needed for part in parts):
        parts = [part[1:] for part in parts]
    return ["/".join(part) for part in parts]


def _refuse_unwritable_names(names: Sequence[str]) -> None:
    """Refuse names with control signs, and in another encoding than UTF-8: metadata.csv could not hold them."""
    refuse_odd_names(names, "names of files")


def _refuse_same_names(names: Sequence[str]) -> None:
    # Many file systems do not tell cases, or composed letters, apart: two such files would become one.
    times = Counter(folded(name) for name in names)
    twice = [name for name in names if times[folded(name)] > 1]
    if twice:
        raise ManyErrors("files of one name (upper and lower case alike):", twice, "Rename them.")


def check_own(destination: Path, origin: dict[str, str]) -> None:
    """Raise :class:`UserError` unless ``destination`` is absent, empty, or holds this same import."""
    if is_present(destination) and not destination.is_dir():
        raise UserError(f"{destination} is a file", "Choose a new folder.")
    clear_leftovers(destination)
    if destination.is_dir() and any(destination.iterdir()):
        try:
            found = load_json(destination / ORIGIN)
        except (OSError, ValueError):
            found = None
        if found != origin:
            what = "another import" if found else "files that no import made"
            raise UserError(f"{destination} holds {what}", "Choose a new folder, or empty this one yourself.")


def _put(path: Path, data: bytes) -> None:
    place = reachable(path)
    try:
        if place.is_file() and place.read_bytes() == data:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    except OSError as fault:
        refused = cannot_write(path, fault)
        refused.remedy += " The same command goes on with the import."
        raise refused from fault


def _rows(names: Sequence[str], specimens: Sequence[Specimen], stain: str, source: str) -> list[tuple[str, ...]]:
    rows = [
        (f"images/{name}", one.label, one.cell, one.patient, one.copy, stain, source)
        for name, one in zip(names, specimens, strict=True)
    ]
    position = {label: index for index, label in enumerate(CLASSES)}
    return sorted(rows, key=lambda row: (_natural(row[2]), position.get(row[1], 99), _natural(row[0])))


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts "9" before "10"."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if is_number(part) else (0, 0, part) for part in parts if part]


def _as_png_name(name: str) -> str:
    return PurePosixPath(name).with_suffix(".png").as_posix()
