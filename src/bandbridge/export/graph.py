"""A classifier as one file for ONNX Runtime or OpenVINO, checked against PyTorch before it is handed over.

The graph takes prepared gray images, uint8 [N, S, S], N as it comes, and holds all that follows: division by 255, three
channels, the subtraction of the mean and the division by the SD of the weights, the network, and the softmax of
logits / temperature (Guo et al. 2017). The network's last features come out as well. What remains outside is the
preparation, which ``example.py`` repeats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models.vgg import ConvMlp
from torch import Tensor, nn

from bandbridge import __version__
from bandbridge.dataset.by_cell import prepare_images
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.evaluation.predictions import APPROACHES, RANDOM_STARTS
from bandbridge.explain.layers import find_cam_layer
from bandbridge.export import example
from bandbridge.export.bioimage import FILES as PACKAGE
from bandbridge.export.bioimage import write_package
from bandbridge.export.evidence import write_evidence
from bandbridge.export.onnx_file import write_graph
from bandbridge.export.quantise import quantise_onnx
from bandbridge.export.readme import readme
from bandbridge.export.sensitivity import Kept
from bandbridge.export.trial import Loss, Trial, measure_loss
from bandbridge.extras import need
from bandbridge.files import replacing_folder, write_json, write_text
from bandbridge.model.architectures import find_architecture
from bandbridge.model.channels import as_channels, as_views
from bandbridge.model.classifier import Classifier
from bandbridge.model.complexity import weights_licence
from bandbridge.predict.confidence import FILE as CONFIDENCE
from bandbridge.predict.confidence import Confidence, write_confidence
from bandbridge.predict.evidence import FILE as EVIDENCE
from bandbridge.predict.graph import FACTS as PREPARATION
from bandbridge.predict.likeness import FILE as LIKENESS
from bandbridge.predict.likeness import Likeness, write_likeness
from bandbridge.predict.runtime import MODEL_FILES, Format, Runtime, open_runtime
from bandbridge.predict.trained_on import FILE as TRAINING
from bandbridge.predict.trained_on import TrainedOn, write_trained_on
from bandbridge.seal import SUMS, read_product, write_sums
from bandbridge.synthetic.cells import draw_cell

#: Numbers of images that are checked: a graph that has learned the batch of its tracing by heart fails one of them.
BATCHES = (1, 3, 16)
#: Of the range of PyTorch's logits. Two runtimes add the same float32 products in different orders; of the eleven
#: architectures and their tiny kin that changed 2e-7 to 1.1e-5. A lost or misread operation changes 1e-2 and more.
TOLERANCE = 1e-4
EXAMPLE, README = "example.py", "README.md"
#: All that an exported folder may hold: one that holds nothing else is replaced.
_OWN_FILES = {
    PREPARATION,
    EXAMPLE,
    README,
    SUMS,
    CONFIDENCE,
    LIKENESS,
    TRAINING,
    EVIDENCE,
    "model.onnx",
    "model.xml",
    "model.bin",
    *PACKAGE,
}
#: What a graph says of the run that it came from.
_RUN_FACTS = ("id", "task", "architecture", "approach", "record")


@dataclass(frozen=True, eq=False)
class Exportable:
    """What is exported. ``model`` maps float32 [N, 3, S, S] to logits [N, K], on the CPU and in evaluation mode.

    mean, std: of the normalisation, in shares of white. facts: what ``run.json`` holds. temperature: of the
    probabilities. review_below: a probability below it is for a person to check, None where that is not known.
    licence: of the weights that the training began with. confidence, likeness, trained: what travels along, where it
    is known.
    """

    model: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: Preparation
    classes: tuple[str, ...]
    facts: Mapping[str, Any]
    temperature: float = 1.0
    review_below: float | None = None
    licence: str = "not known"
    confidence: Confidence | None = None
    likeness: Likeness | None = None
    trained: TrainedOn | None = None


def exportable(
    classifier: Classifier,
    confidence: Confidence | None = None,
    likeness: Likeness | None = None,
    trained: TrainedOn | None = None,
) -> Exportable:
    """Return ``classifier``, opened on the CPU, as what is exported; ``confidence`` gives temperature and threshold."""
    return Exportable(
        classifier.model.eval(),
        tuple(classifier.mean.flatten().tolist()),
        tuple(classifier.std.flatten().tolist()),
        classifier.preparation,
        classifier.classes,
        classifier.facts,
        confidence.temperature if confidence is not None else 1.0,
        confidence.review_below if confidence is not None else None,
        licence_of_weights(classifier),
        confidence,
        likeness,
        trained,
    )


def licence_of_weights(classifier: Classifier) -> str:
    """Return the licence of the weights that the first training behind ``classifier`` began with, in words.

    A run that began with another's weights has no record of them itself: they are then as timm has them.
    """
    weights = read_product(classifier.folder / "environment.json").get("imagenet_weights") or {}
    approach = classifier.facts.get("approach")
    if approach in RANDOM_STARTS:
        return "none, it began with random ones"
    known = weights.get("licence")
    if not known and approach in APPROACHES:
        known = weights_licence(classifier.architecture)
    return str(known or "not known")


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference of the logits of ``batch`` images, and the range of PyTorch's logits."""

    batch: int
    largest: float
    logit_range: float

    @property
    def within(self) -> bool:
        """Whether that is what float32 explains; NaN is not."""
        return self.largest <= TOLERANCE * self.logit_range


@dataclass(frozen=True)
class Exported:
    """What came out: the differences to PyTorch, and what was lost to 8 bits (None without them)."""

    folder: Path
    differences: tuple[Difference, ...]
    loss: Loss | None


class ImageGraph(nn.Module):
    """The network with what stands before and after it: uint8 [N, S, S], or [N, 2, S, S]
    of two views, to logits and probabilities, [N, K] each, and the last features."""

    mean: Tensor
    std: Tensor

    def __init__(self, source: Exportable) -> None:
        super().__init__()
        self.model = source.model
        self.temperature = source.temperature
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(source, name)).view(1, -1, 1, 1))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it returns; a network that does not say what its features are gives none."""
        named = ("logits", "probabilities")
        return (*named, "features") if hasattr(self.model, "forward_features") else named

    def normalised(self, images: Tensor) -> Tensor:
        """Return float32 [N, 3, S, S] of the images."""
        return (as_channels(as_views(images).float() / 255) - self.mean) / self.std

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the graph, float32."""
        seen = self.normalised(images)
        more: tuple[Tensor, ...] = ()
        if "features" in self.outputs:
            features = self.model.forward_features(seen)  # type: ignore[operator]
            logits, more = self.model.forward_head(features), (features,)  # type: ignore[operator]
        else:
            logits = self.model(seen)
        return logits, torch.softmax(logits / self.temperature, dim=1), *more


def export(
    source: Exportable,
    out: Path,
    kind: Format,
    images: np.ndarray,
    trial: Trial | None = None,
    *,
    package: bool = False,
) -> Exported:
    """Write the folder ``out``: the model, its preparation, an example and a README; nothing unless all is well.

    images: prepared, uint8 [N, S, S] with at least 16 of them, with which the file is compared with PyTorch. trial:
    images to calibrate 8-bit weights and activations with, and others to measure what they lose. package: add what
    makes the folder of an ONNX file one of the BioImage Model Zoo (:mod:`bandbridge.export.bioimage`). Raises
    :class:`UserError` when ``out`` holds something else or a package is absent, and :class:`EnvironmentFault` when the
    logits differ by more than ``TOLERANCE`` of their range.
    """
    need("onnx")
    need("onnxruntime" if kind == "onnx" else "openvino")
    if not 0 < source.temperature < np.inf:
        raise ValueError(f"a temperature is above 0 and finite, not {source.temperature}")
    with _new_folder(out) as folder:
        model, loss = folder / MODEL_FILES[kind], None
        differences = _write_checked(source, folder, kind, images)
        if trial is not None:
            loss = _in_eight_bits(source, folder, kind, trial)
        else:
            _add_evidence(source, folder, images)
        if package:
            write_package(source, folder, images)
        _describe(source, folder, model.name, differences, loss)
    return Exported(out, differences, loss)


def _write_checked(source: Exportable, folder: Path, kind: Format, images: np.ndarray) -> tuple[Difference, ...]:
    """Write the float32 model into ``folder``; refuse it where it is not PyTorch's, and return how far it is off."""
    _write(source, folder, kind, None)
    differences = compare(source, open_runtime(folder / MODEL_FILES[kind], 1), images)
    _refuse_difference(differences, kind)
    return differences


def write_beside_weights(source: Exportable, folder: Path) -> None:
    """Write the graph of ``source``, and what tells where it sees a class, into ``folder``.

    It is compared with PyTorch on drawn chromosomes. Raises :class:`EnvironmentFault` when the logits differ by more
    than ``TOLERANCE`` of their range.
    """
    need("onnx")
    images = drawn_images(source.preparation)
    _write_checked(source, folder, "onnx", images)
    _add_evidence(source, folder, images)


def drawn_images(preparation: Preparation) -> np.ndarray:
    """Return drawn chromosomes to compare a graph with PyTorch on, uint8 [N, *preparation.shape]."""
    drawn = [one.image for one in draw_cell("G", 0, 0)]
    return prepare_images(drawn, ["drawn"] * len(drawn), preparation)[: 2 * max(BATCHES) : 2]


def _add_evidence(source: Exportable, folder: Path, images: np.ndarray) -> None:
    """Let the graph in ``folder`` tell where it sees a class, where its head has a formula for that."""
    architecture = str(source.facts.get("architecture", ""))
    if not architecture:
        return
    seen = ImageGraph(source).normalised(torch.from_numpy(np.ascontiguousarray(images[: max(BATCHES)])))
    layer = find_cam_layer(source.model, find_architecture(architecture))
    write_evidence(source.model, layer, seen, len(source.classes), folder / EVIDENCE)


def _in_eight_bits(source: Exportable, folder: Path, kind: Format, trial: Trial) -> Loss:
    """Replace the model in ``folder`` by one of 8 bits, and return what that cost."""
    # In a folder of its own: OpenVINO maps the weights into memory, and does not survive a file written over.
    apart = folder / "eight"
    apart.mkdir()
    kept = _write(source, apart, kind, trial)
    if kept is None:
        raise ValueError("a trial quantises")
    loss = measure_loss(open_runtime(folder / MODEL_FILES[kind]), open_runtime(apart / MODEL_FILES[kind]), trial, kept)
    for file in apart.iterdir():
        file.replace(folder / file.name)
    apart.rmdir()
    return loss


def _write(source: Exportable, folder: Path, kind: Format, trial: Trial | None) -> Kept | None:
    """Write the model's files of either kind; the way to OpenVINO leads over ONNX, so both compute the same graph."""
    plain = folder / MODEL_FILES["onnx"]
    write_onnx(source, plain)
    kept = None if trial is None else quantise_onnx(plain, trial)
    state_metadata(plain, metadata(source))
    if kind == "openvino":
        write_openvino(plain, folder / MODEL_FILES[kind], metadata(source))
        plain.unlink()
    return kept


def write_onnx(source: Exportable, path: Path) -> None:
    """Write the graph to ``path``. Raises :class:`EnvironmentFault` when torch cannot translate it."""
    graph = ImageGraph(source)
    images = torch.zeros(2, *source.preparation.shape, dtype=torch.uint8)
    with _widening_pools_as_products(source.model):
        write_graph(graph, (images,), path, ["images"], graph.outputs)


@contextmanager
def _widening_pools_as_products(model: nn.Module) -> Iterator[None]:
    """ONNX has no adaptive pooling to a larger map, which VGG does with images below 224 px: do it before its head."""
    heads = [part for part in model.modules() if isinstance(part, ConvMlp)]
    hooks = [head.register_forward_pre_hook(partial(_widen, wanted=head.input_kernel_size)) for head in heads]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _widen(_: nn.Module, inputs: tuple[Tensor], wanted: int) -> tuple[Tensor]:
    """Pool a map [N, C, H, W] adaptively to no less than ``wanted`` places a side, as a product on either axis."""
    (places,) = inputs
    if min(places.shape[2:]) >= wanted:  # the pool is not reached, and nothing need be in its place
        return inputs
    height, width = (pool_matrix(int(side), wanted) for side in places.shape[2:])
    return (height.T @ places @ width,)


def pool_matrix(size: int, wanted: int) -> Tensor:
    """Return float32 [size, max(size, wanted)]: what adaptive average pooling to no fewer places multiplies by."""
    matrix = np.zeros((size, max(size, wanted)), np.float32)
    for place in range(matrix.shape[1]):
        first, end = place * size // matrix.shape[1], -(-(place + 1) * size // matrix.shape[1])
        matrix[first:end, place] = 1 / (end - first)
    return torch.from_numpy(matrix)


def state_metadata(path: Path, properties: Mapping[str, str]) -> None:
    """Give the ONNX file ``path`` the metadata ``properties``, and check that it is a sound file."""
    onnx = need("onnx")
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def write_openvino(plain: Path, path: Path, properties: Mapping[str, str]) -> None:
    """Write the ONNX file ``plain`` as ``path`` (.xml, with the weights in .bin), float32, with ``properties``."""
    openvino = need("openvino")
    model = openvino.Core().read_model(plain)  # convert_model would tell its maker of it
    for key, value in properties.items():
        model.set_rt_info(value, ["bandbridge", key])
    openvino.save_model(model, path, compress_to_fp16=False)


def metadata(source: Exportable) -> dict[str, str]:
    """Return what the file says of itself: text by name, the structured ones as JSON."""
    return {
        "bandbridge_version": __version__,
        "classes": json.dumps(source.classes),
        "preparation": source.preparation.model_dump_json(),
        "temperature": repr(source.temperature),
        "run": str(source.facts.get("id", "")),
        "task": str(source.facts.get("task", "")),
        "architecture": str(source.facts.get("architecture", "")),
        "licence": f"The training began with weights of licence: {source.licence}. The images bind by their own terms.",
        "use": "Research use only. Not a medical device.",
    }


def compare(source: Exportable, runtime: Runtime, images: np.ndarray) -> tuple[Difference, ...]:
    """Return how far the logits of ``runtime`` are from PyTorch's, for the first 1, 3 and 16 of ``images``."""
    graph, found = ImageGraph(source).eval(), []
    for batch in BATCHES:
        chosen = np.ascontiguousarray(images[:batch])
        if len(chosen) < batch:
            raise ValueError(f"{batch} images are needed for the comparison, not {len(chosen)}")
        with torch.inference_mode():
            expected = graph(torch.from_numpy(chosen))[0].numpy()
        logits, _ = runtime(chosen)
        largest = np.abs(logits - expected).max() if logits.shape == expected.shape else np.nan
        found.append(Difference(batch, float(largest), float(np.ptp(expected))))
    return tuple(found)


def _refuse_difference(differences: tuple[Difference, ...], kind: str) -> None:
    wrong = [one for one in differences if not one.within]
    if wrong:
        worst = wrong[0]
        raise EnvironmentFault(
            f"the {kind} model does not compute what PyTorch computes: of {worst.batch} images the logits, which span "
            f"{worst.logit_range:.4g}, differ by up to {worst.largest:.3g}; nothing was written.",
            "Try the other --format, or another version of onnxruntime, openvino or torch.",
        )


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a new folder beside ``out`` that takes its place on success, and is removed on failure."""
    if out.exists() and (not out.is_dir() or {file.name for file in out.iterdir()} - _OWN_FILES):
        raise UserError(f"{out} holds something else than an exported model", "Name another folder with --out.")
    with replacing_folder(out) as temporary:
        yield temporary


def _describe(
    source: Exportable, folder: Path, model: str, differences: tuple[Difference, ...], loss: Loss | None
) -> None:
    # What was learned of the confidence of a model does not hold for one whose logits have moved.
    review_below = source.review_below if loss is None else None
    facts = {
        "classes": list(source.classes),
        "preparation": source.preparation.model_dump(),
        "run": {key: source.facts[key] for key in _RUN_FACTS if key in source.facts},
        "temperature": source.temperature,
        "review_below": review_below if review_below is not None and np.isfinite(review_below) else None,
        "input": {"name": "images", "dtype": "uint8", "shape": ["N", *source.preparation.shape]},
        "outputs": {name: ["N", len(source.classes)] for name in ("logits", "probabilities")},
        "inside the model": {"divide by": 255, "subtract": source.mean, "then divide by": source.std, "channels": 3},
    }
    write_json(folder / PREPARATION, facts)
    if source.confidence is not None and loss is None:
        write_confidence(source.confidence, folder)
    if source.likeness is not None:
        write_likeness(source.likeness, folder)
    if source.trained is not None:
        write_trained_on(source.trained, folder / TRAINING)
    write_sums(folder, (file.name for file in folder.iterdir()))
    write_text(folder / EXAMPLE, Path(example.__file__).read_text(encoding="utf-8"))
    write_text(folder / README, readme(source, model, differences, loss))
