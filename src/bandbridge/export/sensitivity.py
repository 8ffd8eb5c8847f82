"""Which layers stay float32 so that 8 bits lose little: the worst first, until almost no accuracy is lost.

The layers are ranked on the images that gave the ranges, and how many of them stay is decided on other images, the
choice. What is reported is measured on a third part, by :func:`bandbridge.export.trial.measure_loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bandbridge.predict.runtime import Runtime
from bandbridge.progress import track

#: Most that 8 bits may lose, in accuracy, with the standard error added.
LIMIT = 0.005
#: More layers than this share are never left in float32: with a third of them 8 bits were no faster (speed.md).
MOST = 0.25
#: Images to rank the layers on.
RANKED_ON = 128
#: Images at a time, through the runtimes and for calibration.
BATCH = 16

#: Opens the model with these layers in float32, and all others in 8 bits.
Opener = Callable[[frozenset[str]], Runtime]


@dataclass(frozen=True)
class Expected:
    """The accuracy that 8 bits are expected to lose, share of 0..1, and the standard error of that."""

    lost: float
    error: float

    @property
    def within(self) -> bool:
        """Whether that is at most the limit."""
        return self.lost + self.error <= LIMIT


@dataclass(frozen=True)
class Kept:
    """The layers ``floats`` that stay float32, worst first, out of ``layers``; and what is ``expected`` on ``images``.

    images: how many that was chosen on.
    """

    floats: tuple[str, ...]
    layers: tuple[str, ...]
    expected: Expected
    images: int

    def sentence(self) -> str:
        """Return what stays float32, and why, in words."""
        which = f": {', '.join(self.floats)}" if self.floats else ""
        lost, error = 100 * self.expected.lost, 100 * self.expected.error
        found = f"on the {self.images} images to choose on {lost:.2f} points (SE {error:.2f}) are expected to be lost"
        if not self.expected.within:
            found += (
                f", with their error {lost + error - 100 * LIMIT:.2f} more than the limit of {100 * LIMIT:.1f}; with "
                "more layers in float32 there would be nothing to gain"
            )
        return f"{len(self.floats)} of {len(self.layers)} layers stay float32{which}; {found}."


def expected_loss(probabilities: np.ndarray, named: np.ndarray) -> Expected:
    """Return the accuracy lost where 8 bits name the classes ``named`` [N] of images that float32 gives probabilities.

    probabilities: calibrated, [N, K]. An image that changes from class a to class b was right with probability p(a) and
    is now with p(b): on average p(a) - p(b) is lost. On held-out images that agrees with the count of right ones before
    and after, at a third of its standard error; overconfident probabilities give too much. No labels are needed.
    """
    rows = np.arange(len(named))
    lost = probabilities.max(axis=1).astype(np.float64) - probabilities[rows, named]
    return Expected(float(lost.mean()), float(lost.std() / np.sqrt(len(lost))))


def search(layers: Sequence[str], open_with: Opener, calibration: np.ndarray, choice: np.ndarray) -> Kept:
    """Return the fewest of the worst ``layers`` that must stay float32 for 8 bits to lose at most ``LIMIT``.

    Where no number up to ``MOST`` of them does, that which loses least. calibration: prepared images to rank on.
    choice: others, to decide the number on.
    """
    trial = _Choice(open_with, choice, outputs_of(open_with(frozenset(layers)), choice)[1])
    if not trial.holds(0):
        trial.ranked = tuple(rank(layers, open_with, calibration))
        most = max(1, int(MOST * len(layers)))
        enough = next((number for number in _doubling(most) if trial.holds(number)), None)
        if enough is not None:
            _bisect(trial, enough // 2, enough)
    within = [number for number, expected in trial.found.items() if expected.within]
    number = min(within) if within else min(trial.found, key=lambda number: (trial.found[number].lost, number))
    return Kept(trial.ranked[:number], tuple(layers), trial.found[number], len(choice))


def rank(layers: Sequence[str], open_with: Opener, images: np.ndarray) -> list[str]:
    """Return ``layers``, the worst first: by the mean squared difference of the logits that 8 bits in it alone make.

    images: prepared; of more than ``RANKED_ON`` some, evenly spread.
    """
    some = images[:: -(-len(images) // RANKED_ON)]
    expected = outputs_of(open_with(frozenset(layers)), some)[0]
    errors = {}
    for layer in track(layers, len(layers), "8 bits, one layer at a time"):
        alone = outputs_of(open_with(frozenset(layers) - {layer}), some)[0]
        error = float(np.mean((alone.astype(np.float64) - expected) ** 2))
        errors[layer] = error if np.isfinite(error) else np.inf
    return sorted(layers, key=lambda layer: -errors[layer])


@dataclass
class _Choice:
    """What was ``found`` on the images of the choice, by how many of the ``ranked`` layers stayed float32."""

    open_with: Opener
    images: np.ndarray
    probabilities: np.ndarray
    ranked: tuple[str, ...] = ()
    found: dict[int, Expected] = field(default_factory=dict)

    def holds(self, number: int) -> bool:
        if number not in self.found:
            logits, _ = outputs_of(self.open_with(frozenset(self.ranked[:number])), self.images)
            self.found[number] = expected_loss(self.probabilities, logits.argmax(axis=1))
        return self.found[number].within


def _doubling(most: int) -> Iterator[int]:
    """Yield 1, 2, 4 and so on, and ``most`` last."""
    number = 1
    while number < most:
        yield number
        number *= 2
    yield most


def _bisect(trial: _Choice, too_few: int, enough: int) -> None:
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if trial.holds(middle):
            enough = middle
        else:
            too_few = middle


def outputs_of(runtime: Runtime, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and probabilities, float32 [N, K] each, of prepared ``images``, a few at a time."""
    logits, probabilities = zip(*(runtime(batch) for batch in batches(images)), strict=True)
    return np.concatenate(logits), np.concatenate(probabilities)


def batches(images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield ``images`` a few at a time."""
    for start in range(0, len(images), BATCH):
        yield np.ascontiguousarray(images[start : start + BATCH])
