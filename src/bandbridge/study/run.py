"""A run as a value: everything that decides a training, and the id that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from bandbridge.dataset.prepare import Preparation
from bandbridge.files import content_hash
from bandbridge.training.recipe import Recipe

#: Raised when the same record would train another model.
RECORD_VERSION = 1


class Init(BaseModel):
    """Where the initial weights come from: ``scratch``, ``imagenet`` (a tag) or ``run`` (a parent's checkpoint).

    run: the parent's id; of a model that is no run here, what :class:`GivenModel` calls its identity. head: ``keep``
    takes over the parent's classification layer; ``new`` starts it at zero, so that the first steps do not push random
    gradients into trained layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["scratch", "imagenet", "run"]
    weights: str | None = None
    run: str | None = None
    checkpoint: Literal["best", "last"] | None = None
    head: Literal["keep", "new"] | None = None


class RunRecord(BaseModel):
    """What is hashed. ``fold`` None means trained on every image; ``split`` is then of no account and empty.

    cells: how many of the cells of the fold's training part are trained on; None: all. labels: ``shuffled``: those of
    the images that are trained on are dealt out among them at random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = RECORD_VERSION
    dataset: str
    preparation: Preparation
    split: str
    fold: int | None
    architecture: str
    init: Init
    recipe: Recipe
    precision: Literal["auto", "fp32", "bf16"]
    seed: int
    cells: int | None = None
    labels: Literal["as-is", "shuffled"] = "as-is"

    @model_serializer(mode="wrap")
    def _without_later_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what earlier records did not have, where it is as it was: their ids stay."""
        value: dict[str, Any] = handler(self)
        later = {"cells": None, "labels": "as-is"}
        return {key: item for key, item in value.items() if key not in later or item != later[key]}

    @property
    def id(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of the record's canonical JSON."""
        return content_hash(self.model_dump(mode="json"))[:12]


@dataclass(frozen=True)
class GivenModel:
    """A finished model that runs start from and that is not theirs to train: a run's folder, or an exported model's.

    weights: the file in ``folder``. identity: the id of the run; ``sha256:`` and 16 digits of the weights' SHA-256
    where they are all that is known for certain.
    """

    folder: Path
    weights: Path
    identity: str

    @property
    def short(self) -> str:
        """Six digits of the identity, for paths."""
        return self.identity.removeprefix("sha256:")[:6]


@dataclass(frozen=True)
class PlannedRun:
    """A run with its place in a study.

    architecture: as the study file calls it; slug: the same as part of a path. intermediate: "" where there is none;
    several: the task has several intermediates, so that the path must say which. parent: the run that comes first;
    given: the model that is there already. At most one of the two is. study, data: what the study is called, and its
    task's datasets by name; they decide nothing of the training.
    """

    task: str
    architecture: str
    slug: str
    approach: str
    intermediate: str
    several: bool
    fold: int | None
    record: RunRecord
    parent: PlannedRun | None = None
    given: GivenModel | None = None
    study: str = ""
    data: str = ""

    @cached_property
    def id(self) -> str:
        """The record's id."""
        return self.record.id

    @property
    def predicts(self) -> bool:
        """Whether it predicts the images that its fold holds out; one on every image, or without labels, does not."""
        return self.fold is not None and self.record.recipe.objective == "classes"

    @property
    def name(self) -> str:
        """``task/architecture/approach/fold<k>``, what ``--only`` selects by."""
        fold = "all" if self.fold is None else f"fold{self.fold}"
        via = f"-via-{self.intermediate}" if self.several else ""
        start = f"-from-{self.given.short}" if self.given else ""
        return f"{self.task}/{self.slug}/{self.approach}{via}{start}/{fold}"

    def folder(self, root: Path) -> Path:
        """The run's folder under ``root``: its name and id."""
        return root / f"{self.name}-{self.id}"

    def describe(self) -> dict[str, Any]:
        """Return what ``run.json`` holds: the place, the id and the record."""
        return {
            "id": self.id,
            "task": self.task,
            "architecture": self.architecture,
            "approach": self.approach,
            "intermediate": self.intermediate,
            "fold": self.fold,
            "parent": self.record.init.run,
            "record": self.record.model_dump(mode="json"),
        }


def distinct(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Return ``runs`` in their order, of those with one id the first: each is one training."""
    first: dict[str, PlannedRun] = {}
    for run in runs:
        first.setdefault(run.id, run)
    return list(first.values())
