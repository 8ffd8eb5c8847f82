"""``bandbridge similarity`` from the command line, on tiny sets and a tiny model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.networks import write_moved

OPTIONS = ("--architecture", "test_resnet", "--image-size", 32, "--bootstraps", 20, "--permutations", 19)


@pytest.fixture
def place(tmp_path, chromosome_set, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_moved(tmp_path / "weights" / "test_resnet.safetensors", classes=1000, size=32)
    for number in range(4):
        folder = tmp_path / "natural" / "n01"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return chromosome_set("G", 2), chromosome_set("Q", 3)


@pytest.mark.slow
def test_tables_and_figures(bandbridge, place, tmp_path):
    result = bandbridge(
        "similarity", *place, "--natural", "natural", "--weights-dir", "weights", *OPTIONS, "--ablation"
    )
    assert result.code == 0, result.err
    assert "Table 1. Domain similarity" in result.out
    assert "All of these" in result.out
    written = {path.name for path in (tmp_path / "results" / "similarity").iterdir()}
    for stem in ("similarity", "bandwidths", "ablation"):
        assert {f"{stem}.md", f"{stem}.csv", f"{stem}.tex"} <= written
    assert {"similarity-heatmap.svg", "similarity-map.pdf", "domains.json"} <= written


def test_json_is_json(bandbridge, place):
    result = bandbridge("similarity", *place, "--weights-dir", "weights", *OPTIONS, "--json")
    assert result.code == 0, result.err
    records = json.loads(result.out)["similarity"]
    assert {record["kind"] for record in records} == {"published", "corrected"}
    assert all(0 < record["p"] <= 1 for record in records)


def test_one_domain_is_a_mistake(bandbridge, place):
    result = bandbridge("similarity", place[0], "--weights-dir", "weights", *OPTIONS)
    assert result.code == 2
    assert "only one domain" in result.err


def test_one_image_of_a_domain_is_a_mistake(bandbridge, place, tmp_path):
    for name, image in (("one", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "natural" / "n01" / f"{image}.png", tmp_path / name / "a.png")
        (tmp_path / name / "metadata.csv").write_text("file_name,label\na.png,1\n")
    result = bandbridge("similarity", "one", "other", "--weights-dir", "weights", *OPTIONS)
    assert result.code == 2 and "one: 1 image other: 1 image Give larger sets." in result.err


def test_equal_names_are_a_mistake(bandbridge, place):
    result = bandbridge("similarity", place[0], place[0], "--weights-dir", "weights", *OPTIONS)
    assert result.code == 2
    assert "Rename" in result.err


def test_absent_dataset_is_named(bandbridge, place):
    result = bandbridge("similarity", place[0], "nowhere", "--weights-dir", "weights", *OPTIONS)
    assert result.code == 2
    assert "nowhere" in result.err
