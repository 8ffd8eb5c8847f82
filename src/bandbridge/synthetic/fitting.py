"""The look of drawn cells fitted to images of a laboratory, of which no label is looked at.

Each knob's middle and spread are moved until what is measured of drawn cells is distributed as it is in the real ones:
least squares over quantiles, between cells and within them. The drawn cells are the same ones throughout, a Latin
hypercube of styles, so that only the knobs make a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import norm, qmc

from bandbridge.dataset.ideogram import Stain
from bandbridge.errors import UserError
from bandbridge.progress import note
from bandbridge.synthetic.cells import draw_styled, karyotype, own_bands
from bandbridge.synthetic.cores import all_cores
from bandbridge.synthetic.look import KNOBS, Drawing, Look, style_at, usual_look
from bandbridge.synthetic.measure import MEASURES, measure_images, spread_of

#: Cells that a look is fitted to at least, and that are measured at most: more tell nothing new.
FEWEST_CELLS, _MOST_CELLS = 5, 150
#: Cells drawn at every step.
_DRAWN = 16
#: Steps at most, each a derivative by all knobs.
_STEPS = 5
#: Quantiles that count, between cells and within them, and the weight of the latter.
_BETWEEN, _WITHIN, _WITHIN_WEIGHT = (0.1, 0.3, 0.5, 0.7, 0.9), (0.1, 0.25, 0.75, 0.9), 0.7
#: How much a knob may change, in logarithms, how far it is moved to see what it does, and what moving it costs.
_REACH = {"middle": (-2.5, 2.5, 0.15), "spread": (-1.6, 1.2, 0.3)}
_COST = 0.05


@dataclass(frozen=True)
class Fitted:
    """A look and how far its cells are from the real ones before and after: sums of squared misfits."""

    look: Look
    before: float
    after: float


@dataclass(frozen=True)
class _Aim:
    """What drawn cells are to be like: quantiles, and the range that a difference is counted in, [quantiles, M]."""

    between: np.ndarray
    within: np.ndarray
    between_range: np.ndarray
    within_range: np.ndarray


def fit_look(cells: Sequence[Sequence[np.ndarray]], stain: Stain, name: str, start: Look | None = None) -> Fitted:
    """Fit the look of ``stain`` to ``cells``, the uint8 images [H, W] of each, that are called ``name``.

    start: where the search begins, the usual look by default.

    Takes some minutes. Raises :class:`UserError` for fewer than five cells of ten chromosomes.
    """
    whole = [cell for cell in cells if len(cell) >= 10]
    if len(whole) < FEWEST_CELLS:
        raise UserError(
            f"a look is fitted to {FEWEST_CELLS} or more cells of ten or more chromosomes, and here are {len(whole)}",
            "Name a set whose cells are known: a folder with one folder for each cell, or a dataset.",
        )
    chosen = [whole[k] for k in np.unique(np.linspace(0, len(whole) - 1, _MOST_CELLS).astype(int))]
    start = start or usual_look(stain)
    with all_cores() as run:
        note(f"measuring {len(chosen)} cells")
        aim = _aim_at(list(run(measure_images, chosen)))
        at = np.zeros(2 * len(KNOBS))
        bounds = [np.repeat([_REACH[kind][side] for kind in ("middle", "spread")], len(KNOBS)) for side in (0, 1)]
        misfit = partial(_misfit, stain=stain, start=start, aim=aim)
        before = float((misfit(at) ** 2).sum())

        def derivative(place: np.ndarray) -> np.ndarray:
            moves = np.repeat([_REACH[kind][2] for kind in ("middle", "spread")], len(KNOBS))
            moves = np.where(place + moves > bounds[1], -moves, moves)
            note(f"what each of {len(KNOBS)} knobs does to {_DRAWN} drawn cells")
            base, *moved = run(misfit, [place, *(place + np.diag(moves))])
            return np.stack([(one - base) / move for one, move in zip(moved, moves, strict=True)], axis=1)

        found = least_squares(misfit, at, jac=derivative, bounds=bounds, max_nfev=_STEPS, x_scale=0.5)
    return Fitted(_looking(start, found.x, f"{len(chosen)} cells of {name}"), before, float(2 * found.cost))


def _looking(start: Look, at: np.ndarray, fitted_to: str) -> Look:
    factors = np.exp(at).reshape(2, len(KNOBS))
    knobs = {
        name: (float(start.knobs[name][0] * middle), float(start.knobs[name][1] * spread))
        for name, middle, spread in zip(KNOBS, *factors, strict=True)
    }
    return Look(fitted_to=fitted_to, knobs=knobs)


def _quantiles(measures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    between, within = spread_of(measures)
    return np.nanquantile(between, _BETWEEN, axis=0), np.nanquantile(within, _WITHIN, axis=0)


def _aim_at(measures: Sequence[np.ndarray]) -> _Aim:
    between, within = _quantiles(measures)
    least = 1e-3
    return _Aim(between, within, np.maximum(np.ptp(between, axis=0), least), np.maximum(np.ptp(within, axis=0), least))


def _misfit(at: np.ndarray, stain: Stain, start: Look, aim: _Aim) -> np.ndarray:
    """What is to be small: differences of quantiles in parts of the real ones' range, and a little for every move."""
    look = _looking(start, at, "")
    measures = [measure_images(_drawn(stain, look, number)) for number in range(_DRAWN)]
    between, within = _quantiles(measures)
    return np.concatenate(
        [
            ((between - aim.between) / aim.between_range).ravel() / np.sqrt(len(_BETWEEN)),
            _WITHIN_WEIGHT * ((within - aim.within) / aim.within_range).ravel() / np.sqrt(len(_WITHIN)),
            _COST * at,
        ]
    )


def _drawn(stain: Stain, look: Look, number: int) -> list[np.ndarray]:
    drawing = Drawing()
    places = norm.ppf(qmc.LatinHypercube(len(KNOBS), rng=np.random.default_rng(0)).random(_DRAWN))
    style = style_at(look, places[number], drawing)
    own, rng = own_bands(stain, 0, number, drawing), np.random.default_rng([0, number])
    drawn = draw_styled(stain, karyotype(stain, 0, number), own, style, drawing, rng)
    return [one.image for one in drawn]


def misfits(drawn: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return by measure how far drawn cells' are from real ones', between cells and within them.

    Each is the mean distance of their quantiles (Wasserstein's first distance), over the middle four fifths of the real
    ones.
    """
    shares, found = np.linspace(0.02, 0.98, 49), []
    for one, other in zip(spread_of(drawn), spread_of(real), strict=True):
        ours, theirs = (np.nanquantile(part, shares, axis=0) for part in (one, other))
        spread = np.nanquantile(other, 0.9, axis=0) - np.nanquantile(other, 0.1, axis=0)
        found.append(np.abs(ours - theirs).mean(axis=0) / np.maximum(spread, 1e-9))
    return {name: (float(found[0][k]), float(found[1][k])) for k, name in enumerate(MEASURES)}
