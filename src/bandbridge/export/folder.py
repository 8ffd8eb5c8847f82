"""A model folder that travels: weights, a configuration that timm loads, what its confidence is worth, a model card.

``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads it, and ``hf_hub:`` once it is uploaded. The card says
what the model was trained on, under which protocol it was scored, how images are to be prepared, and whose licences
bind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from timm.models import save_for_hf

from bandbridge import __version__
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.read_prepared import each_cell_prepared
from bandbridge.dataset.store import dataset_fingerprint
from bandbridge.disk import flush, flush_folder, rename
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.evaluation.predictions import read_predictions
from bandbridge.export.card import model_card
from bandbridge.export.graph import drawn_images, exportable, write_beside_weights
from bandbridge.export.half import halve
from bandbridge.export.timm_config import mend_config, needs_mending
from bandbridge.export.worth import Worth
from bandbridge.files import folder_beside, is_present, read_json, write_text
from bandbridge.leftovers import clear_leftovers
from bandbridge.model.architectures import build_options
from bandbridge.model.classifier import Classifier, open_classifier
from bandbridge.model.config import exported_facts
from bandbridge.predict.confidence import FILE as CONFIDENCE
from bandbridge.predict.confidence import Promise, fit_confidence, read_confidence, write_confidence
from bandbridge.predict.ensemble import is_run, sibling_folds
from bandbridge.predict.evidence import FILE as EVIDENCE
from bandbridge.predict.likeness import FILE as LIKENESS
from bandbridge.predict.likeness import (
    Likeness,
    close_ups,
    describe_image,
    described,
    fit_likeness,
    write_likeness,
)
from bandbridge.predict.runtime import MODEL_FILES
from bandbridge.predict.trained_on import FILE as TRAINED_ON
from bandbridge.predict.trained_on import read_trained_on, write_trained_on
from bandbridge.progress import track
from bandbridge.seal import SUMS, AlteredError, Seal, read_product, require_unaltered, seal_of, write_sums

README = "README.md"


def export_folder(
    run: Path,
    out: Path,
    checkpoint: str = "last",
    images: ImageFolder | None = None,
    promise: Promise | None = None,
    *,
    half: bool = False,
) -> Path:
    """Write the model that ``run`` kept as ``checkpoint`` into the folder ``out``; return ``out``.

    ``images`` is the dataset that the run was trained on: with it the model learns how its images look, and to flag
    what looks otherwise. ``promise`` says what its sets and its flags are to hold. ``half``: store weights in 16 bits.
    The confidence comes from the out-of-fold predictions of all finished folds of the run's training. Raises
    :class:`UserError` when ``run`` is no finished run, ``images`` are others than it was trained on, or ``out`` holds
    something else than an exported model.
    """
    classifier = open_classifier(run, checkpoint, "cpu")
    if not is_run(run):
        raise UserError(f"{run} is an exported model already", "Name the folder of a run.")
    require_place(out)
    likeness = None if images is None else learn_likeness(images, classifier)
    folders = sibling_folds(run)
    folds = [read_predictions(folder / "predictions.parquet") for folder in folders]
    confidence = fit_confidence(folds, checkpoint, promise) if folds else None
    return write_model(classifier, Worth(folds, read_trained_on(run), confidence, likeness), out, half=half)


def require_place(out: Path) -> None:
    """Raise :class:`UserError` unless ``out`` is new, an empty folder or an exported model, which may be replaced."""
    if is_present(out) and not out.is_dir():
        raise UserError(f"{out} is a file", "Name a folder with --out.")
    clear_leftovers(out)
    if out.exists() and any(out.iterdir()) and "bandbridge" not in read_json(out / "config.json"):
        raise UserError(f"{out} is not empty and holds no exported model", "Name another folder with --out.")


def write_model(classifier: Classifier, worth: Worth, out: Path, *, half: bool = False) -> Path:
    """Write ``classifier``, that of a run, and its ``worth`` into the folder ``out``; return ``out``.

    half: store weights in 16 bits (:mod:`bandbridge.export.half`).

    Raises :class:`EnvironmentFault` when it cannot be written; an earlier model there then stays as it was.
    """
    size = classifier.preparation.size
    mean, std = (values.flatten().tolist() for values in (classifier.mean, classifier.std))
    own = {
        "format": 1,
        "version": __version__,
        "architecture": read_product(classifier.folder / "config.json")["architecture"],
        "classes": list(classifier.classes),
        "preparation": classifier.preparation.model_dump(),
        "mean": mean,
        "std": std,
        "checkpoint": classifier.checkpoint,
        "run": classifier.facts,
    }
    if worth.tuned_on:
        own |= {"tuned_on": worth.tuned_on, "confidence_of": worth.confidence_of or None}
    preprocessing = {"input_size": (3, size, size), "mean": tuple(mean), "std": tuple(std), "crop_pct": 1.0}
    config = {"label_names": list(classifier.classes), "bandbridge": own}
    with _written_apart(out) as folder:
        _save_for_timm(classifier, folder, config, {**preprocessing, "interpolation": "bilinear"})
        if worth.confidence is not None:
            write_confidence(worth.confidence, folder)
        if worth.likeness is not None:
            write_likeness(worth.likeness, folder)
        write_trained_on(worth.trained_on, folder / TRAINED_ON)
        write_beside_weights(exportable(classifier, worth.confidence), folder)
        if half:
            halve(folder, drawn_images(classifier.preparation))
        # Not of the card: it is there to be edited.
        write_sums(folder, (file.name for file in folder.iterdir()))
        write_text(folder / README, model_card(classifier, worth))
    return out


def _save_for_timm(classifier: Classifier, folder: Path, config: dict[str, Any], preprocessing: dict[str, Any]) -> None:
    """Let timm write weights and configuration, as its ``create_model`` reads them.

    What it says of preprocessing it takes from the model: an argument for that came with timm 1.0.31 alone, as did the
    record of what the model was built with.
    """
    model: Any = classifier.model
    arguments = build_options(classifier.architecture, classifier.preparation.size)
    before = model.pretrained_cfg
    # What the ImageNet model is tested at, and its classes, are not this model's.
    other = dict.fromkeys(("pool_size", "test_input_size", "test_crop_pct", "label_offset"))
    model.pretrained_cfg = {**before, **other, "num_classes": len(classifier.classes), **preprocessing}
    try:
        save_for_hf(model, str(folder), model_config=config, model_args=arguments or None, safe_serialization=True)
    finally:
        model.pretrained_cfg = before
    mend_config(folder)


def complete_folder(folder: Path) -> bool:
    """Add to a model ``folder`` what is used without PyTorch, or make it again where it is broken.

    Its configuration becomes one that other libraries read, too (:mod:`bandbridge.export.timm_config`). Returns whether
    anything was missing. Raises :class:`UserError` where ``folder`` is no model folder.
    """
    if not exported_facts(folder):
        raise UserError(f"{folder} is no model folder", "Name one that bandbridge models export wrote.")
    seal, names = seal_of(folder), (MODEL_FILES["onnx"], EVIDENCE)
    complete = _is_complete(folder, seal, names)
    if not complete:
        _add_graph(folder, seal, names)
    return _mend_for_others(folder) or not complete


def _add_graph(folder: Path, seal: Seal | None, names: Sequence[str]) -> None:
    classifier = open_classifier(folder, device="cpu")
    with folder_beside(folder) as apart:
        write_beside_weights(exportable(classifier, read_confidence(folder)), apart)
        made = sorted(apart.iterdir())
        for file in made:
            flush(file)
            rename(file, folder / file.name)
        for name in {*names} - {file.name for file in made}:
            (folder / name).unlink(missing_ok=True)
    # The hashes last: without them the graph counts as missing, and the next attempt makes it again.
    known = seal.files if seal is not None and seal.files else {file.name for file in folder.iterdir()} - {README}
    write_sums(folder, {*known, *(file.name for file in made)})


def _mend_for_others(folder: Path) -> bool:
    """Mend the configuration of a complete ``folder``; return whether it was another."""
    if not needs_mending(folder):
        return False
    seal = seal_of(folder)
    files = list(seal.files) if seal is not None and seal.files else []
    for name in files:  # they are hashed anew: what was altered by then would pass for whole
        require_unaltered(folder / name)
    # Hashes that the new configuration does not fit would close the folder; without any it is an earlier build's.
    (folder / SUMS).unlink(missing_ok=True)
    mend_config(folder)
    write_sums(folder, files)
    return True


def _is_complete(folder: Path, seal: Seal | None, names: Sequence[str]) -> bool:
    """Whether the hashes of ``folder`` name its graph, and those of ``names`` that they do are there as written."""
    if seal is None or names[0] not in (seal.files or ()):
        return False
    try:
        for name in names:
            require_unaltered(folder / name)
    except AlteredError:
        return False
    return True


@contextmanager
def _written_apart(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` whose files take their places there when all are written.

    An earlier model in ``out`` is then replaced, or stays as it was. Raises :class:`EnvironmentFault` when the disk is
    full or cannot be written.
    """
    try:
        with folder_beside(out) as place:
            yield place
            for file in place.iterdir():
                flush(file)
            flush_folder(place)
            if out.exists() and any(out.iterdir()):
                _replace_files(out, place)
            else:
                if out.exists():
                    out.rmdir()
                rename(place, out)
            flush_folder(out.parent)
    except (OSError, SafetensorError) as fault:
        reason = getattr(fault, "strerror", None) or fault
        raise EnvironmentFault(
            f"cannot write the model into {out}: {reason}", "Free some space or name another folder with --out."
        ) from fault


def _replace_files(out: Path, place: Path) -> None:
    """Move the files of ``place`` into ``out``, among whatever else is there; configuration and hashes last."""
    for stale in (SUMS, CONFIDENCE, LIKENESS, TRAINED_ON, EVIDENCE):
        (out / stale).unlink(missing_ok=True)
    # The configuration late: killed before, the folder still counts as a model, which the next export may replace. The
    # hashes last: without them, a folder that was replaced in part is an earlier build's.
    last = ("config.json", SUMS)
    for file in sorted(place.iterdir(), key=lambda file: last.index(file.name) if file.name in last else -1):
        rename(file, out / file.name)
    flush_folder(out)


def learn_likeness(images: ImageFolder, classifier: Classifier) -> Likeness:
    """Learn how the images of a run's dataset look. Raises :class:`UserError` when it is another dataset."""
    trained_on = classifier.facts.get("record", {}).get("dataset")
    if dataset_fingerprint(images) != trained_on:
        raise UserError(
            f"{images.path} is not the dataset that this run was trained on", "Name that one, unchanged, with --images."
        )
    return look_at(images, classifier.preparation)


def look_at(images: ImageFolder, preparation: Preparation) -> Likeness:
    """Learn how ``images`` look to a model with ``preparation``, by whole cells where there are several."""
    names = images.samples["file_name"].tolist()
    of = described(preparation)
    shown = track(_each_look(images, preparation), len(names), "looking at the training images")
    statistics = {name: describe_image(image) for name, image in shown}
    cells = images.samples["cell"].to_numpy()
    groups = cells if len(set(cells)) > 1 else np.arange(len(names))
    return fit_likeness(np.array([statistics[name] for name in names]), groups, of)


def _each_look(images: ImageFolder, preparation: Preparation) -> Iterator[tuple[str, np.ndarray]]:
    names = images.samples["file_name"].tolist()
    if described(preparation) == "photograph":
        yield from ((name, images.gray(name, preparation.bits)) for name in names)
        return
    for found, prepared in each_cell_prepared(images, preparation, names):
        yield from zip(found, close_ups(prepared), strict=True)
