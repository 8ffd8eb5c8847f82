"""``bandbridge export`` from the outside, on a run folder with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tests.finished import begin_run
from tests.networks import write_moved

from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.karyotype import CLASSES
from bandbridge.predict.runtime import open_runtime

pytest.importorskip("onnx", reason="needs bandbridge[export]")
pytest.importorskip("onnxruntime", reason="needs bandbridge[export]")


@pytest.fixture
def run(tmp_path):
    """A run as a study leaves it, without predictions."""
    facts = {"task": "Q", "architecture": "test_resnet", "approach": "scratch", "fold": 0}
    folder = begin_run(tmp_path / "runs" / "Q" / "test_resnet" / "scratch", **facts)
    for checkpoint in ("best", "last"):
        write_moved(folder / f"{checkpoint}.safetensors")
    settings = {"size": 64}
    config = {"architecture": "test_resnet", "classes": CLASSES, "preparation": settings, "mean": [0.5] * 3}
    (folder / "config.json").write_text(json.dumps({**config, "std": [0.5] * 3}))
    return folder


def test_a_run_becomes_a_folder_that_says_how_far_it_is_from_pytorch(bandbridge, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bandbridge("export", run)
    assert result.code == 0, result.err
    assert [line.split()[0] for line in result.out.splitlines()] == ["1", "3", "16"]
    folder = tmp_path / "exports" / f"Q-test_resnet-{run.name[-12:]}-onnx"
    names = {"model.onnx", "evidence.onnx", "preparation.json", "SHA256SUMS", "example.py", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert "not calibrated" in result.err and json.loads((folder / "preparation.json").read_text())["temperature"] == 1


def test_eight_bits_are_measured_on_other_cells_and_every_image_is_to_be_checked(
    bandbridge, run, chromosome_set, tmp_path
):
    dataset = chromosome_set("Q", 3)
    result = bandbridge("export", run, "--int8", "--calibrate", dataset, "--limit", 20, "--out", tmp_path / "small")
    assert result.code == 0, result.err
    assert "On 46 images, which the model may have been trained on" in result.out
    assert "layers stay float32" in result.out and "points lost" in result.out
    assert result.out.splitlines()[-1] in (tmp_path / "small" / "README.md").read_text()
    assert json.loads((tmp_path / "small" / "preparation.json").read_text())["review_below"] is None
    name = open_dataset(dataset).samples["file_name"].iloc[0]
    image = np.asarray(Image.open(dataset / name).resize((64, 64)))[None]
    _, probabilities = open_runtime(tmp_path / "small" / "model.onnx", 1)(image)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_eight_bits_need_images_with_known_labels(bandbridge, run, chromosome_set, tmp_path):
    alone = bandbridge("export", run, "--int8")
    assert alone.code == 2 and "--calibrate" in alone.err
    dataset = chromosome_set("Q", 2)
    table = (dataset / "metadata.csv").read_text()
    (dataset / "metadata.csv").write_text(table.replace(",7,", ",seven,"))
    odd = bandbridge("export", run, "--int8", "--calibrate", dataset, "--out", tmp_path / "out")
    assert odd.code == 2 and "seven" in odd.err and not (tmp_path / "out").exists()
