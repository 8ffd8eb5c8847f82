"""From a study file to its graph of runs: which trainings it needs, in what order, and which of them are shared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bandbridge.dataset.imagefolder import ImageFolder, open_dataset
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.splits import Split, make_split, read_split, strictest_scheme
from bandbridge.dataset.store import dataset_fingerprint
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import is_present
from bandbridge.karyotype import order_classes
from bandbridge.model.architectures import Architecture, find_architecture
from bandbridge.study.run import Init, PlannedRun, RunRecord
from bandbridge.study.spec import StudySpec, TaskSpec, read_study
from bandbridge.training.recipe import recipe_for

#: Environment variable that names the folder of the datasets when no ``--data-dir`` is given.
DATA_VARIABLE = "BANDBRIDGE_DATA"
#: Stands for the fingerprint and the split of a dataset that is not here: its runs can be counted, not run.
ABSENT = "absent"


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task with its dataset and split; ``dataset`` and ``split`` are None where the dataset is not at hand."""

    name: str
    spec: TaskSpec
    preparation: Preparation
    dataset: ImageFolder | None
    fingerprint: str
    split: Split | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names in order; empty where the dataset is absent."""
        return order_classes(self.dataset.samples["label"]) if self.dataset else ()


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
        return [task.spec.dataset for task in self.tasks.values() if task.dataset is None]

    def children(self, run: PlannedRun) -> list[PlannedRun]:
        """The runs that start from ``run``."""
        return [other for other in self.runs if other.parent is not None and other.parent.id == run.id]


def open_study(path: Path, data_dir: Path | None = None, *, need_data: bool = True) -> Study:
    """Read the study file ``path``, open its datasets, divide them into folds and lay out its runs.

    With ``need_data`` False, absent datasets are tolerated (the plan can still be counted). Raises
    :class:`UserError` for mistakes in the file and for absent or broken datasets, all at once.
    """
    spec = read_study(path)
    if need_data and data_dir is not None and not data_dir.is_dir():
        raise UserError(f"the data folder {data_dir} does not exist", "Correct --data-dir.")
    architectures = _find_architectures(spec.architectures)
    tasks = _open_tasks(spec, path, data_dir, need_data)
    return Study(path, spec, tasks, architectures, tuple(plan_runs(spec, tasks, architectures)))


def _find_architectures(names: Sequence[str]) -> dict[str, Architecture]:
    found: dict[str, Architecture] = {}
    errors: list[UserError] = []
    for name in names:
        try:
            found[name] = find_architecture(name)
        except UserError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ManyErrors("architectures that do not exist:", [f"{each.message} {each.remedy}" for each in errors])
    named: dict[tuple[str, object], str] = {}
    for name, architecture in found.items():
        first = named.setdefault((architecture.pinned_name, architecture.options), name)
        if first != name:
            raise UserError(f"architectures: {first!r} and {name!r} are the same model", "Leave one of them out.")
    return found


def _open_tasks(spec: StudySpec, path: Path, data_dir: Path | None, need_data: bool) -> dict[str, TaskData]:
    tasks: dict[str, TaskData] = {}
    problems: list[str] = []
    for name, task in spec.tasks.items():
        settings = {**spec.preparation.settings(), **task.preparation.settings()}
        preparation = Preparation(size=spec.image_size, **settings)
        places = dataset_places(task.dataset, path, data_dir)
        found = next((place for place in places if is_present(place)), None)
        if found is None:
            problems.append(f"{task.dataset} (task {name}); looked for {', '.join(map(str, places))}")
            tasks[name] = TaskData(name, task, preparation, None, f"{ABSENT}:{task.dataset}", None)
            continue
        dataset = open_dataset(found)
        split = _split_of(task, dataset, spec, path)
        tasks[name] = TaskData(name, task, preparation, dataset, dataset_fingerprint(dataset), split)
    if problems and need_data:
        remedy = f"Name their folder with --data-dir or {DATA_VARIABLE}, or correct the dataset paths in {path}."
        raise ManyErrors("datasets not found:", problems, remedy)
    return tasks


def _split_of(task: TaskSpec, dataset: ImageFolder, spec: StudySpec, path: Path) -> Split:
    if task.split_file is not None:
        split = read_split(path.parent / task.split_file, dataset.samples)
        if split.folds != spec.split.folds:
            raise UserError(
                f"{task.split_file} has {split.folds} folds, {path} asks for {spec.split.folds}",
                "Make them agree.",
            )
        return split
    scheme = spec.split.scheme
    if scheme == "auto":
        # A domain that is no target is not scored, so its folds cannot leak: without cells it is divided by image.
        grouped = (dataset.samples[["cell", "patient"]] != "").all().any()
        loose = spec.protocol == "paper" or not (task.target or grouped)
        scheme = "image" if loose else strictest_scheme(dataset.samples)
    return make_split(dataset.samples, scheme, spec.split.folds, spec.split.seed)


def dataset_places(name: str, study_file: Path, data_dir: Path | None) -> list[Path]:
    """Return where a dataset ``name`` of ``study_file`` may lie, in the order in which they are tried."""
    given = Path(name)
    with suppress(RuntimeError):  # "~name" where there is no such user: a folder may be called so
        given = given.expanduser()
    if given.is_absolute():
        return [given]
    variable = os.environ.get(DATA_VARIABLE)
    folders = [data_dir, Path(variable) if variable else None, study_file.parent, Path()]
    return list(dict.fromkeys(folder / given for folder in folders if folder is not None))


def plan_runs(
    spec: StudySpec, tasks: dict[str, TaskData], architectures: dict[str, Architecture]
) -> Iterator[PlannedRun]:
    """Yield the run of every place that ``spec`` needs, parents first.

    The order is fold by fold and, within a fold, architecture by architecture, so that a study stopped early holds
    complete comparisons. In the paper's grid the intermediate model of one task is the ImageNet run of the other, same
    fold, so 11 x 3 x 2 x 5 is exactly 330 trainings.
    """
    planner = _Planner(spec, tasks, architectures)
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
