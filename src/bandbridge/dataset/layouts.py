"""How each public distribution writes class, cell, patient and copy into its file names.

A layout takes all image names of a distribution (relative, "/") and returns one :class:`Specimen` for each,
or reports every name it cannot read at once. Nothing here touches a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from bandbridge.errors import ManyErrors, UserError
from bandbridge.karyotype import AUTOSOMES, is_number, parse_label


@dataclass(frozen=True)
class Specimen:
    """What a file name says of its image; "" = not said."""

    label: str
    cell: str = ""
    patient: str = ""
    copy: str = ""


@dataclass(frozen=True)
class Layout:
    """A public distribution: how its names are read and what its publishers count.

    ``published`` holds, for each class, the counts that agree with the publication.
    """

    title: str
    stain: str
    read_names: Callable[[Sequence[str]], list[Specimen]]
    images: int | None = None
    published: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


_BIOIMLAB_NAME = re.compile(r"(?P<cell>.*?)[ _-]+(?P<label>\d{1,2}|[xy])(?P<copy>[a-d]?)", re.IGNORECASE)
_PKI_CELL = re.compile(r"(?P<cell>(?P<patient>.+)\.[^.]+)\.tiff?", re.IGNORECASE)
_PKI_CLASS = re.compile(r"clase[ _]?(\d{1,2}|x|y)", re.IGNORECASE)
#: A random number, the clock's seconds and their fraction: the name of an image, not of a cell.
_TIME_STAMP = re.compile(r"\d{10,}\.\d+")


def _read_each(names: Sequence[str], read: Callable[[str], Specimen], expected: str) -> list[Specimen]:
    specimens, problems = [], []
    for name in names:
        try:
            specimens.append(read(name))
        except UserError as error:
            problems.append(f"{name}: {error.message}")
    if problems:
        headline = f"{len(problems)} of {len(names)} file names do not fit this layout ({expected}):"
        raise ManyErrors(headline, problems, "Rename or remove these files, or choose the layout that fits.")
    return specimens


def read_bioimlab_names(names: Sequence[str]) -> list[Specimen]:
    """Read ``<karyotype>/<karyotype> <class><a|b>.bmp``, in folders or all in one. 23 is X and 24 is Y."""
    return _read_each(names, _read_bioimlab_name, "'<karyotype> <class><a|b>.bmp'")


def _read_bioimlab_name(name: str) -> Specimen:
    path = PurePosixPath(name)
    match = _BIOIMLAB_NAME.fullmatch(path.stem)
    if match is None or not match["cell"]:
        raise UserError("no karyotype, space, class and copy")
    folder = path.parent.name
    if is_number(folder) and is_number(match["cell"]) and int(folder) != int(match["cell"]):
        raise UserError(f"lies in folder {folder} and names karyotype {match['cell']}")
    return Specimen(parse_label(match["label"]), match["cell"], "", match["copy"].lower())


def read_cir_names(names: Sequence[str], first_label: int | None = None) -> list[Specimen]:
    """Read ``<anything>.<label>.<ext>``, the label being the second-last field between dots.

    The published set numbers its classes from 0 (0 = chromosome 1, 22 = X, 23 = Y). Sets numbered from 1 are
    told from it by a label 24, X or Y; ``first_label`` (0 or 1) settles it when no name does. The first field
    is the cell, except in a time stamp, of which the published names consist: then the cell is unknown.
    """
    fields = [PurePosixPath(name).name.split(".") for name in names]
    labels = {parts[-2].upper() for parts in fields if len(parts) >= 3}
    if first_label is None:
        first_label = _first_label(labels)
    return _read_each(names, lambda name: _read_cir_name(name, first_label), "'<name>.<label>.<ext>'")


def _first_label(labels: set[str]) -> int:
    from_zero, from_one = "0" in labels, bool(labels & {"24", "X", "Y"})
    if from_zero and from_one:
        raise UserError("labels 0 and 24, X or Y occur together", "Classes are numbered from 0 or from 1.")
    if not (from_zero or from_one):
        raise UserError(
            "the file names do not tell whether classes are numbered from 0 or from 1 (no 0, 24, X or Y)",
            "Say it with --first-label 0 (as published: 0 is chromosome 1) or --first-label 1.",
        )
    return 0 if from_zero else 1


def _read_cir_name(name: str, first_label: int) -> Specimen:
    parts = PurePosixPath(name).name.split(".")
    if len(parts) < 3 or not parts[0]:
        raise UserError("no label between two dots")
    written = parts[-2]
    label = str(int(written) + 1) if first_label == 0 and re.fullmatch(r"\d{1,2}", written) else written
    before = ".".join(parts[:-2])
    cell = "" if _TIME_STAMP.fullmatch(before) else parts[0]
    return Specimen(parse_label(label), cell, "", ".".join(parts[1:-2]) if cell else "")


def read_pki3_names(names: Sequence[str]) -> list[Specimen]:
    """Read ``<patient>.<cell>.tiff/clase<k>/<copy>.<ext>``: the cell's id is ``<patient>.<cell>``."""
    return _read_each(names, _read_pki3_name, "'<patient>.<cell>.tiff/clase<k>/...'")


def _read_pki3_name(name: str) -> Specimen:
    path = PurePosixPath(name)
    cells = [match for part in path.parts[:-1] if (match := _PKI_CELL.fullmatch(part))]
    classes = [match for part in path.parts[:-1] if (match := _PKI_CLASS.fullmatch(part))]
    if len(cells) != 1 or len(classes) != 1:
        raise UserError("no one folder <patient>.<cell>.tiff with one folder clase<k> in it")
    return Specimen(parse_label(classes[0][1]), cells[0]["cell"], cells[0]["patient"], path.stem)


def read_class_folders(names: Sequence[str]) -> list[Specimen]:
    """Read ``<class>/<image>`` or ``<class>/<cell>/<image>``.

    Raises :class:`ManyErrors` for ``<cell>/<class>/<image>``: the folders inside are then chromosomes. Class names are
    chromosome labels, in any spelling that :func:`parse_label` takes, or none of them is.
    """
    loose = [f"{name}: in no class folder" for name in names if "/" not in name]
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    labels, strange = {}, []
    for folder in folders:
        try:
            labels[folder] = parse_label(folder)
        except UserError:
            strange.append(folder)
    inner = sorted({parts[1] for name in names if len(parts := name.split("/")) == 3})
    if strange and not labels and inner and all(_is_label(folder) for folder in inner):
        lines = [f"{folder}/ holds {', '.join(inner[:4])}{', ...' if len(inner) > 4 else ''}" for folder in strange]
        remedy = "Lay them out as <class>/<cell>/<image>, or write metadata.csv yourself."
        raise ManyErrors("the outer folders seem to be cells and the inner ones classes:", lines, remedy)
    if strange and labels:
        loose += [f"{folder}/: not a chromosome label, as the other folders are" for folder in strange]
    if loose:
        raise ManyErrors("the folders are not one for each class:", loose, "Rename or remove these.")
    return [_in_class_folder(name, labels) for name in names]


def _is_label(text: str) -> bool:
    try:
        return bool(parse_label(text))
    except UserError:
        return False


def _in_class_folder(name: str, labels: dict[str, str]) -> Specimen:
    folder, *between = PurePosixPath(name).parts[:-1]
    return Specimen(labels.get(folder, folder), between[0] if between else "", "", PurePosixPath(name).stem)


LAYOUTS: dict[str, Layout] = {
    "bioimlab": Layout(
        title="BioImLab Q-band",
        stain="Q",
        read_names=read_bioimlab_names,
        images=5474,
        published=dict.fromkeys(AUTOSOMES, (238,)) | {"X": (193,), "Y": (45,)},
    ),
    "cir": Layout(
        title="CIR G-band",
        stain="G",
        read_names=read_cir_names,
        images=2986,
        published=dict.fromkeys(AUTOSOMES, (129, 130)) | {"X": (98,), "Y": (32,)},
    ),
    "pki3": Layout(title="Pki-3 G-band", stain="G", read_names=read_pki3_names),
    "folder": Layout(title="", stain="", read_names=read_class_folders),
}
