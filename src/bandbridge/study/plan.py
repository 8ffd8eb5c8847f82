"""From a study and its data to its graph of runs: which trainings it needs, in what order, and which are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bandbridge.boxes import BOX
from bandbridge.boxes import STAINS as BOXES
from bandbridge.dataset.prepare import described
from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import DETOURS, UNLABELLED
from bandbridge.model.architectures import Architecture, find_architecture
from bandbridge.study.given import BaseModel, open_base
from bandbridge.study.resolve import ABSENT, Resolved, TaskData, resolve
from bandbridge.study.run import GivenModel, Init, PlannedRun, RunRecord
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
    try:
        runs = tuple(plan_runs(found))
    except UserError as error:  # of what the study wants to begin with
        raise UserError(f"{path}: {error.message}", error.remedy) from error
    return Study(path, found.spec, found.tasks, found.architectures, runs)


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


@cache
def _in_the_box(stain: str) -> BaseModel:
    return open_base(Path(f"{BOX}{stain}"))


@dataclass(frozen=True, eq=False)
class _Planner:
    spec: StudySpec
    tasks: dict[str, TaskData]
    architectures: dict[str, Architecture]

    def runs(self, task: TaskData, architecture: str, approach: str, fold: int) -> Iterator[PlannedRun]:
        if approach == "self-supervised":
            parent = self._from_outside(task, architecture, UNLABELLED, fold)
            init = Init(kind="run", run=parent.id, checkpoint="last", head="new")
            yield self._planned(task, architecture, approach, fold, init, parent)
            return
        if approach not in DETOURS:
            yield self._from_outside(task, architecture, approach, fold)
            return
        first_step = {"two-step": "imagenet", "domain": "scratch", "boxed-two-step": "boxed"}[approach]
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
        if approach == "boxed":
            box = self._box(task, architecture)
            init = Init(kind="run", run=box.given.identity, head="keep" if box.classes == task.classes else "new")
            return self._planned(task, architecture, approach, fold, init, given=box.given)
        weights = self.architectures[architecture].pinned_name if approach in ("imagenet", UNLABELLED) else None
        init = Init(kind="imagenet", weights=weights, head="new") if weights else Init(kind="scratch")
        return self._planned(task, architecture, approach, fold, init)

    def _box(self, task: TaskData, architecture: str) -> BaseModel:
        """The model in the box that ``task`` starts from. Raises :class:`UserError` where none fits."""
        # Of a set that is not at hand the runs are counted alone.
        seen = {next(iter(BOXES))} if task.dataset is None else set(task.dataset.samples["stain"])
        stains = {task.spec.box} if task.spec.box else seen
        if len(stains) != 1 or not stains <= BOXES.keys():
            raise UserError(
                f"task {task.name}: its images do not say that they are all of one stain that a box is of",
                f"Write box: {' or box: '.join(BOXES)} beside its dataset.",
            )
        box = _in_the_box(next(iter(stains)))
        found = self.architectures[architecture]
        if found.timm_name != find_architecture(box.architecture).timm_name:
            raise UserError(
                f"approaches: boxed: the box holds {box.architecture}, and {architecture} cannot begin with it",
                f"Write architectures: [{box.architecture}] alone, or train on drawn cells of your own: a task with "
                "dataset: synth:G and target: false as intermediate.",
            )
        if box.preparation.model_copy(update={"size": 16}) != task.preparation.model_copy(update={"size": 16}):
            raise UserError(
                f"approaches: boxed: the box was trained on images prepared otherwise than those of task {task.name}",
                f"Write preparation: {described(box.preparation)}.",
            )
        return box

    def _planned(
        self,
        task: TaskData,
        architecture: str,
        approach: str,
        fold: int | None,
        init: Init,
        parent: PlannedRun | None = None,
        intermediate: str = "",
        given: GivenModel | None = None,
    ) -> PlannedRun:
        found = self.architectures[architecture]
        options = "".join(f"+{key}={value}" for key, value in found.options)
        split = "" if fold is None else task.split.hash if task.split else f"{ABSENT}:{self.spec.split.model_dump()}"
        unlabelled = approach == UNLABELLED
        recipe = recipe_for(
            self.spec.unlabelled if unlabelled else self.spec.recipe_spec(architecture, task.name),
            found.timm_name,
            pretrained=init.kind != "scratch",
        )
        record = RunRecord(
            dataset=task.fingerprint,
            preparation=task.preparation,
            split=split,
            fold=fold,
            architecture=found.timm_name + options,
            init=init,
            recipe=recipe.model_copy(update={"objective": "vicreg"}) if unlabelled else recipe,
            precision=self.spec.precision,
            seed=self.spec.seed if task.spec.seed is None else task.spec.seed,
            cells=None if unlabelled else task.spec.cells,
            labels="as-is" if unlabelled else task.spec.labels,
        )
        several = bool(intermediate) and len(task.spec.intermediates) > 1
        place = (task.name, architecture, found.slug, approach, intermediate, several, fold)
        return PlannedRun(*place, record, parent, given, self.spec.name, task.spec.named)


def with_parents(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return ``runs`` and every run they start from, parents first, each once."""
    ordered: dict[str, PlannedRun] = {}
    for run in runs:
        for needed in (run.parent, run):
            if needed is not None:
                ordered.setdefault(needed.name, needed)
    return list(ordered.values())
