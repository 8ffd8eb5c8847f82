"""What the separator learns from metaphases whose chromosomes are known: those that a person has reviewed, or drawn.

FOLDER/fields/NAME.png                 the field
FOLDER/truth/NAME_mask.png             16 bits: the number of the chromosome at a pixel, from 1
FOLDER/truth/NAME_overlap.png          16 bits: the second one where two lie on each other

The export of a review holds such a folder as ``metaphases``, and ``bandbridge data synth --spreads`` draws one. The
masks tell no axes: here they are found from the shape of each.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from scipy import ndimage

from bandbridge.dataset.cutout import Cutout
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import replacing
from bandbridge.metaphase.field import shrunk_by
from bandbridge.metaphase.ground import BlankField, level
from bandbridge.metaphase.intake import read_field
from bandbridge.metaphase.lifted import WIDTH, resized, to_bytes
from bandbridge.metaphase.maps import pieces_of_maps
from bandbridge.metaphase.pieces import Piece
from bandbridge.progress import track
from bandbridge.synthetic.spread import CORE, DIRECTIONS, NOWHERE
from bandbridge.training.separator import REVIEWED, Example

#: In an export of a review, the folder of its metaphases.
METAPHASES = "metaphases"
#: How smooth a mask is made before its direction is looked for, in widths.
_SMOOTH = 0.45
#: A chromosome is short that is less than so many times as long as wide.
_SHORT = 3.0
#: A chromosome this small, in pixels at the separator's scale, has no axis.
_FEWEST_PIXELS = 12


def keep_reviewed(folder: Path, given: list[Path]) -> int:
    """Keep an example in ``folder`` for each metaphase of the folders ``given``; return how many there are.

    What is there already is kept. Raises :class:`UserError` for a folder that holds none, and
    :class:`~bandbridge.errors.ManyErrors` for metaphases whose files do not go together.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = [place for one in given for place in _fields_in(one)]
    kept, bad = 0, []
    for place in track(places, len(places), "Reading metaphases"):
        try:
            kept += _keep(folder, place)
        except UserError as error:
            bad.append(f"{place}: {error.message}")
    if bad:
        raise ManyErrors("metaphases that cannot be learnt from:", bad, "Mend these or leave them out.")
    return kept


def _fields_in(folder: Path) -> list[Path]:
    home = folder / METAPHASES if (folder / METAPHASES).is_dir() else folder
    found = sorted((home / "fields").glob("*.png"))
    if not found or not (home / "truth").is_dir():
        raise UserError(
            f"{folder} holds no metaphases with their truth",
            "Give the folder of a review's export, or of bandbridge data synth --spreads.",
        )
    return found


def _keep(folder: Path, place: Path) -> bool:
    files = [place, *(place.parent.parent / "truth" / f"{place.stem}_{name}.png" for name in ("mask", "overlap"))]
    try:
        data = [file.read_bytes() for file in files]
    except OSError as fault:
        raise UserError(f"{fault.filename}: {fault.strerror}") from fault
    target = folder / f"{REVIEWED}{hashlib.sha256(b''.join(data)).hexdigest()[:16]}.npz"
    if target.is_file():
        return True
    gray, first, second = (read_field(each, file.name) for each, file in zip(data, files, strict=True))
    example = example_of(gray, first, second)
    if example is None:
        return False
    with replacing(target) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, contrast=example.contrast, layers=example.layers, axes=example.axes)
    return True


def example_of(gray: np.ndarray, first: np.ndarray, second: np.ndarray) -> Example | None:
    """Return what is learnt from a field ``gray`` [H, W] and its two maps, uint16 [H, W], at the separator's scale.

    None where nothing is on it. Raises :class:`UserError` where their sizes differ.
    """
    if not gray.shape == first.shape == second.shape:
        raise UserError("the field and its truth differ in size", "All three are of one metaphase.")
    pieces = list(pieces_of_maps(first, second).values())
    width = width_of(pieces)
    if not width:
        return None
    scale = WIDTH / width
    by = max(1, int(1 / scale))
    try:
        contrast = level(shrunk_by(gray, by)).contrast
    except BlankField:
        return None
    shape = (max(1, round(gray.shape[0] * scale)), max(1, round(gray.shape[1] * scale)))
    layers, axes = np.zeros(shape, np.uint8), np.full((2, *shape), NOWHERE, np.uint8)
    for piece in pieces:
        box, mask = _at_scale(piece, gray.shape, shape)
        layers[box] += mask & (layers[box] < 2)
        core = axis_of(mask)
        free = axes[0][box] == NOWHERE
        for layer, where in zip(axes, (free, ~free), strict=True):
            layer[box] = np.where(where & (core != NOWHERE), core, layer[box])
    return Example(to_bytes(resized(contrast, shape)), layers, axes)


def width_of(pieces: list[Piece]) -> float:
    """Return how wide chromosomes are, pixels: the middle one's area by its length; 0 for none."""
    lengths = [Cutout(one.mask.astype(np.uint8), one.mask, (0, 0, *one.mask.shape)).length for one in pieces]
    return float(np.median([one.area / max(length, 1.0) for one, length in zip(pieces, lengths, strict=True)] or [0.0]))


def _at_scale(piece: Piece, shape: tuple[int, ...], wanted: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where ``piece`` of a field of ``shape`` lies in one of ``wanted`` shape, and its mask there, bool."""
    down, over = (new / old for new, old in zip(wanted, shape, strict=True))
    rows, columns = piece.box
    top, left = max(0, int(rows.start * down) - 1), max(0, int(columns.start * over) - 1)
    bottom, right = min(wanted[0], int(rows.stop * down) + 2), min(wanted[1], int(columns.stop * over) + 2)
    y = ((np.arange(top, bottom) + 0.5) / down - rows.start).astype(int)
    x = ((np.arange(left, right) + 0.5) / over - columns.start).astype(int)
    inside = ((y >= 0) & (y < piece.mask.shape[0]))[:, None] & ((x >= 0) & (x < piece.mask.shape[1]))
    mask = piece.mask[np.clip(y, 0, piece.mask.shape[0] - 1)][:, np.clip(x, 0, piece.mask.shape[1] - 1)] & inside
    return (slice(top, bottom), slice(left, right)), mask


def axis_of(mask: np.ndarray) -> np.ndarray:
    """Return the direction of the axis in the core of ``mask``, bool [h, w], a chromosome at the separator's scale.

    uint8 [h, w], degrees from x towards y, 0 to 179, :data:`~bandbridge.synthetic.spread.NOWHERE` outside the core.
    The core is what lies deep enough; its direction is that in which the smoothed mask changes least. A short one,
    whose ends are as near as its sides, has one direction, that of the whole.
    """
    found = np.full(mask.shape, NOWHERE, np.uint8)
    if mask.sum() < _FEWEST_PIXELS:
        return found
    reach = round(2 * WIDTH)
    padded = np.pad(mask, reach)
    depth = ndimage.distance_transform_edt(padded)
    half = min(width_of([Piece(0, 0, mask, area=int(mask.sum()))]) / 2, float(depth.max()))
    core = depth > (1 - CORE) * half
    inner = np.s_[reach:-reach, reach:-reach]
    if _is_short(mask, half):
        rows, columns = np.nonzero(mask)
        (xx, xy), (_, yy) = np.cov(np.stack([columns, rows]))
        whole = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
        return np.where(core[inner] & mask, np.uint8(np.rint(whole) % DIRECTIONS), found)
    smooth = ndimage.gaussian_filter(padded.astype(np.float32), _SMOOTH * WIDTH)
    down, over = np.gradient(smooth)
    (yy, yx), (_, xx) = np.gradient(down), np.gradient(over)
    along = np.degrees(0.5 * np.arctan2(2 * yx, xx - yy))
    angle = (np.rint(along) % DIRECTIONS).astype(np.uint8)
    return np.where(core[inner] & mask, angle[inner], found)


def _is_short(mask: np.ndarray, half: float) -> bool:
    return bool(mask.sum() < _SHORT * (2 * half) ** 2)
