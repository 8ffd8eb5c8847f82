"""Turning, trimming and naming pictures."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from bandbridge.karyogram.sheet import Pose
from bandbridge.review.picture import close_up, decode_png, encode_png, pixel_hash, tile, trim_ground, turn


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (9, 5)).astype(np.uint8)


def test_a_picture_survives_the_file(pixels):
    np.testing.assert_array_equal(decode_png(encode_png(pixels)), pixels)


def test_the_hash_tells_pixels_and_shape(pixels):
    assert pixel_hash(pixels) == hashlib.sha256(b"9x5:" + bytes(pixels.ravel().tolist())).hexdigest()
    assert pixel_hash(pixels) == pixel_hash(np.asfortranarray(pixels)) != pixel_hash(pixels.T)


@pytest.mark.parametrize(
    ("angle", "flipped", "quarters"), [(0, False, 0), (0, True, 2), (90, False, 1), (-90, True, 1)]
)
def test_quarter_turns_are_exact_and_counter_clockwise(pixels, angle, flipped, quarters):
    turned = turn(pixels, Pose(angle, flipped), 0)
    expected = pixels
    for _ in range(quarters):
        expected = expected.T[::-1]
    np.testing.assert_array_equal(turned, expected)


def test_a_tilted_bar_is_turned_upright_on_its_ground():
    image = np.full((61, 61), 230, np.uint8)
    image[10:51, 27:34] = 30
    tilted = ndimage.rotate(image, -25, reshape=False, order=1, cval=230)
    upright = turn(tilted, Pose(25.0), 230)
    dark = upright < 130
    rows, columns = dark.any(axis=1).sum(), dark.any(axis=0).sum()
    assert abs(rows - 41) <= 2 and abs(columns - 7) <= 2
    assert set(upright[[0, 0, -1, -1], [0, -1, 0, -1]].tolist()) == {230}
    colour = turn(np.repeat(tilted[:, :, None], 3, axis=2), Pose(25.0), 230)
    np.testing.assert_array_equal(colour, np.repeat(upright[:, :, None], 3, axis=2))


def test_trimming_keeps_a_single_faint_pixel_and_a_margin():
    image = np.full((20, 20), 200, np.uint8)
    image[8:12, 9:11] = 20
    image[4, 15] = 200 - 13
    np.testing.assert_array_equal(trim_ground(image, 200), image[2:14, 7:18])
    blank = np.full((4, 4), 7, np.uint8)
    assert trim_ground(blank, 7).shape == (4, 4)


def test_a_tile_is_upright_and_trimmed():
    image = np.zeros((12, 40), np.uint8)
    image[5:8, 10:30] = 200
    image[5:8, 28:30] = 90
    shown = tile(image, Pose(90.0))
    assert shown.shape == (24, 7) and shown[2, 3] == 90 and shown[-3, 3] == 200
    np.testing.assert_array_equal(tile(image, Pose(90.0, True)), shown[::-1, ::-1])


def test_a_close_up_of_the_overlay_is_of_the_same_place():
    image = np.zeros((100, 60), np.uint8)
    image[40:70, 20:28] = 180
    overlay = np.repeat(np.kron(image, np.ones((2, 2), np.uint8))[:, :, None], 3, axis=2)
    overlay[:, :, 2] = 9
    for pose in (Pose(), Pose(7.0), Pose(-30.0, True)):
        bare, laid = close_up(image, pose), close_up(image, pose, overlay)
        np.testing.assert_array_equal(bare[:, :, 0], laid[:, :, 0])
        inner = laid[2:-2, 2:-2, 2]
        assert set(np.unique(inner)) <= {0, 9} and bare.shape[0] < 200
    assert close_up(image, Pose()).shape == (2 * (30 + 16), 2 * (8 + 16), 3)
