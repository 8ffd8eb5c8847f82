"""Where a source image lies in its prepared square, against preparation itself; and the colours over it."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from scipy.ndimage import center_of_mass, gaussian_filter

from bandbridge.dataset.by_cell import prepare_images
from bandbridge.dataset.prepare import BASES, Preparation, prepare_image
from bandbridge.explain.overlay import display_factor, enlarge, map_on_source, overlay, place

PREPARATIONS = {
    "papers way, enlarged": Preparation(size=128),
    "papers way, shrunk": Preparation(size=32),
    "common scale": Preparation(size=96, scale="common", extent=120),
    "common scale, too long": Preparation(size=96, scale="common", extent=30),
    "cropped": Preparation(size=128, crop="foreground"),
    "cropped, common, inverted": Preparation(
        size=112, crop="foreground", scale="common", extent=90, polarity="inverted"
    ),
}


def spot(y: float, x: float, height: int = 71, width: int = 38) -> np.ndarray:
    """A bright spot around pixel coordinates (y, x) on a dim bar; the ground is black and unevenly wide."""
    image = np.zeros((height, width))
    image[9:-4, 6:-10] = 60
    rows, columns = np.mgrid[:height, :width]
    image += 180 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 1.5**2))
    return np.rint(image).astype(np.uint8)


@pytest.mark.parametrize("preparation", PREPARATIONS.values(), ids=PREPARATIONS)
@pytest.mark.parametrize(("y", "x"), [(20, 14), (52, 20)])
def test_a_spot_of_the_source_is_found_where_the_placement_says(preparation: Preparation, y: int, x: int) -> None:
    image = spot(y, x)
    prepared = prepare_image(image, preparation).astype(float)
    plain = prepare_image(spot(-99, -99), preparation).astype(float)
    found = center_of_mass(np.abs(prepared - plain))
    where = place(image, preparation)
    # The centre of pixel y is at y + 0.5; so it is in the prepared square.
    expected = [place - 0.5 for place in where.on_square(y + 0.5, x + 0.5)]
    np.testing.assert_allclose(found, expected, atol=0.1)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("tilt", [0, 30, -55])
@pytest.mark.parametrize("views", ["close-up", "both"])
def test_a_spot_is_found_in_a_chromosome_that_was_cut_out_and_stood_up(views: str, tilt: int, upright: bool) -> None:
    """The close-up is looked at, whatever the chromosome was turned by."""
    size = 96
    preparation = Preparation(size=size, **{**BASES["by-cell"], "views": views, "upright": upright})
    rows, columns = np.mgrid[:121, :101] + 0.5
    angle = np.radians(tilt)
    along = (rows - 62) * np.cos(angle) + (columns - 50) * np.sin(angle)
    across = (columns - 50) * np.cos(angle) - (rows - 62) * np.sin(angle)
    bar = np.where((np.abs(along) < 40) & (np.abs(across) < 9), 90, 0).astype(np.uint8)
    # The brightest place of the contrast, 20 px along the bar.
    distance = (along - 20) ** 2 + across**2
    image = np.maximum(bar, np.rint(160 * np.exp(-distance / 18))).astype(np.uint8)
    close_up = prepare_images([image], [""], preparation)[0].reshape(-1, size, size)[0]
    found = center_of_mass(close_up > 240)
    where = place(image, preparation)
    y, x = 62 + 20 * np.cos(angle), 50 + 20 * np.sin(angle)
    np.testing.assert_allclose(found, [place - 0.5 for place in where.on_square(y, x)], atol=0.8)
    if upright:  # it stands: the spot lies in the middle column, a quarter of the bar's length from its lower end
        np.testing.assert_allclose(found, [(size - 1) / 2 + 20 * where.scale, (size - 1) / 2], atol=1.0)


@pytest.mark.parametrize("preparation", PREPARATIONS.values(), ids=PREPARATIONS)
@pytest.mark.parametrize("shape", [(71, 38), (40, 66), (50, 50)])
def test_content_is_what_is_not_padding(preparation: Preparation, shape: tuple[int, int]) -> None:
    """An image all white, prepared, is white where it shows the source; its last row of pixels may be half so."""
    white = np.full(shape, 0 if preparation.polarity == "inverted" else 255, dtype=np.uint8)
    shown = prepare_image(white, preparation) > 127
    content = place(white, preparation).content()
    assert abs(int(content.sum()) - int(shown.sum())) <= 2 * preparation.size
    eroded = gaussian_filter((content == shown).astype(float), 0.1) < 0.5
    assert eroded.sum() <= 2 * preparation.size
    if preparation.size in (128, 32) and shape == (50, 50):
        assert content.all()


@pytest.mark.parametrize("preparation", [PREPARATIONS["papers way, enlarged"], PREPARATIONS["common scale"]])
def test_reading_a_prepared_image_back_gives_its_source(preparation: Preparation) -> None:
    rng = np.random.default_rng(0)
    image = np.rint(gaussian_filter(rng.uniform(0, 255, (60, 31)), 3) * 4 - 380).clip(0, 255).astype(np.uint8)
    back = map_on_source(prepare_image(image, preparation), place(image, preparation), image.shape)
    inside = (slice(2, -2), slice(2, -2))  # at the border preparation mixes in the padding
    assert np.abs(back[inside] - image[inside]).max() < 8 and image.std() > 20


def test_places_that_a_crop_cut_away_are_not_seen() -> None:
    image = spot(30, 18)
    seen = map_on_source(np.ones((128, 128)), place(image, PREPARATIONS["cropped"]), image.shape, 2)
    assert seen.shape == (142, 76)
    rows, columns = np.nonzero(~np.isnan(seen))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (18, 133, 12, 55)
    assert np.nanmin(seen) == np.nanmax(seen) == 1


def test_a_common_scale_without_an_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="extent"):
        place(spot(1, 1), Preparation(size=32, scale="common"))


def test_an_empty_map_gives_back_the_chromosome() -> None:
    image = spot(30, 18)
    where = place(image, PREPARATIONS["papers way, enlarged"])
    np.testing.assert_array_equal(overlay(image, np.zeros((128, 128)), where, 3, "inferno"), enlarge(image, 3))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_jet_is_laid_over_half_transparent(value: float) -> None:
    image = spot(30, 18)
    where = place(image, PREPARATIONS["papers way, enlarged"])
    drawn = overlay(image, np.full((128, 128), value), where, 1, "jet")
    colour = np.array(matplotlib.colormaps["jet"](value)[:3]) * 255
    np.testing.assert_allclose(drawn, (image[:, :, None] + colour) / 2, atol=0.51)
    assert drawn.dtype == np.uint8


def test_more_evidence_is_more_colour() -> None:
    image = np.full((40, 20), 90, dtype=np.uint8)
    where = place(image, Preparation(size=64))
    rising = np.tile(np.linspace(0, 1, 64)[:, None], 64)
    drawn = overlay(image, rising, where, 1, "cividis").astype(int)
    change = np.abs(drawn - 90).sum(axis=2)[:, 10]
    assert change[0] <= 2 and change[-1] > 60


def test_pixels_are_enlarged_by_a_whole_factor() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    large = enlarge(image, 5)
    assert large.shape == (15, 20, 3) and (large[5:10, 15:20] == image[1, 3]).all()
    assert [display_factor(np.zeros(shape)) for shape in ((30, 20), (100, 200), (150, 70), (900, 10))] == [8, 1, 2, 1]
