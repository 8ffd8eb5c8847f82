"""A model folder as others open it: timm, transformers, ONNX Runtime and this package read one and the same model."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from tests.finished import begin_run
from tests.networks import moved_network

from bandbridge.api.model import load_model
from bandbridge.boxes import at_home
from bandbridge.export.folder import export_folder, write_model
from bandbridge.export.graph import TOLERANCE, drawn_images
from bandbridge.export.half import HALF_TOLERANCE
from bandbridge.export.worth import Worth
from bandbridge.karyotype import CLASSES
from bandbridge.model.classifier import Classifier, open_classifier
from bandbridge.model.weights import save_model
from bandbridge.predict.runtime import open_runtime
from bandbridge.predict.trained_on import TrainedOn
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study

transformers = pytest.importorskip("transformers", reason="needs bandbridge[dev]")

SIZE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: One of each family that the paper compares, as small as they come, and of each of timm's tiny ones.
FAMILIES = (
    pytest.param("vgg11_bn", marks=pytest.mark.slow),  # half a gigabyte, and no option makes it less
    pytest.param("swin_tiny_patch4_window7_224+embed_dim=24", marks=pytest.mark.slow),
    "resnext50_32x4d+base_width=1",
    "convnext_atto",
    "vit_tiny_patch16_224+depth=2+embed_dim=24+num_heads=3+init_values=1.0",
    "mobilenetv3_small_050",
    "tf_efficientnet_lite0",
    "test_resnet",
    "test_vit",
    "test_convnext",
    "test_efficientnet",
)
#: Of a probability: a graph in half precision has folded its norms before, so its weights are rounded otherwise.
IN_HALF = 0.02
RECORD = {
    "seed": 0,
    "precision": "fp32",
    "dataset": "0" * 64,
    "split": "1" * 64,
    "recipe": {"name": "fast", "phases": [{"epochs": 1}], "batch_size": 16},
}


def a_run(home: Path, name: str, size: int = SIZE, approach: str = "scratch") -> Path:
    """A run of the architecture ``name`` in which every weight counts, as if it had been trained."""
    run = begin_run(home, RECORD, task="Q", architecture=name, approach=approach, intermediate="", fold=0)
    config = {"architecture": name, "classes": CLASSES, "preparation": {"size": size}, "mean": MEAN, "std": STD}
    (run / "config.json").write_text(json.dumps(config))
    (run / "environment.json").write_text("{}")
    save_model(moved_network(name, len(CLASSES), size).state_dict(), run / "last.safetensors", {})
    return run


def written(run: Path, out: Path, *, half: bool = False) -> Path:
    known = Worth((), TrainedOn((), frozenset(), True))
    return write_model(open_classifier(run, "last", "cpu"), known, out, half=half)


def opened_by_transformers(folder: Path) -> torch.nn.Module:
    return transformers.AutoModelForImageClassification.from_pretrained(folder).eval()


def logits_of_all(folder: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """What each reader's model says of the same prepared ``images``."""
    ours: Classifier = open_classifier(folder, device="cpu")
    pixels = ours.normalised(images)
    if pixels.shape[1] == 1:
        pixels = pixels.expand(-1, 3, -1, -1)
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    by_transformers = opened_by_transformers(folder)
    with torch.inference_mode():
        return {
            "bandbridge": ours.logits(images),
            "timm": by_timm(pixels).numpy(),
            "transformers": by_transformers(pixels).logits.numpy(),
            "onnxruntime": open_runtime(folder / "model.onnx", 1)(images)[0],
        }


def require_equal(found: dict[str, np.ndarray], graph: float = TOLERANCE) -> None:
    """``graph``: how far that of the folder may be off, of the logits' range."""
    expected = found["bandbridge"]
    spread = np.ptp(expected)
    assert spread > 0.1, "a network that says the same of every image proves nothing"
    for reader in ("timm", "transformers"):  # the same PyTorch; layout in memory may turn the order of a sum
        np.testing.assert_allclose(found[reader], expected, rtol=0, atol=1e-6 * spread, err_msg=reader)
    np.testing.assert_allclose(found["onnxruntime"], expected, rtol=0, atol=graph * spread)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_reader_gives_the_same_logits(tmp_path, name):
    run = a_run(tmp_path, name)
    folder = written(run, tmp_path / "out")
    images = drawn_images(open_classifier(run, "last", "cpu").preparation)[:4]
    found = logits_of_all(folder, images)
    require_equal(found)
    np.testing.assert_array_equal(found["bandbridge"], open_classifier(run, "last", "cpu").logits(images))
    config = opened_by_transformers(folder).config
    assert [config.id2label[place] for place in range(len(CLASSES))] == list(CLASSES)


def test_half_precision_is_read_alike(tmp_path):
    run = a_run(tmp_path, "test_resnet")
    folder = written(run, tmp_path / "out", half=True)
    images = drawn_images(open_classifier(run, "last", "cpu").preparation)[:4]
    require_equal(logits_of_all(folder, images), HALF_TOLERANCE)  # the graph halves what it has folded into one


@pytest.mark.parametrize("stain", ["G", "Q"])
def test_the_models_in_the_box_are_read_alike(stain):
    folder = at_home(Path(f"box:{stain}"))
    images = drawn_images(open_classifier(folder, device="cpu").preparation)[:8]
    require_equal(logits_of_all(folder, images), HALF_TOLERANCE)


@pytest.fixture(scope="module")
def exported(small_study, tmp_path_factory):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    run = next(ledger.folder(run) for run in study.runs if run.approach == "two-step")
    return export_folder(run, tmp_path_factory.mktemp("models") / "q", images=study.tasks["Q"].dataset)


@pytest.mark.parametrize("reader", ["timm", "transformers"])
def test_their_own_transforms_cut_nothing_off(exported, reader):
    """They prepare images otherwise than the training did; at least both ends of a long chromosome are in them."""
    tall = np.full((120, 30), 128, dtype=np.uint8)
    tall[:12], tall[-12:] = 255, 0
    image = Image.fromarray(tall).convert("RGB")
    if reader == "timm":
        data = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{exported}", pretrained=True))
        seen = timm.data.create_transform(**data)(image)
    else:
        seen = transformers.AutoImageProcessor.from_pretrained(exported)(image)["pixel_values"][0]
        data = json.loads((exported / "config.json").read_text())["pretrained_cfg"]
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    gray = (seen * std + mean)[0] * 255
    assert gray.shape == (SIZE, SIZE)
    middle = gray[:, SIZE // 2]
    assert middle[:4].min() > 240 and middle[-4:].max() < 15, "a tenth of the length, at either end"


def blocks(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def table_of(block: str, folder: Path, images: Path) -> pd.DataFrame:
    """What the lines of a card make of ``images``, and they print it."""
    names: dict[str, object] = {}
    lines = block.replace('"THIS_FOLDER"', repr(str(folder))).replace('"IMAGES"', repr(str(images)))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(lines, names)
    assert "probability" in printed.getvalue()
    return names["found"].table()


def require_predicts_answer(folder: Path, images: Path, least: int, atol: float = 2e-5) -> None:
    expected = load_model(folder).predict(images).table()
    assert len(expected) >= least and expected["class"].nunique() > 5
    found = blocks(folder)
    assert len(found) == 2 and "transformers" in found[1]
    for block in found:
        table = table_of(block, folder, images)
        for column in ("file", "cell", "class", "by_itself"):
            assert table[column].tolist() == expected[column].tolist(), column
        np.testing.assert_allclose(table["by_itself_probability"], expected["by_itself_probability"], atol=atol)


def test_the_lines_of_the_card_answer_as_predict_does(exported, tmp_path, drawn_set):
    shutil.copytree(drawn_set("Q", 2, 9) / "images", tmp_path / "cells")
    require_predicts_answer(exported, tmp_path / "cells", 92)
    require_predicts_answer(at_home(Path("box:Q")), tmp_path / "cells", 92, IN_HALF)


@pytest.mark.real_data
def test_on_real_images_the_lines_of_the_card_answer_as_predict_does(real_data, tmp_path):
    with zipfile.ZipFile(real_data / "pki3.zip") as packed:
        names = [name for name in packed.namelist() if name.startswith("images/")]
        cells = sorted({Path(name).parent.name for name in names})[::90][:5]
        for name in names:
            if Path(name).parent.name in cells:
                packed.extract(name, tmp_path)
    require_predicts_answer(at_home(Path("box:G")), tmp_path / "images", 200, IN_HALF)


def test_the_header_is_what_the_hub_reads(exported):
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported / "README.md")
    said = card.data.to_dict()
    assert "pipeline_tag" not in said and said["library_name"] == "timm"
    assert said["license"] == "apache-2.0", "drawn images bind by nothing"
    assert said["base_model"] == "timm/test_resnet.r160_in1k" and said["datasets"][0] == "imagenet-1k"
    facts = json.loads((exported / "config.json").read_text())["bandbridge"]["run"]
    assert f"bandbridge-{facts['record']['dataset'][:16]}" in said["datasets"]
    confidence = json.loads((exported / "confidence.json").read_text())
    metrics = {one.metric_type: one for one in card.data.eval_results}
    assert metrics["accuracy"].metric_value == pytest.approx(confidence["accuracy"], abs=1e-4)
    assert f"{confidence['images']} images" in metrics["accuracy"].dataset_name
    assert 0 < metrics["f1"].metric_value <= 1


@pytest.mark.parametrize("known", [True, False])
def test_the_weights_that_it_began_with_are_named_as_the_hub_does(tmp_path, known):
    from huggingface_hub import ModelCard

    run = a_run(tmp_path, "test_resnet", approach="imagenet")
    weights = {"architecture": "test_resnet", "tag": "r160_in1k" if known else None, "licence": "apache-2.0"}
    (run / "environment.json").write_text(json.dumps({"imagenet_weights": weights}))
    said = ModelCard.load(written(run, tmp_path / "out") / "README.md").data.to_dict()
    assert said.get("base_model") == ("timm/test_resnet.r160_in1k" if known else None)
    assert said.get("datasets") == (["imagenet-1k"] if known else None)


def test_what_began_at_random_names_no_base_and_no_scores(tmp_path):
    from huggingface_hub import ModelCard

    said = ModelCard.load(written(a_run(tmp_path, "test_resnet"), tmp_path / "out") / "README.md").data.to_dict()
    assert not {"base_model", "datasets", "model-index"} & set(said)
    assert said["license"] == "other" and said["license_name"], "the images have an owner"


@pytest.mark.parametrize("stain", ["G", "Q"])
def test_the_cards_in_the_box_have_the_measured_scores_in_their_header(stain):
    from huggingface_hub import ModelCard

    card = ModelCard.load(at_home(Path(f"box:{stain}")) / "README.md")
    assert card.data.license == "apache-2.0" and card.data.base_model == "timm/tf_efficientnet_lite0.in1k"
    for one in card.data.eval_results:
        assert f"{100 * one.metric_value:.1f}" in card.text, one
    assert "pipeline_tag" not in card.data.to_dict()
