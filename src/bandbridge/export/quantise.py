"""An exported model with 8-bit weights and activations.

Post-training static quantisation: the range of each activation is learned from calibration images, weights are scaled
channel by channel (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR; Krishnamoorthi 2018, arXiv 1806.08342). The layers that 8 bits harm most stay
float32 where they lose too much (:mod:`bandbridge.export.sensitivity`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bandbridge.disk import rename
from bandbridge.export.keep_floats import keep_floats
from bandbridge.export.sensitivity import BATCH, Kept, batches, search
from bandbridge.export.trial import Trial
from bandbridge.extras import need
from bandbridge.predict.runtime import Runtime, open_runtime
from bandbridge.progress import track

#: Where nearly all the time goes; what lies between them stays float32.
_LAYERS = ("Conv", "MatMul", "Gemm")
#: Of a layer with one of these behind it the sum itself needs no range, which would be wasted on what they cut off.
_CUTS = ("Relu", "Clip")
#: Share of an activation's values that its range holds, %. Of a MobileNetV3 on real Q- and G-band images the squared
#: error of the logits was two to four times as large with the mean extremes of single images, and with all values.
_PERCENTILE = 99.99


def quantise_onnx(path: Path, trial: Trial) -> Kept:
    """Replace the ONNX file ``path`` by one of 8 bits, and return which layers stayed float32.

    Ranges come from ``trial.calibration``, what stays float32 is chosen on ``trial.choice``; the images that the loss
    is measured on are not touched. Raises :class:`UserError` where onnx is absent. The file's metadata is dropped.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        folder = Path(place)
        quantiser = open_quantiser(path, trial.calibration, folder)

        def open_with(floats: frozenset[str]) -> Runtime:
            written = folder / "tried.onnx"
            quantiser.write(written, floats)
            return open_runtime(written)

        kept = search(quantiser.names, open_with, trial.calibration, trial.choice)
        done = folder / "done.onnx"
        quantiser.write(done, frozenset(kept.floats))
        rename(done, path)
    return kept


@dataclass(frozen=True, eq=False)
class Quantiser:
    """A float32 graph, ``ready`` for 8 bits, with the range of each activation and one prepared image.

    layers: the names of the nodes of each layer that can have 8 bits. never: nodes that stay float32 whatever is asked.
    """

    ready: Path
    ranges: Mapping[str, tuple[float, float]]
    image: np.ndarray
    layers: Mapping[str, tuple[str, ...]]
    never: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The layers, in the order of the graph."""
        return tuple(self.layers)

    def write(self, path: Path, floats: frozenset[str] = frozenset(), **settings: Any) -> None:
        """Write the graph in 8 bits but for the layers ``floats``. settings: for ``quantize_static``, for benchmarks.

        Activations are unsigned and weights signed: whatever else was tried is slower on x86 (docs/results/speed.md).
        """
        if floats >= set(self.layers) and not settings:
            path.write_bytes(self.ready.read_bytes())
            return
        quantization = need("onnxruntime.quantization")
        asked = {
            "quant_format": quantization.QuantFormat.QDQ,
            "activation_type": quantization.QuantType.QUInt8,
            "weight_type": quantization.QuantType.QInt8,
            "per_channel": True,
            **settings,
        }
        # The quantiser insists on calibrating by itself: it gets one image, and is then told the ranges.
        told = {
            name: [{"rmin": np.float32(low), "rmax": np.float32(high)}] for name, (low, high) in self.ranges.items()
        }
        with _quiet():
            quantization.quantize_static(
                str(self.ready),
                str(path),
                _Reader(self.image),
                op_types_to_quantize=[*_LAYERS, *_CUTS],
                nodes_to_exclude=[*self.never, *(node for layer in floats for node in self.layers[layer])],
                extra_options={"TensorQuantOverrides": told},
                **asked,
            )
        keep_floats(path, [self.layers[layer][0] for layer in floats])


def open_quantiser(path: Path, calibration: np.ndarray, folder: Path) -> Quantiser:
    """Make the float32 graph ``path`` ready for 8 bits, in ``folder``, ranges from ``calibration`` images."""
    shapes = need("onnxruntime.quantization.shape_inference")
    ready = folder / "ready.onnx"
    with _quiet():
        shapes.quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    layers, never = _layers(ready)
    return Quantiser(ready, _ranges(ready, calibration, folder), calibration[:1], layers, never)


def _ranges(ready: Path, calibration: np.ndarray, folder: Path) -> dict[str, tuple[float, float]]:
    """Return the range of each activation at a layer, of all calibration images, a few in memory at a time."""
    quantization = need("onnxruntime.quantization")
    with _quiet():
        calibrator = quantization.create_calibrator(
            str(ready),
            [*_LAYERS, *_CUTS],
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"symmetric": False, "percentile": _PERCENTILE},
        )
    steps = -(-len(calibration) // BATCH)
    for batch in track(batches(calibration), steps, "Ranges of activations"):
        with _quiet():
            calibrator.collect_data(_Reader(batch))
    with _quiet():
        found = calibrator.compute_data()
    ranges = {name: one.range_value for name, one in found.items()}
    return {name: (min(float(low), 0.0), max(float(high), 0.0)) for name, (low, high) in ranges.items()}


def _layers(path: Path) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the nodes of each layer, with those that cut off its output; and those of the last one.

    The last stays float32: it takes next to no time, and logits of 256 steps tie.
    """
    graph = need("onnx").load(str(path)).graph
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = {}
    for node in graph.node:
        if node.op_type in _LAYERS:
            cuts = [reader.name for reader in readers.get(node.output[0], []) if reader.op_type in _CUTS]
            found[_short(node.name)] = (node.name, *cuts)
    *_, last = found
    return {name: nodes for name, nodes in found.items() if name != last}, found[last]


def _short(name: str) -> str:
    """Return the module that a node comes from: "/model/blocks.0/conv/Conv" is "blocks.0.conv"."""
    parts = name.strip("/").split("/")
    return ".".join(parts[1:-1]) if len(parts) > 2 and parts[-1] in _LAYERS else name


class _Reader:
    """Hands the quantiser these images, all at once."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = iter([np.ascontiguousarray(images)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image}

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return {"images": next(self._images)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's running commentary, printed and logged, from the user."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
