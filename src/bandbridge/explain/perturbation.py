"""Deletion and insertion: does a map point at what the classifier goes by? (Petsiuk et al. 2018, BMVC, section 3.2.)

Pixels are painted over with the background in the order of the map, or brought back onto an empty background in that
order; the area under the probability of the class tells how soon it falls, or rises. A low deletion and a high
insertion score speak for the map. An image with pixels painted over is none that the classifier was trained on, and a
classifier that gives the class a low probability to begin with has low scores of both kinds: they mean something
beside those of a random map (:func:`random_maps`) of the same images and classifier.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bandbridge.explain.attention import Regions
from bandbridge.explain.maps import upsample


def perturb(
    image: np.ndarray,
    evidence: np.ndarray,
    content: np.ndarray,
    ground: int,
    steps: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``image`` with pixels deleted, and with pixels inserted: two of uint8 [steps + 1, *image.shape].

    Of the pixels where ``content``, bool [S, S], is true, step k has the k / ``steps`` with the most ``evidence``,
    float [S, S], deleted (gray value ``ground``) or inserted. Pixels with equal evidence, such as all without any, go
    in random order. Padding is not touched. Of two views, [2, S, S], the same places are painted over in both.
    """
    rows, columns = np.nonzero(content)
    shuffled = generator.permutation(len(rows))
    order = shuffled[np.argsort(-evidence[rows, columns][shuffled], kind="stable")]
    empty = np.where(content, np.uint8(ground), image)
    deleted, inserted = np.repeat(image[None], steps + 1, axis=0), np.repeat(empty[None], steps + 1, axis=0)
    for step, count in enumerate(np.linspace(0, len(order), steps + 1).round().astype(int)):
        chosen = ..., rows[order[:count]], columns[order[:count]]
        deleted[step][chosen] = ground
        inserted[step][chosen] = image[chosen]
    return deleted, inserted


def deletion_insertion(
    probabilities: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    maps: np.ndarray,
    targets: np.ndarray,
    regions: list[Regions],
    steps: int,
    seed: int,
) -> np.ndarray:
    """Return the deletion and the insertion score of each image, float64 [B, 2] in 0..1.

    ``probabilities`` gives float [N, C] of uint8 [N, S, S]; ``images`` are uint8 [B, S, S], ``maps`` raw and enlarged,
    float [B, S, S], ``targets`` integers [B]. The area is by trapezoids. NaN for a map without evidence: it has no
    order.
    """
    scores = np.full((len(images), 2), np.nan)
    generator = np.random.default_rng(seed)
    for row, (image, evidence, target, found) in enumerate(zip(images, maps, targets, regions, strict=True)):
        if evidence.max() <= 0:
            continue
        both = perturb(image, evidence, found.content, found.ground, steps, generator)
        curves = probabilities(np.concatenate(both))[:, target].reshape(2, steps + 1)
        scores[row] = np.trapezoid(curves, dx=1 / steps, axis=1)
    return scores


def random_maps(shape: tuple[int, int, int], grid: tuple[int, int], seed: int) -> np.ndarray:
    """Return maps that point nowhere, float32 ``shape`` [B, H, W] in 0..1: uniform values on ``grid``, enlarged.

    As coarse as a map of the same grid, they paint over patches as large; single pixels in random order would be
    another kind of picture.
    """
    values = np.random.default_rng(seed).uniform(size=(shape[0], *grid)).astype(np.float32)
    return upsample(values, shape[1], shape[2])
