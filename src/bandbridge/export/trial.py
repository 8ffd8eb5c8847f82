"""What 8 bits cost: images for three purposes, and the loss measured on those that served no other."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from bandbridge.errors import UserError
from bandbridge.export.sensitivity import BATCH, Kept, outputs_of
from bandbridge.predict.runtime import Runtime

#: Fewer than these say nothing of a loss, or leave the ranges to chance.
_FEWEST = 16
#: For every image to calibrate with, at most so many to choose on, and to measure on.
_CHOICE, _MEASURED = 2, 8


@dataclass(frozen=True, eq=False)
class Trial:
    """Prepared images for three purposes, none of which shares one with another.

    calibration: uint8 [M, S, S], to learn ranges from and to rank the layers on. choice: uint8 [C, S, S], to decide on
    how many layers stay float32. images: uint8 [N, S, S] of class ``truth`` [N], for what is reported. held_out:
    whether the last two were kept from the training; else the accuracies flatter.
    """

    calibration: np.ndarray
    choice: np.ndarray
    images: np.ndarray
    truth: np.ndarray
    held_out: bool


@dataclass(frozen=True)
class Loss:
    """What 8 bits changed on ``images`` images: shares in 0..1, and the 95% interval (Clopper-Pearson) of agreement.

    agreement: images given the same class as before. accuracy_before, accuracy_after: of the float32 and the 8-bit
    model. lost_low, lost_high: 95% interval of their difference, of the same images. speed: images a second, as
    multiple of those of float32. calibration: how many other images gave the ranges. kept: what stayed float32.
    """

    images: int
    calibration: int
    agreement: float
    low: float
    high: float
    accuracy_before: float
    accuracy_after: float
    lost_low: float
    lost_high: float
    held_out: bool
    speed: float
    kept: Kept

    @property
    def lost(self) -> float:
        """Accuracy lost, negative where 8 bits happen to name more images rightly."""
        return self.accuracy_before - self.accuracy_after

    def sentence(self) -> str:
        """Return the loss in words."""
        which = "held out of the training" if self.held_out else "which the model may have been trained on"
        return (
            f"On {self.images} images, {which}, the 8-bit model names the same class as the float32 model in "
            f"{self.agreement:.1%} (95% interval {self.low:.1%} to {self.high:.1%}). Accuracy "
            f"{self.accuracy_before:.1%} before, {self.accuracy_after:.1%} after: {100 * self.lost:.1f} points lost "
            f"(95% interval {100 * self.lost_low:.1f} to {100 * self.lost_high:.1f}). {self.kept.sentence()} Ranges "
            f"learned from {self.calibration} images. No image served two of these purposes. On this machine it "
            f"classifies {self.speed:.1f} times as many images a second as float32, {BATCH} at a time."
        )


def divide(
    samples: pd.DataFrame, held_out: frozenset[str], count: int, seed: int
) -> tuple[list[str], list[str], list[str], bool]:
    """Return names of images to calibrate with, to choose on and to measure on, and whether the latter are held out.

    samples: rows with ``file_name``, ``label`` and ``cell``. count: at most so many to calibrate with, twice as many to
    choose on, eight times as many to measure on. When ``held_out`` names images of these samples, these are divided
    between choice and measurement, and the rest calibrates; otherwise all are divided in three. No two parts share a
    cell, or an image where no cell is known; of held-out images alone, no two parts of them. Classes come by turns.
    Raises :class:`UserError` for fewer than 16 images in any part.
    """
    rows = samples.drop_duplicates("file_name").rename(columns={"file_name": "image"})
    own = bool(held_out) and held_out <= set(rows["image"])
    if own:
        kept = rows["image"].isin(held_out)
        parts = [rows[~kept], *_apart(rows[kept], 2, seed)]
    else:
        parts = _apart(rows, 3, seed)
    limits = (count, _CHOICE * count, _MEASURED * count)
    found = [_by_turns(part, limit, seed) for part, limit in zip(parts, limits, strict=True)]
    if min(map(len, found)) < _FEWEST:
        raise UserError(
            f"--calibrate gives {len(found[0])} images to calibrate with, {len(found[1])} others to choose layers on "
            f"and {len(found[2])} to measure on; {_FEWEST} of each are the least.",
            "Name a dataset of more images; where its cells are known, no two of the three share one.",
        )
    return found[0], found[1], found[2], own


def _apart(rows: pd.DataFrame, parts: int, seed: int) -> list[pd.DataFrame]:
    """Divide ``rows`` by cells, or by images where no cell is known, into parts of about as many."""
    units = rows["cell"] if (rows["cell"] != "").all() else rows["image"]
    names = np.random.default_rng(seed).permutation(np.sort(units.unique()))
    return [rows[units.isin(some)] for some in np.array_split(names, parts)]


def _by_turns(rows: pd.DataFrame, count: int, seed: int) -> list[str]:
    from bandbridge.explain.cases import draw_images

    return sorted(draw_images(rows, count, seed)["image"]) if len(rows) else []


def measure_loss(before: Runtime, after: Runtime, trial: Trial, kept: Kept) -> Loss:
    """Compare two runtimes of one model on the images of ``trial`` that served no choice."""
    images, truth = trial.images, trial.truth
    first, second = (outputs_of(runtime, images)[0].argmax(axis=1) for runtime in (before, after))
    same = first == second
    interval = binomtest(int(same.sum()), len(same)).proportion_ci(0.95, method="exact")
    lost_low, lost_high = difference_interval(first == truth, second == truth)
    return Loss(
        images=len(same),
        calibration=len(trial.calibration),
        agreement=float(same.mean()),
        low=float(interval.low),
        high=float(interval.high),
        accuracy_before=float(np.mean(first == truth)),
        accuracy_after=float(np.mean(second == truth)),
        lost_low=lost_low,
        lost_high=lost_high,
        held_out=trial.held_out,
        speed=_times_as_fast(before, after, images[:BATCH]),
        kept=kept,
    )


def difference_interval(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the share of ``before`` less that of ``after``, both bool [N] of the same images.

    Wald's with one added to either count of images that changed (Bonett & Price 2012, "Adjusted Wald confidence
    interval for a difference of binomial proportions based on paired data", J. Educ. Behav. Stat. 37).
    """
    total = len(before) + 2
    lost, gained = ((np.sum(changed) + 1) / total for changed in (before & ~after, ~before & after))
    half = norm.ppf(0.975) * np.sqrt((lost + gained - (lost - gained) ** 2) / total)
    return max(-1.0, float(lost - gained - half)), min(1.0, float(lost - gained + half))


def _times_as_fast(before: Runtime, after: Runtime, images: np.ndarray, turns: int = 7) -> float:
    """Return how many times the images a second of ``before`` the runtime ``after`` makes: median of paired turns."""
    some = np.ascontiguousarray(images)

    def pace(runtime: Runtime) -> float:
        done, started = 0, time.perf_counter()
        while not done or time.perf_counter() - started < 0.05:
            runtime(some)
            done += 1
        return done / (time.perf_counter() - started)

    return float(np.median([pace(after) / pace(before) for _ in range(turns)]))
