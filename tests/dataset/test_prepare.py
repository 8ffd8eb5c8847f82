"""Preparation against arithmetic done by hand."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from bandbridge.dataset.prepare import (
    Preparation,
    background_level,
    crop_to_foreground,
    foreground_mask,
    prepare_image,
)


def bar(height: int, width: int, ground: int = 0, ink: int = 200, margin: int = 4) -> np.ndarray:
    image = np.full((height, width), ground, dtype=np.uint8)
    image[margin:-margin, margin:-margin] = ink
    return image


def test_the_papers_way_pads_the_shorter_side_with_black_and_centres():
    image = np.full((32, 16), 255, dtype=np.uint8)
    prepared = prepare_image(image, Preparation(size=32))
    assert (prepared[:, 8:24] == 255).all()
    assert (prepared[:, :8] == 0).all() and (prepared[:, 24:] == 0).all()


def test_resizing_is_bilinear_interpolation_of_the_square():
    """Enlarging twice, a sample between two pixels lies a quarter of the way from the nearer one."""
    image = np.zeros((16, 16), dtype=np.uint8)
    image[:, 8:] = 200
    row = prepare_image(image, Preparation(size=32))[10]
    assert row[15] == 50 and row[16] == 150 and row[14] == 0 and row[17] == 200


def test_padding_with_the_background_continues_the_ground():
    prepared = prepare_image(bar(40, 20, ground=230, ink=60), Preparation(size=40, padding="background"))
    assert background_level(prepared) == 230
    assert (prepared[:, :10] == 230).all()


def test_inversion_is_an_involution_and_comes_before_padding():
    image = bar(32, 16, ground=255, ink=10)
    inverted = prepare_image(image, Preparation(size=32, polarity="inverted"))
    assert inverted[:, :8].max() == 0 and inverted[16, 16] == 245
    np.testing.assert_array_equal(prepare_image(255 - image, Preparation(size=32)), inverted)


@pytest.mark.parametrize(("ground", "ink"), [(0, 180), (255, 90)])
def test_crop_finds_the_chromosome_on_either_ground(ground, ink):
    canvas = np.full((200, 100), ground, dtype=np.uint8)
    canvas[50:120, 30:55] = ink
    assert crop_to_foreground(canvas).shape == (70, 25)


def test_crop_ignores_specks_and_leaves_a_blank_image_alone():
    canvas = np.zeros((100, 100), dtype=np.uint8)
    canvas[20:60, 20:40] = 200
    canvas[95, 95] = 255
    assert crop_to_foreground(canvas).shape == (40, 20)
    blank = np.full((30, 20), 7, dtype=np.uint8)
    assert not foreground_mask(blank).any()
    assert crop_to_foreground(blank).shape == (30, 20)


def test_a_common_scale_keeps_the_ratio_of_lengths():
    preparation = Preparation(size=64, scale="common", extent=128)
    lengths = [
        np.count_nonzero(prepare_image(np.full((length, 12), 255, np.uint8), preparation)[:, 32] > 127)
        for length in (120, 60)
    ]
    assert lengths == [60, 30]
    each = Preparation(size=64)
    assert all(
        np.count_nonzero(prepare_image(np.full((length, 12), 255, np.uint8), each)[:, 32] > 127) == 64
        for length in (120, 60)
    )


def test_a_common_scale_without_an_extent_is_refused():
    with pytest.raises(ValueError, match="extent"):
        prepare_image(bar(20, 20), Preparation(size=32, scale="common"))


def test_the_result_matches_pillow_on_random_images():
    generator = np.random.default_rng(0)
    for _ in range(20):
        height, width = generator.integers(10, 90, 2)
        image = generator.integers(0, 256, (height, width), dtype=np.uint8)
        side = int(max(height, width))
        canvas = Image.new("L", (side, side), 0)
        canvas.paste(Image.fromarray(image), ((side - int(width)) // 2, (side - int(height)) // 2))
        expected = np.asarray(canvas.resize((48, 48), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(prepare_image(image, Preparation(size=48)), expected)


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError):
        Preparation(size=32, colour="red")


def test_an_extent_beyond_any_image_is_refused() -> None:
    with pytest.raises(ValueError, match="extent"):
        Preparation(scale="common", extent=10**26)
