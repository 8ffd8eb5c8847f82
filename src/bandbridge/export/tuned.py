"""A fine-tuned model as a folder: what it is worth on cells that it had not seen, and how far to believe it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.prepare import Preparation
from bandbridge.evaluation.predictions import logits_of, read_predictions
from bandbridge.export.folder import look_at, write_model
from bandbridge.export.worth import Worth
from bandbridge.model.classifier import open_classifier
from bandbridge.model.config import exported_facts
from bandbridge.predict.confidence import Confidence, fit_confidence, read_confidence
from bandbridge.predict.ensemble import confidence_of_folds, is_run, sibling_folds
from bandbridge.predict.likeness import Likeness
from bandbridge.predict.trained_on import TrainedOn, read_trained_on
from bandbridge.study.execute import Executor
from bandbridge.study.fine_tune import Tuning, original_logits
from bandbridge.study.given import CHECKPOINT, BaseModel


@dataclass(frozen=True, eq=False)
class Measured:
    """The original and the tuned models on images that the original had not seen, nor others of their group.

    folds: the out-of-fold predictions of the tuned ones. before, after: shares right by themselves, 0..1, on the same
    images. cells: 0 where they are not named. groups: patients or cells.
    """

    folds: Sequence[pd.DataFrame]
    before: float
    after: float
    images: int
    cells: int
    groups: int


def unseen_images(tuning: Tuning, known: TrainedOn) -> frozenset[str]:
    """Return the files of the patients, or cells, of which the original model had not seen a single image.

    ``known``: what it was trained on. Only on these can a tuning be measured: a model that goes on from one that has
    seen an image has seen it too, whatever its fold holds out. None where the images are not divided.
    """
    data, samples = tuning.data, tuning.dataset.samples
    if data.split is None:
        return frozenset()
    names, groups = samples["file_name"], samples[data.split.scheme]
    seen = known.seen(data.fingerprint, names.tolist(), data.hashes)
    return frozenset(names[~groups.isin(groups[seen])])


def measure_tuning(tuning: Tuning, executor: Executor, unseen: frozenset[str]) -> Measured | None:
    """Compare the finished runs of ``tuning`` with the model that they started from, on the files ``unseen``.

    None where there are none.
    """
    data, samples = tuning.data, tuning.dataset.samples
    if data.split is None or not unseen:
        return None
    folds = [read_predictions(executor.ledger.folder(run) / "predictions.parquet") for run in tuning.folds]
    folds = [frame.loc[frame["image"].isin(unseen)] for frame in folds]
    right = [logits.argmax(axis=1) == truth for truth, logits, _ in (logits_of(frame, CHECKPOINT) for frame in folds)]
    store = executor.store(tuning.whole.task)
    original = original_logits(tuning.base, store, executor.device).argmax(axis=1) == store.targets_among(data.classes)
    fresh = samples.loc[samples["file_name"].isin(unseen)]
    return Measured(
        folds,
        before=float(original[store.samples["file_name"].isin(unseen).to_numpy()].mean()),
        after=float(np.concatenate(right).mean()),
        images=len(fresh),
        cells=fresh["cell"].nunique() if (fresh["cell"] != "").all() else 0,
        groups=fresh[data.split.scheme].nunique(),
    )


def write_tuned(tuning: Tuning, executor: Executor, measured: Measured | None, out: Path) -> list[str]:
    """Write the model of ``tuning`` that saw all images into the folder ``out``; return what to know of it, in lines.

    Its confidence is learned from what was measured of two groups or more; from fewer it stays the original's. How its
    images look is learned anew from the new cells alone, where there are two or more: the original's likeness would
    flag the very images that the model is now for, and its images are not at hand. From fewer nothing is learned, for a
    single cell would make all others look strange.
    """
    notes: list[str] = []
    borrowed, confidence = "", None
    if measured is not None and measured.groups > 1:
        confidence = fit_confidence(measured.folds, CHECKPOINT)
    else:
        borrowed, confidence = _confidence_of(tuning.base)
        notes.append(
            "its confidence (calibration, sets, flags) is the original model's and was not measured on these cells"
            if confidence is not None
            else "nothing is known of its confidence: the original model has none, and it was not measured here"
        )
    run = executor.ledger.folder(tuning.whole)
    classifier = open_classifier(run, CHECKPOINT, "cpu")
    likeness = _likeness_of(tuning.dataset, classifier.preparation)
    if likeness is None:
        notes.append("it flags no image for its looks: that is learned from two cells or more")
    folds, before = ((), None) if measured is None else (measured.folds, measured.before)
    worth = Worth(folds, read_trained_on(run), confidence, likeness, borrowed, before)
    write_model(classifier, worth, out)
    return notes


def doubts(tuning: Tuning, known: TrainedOn, measured: Measured | None) -> Iterator[str]:
    """Say, in lines, what the comparison leaves open."""
    if tuning.data.split is None:
        yield "nothing was measured: that takes cells of two patients, or two cells where patients are not named"
        return
    if measured is None:
        yield "nothing was measured: the original model was trained on images of every one of these cells"
        return
    if left_out := len(tuning.dataset.samples) - measured.images:
        yield f"not counted: {counted(left_out, 'image')} of cells that the original model was trained on"
    if not known.files_known:
        yield "the original model does not say which images it was trained on: it may have seen some of these"


def _likeness_of(images: ImageFolder, preparation: Preparation) -> Likeness | None:
    cells = set(images.samples["cell"])
    return look_at(images, preparation) if "" not in cells and len(cells) > 1 else None


def _confidence_of(base: BaseModel) -> tuple[str, Confidence | None]:
    """Return the confidence of ``base``, and the identity of the model that it was learned from."""
    folder, identity = base.given.folder, base.given.identity
    if is_run(folder):
        return identity, confidence_of_folds(sibling_folds(folder), CHECKPOINT)
    return str(exported_facts(folder).get("confidence_of") or identity), read_confidence(folder)
