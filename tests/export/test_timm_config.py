"""The configuration of a model folder: folders of earlier builds become ones that other libraries read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bandbridge.errors import UserError
from bandbridge.export.folder import complete_folder
from bandbridge.export.timm_config import for_all_readers
from bandbridge.model.classifier import open_classifier
from bandbridge.predict.ensemble import open_models

BEFORE = Path(__file__).parents[1] / "made_by_afe3cdb" / "exported"


def old(home: Path, place: Path) -> Path:
    """A copy of the finished model folder ``home`` with the configuration that earlier builds wrote."""
    shutil.copytree(home, place)
    config = json.loads((place / "config.json").read_text())
    config["model_args"] = {"num_classes": 24, **config.get("model_args", {})}
    config["pretrained_cfg"]["crop_mode"] = "center"
    (place / "config.json").write_text(json.dumps(config, indent=2))
    from tests.finished import seal

    seal(place)
    return place


def test_what_others_read_already_stays_as_it_is():
    config = {"architecture": "a", "model_args": {"num_classes": 24, "depth": 1}, "pretrained_cfg": {"mean": [0.5]}}
    mended = for_all_readers(config)
    assert mended["model_args"] == {"depth": 1} and mended["pretrained_cfg"]["crop_mode"] == "border"
    assert for_all_readers(mended) == mended and list(mended) == list(config)
    assert "model_args" not in for_all_readers(config | {"model_args": {"num_classes": 24}})
    assert config["model_args"]["num_classes"] == 24, "the argument is not touched"


def test_a_folder_of_an_earlier_build_is_mended_and_keeps_its_answers(example_home, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs bandbridge[dev]")
    folder = old(example_home / "models" / "mine", tmp_path / "old")
    images = [np.random.default_rng(seed).integers(0, 255, (50, 30)).astype(np.uint8) for seed in range(4)]
    before = open_models([folder], device="cpu").judge(images).probabilities
    with pytest.raises(TypeError, match="num_classes"):
        transformers.AutoModelForImageClassification.from_pretrained(folder)
    assert complete_folder(folder) and not complete_folder(folder)
    assert np.array_equal(open_models([folder], device="cpu").judge(images).probabilities, before)
    assert transformers.AutoModelForImageClassification.from_pretrained(folder).config.num_labels == 24


def test_a_file_that_was_altered_is_not_hashed_anew(example_home, tmp_path):
    folder = old(example_home / "models" / "mine", tmp_path / "old")
    confidence = json.loads((folder / "confidence.json").read_text())
    (folder / "confidence.json").write_text(json.dumps(confidence | {"temperature": 9.0}))
    sums = (folder / "SHA256SUMS").read_bytes()
    with pytest.raises(UserError, match=r"confidence\.json was altered"):
        complete_folder(folder)
    assert (folder / "SHA256SUMS").read_bytes() == sums


def test_mending_that_was_stopped_leaves_a_folder_that_opens(example_home, tmp_path, monkeypatch):
    folder = old(example_home / "models" / "mine", tmp_path / "old")

    def killed(*_):
        raise KeyboardInterrupt

    for step in ("mend_config", "write_sums"):
        with monkeypatch.context() as patch:
            patch.setattr(f"bandbridge.export.folder.{step}", killed)
            with pytest.raises(KeyboardInterrupt):
                complete_folder(folder)
        open_models([folder], device="cpu")
    assert complete_folder(folder)
    open_models([folder], device="cpu")
    assert (folder / "SHA256SUMS").is_file()


def test_transformers_opens_a_folder_that_afe3cdb_made_once_it_is_completed(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs bandbridge[dev]")
    folder = Path(shutil.copytree(BEFORE, tmp_path / "old"))
    classifier = open_classifier(folder, device="cpu")
    with pytest.raises(TypeError, match="num_classes"):
        transformers.AutoModelForImageClassification.from_pretrained(folder)
    assert complete_folder(folder)
    pixels = torch.randn(2, 3, classifier.preparation.size, classifier.preparation.size)
    network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        assert torch.equal(network(pixels).logits, classifier.model(pixels))


@pytest.mark.parametrize("home", ["example", "afe3cdb"])
@pytest.mark.parametrize("reader", ["timm", "transformers"])
def test_transforms_of_a_folder_of_before_cut_both_ends_off_until_it_is_completed(example_home, tmp_path, home, reader):
    """What tests/export/test_readers.py asks of folders of today, and that it fails on those of before."""
    folder = tmp_path / "old"
    if home == "example":
        old(example_home / "models" / "mine", folder)
    else:
        shutil.copytree(BEFORE, folder)
    ends = {}
    for state in ("before", "after"):
        gray = _seen(folder, reader)
        ends[state] = gray[0, gray.shape[1] // 2], gray[-1, gray.shape[1] // 2]
        complete_folder(folder)
    assert max(abs(shade - 128) for shade in ends["before"]) < 10, "the middle of the chromosome"
    assert ends["after"][0] > 200 and ends["after"][1] < 55


def _seen(folder: Path, reader: str) -> np.ndarray:
    """What the reader's own transform makes of a long image, white at one end, black at the other: [S, S], 0..255."""
    timm = pytest.importorskip("timm")
    tall = np.full((120, 30), 128, dtype=np.uint8)
    tall[:12], tall[-12:] = 255, 0
    image = Image.fromarray(tall).convert("RGB")
    if reader == "timm":
        data = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{folder}", pretrained=True))
        pixels = timm.data.create_transform(**data)(image)
    else:
        transformers = pytest.importorskip("transformers", reason="needs bandbridge[dev]")
        pixels = transformers.AutoImageProcessor.from_pretrained(folder)(image)["pixel_values"][0]
        data = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    mean, std = (np.reshape(data[key], (3, 1, 1)) for key in ("mean", "std"))
    return (np.asarray(pixels) * std + mean)[0] * 255
