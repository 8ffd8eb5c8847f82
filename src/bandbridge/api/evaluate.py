"""What a model is worth on labelled cells that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bandbridge.api.places import Place, opened_dataset
from bandbridge.dataset.contents import contents_of
from bandbridge.dataset.findings import counted
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.errors import ManyErrors, UserError, first_few
from bandbridge.evaluation.appraisal import COLUMNS, FINDING_COLUMNS, Evaluation, evaluate_predictions
from bandbridge.predict.classify import Classified, classify, is_placed_whole
from bandbridge.predict.confidence import Confidence
from bandbridge.predict.intake import hand_over_dataset
from bandbridge.predict.trained_on import TrainedOn, notes_on_stain, notes_on_training, read_trained_on

if TYPE_CHECKING:
    from bandbridge.api.model import Model


def evaluate(model: Model, dataset: Place, *, flips: bool = False) -> Evaluation:
    """See :meth:`bandbridge.api.model.Model.evaluate`."""
    images, ensemble = opened_dataset(dataset), model.ensemble
    _refuse_unknown_labels(images, ensemble.classes)
    contents = contents_of(images)
    known = [read_trained_on(member.folder) for member in ensemble.members]
    names = images.samples["file_name"].tolist()
    digests = [contents.files[name] for name in names]
    seen = np.any([one.seen(contents.fingerprint, names, digests) for one in known], axis=0)
    if seen.all():
        raise UserError(
            f"the model was trained on every image of {images.path}: it can only be praised there, not judged",
            "Give cells that it has not seen; of a study, the run of one fold, whose held-out cells are then used.",
        )
    samples = images.samples.assign(seen=seen)
    # A cell of which some chromosomes were trained on is not whole: its counts say nothing.
    broken = set(samples.loc[samples["seen"] & (samples["cell"] != ""), "cell"])
    handed = [
        replace(one, cell="" if one.cell in broken else one.cell)
        for one, known_already in zip(hand_over_dataset(images), seen, strict=True)
        if not known_already
    ]
    result = classify(ensemble, handed, flips=flips, keep_images=False)
    if result.refused:
        lines = [f"{name}: {reason}" for name, reason in result.refused]
        raise ManyErrors("images that could not be read:", lines, "Mend these or take them out of metadata.csv.")
    rows, probabilities = _rows(result, samples, ensemble.thresholds is not None)
    findings = pd.DataFrame(_findings(result), columns=list(FINDING_COLUMNS))
    stains = set(images.samples["stain"])
    told = [*notes_on_training(known), *notes_on_stain(known, stains)]
    notes = [*told, *_notes(model, known, contents.fingerprint, samples), *result.notes]
    of_own = seen.any() or any(source.dataset == contents.fingerprint for one in known for source in one.sources)
    own = {} if of_own else _known_of(ensemble.confidence)
    return evaluate_predictions(rows, probabilities, ensemble.classes, findings, notes=notes, own=own)


def _known_of(confidence: Confidence | None) -> dict[str, float]:
    """What the (first) model's own held-out cells showed; {} where nothing is known of them."""
    if confidence is None:
        return {}
    error = confidence.ece_before if np.isnan(confidence.ece_after) else confidence.ece_after
    return {
        "accuracy": confidence.accuracy,
        "calibration_error": error,
        "set_coverage": confidence.coverage,
        "flagged": confidence.review_share,
    }


def _refuse_unknown_labels(images: ImageFolder, classes: Sequence[str]) -> None:
    unknown = sorted(set(images.samples["label"]) - set(classes))
    if unknown:
        raise UserError(
            f"{images.path} has labels that the model does not know: {first_few(unknown)}",
            f"Its classes are {', '.join(classes)}; correct metadata.csv, or take these rows out.",
        )


def _rows(result: Classified, samples: pd.DataFrame, has_sets: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """The images as :func:`evaluate_predictions` wants them, and their probabilities, float64 [N, K]."""
    facts = samples.set_index("file_name")
    found, likely = [], []
    for sheet in result.sheets:
        whole = is_placed_whole(sheet)
        for one in sheet.chromosomes:
            known = facts.loc[one.file]
            covered = known["label"] in one.labels if has_sets else pd.NA
            row = (one.file, known["cell"], known["patient"], known["label"], one.predicted, one.placed, whole)
            found.append((*row, bool(one.reasons), covered, len(one.labels)))
            likely.append(one.probabilities)
    return pd.DataFrame(found, columns=list(COLUMNS)), np.stack(likely)


def _findings(result: Classified) -> Iterator[tuple[str, str, int, int, float]]:
    for sheet in result.sheets:
        for one in sheet.findings:
            yield sheet.name, one.label, one.copies, one.expected, one.log_odds


def _notes(model: Model, known: Sequence[TrainedOn], fingerprint: str, samples: pd.DataFrame) -> Iterator[str]:
    seen = int(samples["seen"].sum())
    if seen:
        yield (
            f"{seen:,} of {counted(len(samples), 'image')} were trained on and are left out; "
            f"measured are the {len(samples) - seen:,} held out"
        )
        yield from _shared(samples)
    if not all(one.files_known for one in known):
        yield (
            "this model does not say which files it was trained on: only the same set, unchanged, is recognised, "
            "and no single image of it in another set"
        )
    own = any(source.dataset == fingerprint for one in known for source in one.sources)
    if (own or seen) and model.ensemble.confidence is not None:
        yield (
            "calibration, prediction sets and flags were learned from held-out predictions of this very set: what is "
            "said of them is better than it will be on new cells"
        )


def _shared(samples: pd.DataFrame) -> Iterator[str]:
    """Say how many of the held-out images come from a patient or cell that was also trained on."""
    for unit in ("patient", "cell"):
        trained = set(samples.loc[samples["seen"], unit]) - {""}
        shared = int((~samples["seen"] & samples[unit].isin(trained)).sum())
        if shared:
            yield f"{shared:,} of the held-out images come from a {unit} that was also trained on: their scores flatter"
            return
