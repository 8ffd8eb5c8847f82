"""Distances between domains: the paper's Table 1 and its corrected form, and what preparation does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch

from bandbridge.dataset.findings import counted
from bandbridge.dataset.prepare import BASES, Preparation
from bandbridge.domains.coral import CoralResult, two_sample_coral
from bandbridge.domains.embeddings import Embeddings
from bandbridge.domains.kernel import ALIKE_REMEDY, CONVENTIONS, Convention, median_distance
from bandbridge.domains.mmd import MmdResult, mmd2_by_gamma, pool, two_sample_mmd
from bandbridge.errors import ManyErrors, UserError
from bandbridge.progress import track

Pool = Literal["pair", "all"]


@dataclass(frozen=True)
class Resampling:
    """How distances are tested: numbers of bootstraps and permutations, the seed, and the kernel's bandwidth.

    pool: the images whose median distance sets the bandwidth, those of the ``pair`` or of ``all`` domains given.
    convention: how the median sets it, see :data:`bandbridge.domains.kernel.CONVENTIONS`.
    """

    bootstraps: int = 1000
    permutations: int = 1000
    seed: int = 0
    pool: Pool = "pair"
    convention: Convention = "sigma-median"


@dataclass(frozen=True)
class Bandwidth:
    """One way of setting the kernel's width: ``median`` distance, ``gamma``, and the published estimate with it."""

    pool: Pool
    convention: Convention
    median: float
    gamma: float
    mmd2: float


@dataclass(frozen=True)
class DomainDistance:
    """How far two domains are apart.

    images, units: how many either domain has; a unit is a cell, or a block of images where there are no cells
    (:func:`alike_units`). bandwidths: all four, the one of ``mmd`` first.
    """

    first: str
    second: str
    images: tuple[int, int]
    units: tuple[int, int]
    mmd: MmdResult
    coral: CoralResult
    bandwidths: tuple[Bandwidth, ...]


def compare_all(domains: Sequence[Embeddings], resampling: Resampling, device: str = "auto") -> list[DomainDistance]:
    """Return the distances of every pair of ``domains``, in their order. Raises ValueError for fewer than two."""
    if len(domains) < 2:
        raise ValueError("distances need at least two domains")
    everything = torch.from_numpy(np.concatenate([domain.values for domain in domains]))
    common = median_distance(everything.to(_device(device)), resampling.seed)
    pairs = list(combinations(domains, 2))
    shown = track(pairs, len(pairs), "comparing pairs of domains")
    return [compare(first, second, resampling, common, device) for first, second in shown]


def compare(
    first: Embeddings,
    second: Embeddings,
    resampling: Resampling,
    common_median: float | None = None,
    device: str = "auto",
) -> DomainDistance:
    """Return MMD^2 and CORAL between two domains, tested both ways.

    ``common_median``: the median distance over all domains of the comparison; that of the pair where None. Raises
    :class:`UserError` for a domain of fewer than two units, and where half of all pairs of images look alike.
    """
    units = alike_units(first.units, second.units, resampling.seed)
    _check_units(first, second, units)
    samples = pool(first.values, second.values, *units, _device(device))
    own = median_distance(samples.values, resampling.seed)
    medians: dict[Pool, float] = {"pair": own, "all": own if common_median is None else common_median}
    if min(medians.values()) == 0:
        names = f"{first.name} and {second.name}"
        raise UserError(f"half of all pairs of images of {names} look alike to the model", ALIKE_REMEDY)
    choices = [(pool_, convention) for pool_ in medians for convention in CONVENTIONS]
    choices.sort(key=lambda choice: choice != (resampling.pool, resampling.convention))
    gammas = {choice: CONVENTIONS[choice[1]] / medians[choice[0]] ** 2 for choice in choices}
    result = two_sample_mmd(
        samples, gammas[choices[0]], resampling.bootstraps, resampling.permutations, resampling.seed
    )
    others = mmd2_by_gamma(samples, [gammas[choice] for choice in choices[1:]])
    bandwidths = tuple(
        Bandwidth(*choice, medians[choice[0]], gammas[choice], value)
        for choice, value in zip(choices, [result.published.value, *others], strict=True)
    )
    return DomainDistance(
        first.name,
        second.name,
        (len(first.values), len(second.values)),
        (len(set(units[0])), len(set(units[1]))),
        result,
        two_sample_coral(samples, resampling.bootstraps, resampling.permutations, resampling.seed),
        bandwidths,
    )


def _check_units(first: Embeddings, second: Embeddings, units: tuple[np.ndarray, np.ndarray]) -> None:
    few = [
        f"{domain.name}: {counted(len(domain.values), 'image')}"
        for domain, own in zip((first, second), units, strict=True)
        if len(set(own)) < 2
    ]
    if few:
        headline = (
            f"the distance of {first.name} and {second.name} needs two cells of each, or two images without cells:"
        )
        raise ManyErrors(headline, few, "Give larger sets.")


def alike_units(first: np.ndarray, second: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the units [N], [M] to resample and permute by: cells, and for images without cells random blocks.

    Units change places in a permutation, so those of one domain must be about as large as the other's. Where one domain
    has cells and the other's images are units by themselves (natural images), these are put together at random into
    blocks of the median cell's size; blocks of independent images are themselves independent.
    """
    sizes = [np.median(np.unique(units, return_counts=True)[1]) for units in (first, second)]
    if sizes[0] == 1 < sizes[1]:
        return _blocks(len(first), int(sizes[1]), seed), second
    if sizes[1] == 1 < sizes[0]:
        return first, _blocks(len(second), int(sizes[0]), seed)
    return first, second


def _blocks(count: int, size: int, seed: int) -> np.ndarray:
    """Return int64 [count]: a random division into blocks of ``size`` images, or of one more, at least two blocks."""
    blocks = max(2, count // size)
    return np.random.default_rng(seed).permutation(count) % blocks


@dataclass(frozen=True)
class Variant:
    """One preparation of the ablation: what it is called, and the preparation of either domain."""

    title: str
    first: Preparation
    second: Preparation


def variants(size: int, bright: tuple[bool, bool]) -> list[Variant]:
    """Return the preparations whose effect on the distance is measured, the published one first.

    ``bright``: whether either domain's ground is white. Inverted is the second domain, or the first where only that
    one is white, so that grounds of different colour become alike.
    """
    published = Preparation(size=size)
    inverted = {"polarity": "inverted"}
    chosen = 0 if bright == (True, False) else 1

    def both(title: str, *, invert: bool = False, **settings: object) -> Variant:
        pair = [published.model_copy(update=settings)] * 2
        if invert:
            pair[chosen] = pair[chosen].model_copy(update=inverted)
        return Variant(title, pair[0], pair[1])

    return [
        both("As published"),
        both("Padding in the ground's own gray", padding="background"),
        both("One polarity inverted", invert=True),
        both("One polarity inverted, own padding", invert=True, padding="background"),
        both("Cropped to foreground", crop="foreground"),
        both("Common scale", scale="common"),
        both("All of these", invert=True, padding="background", crop="foreground", scale="common"),
        both("By the cell", **BASES["by-cell"]),
    ]


def _device(device: str) -> str:
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
