"""An exported model with 8-bit weights and activations, and what that costs, measured on images with labels.

Post-training static quantisation: the range of each activation is learned from calibration images, weights are scaled
channel by channel (Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR; Krishnamoorthi 2018, arXiv 1806.08342).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from bandbridge.disk import rename
from bandbridge.errors import UserError
from bandbridge.predict.runtime import Runtime, need

#: Images at a time, through the runtimes and for calibration.
_BATCH = 16
#: Fewer than these say nothing of a loss, or leave the ranges to chance.
_FEWEST = 16
#: Where nearly all the time goes; what lies between them stays float32.
_OPERATIONS = ("Conv", "MatMul", "Gemm")


@dataclass(frozen=True, eq=False)
class Trial:
    """Prepared images: ``calibration`` uint8 [M, S, S]; and others, ``images`` uint8 [N, S, S] of class ``truth`` [N].

    held_out: whether those N were kept from the training; else the accuracies flatter.
    """

    calibration: np.ndarray
    images: np.ndarray
    truth: np.ndarray
    held_out: bool


@dataclass(frozen=True)
class Loss:
    """What 8 bits changed on ``images`` images: shares in 0..1, and the 95% interval (Clopper-Pearson) of agreement.

    agreement: images given the same class as before. accuracy_before, accuracy_after: of the float32 and the 8-bit
    model. calibration: how many other images gave the ranges.
    """

    images: int
    calibration: int
    agreement: float
    low: float
    high: float
    accuracy_before: float
    accuracy_after: float
    held_out: bool

    def sentence(self) -> str:
        """Return the loss in words."""
        which = "held out of the training" if self.held_out else "which the model may have been trained on"
        return (
            f"On {self.images} images, {which}, the 8-bit model names the same class as the float32 model in "
            f"{self.agreement:.1%} (95% interval {self.low:.1%} to {self.high:.1%}). Accuracy "
            f"{self.accuracy_before:.1%} before, {self.accuracy_after:.1%} after. "
            f"Ranges learned from {self.calibration} other images."
        )


def divide(samples: pd.DataFrame, held_out: frozenset[str], count: int, seed: int) -> tuple[list[str], list[str], bool]:
    """Return names of at most ``count`` images to calibrate with, as many others to measure on, and if held out.

    samples: rows with ``file_name``, ``label`` and ``cell``. When ``held_out`` names images of these samples, the loss
    is measured on those and calibrated on the rest; otherwise the cells, or the images where no cell is known, are
    divided in two. Classes come by turns. Raises :class:`UserError` for fewer than 16 images on either side.
    """
    rows = samples.drop_duplicates("file_name").rename(columns={"file_name": "image"})
    own = bool(held_out) and held_out <= set(rows["image"])
    if own:
        measured = rows["image"].isin(held_out)
    else:
        units = rows["cell"] if (rows["cell"] != "").all() else rows["image"]
        names = np.sort(units.unique())
        measured = units.isin(np.random.default_rng(seed).permutation(names)[: len(names) // 2])
    found = [_by_turns(part, count, seed) for part in (rows[~measured], rows[measured])]
    if min(map(len, found)) < _FEWEST:
        raise UserError(
            f"--calibrate gives {len(found[0])} images to calibrate with and {len(found[1])} others to measure on; "
            f"{_FEWEST} of each are the least.",
            "Name a larger dataset.",
        )
    return found[0], found[1], own


def _by_turns(rows: pd.DataFrame, count: int, seed: int) -> list[str]:
    from bandbridge.explain.cases import draw_images

    return sorted(draw_images(rows, count, seed)["image"]) if len(rows) else []


def measure_loss(before: Runtime, after: Runtime, trial: Trial) -> Loss:
    """Compare two runtimes of one model on the images of ``trial``."""
    first, second = (_named(runtime, trial.images) for runtime in (before, after))
    same = first == second
    interval = binomtest(int(same.sum()), len(same)).proportion_ci(0.95, method="exact")
    return Loss(
        images=len(same),
        calibration=len(trial.calibration),
        agreement=float(same.mean()),
        low=float(interval.low),
        high=float(interval.high),
        accuracy_before=float(np.mean(first == trial.truth)),
        accuracy_after=float(np.mean(second == trial.truth)),
        held_out=trial.held_out,
    )


def _named(runtime: Runtime, images: np.ndarray) -> np.ndarray:
    return np.concatenate([runtime(batch)[0].argmax(axis=1) for batch in _batches(images)])


def _batches(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), _BATCH):
        yield np.ascontiguousarray(images[start : start + _BATCH])


def quantise_onnx(path: Path, calibration: np.ndarray) -> None:
    """Replace the ONNX file ``path`` by one of 8 bits, with ranges from prepared ``calibration``, uint8 [M, S, S].

    A range reaches from the mean minimum to the mean maximum of single images: of a MobileNetV3 on Q-band images that
    changed no more classes than percentiles, which hold every activation in memory, and far fewer than the extremes
    of all images. Raises :class:`UserError` when onnxruntime is absent. The quantiser drops the file's metadata.
    """
    quantization = need("onnxruntime.quantization")
    shapes = need("onnxruntime.quantization.shape_inference")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _quiet():
        ready, done = Path(folder) / "ready.onnx", Path(folder) / "done.onnx"
        shapes.quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready),
            str(done),
            _Reader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATIONS),
            nodes_to_exclude=_fragile(ready),
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={"CalibMovingAverage": True},
        )
        rename(done, path)


def _fragile(path: Path) -> list[str]:
    """Return the names of the first convolution and of the depthwise ones.

    They take little time, and 8 bits harm them most (Sheng et al. 2018, "A Quantization-Friendly Separable Convolution
    for MobileNets", arXiv 1803.08607).
    """
    onnx = need("onnx")
    graph = onnx.load(str(path)).graph
    shapes = {one.name: list(one.dims) for one in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    groups = [next((one.i for one in node.attribute if one.name == "group"), 1) for node in convolutions]
    depthwise = [
        node.name
        for node, group in zip(convolutions, groups, strict=True)
        if group > 1 and shapes.get(node.input[1], [0, 0])[1] == 1
    ]
    return [node.name for node in convolutions[:1]] + depthwise


class _Reader:
    """Calibration images one by one, so that ranges are means over images."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = iter(np.ascontiguousarray(images)[:, None])

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
