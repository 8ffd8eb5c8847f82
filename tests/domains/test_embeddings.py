"""Embeddings against timm called plainly, and the cache against changes of everything that decides them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.domains import embeddings
from bandbridge.domains.embeddings import embed, open_extractor, open_natural, sampling_units
from bandbridge.errors import UserError
from bandbridge.model.architectures import find_architecture

SIZE = 32
PREPARATION = Preparation(size=SIZE)


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """The descriptions of all extractions that were really made."""
    made: list[str] = []
    original = embeddings.extract
    monkeypatch.setattr(embeddings, "extract", lambda *given: made.append(given[2]) or original(*given))
    return made


def test_values_are_timms_pooled_features(sets, extractor, weights_dir, tmp_path):
    found = embed(sets["Q"], "Q", extractor, PREPARATION, tmp_path)
    model = timm.create_model("test_resnet", num_classes=1000).eval()
    model.load_state_dict(load_file(weights_dir / "test_resnet.safetensors"))
    config = timm.get_pretrained_cfg("test_resnet")
    for row in (0, 50, 137):
        name = sets["Q"].samples["file_name"][row]
        gray = prepare_image(decode_gray(sets["Q"].read_bytes(name), name), PREPARATION)
        image = torch.from_numpy(np.array(gray)).float().div(255).expand(1, 3, SIZE, SIZE)
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (config.mean, config.std))
        with torch.inference_mode():
            expected = model.forward_head(model.forward_features((image - mean) / std), pre_logits=True)
        np.testing.assert_allclose(found.values[row], expected[0].numpy(), rtol=1e-4, atol=1e-5)
    assert found.values.dtype == np.float32
    assert found.labels.tolist() == sets["Q"].samples["label"].tolist()


def test_they_are_made_once_and_follow_the_order_of_the_set(sets, extractor, tmp_path, counted):
    first = embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    copied = tmp_path / "copy"
    shutil.copytree(sets["G"].path, copied)
    header, *rows = (copied / "metadata.csv").read_text().splitlines()
    (copied / "metadata.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    again = embed(open_dataset(copied), "G", extractor, PREPARATION, tmp_path)
    np.testing.assert_array_equal(again.values, first.values[::-1])
    assert counted == ["embedding G"]


def test_another_preparation_is_another_embedding(sets, extractor, tmp_path, counted):
    as_is = embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    inverted = embed(sets["G"], "G", extractor, Preparation(size=SIZE, polarity="inverted"), tmp_path)
    assert len(counted) == 2
    assert not np.allclose(as_is.values, inverted.values)


def test_damaged_values_are_made_again(sets, extractor, tmp_path, counted):
    embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    (values,) = tmp_path.glob(".embeddings/*/values.npy")
    values.write_bytes(values.read_bytes()[:200])
    embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    assert len(counted) == 2


@pytest.mark.parametrize("altered", ["values", "names", "facts"])
def test_altered_embeddings_are_made_again_and_that_is_said(sets, extractor, tmp_path, counted, capsys, altered):
    first = embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    (folder,) = tmp_path.glob(".embeddings/*")
    if altered == "values":
        np.save(folder / "values.npy", first.values[::-1])
    elif altered == "names":
        names = json.loads((folder / "files.json").read_text())
        (folder / "files.json").write_text(json.dumps(names[::-1]))
    else:
        facts = json.loads((folder / "facts.json").read_text())
        (folder / "facts.json").write_text(json.dumps({**facts, "fingerprint": "another"}))
    capsys.readouterr()
    again = embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    assert len(counted) == 2 and np.array_equal(again.values, first.values)
    assert "are not as they were written: they are made again" in " ".join(capsys.readouterr().err.split())
    embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    assert len(counted) == 2


def test_embeddings_of_an_earlier_build_are_taken(sets, extractor, tmp_path, counted):
    embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    (path,) = tmp_path.glob(".embeddings/*/facts.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({name: facts[name] for name in facts.keys() - {"files", "sha256"}}))
    embed(sets["G"], "G", extractor, PREPARATION, tmp_path)
    assert len(counted) == 1


def test_absent_weights_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("bandbridge.model.weights._HUB_TIMEOUT_S", 0.1)
    with pytest.raises(UserError) as raised:
        open_extractor(find_architecture("test_vit"), 160, tmp_path, "cpu")
    assert "test_vit" in raised.value.message
    assert str(tmp_path) in raised.value.remedy


def test_a_unit_is_a_cell_or_an_image_without_one(sets, tmp_path):
    assert len(set(sampling_units(sets["G"]))) == 3
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (20, 20), 100).save(tmp_path / name)
    natural = open_natural(tmp_path)
    assert natural.samples["label"].tolist() == ["a", "a", "b"]
    assert len(set(sampling_units(natural))) == 3


def test_a_folder_without_images_is_no_domain(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        open_natural(tmp_path)


@pytest.mark.parametrize(("size", "said"), [(225, True), (48, True), (224, False), (64, False)])
def test_a_size_that_padding_shifts_is_told_before_images_are_embedded(tmp_path, capsys, size, said) -> None:
    architecture = find_architecture("tf_mobilenetv3_small_100")
    with pytest.raises(UserError):  # the folder holds no weights
        open_extractor(architecture, size, tmp_path, "cpu")
    assert ("nearest good size" in capsys.readouterr().err) == said
