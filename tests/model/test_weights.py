"""Weights: folder files against what was saved and against timm's own loading, damaged files, offline hub."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from tests.networks import moved_network

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import write_text
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import (
    clear_head,
    find_imagenet_weights,
    head_keys,
    initialise_from_run,
    load_imagenet_weights,
    load_state,
    normalisation,
    save_model,
    weights_fingerprint,
)

SMALL = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]


@pytest.fixture(autouse=True)
def no_weights_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANDBRIDGE_WEIGHTS", raising=False)


def build(name: str, classes: int = 24, image_size: int = 64, seed: int = 0) -> torch.nn.Module:
    return create_model(find_architecture(name), classes, image_size, torch.Generator().manual_seed(seed))


def timm_state(name: str, seed: int = 9, **options: object) -> dict[str, torch.Tensor]:
    """A 1,000-class state of timm's own making, every value random (also those that start as 0 or 1)."""
    generator = torch.Generator().manual_seed(seed)
    state = timm.create_model(name, **options).state_dict()
    return {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 7
        for key, value in state.items()
    }


@pytest.mark.parametrize("name", SMALL)
def test_everything_but_the_head_is_loaded_from_half_precision(name: str, tmp_path: Path) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in timm_state(name).items()}
    path = tmp_path / f"{name}.safetensors"
    save_file(half, path)
    model = build(name, image_size=160)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = load_imagenet_weights(model, find_architecture(name), tmp_path)
    classifier = timm.get_pretrained_cfg(name).classifier
    loaded = model.state_dict()
    assert {key for key in loaded if key.startswith(f"{classifier}.")} == head_keys(model) != set()
    for key, value in loaded.items():
        expected = before[key] if key.startswith(f"{classifier}.") else half[key]
        assert value.dtype == before[key].dtype
        assert torch.equal(value, expected.to(value.dtype)), key
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (weights.architecture, weights.tag, weights.origin) == (name, None, "folder")


@pytest.mark.parametrize(
    ("name", "timm_name", "image_size", "options", "table"),
    [
        ("test_vit", "test_vit", 64, {}, "pos_embed"),
        ("vit_tiny_patch16_224+depth=1", "vit_tiny_patch16_224", 128, {"depth": 1}, "pos_embed"),
        (
            "Swin-T+embed_dim=12",
            "swin_tiny_patch4_window7_224",
            128,
            {"embed_dim": 12},
            "layers.3.blocks.0.attn.relative_position_bias_table",
        ),
    ],
)
def test_position_tables_are_resampled_as_timm_does(
    tmp_path: Path, name: str, timm_name: str, image_size: int, options: dict[str, int], table: str
) -> None:
    path = tmp_path / f"{timm_name}.safetensors"
    state = timm_state(timm_name, **options)
    save_file(state, path)
    expected = timm.create_model(
        timm_name,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        num_classes=24,
        img_size=image_size,
        **options,
    ).state_dict()
    model = build(name, image_size=image_size)
    load_imagenet_weights(model, find_architecture(name), tmp_path)
    loaded = model.state_dict()
    assert loaded[table].shape != state[table].shape
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in loaded if key not in head_keys(model))


def test_a_file_without_head_and_counters_is_enough(tmp_path: Path) -> None:
    state = timm_state("test_efficientnet", num_classes=0)
    kept = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert not any(key.startswith("classifier") for key in kept)
    assert len(kept) < len(state)
    save_file(kept, tmp_path / "test_efficientnet.safetensors")
    model = build("test_efficientnet")
    load_imagenet_weights(model, find_architecture("test_efficientnet"), tmp_path)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in kept.items())


def test_the_file_with_the_tag_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = find_architecture("test_resnet")
    save_file(timm_state("test_resnet", seed=1), tmp_path / "test_resnet.safetensors")
    assert find_imagenet_weights(architecture, tmp_path)[1].tag is None
    tagged = tmp_path / "test_resnet.r160_in1k.safetensors"
    save_file(timm_state("test_resnet", seed=2), tagged)
    monkeypatch.setenv("BANDBRIDGE_WEIGHTS", str(tmp_path))
    path, weights = find_imagenet_weights(architecture, None)
    assert (path, weights.tag, weights.licence) == (tagged, "r160_in1k", "apache-2.0")


def test_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    architecture = find_architecture("test_resnet")
    assert weights_fingerprint(architecture, None) is None
    assert weights_fingerprint(architecture, tmp_path) is None
    path = tmp_path / "test_resnet.safetensors"
    for content in (b"one", b"other"):
        path.write_bytes(content)
        assert weights_fingerprint(architecture, tmp_path) == hashlib.sha256(content).hexdigest()


def test_normalisation_is_timms_unless_the_folder_says_otherwise(tmp_path: Path) -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    architecture = find_architecture("mobilenetv2_100")
    assert normalisation(find_architecture("ResNet-50")) == normalisation(architecture) == imagenet
    assert normalisation(find_architecture("ViT-S/16")) == half
    (tmp_path / "mobilenetv2_100.safetensors").write_bytes(b"anything")
    assert normalisation(architecture, tmp_path) == imagenet
    facts = {"mean": [0.5] * 3, "std": [0.5] * 3, "licence": "mit", "tag": "dequantised"}
    (tmp_path / "mobilenetv2_100.json").write_text(json.dumps(facts))
    assert normalisation(architecture, tmp_path) == half
    weights = find_imagenet_weights(architecture, tmp_path)[1]
    assert (weights.mean, weights.std, weights.licence, weights.tag) == (*half, "mit", "dequantised")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"mean": [0.5]}', '{"mean": [0, 0, 0]}', '{"means": 1}', '{"tag": 3}', '{"std": "aaa"}'],
)
def test_a_wrong_facts_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "test_resnet.safetensors").write_bytes(b"anything")
    (tmp_path / "test_resnet.json").write_text(text)
    with pytest.raises(UserError, match=r"test_resnet\.json"):
        normalisation(find_architecture("test_resnet"), tmp_path)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "test_resnet.safetensors"
    save_file(timm_state("test_resnet"), path)
    whole = path.read_bytes()
    for content in (b"", b"not weights at all", whole[:100], whole[:-1], whole[8:], b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"test_resnet\.safetensors is damaged"):
            load_imagenet_weights(build("test_resnet"), find_architecture("test_resnet"), tmp_path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "test_resnet.safetensors"
    torch.save(timm_state("test_resnet"), path)
    with pytest.raises(UserError, match="not a safetensors file"):
        load_state(path)


def test_misfits_are_listed_by_key(tmp_path: Path) -> None:
    state = timm_state("test_resnet")
    removed = next(key for key in state if key.startswith("layer1") and key.endswith("weight"))
    reshaped = next(key for key in state if key.startswith("layer2") and key.endswith("weight"))
    spoiled = next(key for key in state if key.startswith("layer3") and key.endswith("weight"))
    del state[removed]
    state[reshaped] = torch.zeros(3, 2)
    state[spoiled].view(-1)[5] = torch.nan
    state["surplus.weight"] = torch.zeros(1)
    path = tmp_path / "test_resnet.safetensors"
    save_file(state, path)
    model = build("test_resnet")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_imagenet_weights(model, find_architecture("test_resnet"), tmp_path)
    message = str(caught.value)
    assert str(path) in message
    for expected in (
        f"{removed}: missing",
        f"{reshaped}: shape [3, 2]",
        f"{spoiled}: holds",
        "surplus.weight: not in",
    ):
        assert expected in message
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("wrong", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_the_weights_of_another_architecture_are_refused(wrong: str, tmp_path: Path) -> None:
    save_file(timm_state(wrong), tmp_path / "test_vit.safetensors")
    with pytest.raises(UserError, match=r"test_vit\.safetensors do not fit"):
        load_imagenet_weights(build("test_vit"), find_architecture("test_vit"), tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        find_imagenet_weights(find_architecture("test_resnet"), tmp_path / "nowhere")


def test_offline_says_quickly_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A port that nobody listens on stands for a network that is not there.
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *_: "http://127.0.0.1:9/model.safetensors")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        find_imagenet_weights(find_architecture("ResNet-34"), tmp_path)
    assert time.monotonic() - started < 10
    assert "refused" in caught.value.message
    assert "resnet34.tv_in1k.safetensors" in caught.value.remedy
    assert str(tmp_path) in caught.value.remedy


def test_weights_in_the_hubs_cache_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "model.safetensors"
    save_file(timm_state("test_resnet"), cached)
    asked = []

    def cache(repository: str, file_name: str) -> str:
        asked.append((repository, file_name))
        return str(cached)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cache)
    model = build("test_resnet")
    weights = load_imagenet_weights(model, find_architecture("test_resnet"), None)
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    assert (weights.origin, weights.tag) == ("hub", "r160_in1k")
    assert torch.equal(model.state_dict()["conv1.0.weight"], load_file(cached)["conv1.0.weight"])


def test_a_model_without_weights_says_so() -> None:
    with pytest.raises(UserError, match="no ImageNet weights are known for test_vit4"):
        find_imagenet_weights(find_architecture("test_vit4"), None)


def test_a_saved_run_is_read_back_with_or_without_its_head(tmp_path: Path) -> None:
    path = tmp_path / "run" / "model.safetensors"
    parent = moved_network("test_resnet").to(memory_format=torch.channels_last)
    save_model(parent.state_dict(), path, {"classes": "24"})
    saved = parent.state_dict()
    read = load_state(path)
    assert read.keys() == saved.keys()
    assert all(torch.equal(read[key], saved[key]) for key in saved)
    kept = build("test_resnet", seed=2)
    initialise_from_run(kept, path, "keep")
    assert all(torch.equal(value, saved[key]) for key, value in kept.state_dict().items())
    fresh = build("test_resnet", classes=10, seed=3)
    head = fresh.get_classifier().weight.clone()
    initialise_from_run(fresh, path, "new")
    assert torch.equal(fresh.get_classifier().weight, head)
    assert all(torch.equal(v, saved[k]) for k, v in fresh.state_dict().items() if k not in head_keys(fresh))
    with pytest.raises(UserError, match=r"fc\.weight: shape \[24"):
        initialise_from_run(build("test_resnet", classes=10), path, "keep")


def test_a_run_of_another_image_size_is_resampled_by_bicubic_interpolation(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    parent, child = moved_network("test_vit", size=128), build("test_vit", image_size=64)
    save_model(parent.state_dict(), path, {})
    initialise_from_run(child, path, "keep")
    table = parent.state_dict()["pos_embed"]
    prefix = table.shape[1] - 8 * 8
    grid = table[:, prefix:].reshape(1, 8, 8, -1).permute(0, 3, 1, 2)
    smaller = torch.nn.functional.interpolate(grid, size=(4, 4), mode="bicubic", antialias=True)
    expected = torch.cat([table[:, :prefix], smaller.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
    torch.testing.assert_close(child.state_dict()["pos_embed"], expected, rtol=0, atol=1e-6)
    own = child.state_dict()
    assert all(torch.equal(own[key], value) for key, value in parent.state_dict().items() if key != "pos_embed")


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights file .*gone\.safetensors"):
        initialise_from_run(build("test_resnet"), tmp_path / "gone.safetensors", "new")


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "image_size"), [("tf_mobilenetv3_large_minimal_100", 128), ("vit_tiny_patch16_224", 128)]
)
def test_genuine_weights_load_at_another_size(name: str, image_size: int, real_weights: Path) -> None:
    model = build(name, image_size=image_size).eval()
    load_imagenet_weights(model, find_architecture(name), real_weights)
    stored = load_file(real_weights / f"{name}.safetensors")
    for key, value in model.state_dict().items():
        if key not in head_keys(model) and value.shape == stored[key].shape:
            assert torch.equal(value, stored[key].to(value.dtype)), key
    with torch.no_grad():
        assert torch.isfinite(model(torch.zeros(1, 3, image_size, image_size))).all()


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mobilenetv2_100+pad_type=same", "tf_efficientnet_lite0", "tf_mobilenetv3_small_100"])
def test_the_other_genuine_weights_load(name: str, real_weights: Path) -> None:
    architecture = find_architecture(name)
    weights = load_imagenet_weights(build(name, image_size=128), architecture, real_weights)
    assert weights.sha256 == weights_fingerprint(architecture, real_weights)


@pytest.mark.parametrize("name", SMALL)
def test_a_cleared_head_makes_every_class_equally_likely_and_leaves_the_body_alone(name: str) -> None:
    model = moved_network(name).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    clear_head(model)
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    assert torch.equal(model(images), torch.zeros(2, 24))
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and changed <= head_keys(model)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, file_size_limit):
    with file_size_limit(2**16), pytest.raises(EnvironmentFault, match=r"m\.safetensors: File too large") as caught:
        save_model({"w": torch.ones(2**16)}, tmp_path / "m.safetensors", {})
    assert "finished work is kept" in caught.value.remedy and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mistyped", "n" * 300])
def test_a_weights_folder_that_is_none_is_a_mistake(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name} does not exist"):
        normalisation(find_architecture("test_resnet"), tmp_path / name)


@pytest.mark.parametrize("umask", [0o022, 0o027])
def test_weights_follow_the_umask_as_all_files_do(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_model({"a": torch.zeros(2)}, tmp_path / "a.safetensors", {})
        write_text(tmp_path / "b.txt", "b")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())]
    assert modes == [0o666 & ~umask] * 2


def test_weights_that_may_not_be_read_are_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model({"a": torch.zeros(2)}, tmp_path / "a.safetensors", {})

    def denied(self: Path, *given: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(EnvironmentFault, match=r"cannot read .*: Permission denied"):
        load_state(tmp_path / "a.safetensors")
