"""8 bits of real graphs: one layer that they ruin is found, and only that stays float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.export.test_graph import exportable, prepared
from torch import nn

from bandbridge.dataset.prepare import Preparation
from bandbridge.export.graph import Exportable, export, write_onnx
from bandbridge.export.quantise import open_quantiser, quantise_onnx
from bandbridge.export.sensitivity import LIMIT, outputs_of
from bandbridge.export.trial import Trial
from bandbridge.predict.runtime import open_runtime

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx", reason="needs bandbridge[train]")


class OneLayerIsRuined(nn.Module):
    """The weights of ``ruined`` reach from 0.1 to 1000: to 8 bits those that count are all 0.

    The large ones meet a channel that is always 0.
    """

    def __init__(self):
        super().__init__()
        self.first, self.ruined, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 4)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for part in self.parameters():
                part.copy_(torch.randn(part.shape, generator=generator) * 0.3)
            self.first.weight[0], self.first.bias[0] = 0, -1
            self.ruined.weight[:, 0] = 1000
            self.head.weight *= 30

    def forward(self, images):
        seen = torch.relu(self.third(torch.relu(self.ruined(torch.relu(self.first(images))))))
        return self.head(seen.mean(dim=(2, 3)))


def textures(count, seed):
    """Images of unlike brightness and grain, uint8 [count, 16, 16]."""
    generator = np.random.default_rng(seed)
    mean, grain = generator.uniform(40, 210, (2, count, 1, 1))
    noise = generator.normal(size=(count, 16, 16))
    return np.clip(mean + grain / 4 * noise, 0, 255).astype(np.uint8)


@pytest.fixture
def toy(tmp_path):
    source = Exportable(
        OneLayerIsRuined().eval(), (0.5,) * 3, (0.25,) * 3, Preparation(size=16), ("1", "2", "3", "4"), {}
    )
    write_onnx(source, tmp_path / "model.onnx")
    return source, tmp_path / "model.onnx"


def test_the_ruined_layer_and_only_it_stays_float32(toy, tmp_path):
    _, path = toy
    before = outputs_of(open_runtime(path, 1), textures(500, 3))[0]
    quantiser = open_quantiser(path, textures(64, 1), tmp_path)
    quantiser.write(tmp_path / "all.onnx")
    ruined = outputs_of(open_runtime(tmp_path / "all.onnx", 1), textures(500, 3))[0]
    assert quantiser.names == ("first", "ruined", "third") and len(set(before.argmax(axis=1))) > 1
    assert np.mean(ruined.argmax(axis=1) == before.argmax(axis=1)) < 0.9
    # There are no images to report on: none that is reported can be chosen on.
    kept = quantise_onnx(path, Trial(textures(64, 1), textures(200, 2), None, None, True))
    assert kept.floats == ("ruined",) and kept.expected.within and kept.images == 200
    after = outputs_of(open_runtime(path, 1), textures(500, 3))[0]
    assert np.mean(after.argmax(axis=1) != before.argmax(axis=1)) <= 3 * LIMIT
    graph = onnx.load(str(path)).graph
    weights = {one.name: one.data_type for one in graph.initializer}
    eight = {node.input[0].split(".")[1] for node in graph.node if weights.get(node.input[0]) == onnx.TensorProto.INT8}
    assert eight == {"first", "third"}


def test_what_is_float32_in_the_file_is_so_when_it_runs(toy, tmp_path):
    """Left to itself, ONNX Runtime gives a float32 layer between 8-bit ones 8 bits while it opens the file."""
    _, path = toy
    images = textures(100, 3)
    before = outputs_of(open_runtime(path, 1), images)[0]
    open_quantiser(path, textures(64, 1), tmp_path).write(tmp_path / "spared.onnx", frozenset({"ruined"}))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    literally = onnxruntime.InferenceSession(str(tmp_path / "spared.onnx"), options).run(["logits"], {"images": images})
    after = outputs_of(open_runtime(tmp_path / "spared.onnx", 1), images)[0]
    np.testing.assert_allclose(after, literally[0], atol=0.02 * np.ptp(before))
    np.testing.assert_allclose(after, before, atol=0.05 * np.ptp(before))


def test_what_is_chosen_does_not_depend_on_what_is_reported(toy, tmp_path):
    source, _ = toy
    truths = (np.zeros(40, int), np.full(40, 3))
    found = []
    for number, truth in enumerate(truths):
        trial = Trial(textures(64, 1), textures(200, 2), textures(40, 4 + number), truth, True)
        found.append(export(source, tmp_path / str(number), "onnx", textures(16, 1), trial))
    first, second = (one.loss for one in found)
    assert first is not None and second is not None and first.kept == second.kept
    names = [(one.folder / "model.onnx").read_bytes() for one in found]
    assert names[0] == names[1] and first.accuracy_before != second.accuracy_before


def test_ranges_leave_out_the_rarest_values_of_many_images(toy, tmp_path):
    _, path = toy
    images = textures(64, 1)
    quantiser = open_quantiser(path, images, tmp_path)
    model = onnx.load(str(quantiser.ready))
    name = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    onnx.save(model, str(tmp_path / "inside.onnx"))
    import onnxruntime

    values = onnxruntime.InferenceSession(str(tmp_path / "inside.onnx")).run([name], {"images": images})[0]
    low, high = quantiser.ranges[name]
    # The histogram has some two thousand steps.
    assert low == 0 and high == pytest.approx(float(np.quantile(values, 0.99995)), abs=float(values.max()) / 500)
    assert high < float(values.max()) * 0.99


def test_eight_bits_are_smaller_and_their_loss_is_written(tmp_path):
    source, images = exportable("test_resnet"), prepared()
    export(source, tmp_path / "plain", "onnx", images)
    truth = np.arange(23) % 24
    trial = Trial(images[::2], images[::2], images[1::2], truth, held_out=True)
    done = export(source, tmp_path / "small", "onnx", images, trial)
    assert done.loss is not None and done.loss.images == 23 and done.loss.calibration == 23
    named = [
        open_runtime(tmp_path / folder / "model.onnx", 1)(images[1::2])[0].argmax(axis=1)
        for folder in ("plain", "small")
    ]
    assert done.loss.agreement == np.mean(named[0] == named[1])
    assert (done.loss.accuracy_before, done.loss.accuracy_after) == tuple(np.mean(one == truth) for one in named)
    readme = (tmp_path / "small" / "README.md").read_text()
    assert done.loss.sentence() in readme
    model = onnx.load(str(tmp_path / "small" / "model.onnx"))
    weights = {one.name: one.data_type for one in model.graph.initializer}
    quantised = {weights.get(node.input[0]) for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert onnx.TensorProto.INT8 in quantised
    assert {one.key for one in model.metadata_props} >= {"classes", "preparation"}
    plain = onnx.load(str(tmp_path / "plain" / "model.onnx"))
    assert [one.name for one in model.graph.output] == [one.name for one in plain.graph.output]
    assert (tmp_path / "small" / "model.onnx").stat().st_size < (tmp_path / "plain" / "model.onnx").stat().st_size
