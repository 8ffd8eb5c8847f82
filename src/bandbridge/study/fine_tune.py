"""A finished model trained on with a site's own cells, as runs of the study machinery: folds, and one on everything.

The folds tell what the tuning is worth on cells that it did not see; the last run, on all cells, is what is handed on.
All of them start from the same weights, keep the model's classes and preparation, and resume like any other run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bandbridge.dataset.census import require_one_patient
from bandbridge.dataset.contents import contents_of
from bandbridge.dataset.findings import counted
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.splits import Scheme, Split, make_split
from bandbridge.dataset.store import Store
from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import FINE_TUNED
from bandbridge.files import file_stems
from bandbridge.karyotype import order_classes
from bandbridge.model.architectures import find_architecture
from bandbridge.model.classifier import open_classifier
from bandbridge.study.given import CHECKPOINT, BaseModel
from bandbridge.study.resolve import TaskData
from bandbridge.study.run import Init, PlannedRun, RunRecord
from bandbridge.study.spec import TaskSpec
from bandbridge.training.recipe import Augmentation, Recipe, RecipeSpec, recipe_for

DEFAULT_EPOCHS = 16
_RATE, _BATCH = 0.25, 16
_FEWEST_IMAGES = 2


@dataclass(frozen=True)
class Settings:
    """What can be asked of a tuning. epochs: None takes ``DEFAULT_EPOCHS``."""

    epochs: int | None = None
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"{self.epochs} epochs are no training", "Give --epochs 1 or more, or leave it out.")
        if self.folds < 2:
            raise UserError(f"{self.folds} folds cannot hold anything out", "Give --folds 2 or more.")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"the seed {self.seed} is not one of 0 to 4294967295", "Give another --seed.")


@dataclass(frozen=True, eq=False)
class Tuning:
    """A tuning laid out: what :class:`bandbridge.study.execute.Executor` carries out.

    dataset: the site's images; tasks: the same under their one name, as an executor wants them. folds: a run for each,
    none where the images are not divided. whole: the run on all images, whose weights are handed on.
    """

    base: BaseModel
    dataset: ImageFolder
    tasks: dict[str, TaskData]
    folds: tuple[PlannedRun, ...]
    whole: PlannedRun

    @property
    def runs(self) -> tuple[PlannedRun, ...]:
        """All runs, in the order in which they are carried out."""
        return (*self.folds, self.whole)

    @property
    def data(self) -> TaskData:
        """The site's images as a task."""
        return self.tasks[self.whole.task]

    def holding_out(self, files: Collection[str]) -> Tuning:
        """Return the same with no other folds than those that hold out some of ``files``."""
        split = self.data.split
        pairs = () if split is None else zip(split.file_names, split.assignment.tolist(), strict=True)
        wanted = {fold for name, fold in pairs if name in files}
        return replace(self, folds=tuple(run for run in self.folds if run.fold in wanted))


def plan_tuning(base: BaseModel, dataset: ImageFolder, settings: Settings) -> Tuning:
    """Lay out the runs that tune ``base`` on ``dataset``.

    Raises :class:`UserError` for a single image, and naming all labels that are none of the model's classes, or all
    cells that are of several patients.
    """
    samples = dataset.samples
    _require_classes(base, dataset)
    require_one_patient(samples)
    if len(samples) < _FEWEST_IMAGES:
        raise UserError(f"{dataset.path} holds a single image", "A model is tuned on whole cells.")
    split, contents = tuning_split(samples, settings), contents_of(dataset)
    task = next(file_stems([dataset.path.resolve().stem], "cells"))
    spec = TaskSpec(dataset=str(dataset.path))
    data = TaskData(task, spec, base.preparation, dataset, contents.fingerprint, split, contents, base.classes)
    found = find_architecture(base.architecture)
    recipe = tuning_recipe(found.timm_name, settings.epochs, base.augmentation)
    # Of a model folder the weights say which they are.
    checkpoint = None if base.given.identity.startswith("sha256:") else CHECKPOINT
    init = Init(kind="run", run=base.given.identity, checkpoint=checkpoint, head="keep")

    def planned(fold: int | None) -> PlannedRun:
        record = RunRecord(
            dataset=data.fingerprint,
            preparation=base.preparation,
            split=split.hash if split is not None and fold is not None else "",
            fold=fold,
            architecture=base.architecture,
            init=init,
            recipe=recipe,
            precision="auto",
            seed=settings.seed,
        )
        return PlannedRun(task, found.name, found.slug, FINE_TUNED, "", False, fold, record, given=base.given)

    folds = tuple(planned(fold) for fold in range(split.folds)) if split is not None else ()
    return Tuning(base, dataset, {task: data}, folds, planned(None))


def tuning_recipe(timm_name: str, epochs: int | None, augmentation: Augmentation | None) -> Recipe:
    """Return the recipe ``fast`` for a model that knows chromosomes already and has few of a site to learn from.

    A quarter of the learning rate, half the batch, and the statistics of batch norm as they are: chosen on drawn cells
    (docs/results/fine-tuning.md), where a few dozen images at the full rate, or batch norm's statistics learned from
    them, took away more than they gave. ``augmentation`` is that of the model's own training, where it is known.
    """
    fast = recipe_for(RecipeSpec(augmentation=augmentation, batch_size=_BATCH), timm_name, pretrained=True)
    (phase,) = fast.phases
    rate = phase.learning_rate * _RATE
    phase = phase.model_copy(update={"epochs": epochs or DEFAULT_EPOCHS, "learning_rate": rate})
    return fast.model_copy(update={"name": "fine-tune", "phases": (phase,), "keep_statistics": True})


def _require_classes(base: BaseModel, dataset: ImageFolder) -> None:
    times = Counter(dataset.samples["label"])
    strange = [name for name in order_classes(times) if name in times and name not in base.classes]
    if strange:
        listed = ", ".join(f"{name!r} ({counted(times[name], 'image')})" for name in strange)
        raise UserError(
            f"{dataset.path} has labels that are none of the model's {len(base.classes)} classes: {listed}",
            "Correct these labels in metadata.csv or take their rows out; fine-tuning keeps the classes of the model.",
        )


def tuning_split(samples: pd.DataFrame, settings: Settings) -> Split | None:
    """Divide ``samples`` by patient where every image names one, else by cell, into as many folds as there are groups.

    At most ``settings.folds`` of them. None where there is nothing to divide: a single patient, or cell, or images that
    do not all say which cell they are of.
    """
    units: tuple[Scheme, ...] = ("patient", "cell")
    scheme = next((unit for unit in units if (samples[unit] != "").all()), None)
    groups = 0 if scheme is None else samples[scheme].nunique()
    if scheme is None or groups < 2:
        return None
    split = make_split(samples, scheme, min(settings.folds, groups), settings.seed)
    fewest = min(len(split.rows(fold)[0]) for fold in range(split.folds))
    # Batch norm cannot train on a single image.
    return split if fewest >= _FEWEST_IMAGES else None


def original_logits(base: BaseModel, store: Store, device: str) -> np.ndarray:
    """Return what the model gave before it was tuned: float32 [N, C] for the images of ``store``, in their order."""
    return open_classifier(base.given.folder, CHECKPOINT, device).logits(store.images)
