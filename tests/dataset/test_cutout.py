"""Cutting out against chromosomes whose shape, ground and length are known because they were drawn so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from bandbridge.dataset.cutout import Cutout, cut_out, is_bright_ground, stand
from bandbridge.synthetic.cells import draw_cell
from bandbridge.synthetic.look import Drawing


def ribbon(points: np.ndarray, width: float, shape: tuple[int, int], ink: int = 150) -> np.ndarray:
    """A rounded ribbon along the line through ``points`` [N, 2], bright on black."""
    line = np.ones(shape, dtype=bool)
    line[tuple(np.rint(points).astype(int).T)] = False
    return np.where(ndimage.distance_transform_edt(line) <= width / 2, ink, 0).astype(np.uint8)


def straight(length: float, angle: float) -> np.ndarray:
    place = np.linspace(-length / 2, length / 2, 400)
    return np.stack([60 + place * np.cos(angle), 60 + place * np.sin(angle)], axis=1)


def arc(radius: float, sweep: float) -> np.ndarray:
    angle = np.linspace(-sweep / 2, sweep / 2, 600)
    return np.stack([60 + radius * np.sin(angle), 60 - radius / 2 + radius * np.cos(angle)], axis=1)


LINES: dict[str, tuple[np.ndarray, float]] = {
    "upright": (straight(70, 0.0), 70),
    "lying": (straight(70, np.pi / 2), 70),
    "oblique": (straight(70, 0.6), 70),
    "short": (straight(20, 0.3), 20),
    "bent": (arc(40, 1.9), 76),
    "a horseshoe": (arc(24, 3.3), 79),
}


@pytest.mark.parametrize("width", [8, 13])
@pytest.mark.parametrize("name", LINES)
def test_length_is_along_the_axis_however_it_lies_or_bends(name: str, width: int) -> None:
    points, along = LINES[name]
    cutout = cut_out(ribbon(points, width, (121, 121)), bright=False)
    # From tip to tip a rounded ribbon is longer than its line by its width; one with straight ends and as much area, by
    # pi / 4 of it.
    assert along + 0.7 * width <= cutout.length * 1.05 and cutout.length <= 1.05 * (along + 1.1 * width)


@pytest.mark.parametrize("angle", [0, 20, 45, 80, -30, -70])
def test_a_chromosome_is_stood_along_its_axis_and_keeps_its_upper_end(angle: int) -> None:
    image = ribbon(straight(60, np.radians(angle)), 10, (121, 121))
    points = straight(60, np.radians(angle))
    image[tuple(np.rint(points[:40]).astype(int).T)] = 255  # the first tenth of the line is its upper end
    cutout = cut_out(image, bright=False)
    assert cutout.tilt == pytest.approx(-angle, abs=2)
    standing = stand(cutout)
    height, width = standing.mask.shape
    assert height == pytest.approx(71, abs=3) and width == pytest.approx(11, abs=3)
    assert np.argwhere(standing.contrast > 220)[:, 0].mean() < height / 4


def crops(stain: str) -> list[np.ndarray]:
    tidy = Drawing(variation=0.4, neighbours=0, overlaps=0, cut=0)
    return [one.image for one in draw_cell(stain, 3, 0, tidy)]


def alike(first: Cutout, second: Cutout) -> None:
    np.testing.assert_array_equal(first.contrast, second.contrast)
    np.testing.assert_array_equal(first.mask, second.mask)


@pytest.mark.parametrize("stain", ["G", "Q"])
def test_the_ground_is_judged_by_the_whole_cell(stain: str) -> None:
    images = crops(stain)
    assert is_bright_ground(images) == (stain == "G")
    assert is_bright_ground([255 - image for image in images]) == (stain == "Q")
    alone = [is_bright_ground([image]) for image in images]
    assert np.mean([found == (stain == "G") for found in alone]) > 0.95


@pytest.mark.parametrize("stain", ["G", "Q"])
def test_dark_on_white_and_bright_on_black_are_the_same(stain: str) -> None:
    for image in crops(stain)[::5]:
        alike(cut_out(image, stain == "G"), cut_out(255 - image, stain != "G"))


@pytest.mark.parametrize("margin", [1, 30, 150])
@pytest.mark.parametrize("stain", ["G", "Q"])
def test_the_canvas_makes_no_difference(stain: str, margin: int) -> None:
    for image in crops(stain)[::9]:
        plain = cut_out(image, stain == "G")
        ground = 255 if stain == "G" else 0
        even = np.where(np.pad(plain.mask, 2)[2:-2, 2:-2], image[_window(plain)], np.uint8(ground))
        wide = np.pad(even, margin, constant_values=ground)
        found = cut_out(wide, stain == "G")
        tight = cut_out(np.pad(even, 1, constant_values=ground), stain == "G")
        alike(found, tight)
        assert found.box[:2] == (tight.box[0] + margin - 1, tight.box[1] + margin - 1)


def _window(cutout: Cutout) -> tuple[slice, slice]:
    row, column, height, width = cutout.box
    return slice(row, row + height), slice(column, column + width)


@pytest.mark.parametrize("stain", ["G", "Q"])
def test_a_crop_that_the_chromosome_touches_all_around_is_cut_alike(stain: str) -> None:
    overlaps = []
    for image in crops(stain)[::3]:
        whole = cut_out(image, stain == "G")
        tight = cut_out(image[_window(whole)], stain == "G")
        row, column, height, width = tight.box
        again = np.zeros_like(whole.mask)
        again[row : row + height, column : column + width] = tight.mask
        overlaps.append((again & whole.mask).sum() / (again | whole.mask).sum())
    # A pale end may be taken for ground where nothing else is left on the border.
    assert np.median(overlaps) > 0.97 and np.mean(np.array(overlaps) > 0.85) > 0.9


def test_a_picture_with_its_own_ground_on_a_canvas_of_another_is_taken_off_it_first() -> None:
    for image in crops("G")[::4]:
        plain = cut_out(image, bright=True)
        if np.median(image[[0, -1]]) < 240:
            continue
        pasted = np.zeros((300, 280), dtype=np.uint8)
        pasted[40 : 40 + image.shape[0], 70 : 70 + image.shape[1]] = image
        found = cut_out(pasted, is_bright_ground([pasted]))
        alike(found, plain)
        assert found.box[:2] == (plain.box[0] + 40, plain.box[1] + 70)


def dirty(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[3:7, 3:7] = 150
    return image


def broken(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[52:56] = 0
    return image


@pytest.mark.parametrize(("change", "pieces"), [(dirty, 1), (broken, 2)])
def test_dirt_is_left_out_and_what_is_broken_is_kept(change: Callable[[np.ndarray], np.ndarray], pieces: int) -> None:
    cutout = cut_out(change(ribbon(straight(70, 0.0), 12, (121, 121))), bright=False)
    assert ndimage.label(cutout.mask)[1] == pieces and cutout.mask.shape[0] > 75


def test_a_noisy_ground_is_no_chromosome() -> None:
    clean = ribbon(straight(70, 0.4), 12, (160, 140), ink=90)
    noise = np.random.default_rng(0).normal(0, 7, clean.shape)
    found = cut_out((clean.astype(float) + 40 + noise).clip(0, 255).astype(np.uint8), bright=False)
    truth = clean > 0
    row, column, height, width = found.box
    again = np.zeros_like(truth)
    again[row : row + height, column : column + width] = found.mask
    assert (again & truth).sum() / (again | truth).sum() > 0.9


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("bright", [False, True])
def test_a_blank_image_holds_nothing(level: int, bright: bool) -> None:
    found = cut_out(np.full((20, 30), level, dtype=np.uint8), bright)
    assert found.is_blank and found.box == (0, 0, 20, 30) and found.levels.sum() == 0
    assert stand(found) is found and found.length == 0
