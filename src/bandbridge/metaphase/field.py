"""A field of view cut into its chromosomes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from bandbridge.metaphase.alternatives import Alternative, alternatives
from bandbridge.metaphase.cores import Rules
from bandbridge.metaphase.decided import decide, pieces_by
from bandbridge.metaphase.ground import BlankField, Levelled, level
from bandbridge.metaphase.lifted import WIDTH, Said, resized, separate, separate_mirrored
from bandbridge.metaphase.pieces import CHROMOSOME, Piece, with_cells

#: Pixels of the field at which width and ground are looked for; larger fields are looked at smaller.
_SIDE = 1100
#: From one scale that is tried to the next; scales smaller and larger than the measured one that are always tried, and
#: how many are if they are better and better; how near to the best is looked at last; pixels of the largest picture.
_STEP, _ALWAYS, _AT_MOST, _NEARER, _MOST_PIXELS = 1.41, (2, 1), 3, 1.19, 12e6
#: A chromosome this narrow, pixels, shows nothing; noise alone looks so.
_NARROW = 3.0
#: How clear a scale is: how sure the separator is of cores, so much of the share of core in chromosomes, less so much
#: of the logarithm of how far their width is from this one, pixels.
_SHARE, _OFF, _MEASURED = 0.25, 0.15, 9.0
#: Down to this share of what it takes for chromosomes at the measured scale, another scale loses nothing; then so much.
_COVERED, _LOST = 0.5, 0.5
#: A nucleus is thicker than this from its middle, in widths; its rim, in widths; contrast of it, in thresholds.
_THICK, _RIM, _STAINED = 1.35, 0.3, 0.7
#: The mean probability of a chromosome over a nucleus, rim and all, at most: on real fields it was 0 to 0.23, and 0.5
#: and more over dense clusters of chromosomes, however thick.
_NO_CHROMOSOME = 0.35


@dataclass(frozen=True, eq=False)
class Cut:
    """A field and its pieces.

    shape: of the field, (H, W). pieces: all of them, in pixels of the field, chromosomes or not. cells: the places in
    ``pieces`` of the chromosomes of each cell, the largest cell first; none where there are too few. levelled: the
    field without its ground, as it was looked at. said: what the separator says, at its own scale; scale: its pixels
    for one of the field. nuclei: how many were left out before anything was cut. otherwise: what the pieces may be
    instead, where that was asked for, the likeliest first.
    """

    shape: tuple[int, int]
    pieces: tuple[Piece, ...]
    cells: tuple[tuple[int, ...], ...]
    levelled: Levelled = field(repr=False)
    said: Said = field(repr=False)
    scale: float = 1.0
    nuclei: int = 0
    otherwise: tuple[Alternative, ...] = ()

    @property
    def width(self) -> float:
        """How wide a chromosome is, pixels of the field."""
        return WIDTH / self.scale

    def chromosomes(self) -> list[Piece]:
        """Return the pieces that are chromosomes, of all cells."""
        return [piece for piece in self.pieces if piece.kind == CHROMOSOME]

    def masks(self) -> list[np.ndarray]:
        """Return the whole of each chromosome, bool [H, W]."""
        found = []
        for piece in self.chromosomes():
            mask = np.zeros(self.shape, bool)
            mask[piece.box] = piece.mask
            found.append(mask)
        return found


@dataclass(frozen=True, eq=False)
class Looked:
    """A field before it is cut: without its ground, what the separator says where no nucleus is, the contrast at the
    separator's scale, float32 [H, W], that scale, and how many nuclei were left out.
    """

    levelled: Levelled = field(repr=False)
    said: Said = field(repr=False)
    stain: np.ndarray
    scale: float
    nuclei: int


def cut_field(
    gray: np.ndarray, rules: Rules | None = None, graph: Path | None = None, *, otherwise: bool = False
) -> Cut:
    """Cut ``gray`` [H, W], of any numeric type, into its chromosomes.

    graph: another separator than that of the package. otherwise: tell what nearly went the other way, too. Raises as
    :func:`bandbridge.metaphase.ground.level`.
    """
    return cut_looked(look_without_nuclei(gray, graph), (gray.shape[0], gray.shape[1]), rules or Rules(), otherwise)


def cut_looked(looked: Looked, shape: tuple[int, int], rules: Rules, otherwise: bool = False) -> Cut:
    """Cut what was ``looked`` at of a field of ``shape``; otherwise: as :func:`cut_field` has it."""
    said, stain = looked.said, looked.stain
    tangled, joined = decide(said, stain, rules)
    pieces = pieces_by(joined.cores(), said, stain, rules)
    others = alternatives(tangled, joined, pieces, said, stain, rules) if otherwise else []
    pieces, cells = with_cells(pieces)
    seen = (said.there.shape[0], said.there.shape[1])
    whole = tuple(_in_field(piece, seen, shape) for piece in pieces)
    told = tuple(_other_in_field(one, seen, shape) for one in others)
    return Cut(shape, whole, tuple(map(tuple, cells)), looked.levelled, said, looked.scale, looked.nuclei, told)


def _other_in_field(one: Alternative, seen: tuple[int, int], shape: tuple[int, int]) -> Alternative:
    down, over = (new / old for new, old in zip(shape, seen, strict=True))
    gives = tuple(_in_field(piece, seen, shape) for piece in one.gives)
    return replace(one, gives=gives, at=(one.at[0] * down, one.at[1] * over))


def look_without_nuclei(gray: np.ndarray, graph: Path | None = None) -> Looked:
    """Return what is seen of ``gray`` [H, W] before anything is cut. Raises as :func:`look`."""
    levelled, said, scale = look(gray, graph)
    nuclei = thick(levelled, said)
    said = Said(*(np.where(nuclei, np.float32(0), each) for each in (said.there, said.two, said.core)))
    stain = resized(levelled.contrast, (said.there.shape[0], said.there.shape[1]))
    return Looked(levelled, said, stain, scale, int(ndimage.label(nuclei)[1]))


def look(gray: np.ndarray, graph: Path | None = None) -> tuple[Levelled, Said, float]:
    """Return the field without its ground, what the separator says of it, and at how many of its pixels for one.

    Raises :class:`BlankField` where there is nothing that could be a chromosome.
    """
    by = max(1, round(max(gray.shape) / _SIDE))
    levelled = level(shrunk_by(gray, by))
    scale = WIDTH / max(levelled.width, 2.0) / by
    if scale * by > 1.15 and by > 1:
        # Chromosomes are narrow there: the ground is taken from more pixels.
        by = max(1, int(1 / scale))
        levelled = level(shrunk_by(gray, by))
    if by == 1 and levelled.width < _NARROW:
        raise BlankField(
            "nothing on it is wider than a few pixels: it is noise, or far too small a picture",
            "Give the field as the microscope took it.",
        )
    scored: dict[float, float] = {}
    best, covered, found = 1.0, 0.0, None
    for factor in _scales_to_try(scored):
        if factor > 1 and gray.size * (scale * factor) ** 2 > _MOST_PIXELS:
            scored[factor] = -np.inf
            continue
        said = separate(_at_scale(levelled, gray.shape, scale * factor), graph)
        area = float((said.there > 0.5).sum()) / factor**2
        covered = covered or area
        # The little that is seen at a wrong scale may be all the clearer.
        missed = np.log(_COVERED * covered / area) if 0 < area < _COVERED * covered else 0.0
        scored[factor] = clearness(said) - _LOST * float(missed)
        if found is None or scored[factor] > scored[best]:
            best, found = factor, said
    contrast = _at_scale(levelled, gray.shape, scale * best)
    return levelled, separate_mirrored(contrast, graph, found), scale * best


def _scales_to_try(scored: dict[float, float]) -> Iterator[float]:
    """Yield scales, in parts of the measured one: first far and wide, then near to the best of ``scored``.

    Bands and chromatids may have been taken for chromosomes, and nuclei too. scored: what was found at those yielded.
    """
    yield 1.0
    for towards, always in zip((1 / _STEP, _STEP), _ALWAYS, strict=True):
        for steps in range(1, _AT_MOST + 1):
            before = max(scored.values())
            yield towards**steps
            if steps >= always and scored[towards**steps] <= before:
                break
    best = max(scored, key=lambda factor: scored[factor])
    yield from (best / _NEARER, best * _NEARER)


def _at_scale(levelled: Levelled, shape: tuple[int, ...], scale: float) -> np.ndarray:
    wanted = (max(32, round(shape[0] * scale)), max(32, round(shape[1] * scale)))
    return resized(levelled.contrast, wanted)


def clearness(said: Said) -> float:
    """Return how well a scale suits; 0 where there are no chromosomes.

    Bands, chromatids and nuclei that a wrong scale shows as chromosomes have doubtful cores. At scales that are larger
    than need be the separator is hardly less sure; at smaller ones more of a chromosome is core, but the smallest of
    them are nothing: so all three count.
    """
    there, core = said.there > 0.5, said.core.max(axis=0)
    sure, width = core[core > 0.5], width_of(said)
    if not there.any() or not sure.size:
        return 0.0
    off = abs(float(np.log(width / _MEASURED))) if width else 1.0
    return float(sure.mean()) + _SHARE * float(sure.size / there.sum()) - _OFF * off


def width_of(said: Said) -> float:
    """Return how wide chromosomes are in what the separator says, pixels; 0 where there are none."""
    core = said.core.max(axis=0) > 0.5
    thickness = ndimage.distance_transform_edt((said.there > 0.5) & (said.two < 0.3))
    ridge = np.sort(thickness[(thickness >= ndimage.maximum_filter(thickness, 3)) & core & (thickness > 1)])
    middle = ridge[len(ridge) // 4 : 3 * len(ridge) // 4]
    return 2 * float(middle.mean()) if len(ridge) > 30 else 0.0


def thick(levelled: Levelled, said: Said) -> np.ndarray:
    """Return where nuclei are, bool, at the separator's scale: thick, and no chromosomes to the separator's eye.

    How thick does not tell: with haze between them, chromosomes of a dense cell are as thick as any nucleus.
    """
    stained = resized(levelled.contrast, said.there.shape) > _STAINED * levelled.threshold
    stained = ndimage.binary_closing(stained)
    depth = ndimage.distance_transform_edt(stained)
    middles, count = ndimage.label(depth > _THICK * WIDTH)
    if not count:
        return middles > 0
    is_nucleus = np.zeros(count + 1, bool)
    for number, box in enumerate(ndimage.find_objects(middles), start=1):
        # The whole of it, not its middle alone: the ground between chromosomes that lie close is filled with haze.
        near = _with_rim(box, middles.shape)
        whole = stained[near] & (ndimage.distance_transform_edt(middles[near] != number) < _THICK * WIDTH)
        is_nucleus[number] = float(said.there[near][whole].mean()) < _NO_CHROMOSOME
    kept = is_nucleus[middles]
    if not kept.any():
        return kept
    around = ndimage.distance_transform_edt(~kept) < (_THICK + _RIM) * WIDTH
    found: np.ndarray = around & (ndimage.distance_transform_edt(~(around & stained)) < _RIM * WIDTH)
    return found


def _with_rim(box: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    far = int(_THICK * WIDTH) + 1
    return tuple(
        slice(max(0, each.start - far), min(size, each.stop + far)) for each, size in zip(box, shape, strict=True)
    )


def shrunk_by(gray: np.ndarray, by: int) -> np.ndarray:
    """Return ``gray`` with each ``by`` x ``by`` pixels as one, strip by strip: no copy of a large field."""
    if by == 1:
        return gray
    rows, columns = gray.shape[0] // by, gray.shape[1] // by
    found = np.empty((rows, columns), np.float32)
    for row in range(0, rows, 64):
        part = gray[row * by : min(row + 64, rows) * by, : columns * by]
        found[row : row + 64] = part.reshape(-1, by, columns, by).mean(axis=(1, 3), dtype=np.float32)
    return found


def _in_field(piece: Piece, shape: tuple[int, ...], wanted: tuple[int, int]) -> Piece:
    """``piece`` of a map of ``shape`` in pixels of a field of ``wanted`` shape, its outline smooth."""
    if shape == wanted:
        return piece
    down, over = (new / old for new, old in zip(wanted, shape, strict=True))
    padded = np.pad(piece.mask, 1).astype(np.float32)
    top, left = round((piece.top - 1) * down), round((piece.left - 1) * over)
    size = (max(1, round(padded.shape[0] * down)), max(1, round(padded.shape[1] * over)))
    mask = resized(padded, size) > 0.5
    low = (max(0, -top), max(0, -left))
    mask = mask[low[0] : low[0] + wanted[0] - max(0, top), low[1] : low[1] + wanted[1] - max(0, left)]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return replace(piece, top=max(0, top), left=max(0, left), mask=np.ones((1, 1), bool), area=1, overlap=0)
    mask = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return replace(
        piece,
        top=max(0, top) + int(rows[0]),
        left=max(0, left) + int(columns[0]),
        mask=mask,
        area=int(mask.sum()),
        overlap=round(piece.overlap * down * over),
    )
