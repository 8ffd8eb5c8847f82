"""Exported graphs against PyTorch, the example against the package's own preparation."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tests.networks import moved_network
from torch import nn

from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.export import example
from bandbridge.export.graph import Exportable, compare, export, pool_matrix
from bandbridge.export.trial import Trial
from bandbridge.karyotype import CLASSES
from bandbridge.model.architectures import ARCHITECTURES
from bandbridge.predict.runtime import open_runtime
from bandbridge.synthetic.cells import draw_cell

SIZE = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def exportable(name: str, size: int = SIZE, temperature: float = 1.0, **settings) -> Exportable:
    model = moved_network(name, 24, size).eval()
    facts = {"id": "0123456789ab", "task": "Q", "architecture": name}
    return Exportable(model, MEAN, STD, Preparation(size=size, **settings), CLASSES, facts, temperature)


def prepared(size: int = SIZE, **settings) -> np.ndarray:
    """The 46 chromosomes of a drawn cell, uint8 [46, size, size]."""
    return np.stack([prepare_image(one.image, Preparation(size=size, **settings)) for one in draw_cell("G", 0, 0)])


@pytest.fixture
def onnx():
    pytest.importorskip("onnxruntime", reason="needs bandbridge[export]")
    return pytest.importorskip("onnx", reason="needs bandbridge[export]")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_the_file_computes_what_pytorch_computes_for_any_batch(onnx, tmp_path, name):
    source, images = exportable(name, temperature=1.7), prepared()
    export(source, tmp_path / "out", "onnx", images)
    logits, probabilities = open_runtime(tmp_path / "out" / "model.onnx", 1)(images)
    # Written out once more, so that the graph's own normalisation is checked too.
    colour = np.repeat(images[:, None].astype(np.float64) / 255, 3, axis=1)
    colour = (colour - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    with torch.inference_mode():
        expected = source.model(torch.from_numpy(colour).float())
    assert logits.dtype == probabilities.dtype == np.float32 and logits.shape == (46, 24)
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.ptp(expected.numpy()))
    np.testing.assert_allclose(probabilities, torch.softmax(expected / 1.7, dim=1), atol=1e-6)


def test_the_file_says_what_it_is(onnx, tmp_path):
    source = exportable("test_resnet", temperature=1.7, padding="background")
    export(source, tmp_path / "out", "onnx", prepared())
    stated = {one.key: one.value for one in onnx.load(str(tmp_path / "out" / "model.onnx")).metadata_props}
    assert tuple(json.loads(stated["classes"])) == CLASSES and stated["run"] == "0123456789ab"
    assert Preparation.model_validate_json(stated["preparation"]) == source.preparation
    assert float(stated["temperature"]) == 1.7 and "Not a medical device" in stated["use"] and stated["licence"]
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "logits differ by at most" in readme and "median of the image's border" in readme


class TracedByHeart(nn.Module):
    """Behaves otherwise for a batch of the size it is traced with, which tracing cannot see."""

    def forward(self, images):
        return images.mean(dim=(2, 3)).repeat(1, 8) + (1.0 if len(images) == 2 else 0.0)


def test_a_file_that_differs_is_refused_and_leaves_nothing_behind(onnx, tmp_path):
    source = exportable("test_resnet")
    wrong = Exportable(TracedByHeart(), MEAN, STD, source.preparation, CLASSES, {})
    with pytest.raises(EnvironmentFault, match="does not compute what PyTorch computes"):
        export(wrong, tmp_path / "out", "onnx", prepared())
    assert list(tmp_path.iterdir()) == []


def test_a_difference_is_the_largest_one_and_not_a_number_is_refused():
    source, images = exportable("test_resnet"), prepared()

    def off_by(value):
        def run(batch):
            with torch.no_grad():
                gray = torch.from_numpy(batch)[:, None].float() / 255
                logits = source.model((gray - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1))
            logits[0, 3] += value
            return logits.numpy(), logits.numpy()

        return compare(source, run, images)

    assert [round(one.largest, 5) for one in off_by(0.25)] == [0.25] * 3
    assert not any(one.within for one in off_by(float("nan"))) and all(one.within for one in off_by(0.0))


def test_a_folder_with_other_files_is_kept_and_an_earlier_export_replaced(onnx, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    source, images = exportable("test_resnet"), prepared()
    with pytest.raises(UserError, match="something else"):
        export(source, tmp_path / "out", "onnx", images)
    (tmp_path / "out" / "notes.txt").rename(tmp_path / "out" / "README.md")
    export(source, tmp_path / "out", "onnx", images)
    assert "mine" not in (tmp_path / "out" / "README.md").read_text()


def test_without_the_packages_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"bandbridge\[train\]"):
        export(exportable("test_resnet"), tmp_path / "out", "onnx", prepared())


PREPARATIONS = (
    {},
    {"padding": "background", "crop": "foreground"},
    {"polarity": "inverted", "crop": "foreground"},
    {"scale": "common", "extent": 90, "padding": "background"},
)


@pytest.mark.parametrize("settings", PREPARATIONS)
def test_the_example_prepares_images_bit_for_bit_as_the_package_does(settings):
    preparation = Preparation(size=48, **settings)
    generator = np.random.default_rng(5)
    noise = [generator.integers(0, 256, generator.integers(1, 70, 2), dtype=np.uint8) for _ in range(40)]
    specks = [np.where(generator.random((50, 40)) < 0.1, image[0, 0], 230).astype(np.uint8) for image in noise]
    flat = [np.full((20, 30), 7, np.uint8), np.full((48, 48), 0, np.uint8)]
    for image in [*(one.image for one in draw_cell("G", 0, 0)), *noise, *specks, *flat]:
        np.testing.assert_array_equal(
            example.prepare(image, preparation.model_dump()), prepare_image(image, preparation)
        )


def test_the_example_runs_without_the_package_and_names_the_likeliest_class(onnx, tmp_path):
    source = exportable("test_resnet")
    export(source, tmp_path / "out", "onnx", prepared())
    crop = draw_cell("G", 0, 0)[0].image
    Image.fromarray(crop).save(tmp_path / "one.png")
    # None in sys.modules makes an import fail, as where the package is absent.
    code = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(['torch', 'bandbridge', 'scipy'])); "
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "out" / "example.py"), str(tmp_path / "one.png")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=tmp_path)
    images = prepare_image(crop, source.preparation)[None]
    _, probabilities = open_runtime(tmp_path / "out" / "model.onnx", 1)(images)
    best = int(probabilities[0].argmax())
    # Nothing is known of its confidence: a person is to look.
    assert f"\t{CLASSES[best]} {probabilities[0, best]:.3f}" in done.stdout and done.stdout.rstrip().endswith("check")


def test_openvino_computes_the_same(onnx, tmp_path):
    pytest.importorskip("openvino", reason="needs bandbridge[export]")
    source, images = exportable("test_vit", temperature=0.8), prepared()
    done = export(source, tmp_path / "out", "openvino", images)
    assert {path.name for path in done.folder.iterdir()} >= {"model.xml", "model.bin", "example.py", "preparation.json"}
    assert not (done.folder / "model.onnx").exists() and all(one.within for one in done.differences)
    assert '"0123456789ab"' in (done.folder / "model.xml").read_text()
    trial = Trial(images[::2], images[::2], images[1::2], np.arange(23), False)
    small = export(source, tmp_path / "out", "openvino", images, trial)
    assert (
        small.loss is not None
        and small.loss.agreement > 0.5
        and 'element_type="i8"' in (small.folder / "model.xml").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.slug)
def test_every_architecture_of_the_paper_is_exported(onnx, tmp_path, monkeypatch, architecture):
    """At the size of their weights; smaller batches than users' suffice, and the head of VGG is a fiftieth as wide."""
    monkeypatch.setattr("bandbridge.export.graph.BATCHES", (1, 3))
    narrow = "+mlp_ratio=0.02" if architecture.name.startswith("VGG") else ""
    source = exportable(architecture.name + narrow, 224)
    done = export(source, tmp_path / "out", "onnx", prepared(224)[:3])
    assert [one.batch for one in done.differences] == [1, 3] and all(one.within for one in done.differences)


@pytest.mark.slow
def test_a_vgg_of_small_images_is_exported_with_its_widening_pool(onnx, tmp_path):
    source = exportable("VGG-16+mlp_ratio=0.02", SIZE)
    done = export(source, tmp_path / "out", "onnx", prepared())
    assert all(one.within for one in done.differences)
    assert not any(part._forward_pre_hooks for part in source.model.modules())


@pytest.mark.parametrize(("size", "wanted"), [(2, 7), (3, 7), (6, 7), (7, 7), (8, 7)])
def test_the_product_is_adaptive_average_pooling(size, wanted):
    row = torch.randn(5, size, generator=torch.Generator().manual_seed(size))
    pooled = torch.nn.functional.adaptive_avg_pool1d(row, max(size, wanted))
    torch.testing.assert_close(row @ pool_matrix(size, wanted), pooled)
