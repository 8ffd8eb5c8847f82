"""The figure over the number of labelled cells shows what it is given."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bandbridge.evaluation.cluster_intervals import Estimate
from bandbridge.report.figures.few_cells import Panel, draw_few_cells


def share(value: float, reach: float = math.nan) -> Estimate:
    return Estimate(value, value - reach, value + reach, 100)


def test_every_share_is_a_point_near_its_number_of_cells_with_its_interval() -> None:
    curves = {
        "imagenet": {2: share(0.5, 0.1), 20: share(0.8)},
        "boxed": {20: share(0.9, 0.02), 2: share(0.85, 0.05)},
    }
    figure = draw_few_cells([Panel("Q", curves), Panel("G", {"boxed": {5: share(0.7)}})])
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["Q", "G"]
    curved = [line for line in first.lines if line.get_marker() not in ("", "None")]
    assert [line.get_ydata().tolist() for line in curved] == [[50, 80], [85, 90]]
    for line in curved:
        assert np.abs(np.log(line.get_xdata() / np.array([2, 20]))).max() < 0.1, "beside its number of cells"
    bars = [sorted(line.get_ydata()) for line in first.lines if line not in curved]
    assert [pytest.approx(bar) for bar in ([40, 60], [80, 90], [88, 92])] == bars
    assert len(second.lines) == 1, "there is no interval"
    assert [text.get_text() for text in first.get_xticklabels()] == ["2", "20"]
    assert first.get_ylim()[0] < 40 and first.get_ylim() == second.get_ylim()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ImageNet", "Boxed"]
