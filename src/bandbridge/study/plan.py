"""From a study and its data to its graph of runs: which trainings it needs, in what order, and which are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bandbridge.model.architectures import Architecture
from bandbridge.study.resolve import ABSENT, Resolved, TaskData, resolve
from bandbridge.study.run import Init, PlannedRun, RunRecord
from bandbridge.study.spec import StudySpec, read_study
from bandbridge.training.recipe import recipe_for


@dataclass(frozen=True, eq=False)
class Study:
    """A study file with its data and its plan.

    runs: one for each place in the study, every parent before its children. Two places may need one training (two
    tasks of one dataset, say): their runs have one id then, and share its folder.
    """

    path: Path
    spec: StudySpec
    tasks: dict[str, TaskData]
    architectures: dict[str, Architecture]
    runs: tuple[PlannedRun, ...]

    @property
    def missing_data(self) -> list[str]:
        """The datasets that were not found, as the study file names them."""
        return [task.spec.named for task in self.tasks.values() if task.dataset is None]

    def children(self, run: PlannedRun) -> list[PlannedRun]:
        """The runs that start from ``run``."""
        return [other for other in self.runs if other.parent is not None and other.parent.id == run.id]


def open_study(path: Path, data_dir: Path | None = None, *, need_data: bool = True) -> Study:
    """Read the study file ``path``, open its datasets, divide them into folds and lay out its runs.

    With ``need_data`` False, absent datasets are tolerated (the plan can still be counted). Raises
    :class:`UserError` for mistakes in the file and for absent or broken datasets, all at once.
    """
    found = resolve(read_study(path), path, data_dir, need_data=need_data)
    return Study(path, found.spec, found.tasks, found.architectures, tuple(plan_runs(found)))


def plan_runs(found: Resolved) -> Iterator[PlannedRun]:
    """Yield the run of every place that a study needs, parents first.

    The order is fold by fold and, within a fold, architecture by architecture, so that a study stopped early holds
    complete comparisons. In the paper's grid the intermediate model of one task is the ImageNet run of the other, same
    fold, so 11 x 3 x 2 x 5 is exactly 330 trainings.
    """
    spec, tasks = found.spec, found.tasks
    planner = _Planner(spec, tasks, found.architectures)
    seen: set[str] = set()
    for fold in spec.folds:
        for architecture in spec.architectures:
            wanted = [
                run
                for approach in spec.approaches
                for task in tasks.values()
                if task.spec.target
                for run in planner.runs(task, architecture, approach, fold)
            ]
            # Runs without a parent first: what they yield is needed by the rest.
            for run in sorted(wanted, key=lambda run: run.parent is not None):
                for needed in (run.parent, run):
                    if needed is not None and needed.name not in seen:
                        seen.add(needed.name)
                        yield needed


@dataclass(frozen=True, eq=False)
class _Planner:
    spec: StudySpec
    tasks: dict[str, TaskData]
    architectures: dict[str, Architecture]

    def runs(self, task: TaskData, architecture: str, approach: str, fold: int) -> Iterator[PlannedRun]:
        if approach in ("scratch", "imagenet"):
            yield self._from_outside(task, architecture, approach, fold)
            return
        first_step = "imagenet" if approach == "two-step" else "scratch"
        for name in task.spec.intermediates:
            rows = fold if self.spec.intermediate_rows == "fold" else None
            parent = self._from_outside(self.tasks[name], architecture, first_step, rows)
            handed_on = self.spec.handed_on if rows is not None else "last"
            same_classes = self.tasks[name].classes == task.classes
            init = Init(
                kind="run",
                run=parent.id,
                checkpoint=handed_on,
                head=self.spec.head if same_classes else "new",
            )
            yield self._planned(task, architecture, approach, fold, init, parent, name)

    def _from_outside(self, task: TaskData, architecture: str, approach: str, fold: int | None) -> PlannedRun:
        weights = self.architectures[architecture].pinned_name if approach == "imagenet" else None
        init = Init(kind="imagenet", weights=weights, head="new") if weights else Init(kind="scratch")
        return self._planned(task, architecture, approach, fold, init)

    def _planned(
        self,
        task: TaskData,
        architecture: str,
        approach: str,
        fold: int | None,
        init: Init,
        parent: PlannedRun | None = None,
        intermediate: str = "",
    ) -> PlannedRun:
        found = self.architectures[architecture]
        options = "".join(f"+{key}={value}" for key, value in found.options)
        split = "" if fold is None else task.split.hash if task.split else f"{ABSENT}:{self.spec.split.model_dump()}"
        record = RunRecord(
            dataset=task.fingerprint,
            preparation=task.preparation,
            split=split,
            fold=fold,
            architecture=found.timm_name + options,
            init=init,
            recipe=recipe_for(self.spec.recipe_spec(architecture), found.timm_name, pretrained=init.kind != "scratch"),
            precision=self.spec.precision,
            seed=self.spec.seed,
        )
        several = bool(intermediate) and len(task.spec.intermediates) > 1
        return PlannedRun(task.name, architecture, found.slug, approach, intermediate, several, fold, record, parent)


def with_parents(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return ``runs`` and every run they start from, parents first, each once."""
    ordered: dict[str, PlannedRun] = {}
    for run in runs:
        for needed in (run.parent, run):
            if needed is not None:
                ordered.setdefault(needed.name, needed)
    return list(ordered.values())
