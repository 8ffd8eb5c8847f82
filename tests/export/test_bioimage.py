"""A package of the BioImage Model Zoo: valid to its own library, and its test output is what PyTorch computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from tests.networks import moved_network

from bandbridge.dataset.prepare import Preparation
from bandbridge.export.graph import Exportable, drawn_images, export
from bandbridge.karyotype import CLASSES
from bandbridge.predict.runtime import open_runtime

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BY_CELL = {"contrast": "cell", "scale": "cell", "views": "both", "crop": "foreground", "upright": True}


def package(place, **settings) -> tuple[Exportable, np.ndarray]:
    source = Exportable(
        moved_network("test_resnet").eval(),
        MEAN,
        STD,
        Preparation(size=64, **settings),
        CLASSES,
        {"id": "0123456789ab", "task": "Q: <odd>\n", "architecture": "test_resnet"},
        1.7,
    )
    images = drawn_images(source.preparation)
    export(source, place, "onnx", images, package=True)
    return source, images


@pytest.mark.parametrize("settings", [{}, BY_CELL])
def test_its_own_library_finds_it_valid_and_its_test_is_the_network_s(tmp_path, settings):
    spec = pytest.importorskip("bioimageio.spec", reason="needs bandbridge[dev]")
    source, images = package(tmp_path / "out", **settings)
    found = spec.load_description(tmp_path / "out" / "rdf.yaml", perform_io_checks=True)
    assert not isinstance(found, spec.InvalidDescr), found.validation_summary.display()
    given, expected = (np.load(tmp_path / "out" / f"test-{side}.npy") for side in ("input", "output"))
    np.testing.assert_array_equal(given, images[: len(given)])
    views = given[:, [0, 0, 0]] if given.ndim == 4 else np.repeat(given[:, None], 3, axis=1)
    if given.ndim == 4:
        views[:, 1] = given[:, 1]
    pixels = (views.astype(np.float64) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    with torch.inference_mode():
        by_torch = source.model(torch.from_numpy(pixels).float()).numpy()
    np.testing.assert_allclose(expected, by_torch, rtol=0, atol=1e-5 * np.ptp(by_torch))
    np.testing.assert_array_equal(open_runtime(tmp_path / "out" / "model.onnx", 1)(given)[0], expected)


def test_what_does_not_fit_is_found_by_its_library(tmp_path):
    """The check can fail: an output of other classes, and a file that is not the one that was written."""
    spec = pytest.importorskip("bioimageio.spec", reason="needs bandbridge[dev]")
    package(tmp_path / "out")
    said = yaml.safe_load((tmp_path / "out" / "rdf.yaml").read_text())
    said["outputs"][0]["axes"][1]["channel_names"].pop()
    (tmp_path / "out" / "rdf.yaml").write_text(yaml.safe_dump(said))
    assert isinstance(spec.load_description(tmp_path / "out" / "rdf.yaml", perform_io_checks=True), spec.InvalidDescr)


def test_the_command_writes_it_and_predict_opens_it(bandbridge, example_home, tmp_path):
    out = tmp_path / "package"
    done = bandbridge("export", example_home / "models" / "mine", "--format", "bioimage", "--out", out)
    assert done.code == 0, done.err
    assert {"rdf.yaml", "test-input.npy", "test-output.npy", "model.onnx", "README.md"} <= {
        one.name for one in out.iterdir()
    }
    assert "rdf.yaml" in (out / "SHA256SUMS").read_text()
    assert bandbridge("predict", out, example_home / "new-cells", "--out", tmp_path / "results").code == 0
    again = bandbridge("export", example_home / "models" / "mine", "--format", "bioimage", "--out", out)
    assert again.code == 0, "its own folder may be replaced"
