"""The axis of a photographed chromosome, bent as it is, and what lies along it.

Compact chromosomes are read along their principal axis. Along that of a long, bent one the arms would fold onto each
other: it is read along a principal curve instead (Hastie & Stuetzle 1989), which runs through the middle of the pixels
nearest to it and starts from the distance within the chromosome to its ends. In compact ones such a curve runs from
corner to corner; on the public sets the way up of 19 to 22 is then recognised far less often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from bandbridge.dataset.prepare import background_level, foreground_mask

#: Places along the axis at which density and width are read.
PLACES = 40
_KNOTS, _ROUNDS = 24, 3
#: Square of the length over the area beyond which a chromosome is followed along its bends.
_LONG = 5.0


@dataclass(frozen=True, eq=False)
class Axis:
    """The axis of one chromosome, from its upper end in the image to its lower one.

    mask: bool [H, W]. along: float64 [pixels of ``mask``], each pixel's place along the axis, 0 to 1. length: pixels
    along the axis. angle: degrees to rotate counter-clockwise so that the principal axis is vertical, -90 to 90.
    """

    mask: np.ndarray
    along: np.ndarray
    length: float
    angle: float


def trace_axis(image: np.ndarray) -> Axis | None:
    """Return the axis of the chromosome in uint8 ``image`` [H, W]; None where there is none or only a speck.

    Only the largest piece of the foreground is followed. The upper end is the one that is up once the principal axis
    is vertical.
    """
    mask = largest_piece(foreground_mask(image))
    points = np.argwhere(mask).astype(np.float64)
    if len(points) < 9 or min(np.ptp(points, axis=0)) < 1:
        return None
    points -= points.mean(axis=0)
    down = np.linalg.eigh(points.T @ points)[1][:, 1]
    down = down if down[0] >= 0 else -down
    straight = points @ down
    place = _geodesic_place(mask)
    if np.ptp(place) ** 2 > _LONG * len(points):
        for _ in range(_ROUNDS):
            place = _project(points, _curve_through(points, place))
        place = place if place @ straight >= place.mean() * straight.sum() else -place
    else:
        place = straight
    length = float(np.ptp(place))
    angle = float(np.degrees(np.arctan2(-down[1], down[0])))
    return Axis(mask, (place - place.min()) / length, length + 1, angle)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Return bool [H, W]: the largest connected piece of ``mask``, corners connect."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return mask
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    return pieces == areas.argmax()


def _geodesic_place(mask: np.ndarray) -> np.ndarray:
    """How far along the way from end to end each pixel of ``mask`` lies, within it: float64 [pixels], pixels.

    Half of the distance to one end less that to the other. The ends are the two pixels farthest from each other, found
    by going to the farthest pixel twice.
    """
    number = np.full(mask.shape, -1)
    count = int(mask.sum())
    number[mask] = np.arange(count)
    starts, stops, lengths = [], [], []
    height, width = mask.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = number[: height - down, max(0, -right) : width - max(0, right)]
        there = number[down:, max(0, right) : width + min(0, right)]
        both = (here >= 0) & (there >= 0)
        starts.append(here[both])
        stops.append(there[both])
        lengths.append(np.full(int(both.sum()), np.hypot(down, right)))
    graph = coo_array(
        (np.concatenate(lengths), (np.concatenate(starts), np.concatenate(stops))), shape=(count, count)
    ).tocsr()
    first = int(np.argmax(dijkstra(graph, directed=False, indices=0)))
    away = dijkstra(graph, directed=False, indices=first)
    back = dijkstra(graph, directed=False, indices=int(np.argmax(away)))
    return (away - back) / 2


def _curve_through(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The smoothed mean of the points at each of the knots, drawn out at both ends: float64 [knots, 2]."""
    order = np.argsort(place, kind="stable")
    bounds = np.linspace(0, len(points), min(_KNOTS, len(points)) + 1).astype(int)
    means = np.add.reduceat(points[order], bounds[:-1], axis=0) / np.diff(bounds)[:, None]
    smooth = gaussian_filter1d(means, 0.08 * _KNOTS, axis=0, mode="nearest")
    # The mean of a group near the end is pulled inwards: the ends are drawn out along the curve's own direction.
    steps = min(5, len(smooth) - 1)
    lead, trail = smooth[0] - smooth[steps], smooth[-1] - smooth[-1 - steps]
    far = 4.0 / max(steps, 1)
    return np.concatenate([[smooth[0] + far * lead], smooth, [smooth[-1] + far * trail]])


def _project(points: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """The arc length along ``curve`` [M, 2] of the place nearest to each point, to a quarter pixel: float64 [N]."""
    knots = _arc_lengths(curve)
    places = np.linspace(0, knots[-1], int(4 * knots[-1]) + 2)
    _, nearest = cKDTree(_at(places, knots, curve)).query(points)
    return places[nearest]


def _arc_lengths(curve: np.ndarray) -> np.ndarray:
    steps = np.hypot(*np.diff(curve, axis=0).T)
    return np.concatenate([[0.0], np.cumsum(np.maximum(steps, 1e-9))])


def _at(places: np.ndarray, knots: np.ndarray, curve: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(places, knots, curve[:, axis]) for axis in (0, 1)], axis=1)


def read_along(image: np.ndarray, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Return mean density and width of the chromosome at 40 places along its axis, float64 [40] each.

    Density is how far the gray value is from the ground, 0 to 255, so that a dark band on white and a bright band on
    black are the same. Width is in pixels.
    """
    mean, count = _read(image, axis, PLACES)
    return mean, count * PLACES / axis.length


def profile_along(image: np.ndarray, axis: Axis, places: int) -> np.ndarray:
    """Return the mean density, as :func:`read_along` has it, at ``places`` places along the axis, float64 [places]."""
    return _read(image, axis, places)[0]


def _read(image: np.ndarray, axis: Axis, places: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean density at each place, and the pixels that count for it, float64 [places] each."""
    density = np.abs(image.astype(np.float64) - background_level(image))[axis.mask]
    # Each pixel counts for the two places it lies between.
    spot = axis.along * places - 0.5
    lower = np.floor(spot).astype(int)
    part = spot - lower
    count, total = np.zeros(places), np.zeros(places)
    for place, weight in ((lower, 1 - part), (lower + 1, part)):
        place = np.clip(place, 0, places - 1)
        count += np.bincount(place, weight, places)
        total += np.bincount(place, weight * density, places)
    mean = np.interp(np.arange(places), np.flatnonzero(count > 0), (total / np.maximum(count, 1e-12))[count > 0])
    return mean, count
