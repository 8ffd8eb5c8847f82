"""``bandbridge export``: a trained classifier as one file for ONNX Runtime or OpenVINO, checked against PyTorch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bandbridge.boxes import at_home
from bandbridge.cli.explain import Checkpoint
from bandbridge.cli.outputs import given_folder, output_folder
from bandbridge.errors import UserError, first_few
from bandbridge.filenames import safe_name
from bandbridge.progress import note
from bandbridge.terminal import say

if TYPE_CHECKING:
    import numpy as np

    from bandbridge.export.graph import Exportable
    from bandbridge.export.trial import Trial
    from bandbridge.model.classifier import Classifier
    from bandbridge.predict.trained_on import TrainedOn


class Kind(StrEnum):
    """The kind of file; bioimage: ONNX, as a package of the BioImage Model Zoo."""

    onnx = "onnx"
    openvino = "openvino"
    bioimage = "bioimage"


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run's folder, a model folder, box:G or box:Q.")],
    kind: Annotated[
        Kind, typer.Option("--format", help="What is to run it; bioimage: a bioimage.io package.")
    ] = Kind.onnx,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write; default exports/<task>-<architecture>-<id>-<format>.", callback=given_folder
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit weights and activations; what that costs is measured and written.")
    ] = False,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="DATASET", help="Images with labels, for --int8; also for the comparison.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=16, help="Images of it to calibrate with; at most 2 times as many to choose on, 8 to measure on."
        ),
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that draw.")] = 0,
    checkpoint: Annotated[Checkpoint, typer.Option(help="Which weights of a run.")] = Checkpoint.last,
) -> None:
    """Write a trained classifier as one file that runs without PyTorch, and compare the two.

    The file takes gray images and normalises them itself; example.py beside it shows the rest. Research use only.
    """
    from bandbridge.export.graph import TOLERANCE
    from bandbridge.export.graph import export as write

    if int8 and calibrate is None:
        raise UserError("--int8 needs images to learn the ranges of 8 bits from.", "Add --calibrate DATASET.")
    source, classifier = open_exportable(model, checkpoint.value)
    folder = output_folder(out or Path("exports") / _default_name(source, kind.value, int8))
    images, trial = _images(classifier, calibrate, int8, limit, seed)
    runtime: Literal["onnx", "openvino"] = "openvino" if kind is Kind.openvino else "onnx"
    done = write(source, folder, runtime, images, trial, package=kind is Kind.bioimage)
    for one in done.differences:
        say(
            f"{one.batch} images: logits differ from PyTorch by at most {one.largest:.2g}, "
            f"allowed {TOLERANCE * one.logit_range:.2g}"
        )
    if done.loss is not None:
        say(done.loss.sentence())
        note(
            "the thresholds for checking were learned with float32 and do not hold here: predict flags no image for "
            "its probability, and example.py beside the model every one"
        )
    note(f"written to {folder}")


def open_exportable(folder: Path, checkpoint: str) -> tuple[Exportable, Classifier]:
    """Return the model in ``folder`` with the temperature and the threshold that its predictions gave, if any."""
    from bandbridge.export.graph import exportable
    from bandbridge.model.classifier import Classifier
    from bandbridge.predict.confidence import without_errors
    from bandbridge.predict.ensemble import open_models

    folder = at_home(folder)
    ensemble = open_models([folder], checkpoint, "cpu", graphs=False)
    classifier, confidence = ensemble.members[0], ensemble.confidence
    if not isinstance(classifier, Classifier):
        raise UserError(f"{folder} is an exported graph already", "Name the run or the model folder that it came from.")
    source = exportable(classifier, confidence, next(iter(ensemble.likenesses), None), _trained_on(folder))
    if confidence is None:
        note(
            "no held-out predictions are known: the probabilities are not calibrated, and every image is to be checked"
        )
    elif without_errors(confidence):
        note(without_errors(confidence))
    return source, classifier


def _trained_on(folder: Path) -> TrainedOn | None:
    """What the model was trained on; None, and a note, where its record does not say: it works without."""
    from bandbridge.predict.trained_on import read_trained_on

    try:
        return read_trained_on(folder)
    except UserError as error:
        note(f"what the model was trained on does not travel along: {error.message}")
        return None


def _default_name(source: Exportable, kind: str, int8: bool) -> str:
    from bandbridge.model.architectures import find_architecture

    architecture = str(source.facts.get("architecture", ""))
    slug = find_architecture(architecture).slug if architecture else ""
    parts = (str(source.facts.get("task", "")), slug, str(source.facts.get("id", "")), kind, "int8" if int8 else "")
    return safe_name("-".join(part for part in parts if part).replace("/", "-"))


def _images(
    classifier: Classifier, calibrate: Path | None, int8: bool, limit: int, seed: int
) -> tuple[np.ndarray, Trial | None]:
    """Return images to compare with PyTorch on, drawn ones where no dataset is at hand, and the trial of 8 bits."""
    import numpy as np

    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.dataset.read_prepared import read_prepared
    from bandbridge.export.graph import BATCHES, drawn_images
    from bandbridge.export.trial import Trial, divide

    most = max(BATCHES)
    if calibrate is None:
        return drawn_images(classifier.preparation), None
    dataset = open_dataset(calibrate)
    unknown = sorted(set(dataset.samples["label"]) - set(classifier.classes))
    if unknown:
        raise UserError(f"{calibrate} has labels that the model does not know: {first_few(unknown)}")
    ranges, choice, measured, held_out = divide(dataset.samples, classifier.held_out(), limit, seed)
    if not int8:
        return read_prepared(dataset, measured[:most], classifier.preparation), None
    labels = dataset.samples.drop_duplicates("file_name").set_index("file_name")["label"]
    truth = np.array([classifier.classes.index(labels[name]) for name in measured])
    calibration, chosen, images = (
        read_prepared(dataset, names, classifier.preparation) for names in (ranges, choice, measured)
    )
    return images, Trial(calibration, chosen, images, truth, held_out)
