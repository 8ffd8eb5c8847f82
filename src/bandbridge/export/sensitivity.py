"""Which layers stay float32 so that 8 bits lose little: the worst first, until almost no image is lost.

The layers are ranked on the images that gave the ranges, and how many of them stay is decided on other images, the
choice. What is reported is measured on a third part, by :func:`bandbridge.export.quantise.measure_loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from bandbridge.predict.runtime import Runtime
from bandbridge.progress import track

#: Most that 8 bits may lose: of the images of the choice, the share that float32 names rightly and 8 bits do not.
#: What 8 bits name rightly by chance is not set off against it.
LIMIT = 0.005
#: More layers than this share are never left in float32: there would be nothing left to gain.
MOST = 0.5
#: Images to rank the layers on.
RANKED_ON = 128
_BATCH = 16

#: Opens the model with these layers in float32, and all others in 8 bits.
Opener = Callable[[frozenset[str]], Runtime]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Prepared ``images``, uint8 [N, S, S] or [N, 2, S, S], of class ``truth`` [N], places among the logits."""

    images: np.ndarray
    truth: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Kept:
    """The layers ``floats`` that stay float32, worst first, out of ``layers`` names; and what 8 bits then lose.

    lost: share of the ``images`` of the choice that float32 names rightly and 8 bits do not.
    """

    floats: tuple[str, ...]
    layers: tuple[str, ...]
    lost: float
    images: int

    @property
    def within(self) -> bool:
        """Whether the loss is within the limit on the images of the choice."""
        return self.lost <= LIMIT

    def sentence(self) -> str:
        """Return what stays float32, and why, in words."""
        which = f": {', '.join(self.floats)}" if self.floats else ""
        found = (
            f"chosen on {self.images} images, of which 8 bits lose {self.lost:.1%}"
            if self.within
            else f"and still 8 bits lose {self.lost:.1%} of the {self.images} images that this was chosen on: the "
            f"limit of {LIMIT:.1%} is missed by {self.lost - LIMIT:.1%}, and more layers in float32 would leave no gain"
        )
        return f"{len(self.floats)} of {len(self.layers)} layers stay float32{which} ({found})."


def search(layers: Sequence[str], open_with: Opener, calibration: np.ndarray, choice: Labelled) -> Kept:
    """Return the fewest of the worst ``layers`` that must stay float32 for 8 bits to lose at most ``LIMIT``.

    Where no number up to ``MOST`` of them does, that which loses least. calibration: prepared images to rank on.
    """
    trial = _Choice(open_with, choice, _logits(open_with(frozenset(layers)), choice.images).argmax(axis=1))
    if trial.lost(()) > LIMIT:
        trial.ranked = tuple(rank(layers, open_with, calibration))
        most = int(MOST * len(layers))
        enough = next((number for number in _doubling(most) if trial.holds(number)), None)
        if enough is not None:
            _bisect(trial, enough // 2, enough)
    # Of equal losses the one with fewest layers; a number that loses no more than the limit is as good as any.
    floats = min(trial.losses, key=lambda found: (max(trial.losses[found], LIMIT), len(found)))
    return Kept(floats, tuple(layers), trial.losses[floats], len(choice))


def rank(layers: Sequence[str], open_with: Opener, images: np.ndarray) -> list[str]:
    """Return ``layers``, the worst first: by the mean squared difference of the logits that 8 bits in it alone make.

    images: prepared; of more than ``RANKED_ON`` some, evenly spread.
    """
    some = images[:: -(-len(images) // RANKED_ON)]
    expected = _logits(open_with(frozenset(layers)), some)
    errors = {}
    for layer in track(layers, len(layers), "8 bits, one layer at a time"):
        alone = _logits(open_with(frozenset(layers) - {layer}), some)
        error = float(np.mean((alone.astype(np.float64) - expected) ** 2))
        errors[layer] = error if np.isfinite(error) else np.inf
    return sorted(layers, key=lambda layer: -errors[layer])


@dataclass
class _Choice:
    """What was tried on the images of the choice: ``losses`` by the layers that stayed float32."""

    open_with: Opener
    choice: Labelled
    named: np.ndarray
    ranked: tuple[str, ...] = ()
    losses: dict[tuple[str, ...], float] = field(default_factory=dict)

    def lost(self, floats: tuple[str, ...]) -> float:
        if floats not in self.losses:
            named = _logits(self.open_with(frozenset(floats)), self.choice.images).argmax(axis=1)
            truth = self.choice.truth
            self.losses[floats] = float(np.mean((self.named == truth) & (named != truth)))
        return self.losses[floats]

    def holds(self, number: int) -> bool:
        return self.lost(self.ranked[:number]) <= LIMIT


def _doubling(most: int) -> Iterator[int]:
    """Yield 1, 2, 4 and so on, and ``most`` last."""
    for power in count():
        if 2**power >= most:
            break
        yield 2**power
    if most:
        yield most


def _bisect(trial: _Choice, too_few: int, enough: int) -> None:
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if trial.holds(middle):
            enough = middle
        else:
            too_few = middle


def _logits(runtime: Runtime, images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), _BATCH)
    return np.concatenate([runtime(np.ascontiguousarray(images[start : start + _BATCH]))[0] for start in starts])
