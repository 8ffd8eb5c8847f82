"""What the tables take from the study: names, order, protocol, and which runs were planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from bandbridge.evaluation.predictions import APPROACHES

APPROACH_TITLES = {
    "scratch": "Scratch",
    "imagenet": "ImageNet",
    "two-step": "Two-step",
    "domain": "Domain",
    "boxed": "Boxed",
    "boxed-two-step": "Boxed two-step",
    "self-supervised": "Self-supervised",
}
FAMILY_TITLES = {"traditional": "Traditional CNNs", "modern": "Modern architectures", "other": "Other"}


@dataclass(frozen=True)
class TaskLabel:
    """A classification task: its name in the study, what a reader calls it, and the dataset it trains on.

    cells: how many labelled cells of it, None for all.
    """

    name: str
    title: str = ""
    dataset: str = ""
    cells: int | None = None

    @property
    def shown(self) -> str:
        """The reader's name of the task."""
        return self.title or self.name

    @property
    def data(self) -> str:
        """The reader's name of the data."""
        return self.dataset or self.shown


@dataclass(frozen=True)
class ArchitectureLabel:
    """A row of the tables: the architecture as named in the study, and its family ("" if not known)."""

    name: str
    family: str = ""


@dataclass(frozen=True)
class Arm:
    """One training approach of one task; ``intermediate`` is a task or dataset name, or ""."""

    task: str
    approach: str
    intermediate: str = ""


@dataclass(frozen=True)
class TableContext:
    """How a study's tables are named and ordered, and what they should hold when every run is done.

    ``protocol`` "paper" reports the checkpoint "best", "strict" reports "last"; ``protocol_text`` is the
    sentence that says what the protocol is. ``folds`` are the planned fold numbers; ``domains`` name the tasks
    that only serve as intermediates. ``laboratories`` are tasks of one dataset, (own, another): divided so that all its
    sources are trained on, and by source. Tasks, architectures, arms and folds that runs have but the context does
    not are added by :meth:`covering`, so that no run is left out silently.
    """

    title: str
    protocol: Literal["paper", "strict"]
    protocol_text: str
    folds: tuple[int, ...] = ()
    tasks: tuple[TaskLabel, ...] = ()
    domains: tuple[TaskLabel, ...] = ()
    architectures: tuple[ArchitectureLabel, ...] = ()
    arms: tuple[Arm, ...] = ()
    laboratories: tuple[tuple[str, str], ...] = ()
    decimals: int = 2
    bootstrap_iterations: int = 10_000
    seed: int = 0

    @property
    def checkpoint(self) -> str:
        """The checkpoint that the protocol reports."""
        return "best" if self.protocol == "paper" else "last"

    def covering(self, scores: pd.DataFrame) -> TableContext:
        """Return the context with whatever ``scores`` (of ``fold_scores``) holds beyond it at the end."""
        bands = dict(zip(scores["task"], scores["band"], strict=True))
        known_tasks = {task.name for task in self.tasks}
        known_architectures = {architecture.name for architecture in self.architectures}
        arms = scores[["task", "approach", "intermediate"]].drop_duplicates().itertuples(index=False)
        return replace(
            self,
            folds=tuple(sorted({*self.folds, *(int(fold) for fold in scores["fold"])})),
            tasks=(
                *self.tasks,
                *(TaskLabel(name, band) for name, band in bands.items() if name not in known_tasks),
            ),
            architectures=(
                *self.architectures,
                *(
                    ArchitectureLabel(name)
                    for name in dict.fromkeys(scores["architecture"])
                    if name not in known_architectures
                ),
            ),
            arms=tuple(dict.fromkeys([*self.arms, *(Arm(*map(str, arm)) for arm in arms)])),
        )

    def task(self, name: str) -> TaskLabel:
        """Return the label of a task that the context holds."""
        return next(task for task in self.tasks if task.name == name)

    def data_title(self, name: str) -> str:
        """Return what a reader calls the data of an intermediate domain (a task or a dataset name)."""
        return next((task.data for task in (*self.tasks, *self.domains) if task.name == name), name)

    def arms_of(self, task: str, approach: str | None = None) -> list[Arm]:
        """Return the arms of a task: approaches in the paper's order, intermediates in the study's."""
        arms = [arm for arm in self.arms if arm.task == task and approach in (None, arm.approach)]
        return sorted(arms, key=lambda arm: APPROACHES.index(arm.approach))

    def has_several(self, approach: str) -> bool:
        """Whether some task has more than one intermediate domain for ``approach``."""
        return any(len(self.arms_of(task.name, approach)) > 1 for task in self.tasks)

    def arm_title(self, arm: Arm) -> str:
        """Return "Two-step", or "Two-step via <intermediate>" where a task has several intermediates."""
        title = APPROACH_TITLES[arm.approach]
        return f"{title} via {self.data_title(arm.intermediate)}" if self.has_several(arm.approach) else title

    def architecture_names(self) -> list[str]:
        """Return the architectures in table order: by family, then as the study lists them."""
        return [label.name for _, labels in self.architectures_by_family() for label in labels]

    def architectures_by_family(self) -> Iterator[tuple[str, list[ArchitectureLabel]]]:
        """Yield (heading, architectures): traditional, modern, the rest; heading "" if no family is known."""
        grouped: dict[str, list[ArchitectureLabel]] = {family: [] for family in FAMILY_TITLES}
        for label in self.architectures:
            grouped.setdefault(label.family or "other", []).append(label)
        if not any(grouped[family] for family in ("traditional", "modern")):
            yield "", list(self.architectures)
            return
        for family, members in grouped.items():
            if members:
                yield FAMILY_TITLES.get(family, family.capitalize()), members
