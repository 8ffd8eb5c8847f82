"""``bandbridge data`` from the outside."""

import json

import numpy as np
import pytest
from PIL import Image


def test_synth_then_check_finds_nothing_to_decide(bandbridge, tmp_path):
    made = bandbridge("data", "synth", tmp_path / "g", "--stain", "G", "--cells", 2, "--seed", 1)
    assert made.code == 0 and "data check" in made.err
    result = bandbridge("data", "check", tmp_path / "g", "--json")
    assert result.code == 0, result.out
    facts = json.loads(result.out)
    assert facts["images"] == 92 and not [f for f in facts["findings"] if f["severity"] == "decision"]


def test_check_exits_with_one_and_names_a_damaged_image(bandbridge, chromosome_set):
    folder = chromosome_set("G", cells=2)
    damaged = sorted((folder / "images").rglob("*.png"))[5]
    damaged.write_bytes(b"")
    result = bandbridge("data", "check", folder)
    assert result.code == 1 and damaged.name in result.out


def test_synth_refuses_to_mix_into_another_folder(bandbridge, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    result = bandbridge("data", "synth", tmp_path / "mine", "--cells", 1)
    assert result.code == 2 and "mine" in result.err


def test_import_of_a_folder_of_classes_can_be_checked(bandbridge, tmp_path):
    generator = np.random.default_rng(0)
    for label in ("1", "2", "X"):
        for number in range(3):
            path = tmp_path / "source" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (40, 20), dtype=np.uint8)).save(path)
    result = bandbridge("data", "import", "folder", tmp_path / "source", tmp_path / "out")
    assert result.code == 0 and "9 images" in result.out
    counts = json.loads(bandbridge("data", "check", tmp_path / "out", "--json").out)["classes"]
    assert {label: count for label, count in counts.items() if count} == {"1": 3, "2": 3, "X": 3}


def test_an_unknown_layout_lists_the_known_ones(bandbridge, tmp_path):
    result = bandbridge("data", "import", "dicom", tmp_path, tmp_path / "out")
    assert result.code == 2 and "bioimlab" in result.err


@pytest.mark.real_data
def test_bioimlab_has_its_published_counts_and_its_known_faults(bandbridge, real_data):
    result = bandbridge("data", "check", real_data / "bioimlab.zip", "--json")
    facts = json.loads(result.out)
    assert facts["images"] == 5474 and facts["cells"] == 119
    expected = {str(number): 238 for number in range(1, 23)} | {"X": 193, "Y": 45}
    assert facts["classes"] == expected
    framing = next(finding for finding in facts["findings"] if finding["kind"] == "mixed-framing")
    assert framing["count"] == 1215 and result.code == 1
