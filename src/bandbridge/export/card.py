"""The card of a model folder: what it was trained on, what it is worth, how images are prepared, how to use it.

Its header is what the Hugging Face hub reads (https://huggingface.co/docs/hub/model-cards). It names no
``pipeline_tag``: that would offer a box to drop an image into, whose transforms know nothing of the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml

from bandbridge import __version__
from bandbridge.boxes import name_of
from bandbridge.dataset.findings import counted
from bandbridge.errors import visible
from bandbridge.evaluation.metrics import score_predictions
from bandbridge.evaluation.predictions import APPROACHES, BEGINNINGS, FINE_TUNED, RANDOM_STARTS, logits_of
from bandbridge.export.graph import licence_of_weights
from bandbridge.export.worth import Worth
from bandbridge.files import markdown_text
from bandbridge.model.architectures import pretrained_config
from bandbridge.model.classifier import Classifier
from bandbridge.seal import read_product

_TAGS = ("chromosome", "cytogenetics", "karyotyping", "bandbridge")
#: Licences by the name that the hub has for them, of those that timm's weights carry.
_HUB_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0")
#: Digits of a dataset's fingerprint that name it where it has no other name.
_DIGITS = 16
_BEGINNINGS = {FINE_TUNED: "a finished model's weights", **BEGINNINGS}


@dataclass(frozen=True)
class _Scores:
    """Out-of-fold scores of the training, shares in 0..1; ``folds`` were pooled."""

    folds: int
    images: int
    accuracy: float
    macro_f1: float


def model_card(classifier: Classifier, worth: Worth) -> str:
    """Return the README of an exported model, Markdown with the header that the Hugging Face hub reads."""
    facts = classifier.facts
    weights = _imagenet_weights(classifier)
    scores = _scores(worth.folds, classifier.checkpoint)
    environment_ = jinja2.Environment(
        loader=jinja2.PackageLoader("bandbridge.export"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        finalize=_plain,
    )
    environment_.globals |= {"counted": counted, "box_of": name_of}
    body = environment_.get_template("card.md.j2").render(
        version=__version__,
        name=_name(classifier),
        facts=facts,
        approach=_way(str(facts.get("approach"))),
        record=facts.get("record", {}),
        recipe=facts.get("record", {}).get("recipe", {}),
        preparation=classifier.preparation,
        classes=classifier.classes,
        mean=[round(float(value), 4) for value in classifier.mean.flatten()],
        std=[round(float(value), 4) for value in classifier.std.flatten()],
        checkpoint=classifier.checkpoint,
        scores=scores,
        worth=worth,
        confidence=worth.confidence,
        licence=licence_of_weights(classifier),
        pretrained=weights.get("architecture"),
    )
    return f"---\n{_header(classifier, worth, scores)}\n---\n{body}"


def _name(classifier: Classifier) -> str:
    return f"{classifier.facts.get('task', '')} {classifier.facts.get('architecture', '')}".strip()


def _way(approach: str) -> str:
    return f"{_BEGINNINGS[approach]}, then the target images" if approach in _BEGINNINGS else approach


def _imagenet_weights(classifier: Classifier) -> dict[str, Any]:
    """What its own training recorded of the ImageNet weights that it began with; {} where it began with another run."""
    return read_product(classifier.folder / "environment.json").get("imagenet_weights") or {}


def _header(classifier: Classifier, worth: Worth, scores: _Scores | None) -> str:
    """Return what stands between the dashes, YAML."""
    base = _base_model(classifier)
    sets = [_hub_name(source.dataset) for source in worth.trained_on.sources if source.dataset]
    header: dict[str, Any] = {"library_name": "timm", "tags": list(_TAGS), **_licence(classifier, worth)}
    if base:
        header |= {"base_model": base, "base_model_relation": "finetune"}
    if named := list(dict.fromkeys(["imagenet-1k"] * bool(base) + sets)):
        header["datasets"] = named
    if scores is not None:
        header["model-index"] = [_model_index(classifier, scores)]
    return yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=10_000).rstrip()


def _base_model(classifier: Classifier) -> str:
    """Return the hub's name of the ImageNet weights that all began with, "" where it is not known, or there are none.

    A model that went on from another's finished weights names that one in the card: the hub has no name for it.
    """
    approach = classifier.facts.get("approach")
    if approach in RANDOM_STARTS or approach not in APPROACHES:
        return ""
    own = _imagenet_weights(classifier)
    if own and not own.get("tag"):
        return ""
    hub = pretrained_config(classifier.architecture).hf_hub_id
    return f"{hub}{classifier.architecture.pinned_name}" if hub and hub.endswith("/") else str(hub or "")


def _licence(classifier: Classifier, worth: Worth) -> dict[str, str]:
    """Return the keys of the hub for a licence; images of other owners bind a model by terms that are not known."""
    if not worth.trained_on.drawn_alone:
        return {"license": "other", "license_name": "terms-of-the-training-images"}
    known = licence_of_weights(classifier).lower()
    if classifier.facts.get("approach") in RANDOM_STARTS:
        return {"license": "apache-2.0"}
    return (
        {"license": known} if known in _HUB_LICENCES else {"license": "other", "license_name": "terms-of-the-weights"}
    )


def _hub_name(fingerprint: str) -> str:
    return f"bandbridge-{fingerprint[:_DIGITS]}"


def _model_index(classifier: Classifier, scores: _Scores) -> dict[str, Any]:
    """Return the measured scores as the hub reads them; shares, 0..1."""
    task, name = (
        visible(" ".join(text.split())) for text in (str(classifier.facts.get("task", "")), _name(classifier))
    )
    fingerprint = str(classifier.facts.get("record", {}).get("dataset", ""))
    folds = counted(scores.folds, "finished fold")
    return {
        "name": name or "a classifier",
        "results": [
            {
                "task": {"type": "image-classification", "name": "Chromosome classification"},
                "dataset": {
                    "type": _hub_name(fingerprint),
                    "name": f"Task {task}: {scores.images} images, each held out from its model ({folds})",
                },
                "metrics": [
                    {"type": "accuracy", "name": "Accuracy", "value": round(scores.accuracy, 4)},
                    {"type": "f1", "name": "Macro-F1", "value": round(scores.macro_f1, 4)},
                ],
            }
        ],
    }


def _plain(value: Any) -> Any:
    """What a name of a class or task says, and nothing that Markdown or HTML would make of it."""
    # Within a piece of code a backtick ends it, escaped or not.
    return markdown_text(value.replace("`", "'")) if isinstance(value, str) else value


def _scores(folds: Sequence[pd.DataFrame], checkpoint: str) -> _Scores | None:
    if not folds:
        return None
    parts = [logits_of(frame, checkpoint) for frame in folds]
    truth, logits = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    found = score_predictions(truth, logits)
    return _Scores(len(folds), found.n, found.accuracy, found.macro_f1)
