"""An exported classifier at work without PyTorch: ONNX Runtime or OpenVINO, opened by the kind of file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from bandbridge.extras import need
from bandbridge.machine import sees_gpu, usable_cores

Format = Literal["onnx", "openvino"]
#: The model's file in an exported folder; OpenVINO keeps the weights in a .bin beside it.
MODEL_FILES: Mapping[Format, str] = {"onnx": "model.onnx", "openvino": "model.xml"}
#: What a graph says of itself that the files beside it say as well.
STATED = ("run", "classes", "preparation")
_ON_GPU, _ON_CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Runtime(Protocol):
    """An opened graph."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and probabilities, float32 [N, K] each, of prepared ``images``, uint8 [N, S, S]."""

    @property
    def stated(self) -> Mapping[str, str]:
        """What the file says of itself, as text: :data:`STATED` and more; {} where it says nothing."""

    @property
    def gives_features(self) -> bool:
        """Whether the graph puts the network's last features out; those of earlier builds do not."""

    def features(self, images: np.ndarray) -> np.ndarray:
        """Return the network's last features of prepared ``images``, float32; convolutional: maps, [N, C, h, w]."""


def open_runtime(path: Path, threads: int = 0, device: str = "cpu") -> Runtime:
    """Open ``path``, a ``.onnx`` file for ONNX Runtime or a ``.xml`` file for OpenVINO.

    ``threads``: how many a batch may use; 0: as many as this process may keep busy. ``device``: "cpu" or "cuda".
    Raises :class:`UserError` when the package is not installed.
    """
    threads = threads or usable_cores()
    return _OnnxRuntime(path, threads, device) if path.suffix == ".onnx" else _OpenVino(path, threads)


def knows_gpu() -> bool:
    """Whether the ONNX Runtime that is installed can use a CUDA GPU, and one is there."""
    return _ON_GPU in need("onnxruntime").get_available_providers() and sees_gpu()


def open_session(path: Path, threads: int, device: str = "cpu") -> Any:
    """Return an ``onnxruntime.InferenceSession`` of the ONNX file ``path``."""
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # TensorFloat-32 would move the logits by more than the graph was verified to.
    on_gpu: list[Any] = [(_ON_GPU, {"use_tf32": 0})] if device == "cuda" else []
    return onnxruntime.InferenceSession(str(path), options, providers=[*on_gpu, _ON_CPU])


class _OnnxRuntime:
    def __init__(self, path: Path, threads: int, device: str) -> None:
        self._session = open_session(path, threads, device)
        self.gives_features = "features" in {one.name for one in self._session.get_outputs()}
        self.stated: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = self._outputs(("logits", "probabilities"), images)
        return logits, probabilities

    def features(self, images: np.ndarray) -> np.ndarray:
        return self._outputs(("features",), images)[0]

    def _outputs(self, names: Sequence[str], images: np.ndarray) -> list[np.ndarray]:
        found: list[np.ndarray] = self._session.run(names, {"images": images})
        return found


class _OpenVino:
    def __init__(self, path: Path, threads: int) -> None:
        core = need("openvino").Core()
        # Left to itself OpenVINO computes in bfloat16 where the processor can, and the verified logits would not hold.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        model = core.read_model(path)
        places = {key: ["bandbridge", key] for key in STATED}
        self.stated = {key: str(model.get_rt_info(at)) for key, at in places.items() if model.has_rt_info(at)}
        self._compiled = core.compile_model(model, "CPU", settings)
        names = {name for output in self._compiled.outputs for name in output.get_names()}
        self.gives_features = "features" in names

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = self._compiled({"images": images})
        # The arrays belong to the compiled model, which overwrites them with the next batch.
        return np.array(found["logits"]), np.array(found["probabilities"])

    def features(self, images: np.ndarray) -> np.ndarray:
        return np.array(self._compiled({"images": images})["features"])
