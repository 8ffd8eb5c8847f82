"""What 8 bits cost: images for three purposes, and a loss against a count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bandbridge.errors import UserError
from bandbridge.export.sensitivity import Expected, Kept
from bandbridge.export.trial import Trial, difference_interval, divide, measure_loss

NONE_KEPT = Kept((), ("conv",), Expected(0.0, 0.0), 40)


def test_the_loss_counts_changed_classes():
    images = np.zeros((40, 4, 4), np.uint8)
    images[:, 0, 0] = np.arange(40)

    def runtime(threshold):
        return lambda batch: (np.eye(2)[(batch[:, 0, 0] >= threshold).astype(int)],) * 2

    trial = Trial(images, images, images, (np.arange(40) >= 10).astype(int), False)
    loss = measure_loss(runtime(10), runtime(14), trial, NONE_KEPT)
    assert (loss.agreement, loss.accuracy_before, loss.accuracy_after) == (0.9, 1.0, 0.9)
    # Clopper-Pearson of 36 in 40, from the beta quantiles of its definition.
    assert (loss.low, loss.high) == pytest.approx((0.763, 0.972), abs=5e-4)
    assert loss.speed > 0 and "10.0 points lost" in loss.sentence() and NONE_KEPT.sentence() in loss.sentence()


def test_the_interval_of_the_loss_is_bonett_and_prices_and_holds_the_truth():
    before, after = np.ones(40, bool), np.arange(40) >= 4
    # By hand: (5 - 1) / 42, and 1.96 times the root of (6 / 42 - (4 / 42)^2) / 42.
    assert difference_interval(before, after) == pytest.approx((-0.015384, 0.205860), abs=1e-5)
    generator, held = np.random.default_rng(0), 0
    for _ in range(2000):
        drawn = generator.choice(4, size=250, p=[0.9, 0.02, 0.01, 0.07])  # both right, lost, gained, both wrong
        low, high = difference_interval(drawn < 2, (drawn == 0) | (drawn == 2))
        held += low <= 0.01 <= high
    assert 0.94 < held / 2000 < 0.98


def table(cells=6):
    rows = [(f"c{cell}/{index}.png", str(index % 24 + 1), f"c{cell}") for cell in range(cells) for index in range(20)]
    return pd.DataFrame(rows, columns=["file_name", "label", "cell"])


def test_calibration_choice_and_measurement_share_no_image_and_no_cell():
    *parts, held_out = divide(table(), frozenset(), 20, 0)
    assert [len(part) for part in parts] == [20, 40, 40] and not held_out
    cells = [{name[:2] for name in part} for part in parts]
    assert not cells[0] & cells[1] and not cells[0] & cells[2] and not cells[1] & cells[2]


def test_what_was_held_out_is_divided_between_choice_and_measurement():
    samples = table()
    own = frozenset(samples["file_name"][samples["cell"].isin(["c2", "c4"])])
    ranges, choice, measured, held_out = divide(samples, own, 50, 0)
    assert held_out and len(ranges) == 50 and not set(ranges) & own and set(choice) | set(measured) == own
    assert {len({name[:2] for name in part}) for part in (choice, measured)} == {1} and choice[0][:2] != measured[0][:2]
    with pytest.raises(UserError, match="16 of each"):
        divide(samples[:40], frozenset(), 50, 0)
