"""A model folder that travels: weights, a configuration that timm loads, what its confidence is worth, a model card.

``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads it, and ``hf_hub:`` once it is uploaded. The card says
what the model was trained on, under which protocol it was scored, how images are to be prepared, and whose licences
bind it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from safetensors import SafetensorError
from timm.models import save_for_hf

from bandbridge import __version__
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.store import dataset_fingerprint
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.evaluation.metrics import score_predictions
from bandbridge.evaluation.predictions import logits_of, read_predictions
from bandbridge.files import read_json, write_text
from bandbridge.model.classifier import Classifier, open_classifier
from bandbridge.predict.confidence import FILE as CONFIDENCE
from bandbridge.predict.confidence import Confidence, Promise, write_confidence
from bandbridge.predict.ensemble import confidence_of_folds, is_run, sibling_folds
from bandbridge.predict.likeness import FILE as LIKENESS
from bandbridge.predict.likeness import Likeness, describe_image, fit_likeness, write_likeness
from bandbridge.progress import track

_APPROACHES = {
    "scratch": "random weights, then the target images",
    "imagenet": "ImageNet weights, then the target images",
    "two-step": "ImageNet weights, then the intermediate domain, then the target images",
    "domain": "random weights, then the intermediate domain, then the target images",
}


@dataclass(frozen=True)
class _Scores:
    """Out-of-fold scores of the training, shares in 0..1; ``folds`` were pooled."""

    folds: int
    images: int
    accuracy: float
    macro_f1: float


def export_folder(
    run: Path,
    out: Path,
    checkpoint: str = "last",
    images: ImageFolder | None = None,
    promise: Promise | None = None,
) -> Path:
    """Write the model that ``run`` kept as ``checkpoint`` into the folder ``out``; return ``out``.

    ``images`` is the dataset that the run was trained on: with it the model learns how its images look, and to flag
    what looks otherwise. ``promise`` says what its sets and its flags are to hold.
    The confidence comes from the out-of-fold predictions of all finished folds of the run's training. Raises
    :class:`UserError` when ``run`` is no finished run, ``images`` are others than it was trained on, or ``out`` holds
    something else than an exported model.
    """
    classifier = open_classifier(run, checkpoint, "cpu")
    if not is_run(run):
        raise UserError(f"{run} is an exported model already", "Name the folder of a run.")
    if out.exists() and any(out.iterdir()) and "bandbridge" not in read_json(out / "config.json"):
        raise UserError(f"{out} is not empty and holds no exported model", "Name another folder with --out.")
    likeness = None if images is None else learn_likeness(images, classifier)
    folds = sibling_folds(run)
    confidence = confidence_of_folds(folds, checkpoint, promise)
    size = classifier.preparation.size
    mean, std = (values.flatten().tolist() for values in (classifier.mean, classifier.std))
    own = {
        "format": 1,
        "version": __version__,
        "architecture": read_json(run / "config.json")["architecture"],
        "classes": list(classifier.classes),
        "preparation": classifier.preparation.model_dump(),
        "mean": mean,
        "std": std,
        "checkpoint": checkpoint,
        "run": classifier.facts,
    }
    preprocessing = {"input_size": (3, size, size), "mean": tuple(mean), "std": tuple(std), "crop_pct": 1.0}
    config = {"label_names": list(classifier.classes), "bandbridge": own}
    with _written_apart(out) as folder:
        save_for_hf(
            classifier.model,
            str(folder),
            model_config=config,
            safe_serialization=True,
            data_config={**preprocessing, "interpolation": "bilinear"},
        )
        if confidence is not None:
            write_confidence(confidence, folder)
        if likeness is not None:
            write_likeness(likeness, folder)
        write_text(folder / "README.md", model_card(classifier, confidence, folds))
    return out


@contextmanager
def _written_apart(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` whose files take their places there when all are written.

    An earlier model in ``out`` is then replaced, or stays as it was. Raises :class:`EnvironmentFault` when the disk is
    full or cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as place:
            yield Path(place)
            out.mkdir(exist_ok=True)
            for stale in (CONFIDENCE, LIKENESS):
                (out / stale).unlink(missing_ok=True)
            for file in Path(place).iterdir():
                file.replace(out / file.name)
    except (OSError, SafetensorError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise EnvironmentFault(
            f"cannot write the model into {out}: {reason}", "Free some space or name another folder with --out."
        ) from fault


def learn_likeness(images: ImageFolder, classifier: Classifier) -> Likeness:
    """Learn how the images of a run's dataset look. Raises :class:`UserError` when it is another dataset."""
    trained_on = classifier.facts.get("record", {}).get("dataset")
    if dataset_fingerprint(images) != trained_on:
        raise UserError(
            f"{images.path} is not the dataset that this run was trained on", "Name that one, unchanged, with --images."
        )
    samples = images.samples
    names = samples["file_name"].tolist()
    shown = track(names, len(names), "looking at the training images")
    statistics = np.array([describe_image(decode_gray(images.read_bytes(name), name)) for name in shown])
    cells = samples["cell"].to_numpy()
    return fit_likeness(statistics, cells if len(set(cells)) > 1 else np.arange(len(names)))


def model_card(classifier: Classifier, confidence: Confidence | None, folds: Sequence[Path]) -> str:
    """Return the README of an exported model, Markdown with the header that the Hugging Face hub reads."""
    facts = classifier.facts
    environment = read_json(classifier.folder / "environment.json")
    weights = environment.get("imagenet_weights") or {}
    environment_ = jinja2.Environment(
        loader=jinja2.PackageLoader("bandbridge.export"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    return environment_.get_template("card.md.j2").render(
        version=__version__,
        name=f"{facts.get('task', '')} {facts.get('architecture', '')}".strip(),
        facts=facts,
        approach=_APPROACHES.get(str(facts.get("approach")), str(facts.get("approach"))),
        record=facts.get("record", {}),
        recipe=facts.get("record", {}).get("recipe", {}),
        preparation=classifier.preparation,
        classes=classifier.classes,
        mean=[round(float(value), 4) for value in classifier.mean.flatten()],
        std=[round(float(value), 4) for value in classifier.std.flatten()],
        checkpoint=classifier.checkpoint,
        scores=_scores(folds, classifier.checkpoint),
        confidence=confidence,
        licence=weights.get("licence") or "not known",
        pretrained=weights.get("architecture"),
    )


def _scores(folds: Sequence[Path], checkpoint: str) -> _Scores | None:
    if not folds:
        return None
    parts = [logits_of(read_predictions(folder / "predictions.parquet"), checkpoint) for folder in folds]
    truth, logits = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    found = score_predictions(truth, logits)
    return _Scores(len(folds), found.n, found.accuracy, found.macro_f1)
