"""The bands of many chromosomes as flat arrays, against the ideogram itself."""

from __future__ import annotations

import numpy as np
import pytest

from bandbridge.dataset.ideogram import RESOLUTIONS, RICH_BANDS, dye_levels, load_ideogram
from bandbridge.karyotype import CLASSES
from bandbridge.synthetic.bands import band_table


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("stain", ["G", "Q"])
def test_the_rows_of_chromosomes_are_their_bands_in_order(stain, resolution):
    table, ideogram = band_table(stain, resolution), load_ideogram(resolution)
    wanted = ["X", "1", "21", "1"]
    rows, owner = table.rows(np.array([CLASSES.index(label) for label in wanted]))
    assert owner.tolist() == [k for k, label in enumerate(wanted) for _ in ideogram[label]]
    bands = [band for label in wanted for band in ideogram[label]]
    assert table.iscn[rows].tolist() == [band.length for band in bands]
    assert table.pairs[rows].tolist() == [band.kilobases for band in bands]
    assert table.dye[rows].tolist() == [level for w in wanted for level in dye_levels(w, stain, resolution)]
    assert table.long_arm[rows].tolist() == [band.arm == "q" for band in bands]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_every_rich_band_is_there_and_takes_no_dye(resolution):
    table, ideogram = band_table("G", resolution), load_ideogram(resolution)
    assert table.dye[table.rich > 0].max() == 0
    for label, begins in RICH_BANDS.items():
        names = [f"{band.arm}{band.name}" for band in ideogram[label] if band.stain == "gneg"]
        for begin in begins:
            # At 400 bands p36.3 is part of p36.
            assert any(name.startswith(begin) or begin.startswith(name) for name in names), (label, begin)


def test_the_short_arms_of_acrocentrics_alone_are_narrow():
    table = band_table("G", 550)
    owner = np.repeat(np.arange(24), np.diff(table.first))
    narrow = {CLASSES[k] for k in set(owner[table.width < 1])}
    assert narrow == {"13", "14", "15", "21", "22"}
    assert not (table.long_arm & (table.width < 1)).any()
