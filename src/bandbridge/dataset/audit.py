"""What is wrong with a dataset, found by looking at every image and at the table: ``bandbridge data check``."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.dataset.census import take_census
from bandbridge.dataset.decode import DecodeError, quiet_pillow
from bandbridge.dataset.findings import Finding, counted, decision, note
from bandbridge.dataset.framing import Frame, find_canvases, find_outlying, measure
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.other_readers import check_for_other_readers
from bandbridge.dataset.repeats import SIGNATURE, candidate_pairs, is_near, signature, twin_cells
from bandbridge.errors import UserError
from bandbridge.karyotype import CLASSES, order_classes
from bandbridge.progress import track

#: Contact with the border, as a share of border pixels, above which a chromosome counts as touching it.
_TOUCHING = 0.02


@dataclass(frozen=True)
class Audit:
    """The result: counts, and findings with those that need a decision first.

    ``ground``: "bright", "dark" or "mixed". ``sizes``: smallest, median and largest height and width, pixels.
    """

    dataset: str
    images: int
    classes: dict[str, int]
    cells: int
    patients: int
    ground: str
    sizes: dict[str, tuple[int, int, int]]
    findings: tuple[Finding, ...]

    @property
    def needs_decision(self) -> bool:
        """Whether a person has to decide something before training."""
        return any(finding.severity == "decision" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return {**asdict(self), "needs_decision": self.needs_decision}


@dataclass(frozen=True)
class _Seen:
    """The readable images: rows of the table, frames, contrast to the ground, signatures, hashes of pixels."""

    samples: pd.DataFrame
    frames: list[Frame]
    contrasts: list[np.ndarray]
    signatures: np.ndarray
    pixel_hashes: list[str]

    def name(self, row: int) -> str:
        return str(self.samples["file_name"].iloc[row])

    def label(self, row: int) -> str:
        return str(self.samples["label"].iloc[row])

    def cell(self, row: int) -> str:
        return str(self.samples["cell"].iloc[row])


def audit_dataset(dataset: ImageFolder) -> Audit:
    """Read every image of ``dataset`` and return what was found. Unreadable images are a finding, not an error."""
    samples = dataset.samples
    with quiet_pillow():
        seen, unreadable = _look(dataset)
    found = decision("unreadable", "image", unreadable, "cannot be read.", "Replace these files, or remove their rows.")
    found += _check_files(dataset)
    found += _check_blank(seen)
    if samples["label"].isin(CLASSES).any():
        found += _check_frames(seen)
    found += _check_likeness(seen)
    found += take_census(samples)
    found += check_for_other_readers(samples)
    counts = Counter(samples["label"])
    return Audit(
        dataset=dataset.path.name,
        images=len(samples),
        classes={label: counts[label] for label in order_classes(counts)},
        cells=samples.loc[samples["cell"] != "", "cell"].nunique(),
        patients=samples.loc[samples["patient"] != "", "patient"].nunique(),
        ground=_ground(seen.frames),
        sizes=_sizes(seen.frames),
        findings=tuple(sorted(found, key=lambda finding: finding.severity != "decision")),
    )


def _look(dataset: ImageFolder) -> tuple[_Seen, list[str]]:
    rows, frames, contrasts, signatures, hashes, unreadable = [], [], [], [], [], []
    names = dataset.samples["file_name"].tolist()
    for row, name in enumerate(track(names, len(names), "looking at images")):
        try:
            image = dataset.gray(name)
        except DecodeError as error:
            unreadable.append(error.message)
            continue
        except UserError as error:
            unreadable.append(f"{name}: {error.message}")
            continue
        frame, contrast = measure(image)
        rows.append(row)
        frames.append(frame)
        contrasts.append(contrast)
        signatures.append(signature(contrast))
        hashes.append(hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest())
    table = dataset.samples.iloc[rows].reset_index(drop=True)
    stacked = np.stack(signatures) if signatures else np.zeros((0, *SIGNATURE), dtype=np.float32)
    return _Seen(table, frames, contrasts, stacked, hashes), unreadable


def _ground(frames: list[Frame]) -> str:
    kinds = {frame.is_bright for frame in frames if not frame.is_blank}
    return "mixed" if len(kinds) == 2 else "bright" if kinds == {True} else "dark" if kinds else "unknown"


def _sizes(frames: list[Frame]) -> dict[str, tuple[int, int, int]]:
    if not frames:
        return {}
    sides = {"height": [frame.height for frame in frames], "width": [frame.width for frame in frames]}
    return {side: (min(values), int(np.median(values)), max(values)) for side, values in sides.items()}


def _check_files(dataset: ImageFolder) -> list[Finding]:
    """Findings on what the files hold besides one image of 8 bits; all of them have been read."""
    found = []
    for depth in dataset.depths:
        deep = [f"brightest pixel {depth.largest:,}"] if depth.largest else []
        found += note(
            "bit-depth",
            "set",
            deep,
            f"files of 16 bits a sample that do not say how many are used are read as of {depth.bits()} bits, the "
            "fewest that hold the brightest pixel of all.",
            "If it has another depth, write it in a column bits of metadata.csv (bandbridge data import --bit-depth).",
        )
        found += decision(
            "bit-depth-in-doubt",
            "set",
            [depth.doubt()] if depth.doubt() else [],
            "a few files make all others nearly black.",
            "Mend these files, or write the bits of each camera in a column bits of metadata.csv.",
        )
        found += note(
            "several-pages",
            "image",
            [f"{name}: {count}" for name, count in depth.stacked.items()],
            "several pages, time points or channels in one file; the first is read.",
            "If another is meant, import the set again with --page or --channel.",
        )
        found += note(
            "all-transparent",
            "image",
            list(depth.hidden),
            "transparent all over; the colours below are read.",
            "Look at a few: a program wrote an empty mask with them.",
        )
    return found


def _check_blank(seen: _Seen) -> list[Finding]:
    return decision(
        "blank",
        "image",
        [seen.name(row) for row, frame in enumerate(seen.frames) if frame.is_blank],
        "blank; nothing stands out from the ground.",
        "Remove these rows, or replace the files.",
    )


def _check_frames(seen: _Seen) -> list[Finding]:
    """Findings on the ground and the framing, which natural images would fill with noise."""
    frames = seen.frames
    shown = [row for row, frame in enumerate(frames) if not frame.is_blank]
    bright = [row for row in shown if frames[row].is_bright]
    dark = [row for row in shown if not frames[row].is_bright]
    minority = [seen.name(row) for row in min(bright, dark, key=len)]
    few = "bright" if len(bright) < len(dark) else "dark"
    canvases = find_canvases(frames)
    sizes = sorted({f"{frames[row].height} x {frames[row].width}" for row in canvases})
    where = f"fixed canvas of {' or '.join(sizes[:3])} pixels (height x width)"
    cells = _cells_or_names(seen, canvases)
    outlying = [
        f"{seen.name(row)}: {frames[row].box[0]} x {frames[row].box[1]} pixels"
        for row in find_outlying(frames, seen.samples["label"].tolist())
    ]
    return [
        *decision(
            "mixed-ground",
            "image",
            minority,
            f"a {few} ground; the other {len(shown) - len(minority):,} have not.",
            "Invert one kind before training, or make two datasets: a model would learn the ground.",
        ),
        *decision(
            "mixed-framing",
            "image",
            [seen.name(row) for row in canvases],
            f"on a {where}, the rest on tight crops: resizing gives equal chromosomes different sizes.",
            "Prepare with crop: foreground, which frames all images alike.",
            cells,
        ),
        *note(
            "outlying-length",
            "image",
            outlying,
            "far longer or shorter than others of the class: a fragment, a strong bend or a wrong label.",
            "Look at these images.",
        ),
        *_check_contact(seen, shown),
    ]


def _cells_or_names(seen: _Seen, rows: list[int]) -> list[str]:
    """Name the cells of ``rows``, with their number of images; the files, where cells are not known."""
    cells = Counter(seen.cell(row) for row in rows)
    if "" in cells:
        return [seen.name(row) for row in rows]
    return [f"{len(cells)} cells, of them:"] * (len(cells) > 7) + [
        f"{cell}: {counted(count, 'image')}" for cell, count in cells.items()
    ]


def _check_contact(seen: _Seen, shown: list[int]) -> list[Finding]:
    touching = [row for row in shown if seen.frames[row].contact > _TOUCHING]
    if len(touching) > len(shown) / 2:
        sentence = "cropped so tightly that the chromosome lies along the border."
        remedy = "Pad with the image's own ground (padding: background), or padding draws an edge around it."
    else:
        sentence = "the chromosome touches the border and may be cut off."
        remedy = "Look at a few of these images."
    touching.sort(key=lambda row: -seen.frames[row].contact)
    return note("touches-border", "image", [seen.name(row) for row in touching], sentence, remedy)


def _check_likeness(seen: _Seen) -> list[Finding]:
    groups: dict[str, list[int]] = defaultdict(list)
    for row, pixels in enumerate(seen.pixel_hashes):
        if not seen.frames[row].is_blank:
            groups[pixels].append(row)
    identical = [(rows[0], other) for rows in groups.values() for other in rows[1:]]
    labels, cells = seen.samples["label"].tolist(), seen.samples["cell"].tolist()
    twins = twin_cells(seen.signatures, labels, cells)
    twin_pairs = {frozenset(pair[:2]) for pair in twins}
    near = [
        (first, second)
        for first, second in candidate_pairs(seen.signatures).tolist()
        if seen.pixel_hashes[first] != seen.pixel_hashes[second]
        and is_near(seen.contrasts[first], seen.contrasts[second])
    ]
    contrary = [pair for pair in identical + near if labels[pair[0]] != labels[pair[1]]]
    agreeing = [pair for pair in near if labels[pair[0]] == labels[pair[1]]]
    alone = [pair for pair in agreeing if frozenset((cells[pair[0]], cells[pair[1]])) not in twin_pairs]
    return [
        *decision(
            "two-labels",
            "pair",
            [f"{seen.name(a)} ({labels[a]}) = {seen.name(b)} ({labels[b]})" for a, b in contrary],
            "one chromosome under two labels.",
            "Find out which label is right and remove the other row.",
        ),
        *decision(
            "identical",
            "image",
            [f"{seen.name(b)} = {seen.name(a)}" for a, b in identical],
            "pixel by pixel a copy of another.",
            "Remove the copies: in two folds, they let a model be tested on what it was trained on.",
        ),
        *decision(
            "near-identical",
            "pair",
            [f"{seen.name(a)} ~ {seen.name(b)}" for a, b in alone],
            "one image but for flips, framing, scale or brightness.",
            "Look at these pairs and remove the copies.",
        ),
        *decision(
            "twin-cells",
            "pair of cells",
            [f"{a} and {b}: {alike} of {shared} classes alike" for a, b, alike, shared in twins],
            "one metaphase taken twice.",
            "Keep one cell of each pair, or give both the same cell name so that folds keep them together.",
        ),
    ]
