"""The band table against its source and against what every cytogenetics text says."""

from __future__ import annotations

import csv
import io
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from bandbridge.dataset.ideogram import (
    ACROCENTRIC,
    STAINS,
    centromere,
    check_stain,
    chromosome_length,
    dye_levels,
    load_ideogram,
)
from bandbridge.errors import UserError
from bandbridge.karyotype import CLASSES

SOURCE = "ideogram_9606_GCF_000001305.14_550_V1.tsv"


def source_bands(folder: Path) -> dict[str, list[dict[str, str]]]:
    archive = folder / "bands.zip"
    if not archive.is_file():
        pytest.skip(f"needs {archive}")
    with zipfile.ZipFile(archive) as opened:
        text = opened.read(SOURCE).decode()
    bands: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(text), delimiter="\t"):
        bands.setdefault(row["#chromosome"], []).append(row)
    return bands


def test_every_band_is_the_sources(real_data: Path) -> None:
    source = source_bands(real_data)
    assert set(source) == set(CLASSES)
    gaps = 0
    for label, bands in load_ideogram().items():
        expected = source[label]
        assert [(b.arm, b.name, b.stain) for b in bands] == [
            (row["arm"], row["band"], row["stain"] + row["density"]) for row in expected
        ]
        assert bands[0].start == int(expected[0]["iscn_start"])
        assert bands[-1].stop == int(expected[-1]["iscn_stop"])
        for band, row, following in zip(bands, expected, expected[1:], strict=False):
            stop, start = int(row["iscn_stop"]), int(following["iscn_start"])
            assert int(row["bp_stop"]) + 1 == int(following["bp_start"]), "the gap is in ISCN units only"
            assert band.stop == (stop + start) // 2
            gaps += stop != start
    assert gaps == 8


def test_bands_touch_and_arms_follow_each_other() -> None:
    ideogram = load_ideogram()
    assert tuple(ideogram) == CLASSES
    assert sum(map(len, ideogram.values())) == 553
    for label, bands in ideogram.items():
        assert bands[0].start == 0
        assert all(one.stop == two.start for one, two in pairwise(bands)), label
        assert all(band.length > 0 for band in bands), label
        arms = "".join(band.arm for band in bands)
        assert arms == "p" * arms.count("p") + "q" * arms.count("q") and len(set(arms)) == 2, label
        inner = (
            [band.stain for band in bands if band.arm == "p"][-1],
            next(b.stain for b in bands if b.arm == "q"),
        )
        assert inner == ("acen", "acen"), label


def test_known_shapes() -> None:
    lengths = {label: chromosome_length(label) for label in CLASSES}
    assert max(lengths, key=lengths.__getitem__) == "1"
    assert min(lengths, key=lengths.__getitem__) == "21"
    assert lengths["7"] > lengths["X"] > lengths["8"]
    index = {label: centromere(label) / lengths[label] for label in CLASSES}
    assert all(index[label] < 0.5 for label in CLASSES), "the short arm is the shorter"
    for metacentric in ("1", "3", "16", "19", "20"):
        assert index[metacentric] > 0.39
    for submetacentric in ("4", "5", "18"):
        assert 0.2 < index[submetacentric] < 0.31
    stalked = tuple(label for label, bands in load_ideogram().items() if any(b.stain == "stalk" for b in bands))
    assert stalked == ACROCENTRIC == ("13", "14", "15", "21", "22")
    assert all(centromere(label) < 1300 for label in ACROCENTRIC)


@pytest.mark.parametrize("stain", STAINS)
def test_dye_rises_with_the_bands_density(stain: str) -> None:
    kinds = ("gneg", "gpos25", "gpos50", "gpos75", "gpos100")
    seen: dict[str, set[float]] = {kind: set() for kind in kinds}
    for label, bands in load_ideogram().items():
        for band, dye in zip(bands, dye_levels(label, check_stain(stain)), strict=True):
            if band.stain in seen:
                seen[band.stain].add(float(dye))
    levels = [seen[kind].pop() for kind in kinds]
    assert not any(seen.values()), "one level for each kind"
    assert levels == sorted(levels) and levels[0] == 0 and levels[-1] == 1


def test_distal_yq_is_the_most_brilliant_in_q_and_not_in_g() -> None:
    top = {stain: {label: dye_levels(label, stain).max() for label in CLASSES} for stain in STAINS}
    assert max(top["Q"], key=top["Q"].__getitem__) == "Y"
    assert top["G"]["Y"] <= 1


def test_unknown_stain_is_refused() -> None:
    with pytest.raises(UserError, match="'R' is not a stain"):
        check_stain("R")
