"""Arms: a figure whose waist is known, and how far off the estimate is on chromosomes drawn from the ideogram."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.ndimage import rotate

from bandbridge.dataset.ideogram import ACROCENTRIC
from bandbridge.dataset.prepare import Preparation, foreground_mask, prepare_image
from bandbridge.karyogram.arms import find_centromere
from bandbridge.karyotype import CLASSES
from bandbridge.synthetic.cells import in_crops
from bandbridge.synthetic.layout import lay_out
from bandbridge.synthetic.look import Drawing, draw_style, usual_look
from bandbridge.synthetic.paint import develop, paint

SIZE = 128


def hourglass(height: int, waist: int) -> np.ndarray:
    mask = np.zeros((height + 10, 40), dtype=bool)
    mask[5:-5, 8:32] = True
    mask[5 + waist - 2 : 5 + waist + 2, 8:14] = mask[5 + waist - 2 : 5 + waist + 2, 26:32] = False
    return mask


@pytest.mark.parametrize(("waist", "expected"), [(30, 0.3), (50, 0.5), (70, 0.3), (20, 0.2)])
@pytest.mark.parametrize("angle", [0, 30, 90, 180])
def test_the_waist_divides_short_from_long_whichever_way_round(waist: int, expected: float, angle: int) -> None:
    mask = rotate(hourglass(100, waist).astype(float), angle, order=1) > 0.5
    arms = find_centromere(mask)
    assert arms.waisted and arms.centromere == pytest.approx(expected, abs=0.02)
    assert arms.length == pytest.approx(100, abs=4)
    assert arms.width == pytest.approx(24, abs=1.5)
    assert (arms.short ^ arms.long == mask).all() and not (arms.short & arms.long).any()
    assert arms.short.sum() / mask.sum() == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("mask", [np.zeros((9, 9), bool), np.eye(1, 9, dtype=bool), np.ones((1, 9), bool)])
def test_nothing_and_a_line_have_no_arms(mask: np.ndarray) -> None:
    assert find_centromere(mask) is None


def drawn(stain: str, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Label, image, and the (x, y) of the centromere and of the short arm's end, of every class.

    The drawing knows where the centromere is: there the line between the chromatids ends.
    """
    drawing = Drawing(neighbours=0, overlaps=0, cut=0)
    rng = np.random.default_rng([seed, ord(stain)])
    style = draw_style(usual_look(stain), drawing, rng)
    classes = np.arange(len(CLASSES))
    laid = lay_out(classes, stain, np.ones((len(CLASSES), 2, 2)), style, drawing, rng)
    laid, sheet = in_crops(laid, style, drawing, rng)
    density = np.zeros(sheet.shape, np.float32)
    paint(laid, sheet, classes, density)
    gray = develop(density, stain, style, rng)
    for number, label in enumerate(CLASSES):
        axis = laid.axis[number]
        yield label, sheet.crop(gray, number), axis[np.argmin(laid.slit[number])], axis[0]


def error(image: np.ndarray, centromere: np.ndarray, tip: np.ndarray) -> tuple[float, bool, bool]:
    """Distance of the estimate from the truth in parts of the length; whether the short arm is on its side; a waist."""
    preparation = Preparation(size=SIZE, padding="background")
    arms = find_centromere(foreground_mask(prepare_image(image, preparation)))
    side = max(image.shape)
    shift = np.array([(side - image.shape[1]) // 2, (side - image.shape[0]) // 2])
    centromere, tip = ((point + shift) * SIZE / side for point in (centromere, tip))
    points = np.argwhere(arms.short | arms.long)[:, ::-1] + 0.5
    middle = points.mean(axis=0)
    direction = np.linalg.eigh(np.cov((points - middle).T))[1][:, 1]
    direction = direction * np.sign((tip - middle) @ direction)
    along = np.sort((points - middle) @ direction)[::-1]
    short = (np.argwhere(arms.short)[:, ::-1] + 0.5 - middle) @ direction
    right_side = short.mean() > 0
    found = along[0] - arms.centromere * arms.length if right_side else along[-1] + arms.centromere * arms.length
    return abs(found - (centromere - middle) @ direction) / arms.length, bool(right_side), arms.waisted


def test_the_error_of_the_estimate_on_drawn_chromosomes() -> None:
    """192 chromosomes. With a waist: 94% of the others, 29% of the acrocentric ones and Y. Of the others with a waist:
    median error 1.3% of the length, 86% within 5%, side right in 93%; of the acrocentric ones 3.9%."""
    found = []
    for stain in "QG":
        for seed in range(4):
            for label, image, centromere, tip in drawn(stain, seed):
                found.append((label in (*ACROCENTRIC, "Y"), *error(image, centromere, tip)))
    acrocentric, off, right_side, waisted = map(np.array, zip(*found, strict=True))
    assert waisted[~acrocentric].mean() > 0.9 and waisted[acrocentric].mean() < 0.55
    others = ~acrocentric & waisted
    assert np.median(off[others]) < 0.016 and np.mean(off[others] < 0.05) > 0.83
    assert right_side[others].mean() > 0.9
    assert np.median(off[acrocentric & waisted]) < 0.05
