"""Measures of unlabelled chromosomes against figures whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.synthetic.fitting import misfits
from bandbridge.synthetic.measure import MEASURES, measure_images, spread_of


def bar(length: int, width: int, bands: int = 0, margin: tuple[int, int] = (6, 4)) -> np.ndarray:
    """A bar on black, as bright everywhere, or with so many whole waves along it.

    Its corners are off: one with four straight sides would be a picture on a canvas.
    """
    along = 150.0 + (80 * np.cos(2 * np.pi * bands * np.arange(length) / length) if bands else 0)
    image = np.zeros((length + 2 * margin[0], width + 2 * margin[1]))
    image[margin[0] : -margin[0], margin[1] : -margin[1]] = np.broadcast_to(
        np.reshape(along, (-1, 1)) if bands else along, (length, width)
    )
    bar = image[margin[0] : -margin[0], margin[1] : -margin[1]]
    for cut in range(3):
        bar[cut, : 3 - cut] = bar[cut, cut - 3 :] = bar[-1 - cut, : 3 - cut] = bar[-1 - cut, cut - 3 :] = 0
    return image.astype(np.uint8)


def measured(image: np.ndarray, *mates: np.ndarray) -> dict[str, float]:
    return dict(zip(MEASURES, measure_images([image, *mates])[0], strict=True))


def test_a_bars_length_width_and_ground():
    found = measured(bar(80, 16))
    # Area and outline see rounded corners: a little shorter.
    assert np.exp(found["length"]) == pytest.approx(80, rel=0.03)
    assert np.exp(found["slimness"]) == pytest.approx(5, rel=0.06)
    assert np.exp(found["width"]) == pytest.approx(16 / 80, rel=0.06)
    assert (found["waist"], found["rough outline"], found["bend"]) == pytest.approx((1, 0, 0), abs=1e-6)
    assert (found["free above"], found["free beside"]) == pytest.approx((np.log(7), np.log(5)))
    assert found["strength"] == pytest.approx(np.log(151))
    assert found["texture"] == found["fine texture"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("bands", "name"), [(2, "waves 1 to 2"), (4, "waves 3 to 5"), (8, "waves 6 to 10")])
def test_waves_along_the_axis_count_where_they_belong(bands, name):
    found = measured(bar(128, 16, bands))
    power = {key: value for key, value in found.items() if key.startswith("waves")}
    assert max(power, key=power.__getitem__) == name
    assert found["profile"] > 0.2 and found["chromatids alike"] == pytest.approx(1)


def test_a_pale_midline_a_waist_and_chromatids_that_differ_are_seen():
    plain = bar(80, 16, 4)
    slit = plain.copy()
    slit[:, 11:13] = slit[:, 11:13] * 0.8
    assert measured(slit, plain)["midline"] < measured(plain, slit)["midline"] - 0.15
    waist = plain.copy()
    waist[36:56, 4:8] = waist[36:56, 16:20] = 0
    assert measured(waist)["waist"] == pytest.approx(0.5)
    lagging = plain.copy()
    lagging[6:-6, 12:20] = np.roll(plain[6:-6, 12:20], 10, axis=0)
    assert measured(lagging)["chromatids alike"] < 0.2


def test_nothing_to_see_is_not_a_number_and_does_not_count():
    found = measure_images([np.zeros((20, 12), np.uint8), bar(80, 16)])
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()
    middles, rest = spread_of([found])
    assert middles[0] == pytest.approx(found[1]) and rest[1] == pytest.approx(0)


def test_the_misfit_of_a_set_with_itself_is_none_and_of_a_shifted_one_the_shift():
    rng = np.random.default_rng(0)
    real = [rng.normal(size=(30, len(MEASURES))) + rng.normal(size=len(MEASURES)) for _ in range(60)]
    assert all(value == (0, 0) for value in misfits(real, real).values())
    middles, _ = spread_of(real)
    spread = np.quantile(middles, 0.9, axis=0) - np.quantile(middles, 0.1, axis=0)
    shifted = misfits([cell + spread / 2 for cell in real], real)
    assert all(value == pytest.approx((0.5, 0), abs=1e-9) for value in shifted.values())
