"""A study's tables and figures, recomputed from the predictions of its finished runs and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from bandbridge.evaluation.predictions import DETOURS, RunPredictions
from bandbridge.model.complexity import Complexity, complexity_table
from bandbridge.report.caution import Caution
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.effects import Effects, measure_effects
from bandbridge.report.figures.gains import difference_figures
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.folder import build_tables, tables_markdown, write_tables
from bandbridge.report.rendering import Table
from bandbridge.report.scores import fold_scores
from bandbridge.report.sections.cautions import find_cautions, read_environments
from bandbridge.report.tables.cautions import noted, write_cautions
from bandbridge.study.held_out import held_out_predictions
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study
from bandbridge.study.resolve import TaskData

_RULES = {
    "paper": "the checkpoint of the epoch with the best accuracy on the reported fold, which flatters all",
    "strict": "the checkpoint of the last epoch, chosen without looking at the reported fold",
}

_UNLABELLED = (
    " Self-supervised models were trained before that without labels, on the images of all cells that their fold does "
    "not hold out."
)


def study_predictions(study: Study, root: Path) -> list[RunPredictions]:
    """Return the predictions of every finished run of ``study`` on its own tasks' held-out folds.

    Raises :class:`UserError` naming the file when one is damaged, or says other things of an image than the others of
    its fold.
    """
    return [
        RunPredictions(
            run.task,
            study.tasks[run.task].spec.band,
            run.architecture,
            run.approach,
            run.intermediate,
            fold,
            frame,
        )
        for run, fold, frame in held_out_predictions(study, Ledger(root))
    ]


def table_context(study: Study) -> TableContext:
    """Return the names, the order and the plan that the tables of ``study`` follow."""
    spec = study.spec
    targets = [task for task in study.tasks.values() if task.spec.target]
    arms = [
        Arm(task.name, approach, intermediate)
        for task in targets
        for approach in spec.approaches
        for intermediate in (task.spec.intermediates if approach in DETOURS else ("",))
    ]
    return TableContext(
        title=spec.name,
        protocol=spec.protocol,
        protocol_text=protocol_text(study),
        folds=spec.folds,
        tasks=tuple(_label(task) for task in targets),
        domains=tuple(_label(task) for task in study.tasks.values() if not task.spec.target),
        architectures=tuple(ArchitectureLabel(name, found.family) for name, found in study.architectures.items()),
        arms=tuple(arms),
        laboratories=tuple(laboratories_of(study)),
        seed=spec.seed,
    )


def laboratories_of(study: Study) -> Iterator[tuple[str, str]]:
    """Yield the targets of one dataset that are divided otherwise than by source, each with one that is."""
    targets = [task for task in study.tasks.values() if task.spec.target and task.split is not None]
    for own, another in product(targets, targets):
        schemes = [task.split is not None and task.split.scheme == "source" for task in (own, another)]
        if schemes == [False, True] and own.fingerprint == another.fingerprint:
            yield own.name, another.name


def _label(task: TaskData) -> TaskLabel:
    return TaskLabel(task.name, task.spec.band, task.spec.named, task.spec.cells)


def protocol_text(study: Study) -> str:
    """Return the sentences that say how the numbers came about."""
    spec = study.spec
    schemes = "; ".join(f"{task.name}: {_division(task)}" for task in study.tasks.values() if task.spec.target)
    recipes = [spec.recipe_spec(name, task) for name in spec.architectures for task in spec.tasks]
    bases = ", ".join(sorted({recipe.base for recipe in recipes}))
    return (
        f"Protocol {spec.protocol}: {spec.split.folds}-fold cross-validation ({schemes}), "
        f"{len(spec.folds)} of the folds trained; reported is {_RULES[spec.protocol]}. "
        f"Images of {spec.image_size} px, recipe {bases}.{_UNLABELLED if 'self-supervised' in spec.approaches else ''}"
    )


def _division(task: TaskData) -> str:
    if task.split is None:
        return "data absent"
    if task.split.scheme == "source":
        return "one source left out at a time"
    return "images stratified by class" if task.split.scheme == "image" else f"grouped by {task.split.scheme}"


@dataclass(frozen=True, eq=False)
class Material:
    """What every table and figure of a study is made of; ``parameters`` are the trainable ones by architecture."""

    context: TableContext
    runs: list[RunPredictions]
    scores: pd.DataFrame
    effects: Effects
    sizes: list[Complexity]
    parameters: dict[str, int]


def study_material(study: Study, root: Path) -> Material:
    """Read the predictions of every finished run and compare them. Raises as :func:`fold_scores` does."""
    context = table_context(study)
    runs = study_predictions(study, root)
    scores = fold_scores(runs)
    sizes = list(complexity_table(list(study.spec.architectures)))
    parameters = {name: size.parameters for name, size in zip(study.spec.architectures, sizes, strict=True)}
    effects = measure_effects(scores, runs, context, study.spec.split.folds)
    return Material(context, runs, scores, effects, sizes, parameters)


@dataclass(frozen=True, eq=False)
class StudyTables:
    """The tables and figures of a study in reading order, its cautions, the serious ones first, and all tables and
    cautions as one Markdown text."""

    tables: tuple[Table, ...]
    figures: tuple[Illustration, ...]
    cautions: tuple[Caution, ...]
    markdown: str


def study_cautions(study: Study, root: Path) -> list[Caution]:
    """Return what a reader must know before believing the numbers of ``study``, the serious ones first.

    Reads the predictions of the finished runs under ``root``, and no image. Raises as :func:`fold_scores` does.
    """
    runs = study_predictions(study, root)
    return find_cautions(study, fold_scores(runs), table_context(study), study_environments(study, root), runs)


def study_environments(study: Study, root: Path) -> list[dict[str, Any]]:
    """Return what every finished run of ``study`` recorded of its machine and versions."""
    ledger = Ledger(root)
    return read_environments([ledger.folder(run) for run in study.runs if ledger.state(run).kind == "done"])


def study_tables(study: Study, root: Path, folder: Path | None = None) -> StudyTables:
    """Make all tables and figures of ``study`` from its finished runs under ``root``; write them into ``folder``.

    Its cautions are written beside them. Without ``folder`` nothing is written. A table that cautions bear upon names
    them in its last note. Raises as :func:`fold_scores` does.
    """
    made = study_material(study, root)
    cautions = find_cautions(study, made.scores, made.context, study_environments(study, root), made.runs)
    built = build_tables(made.scores, made.context, made.sizes, made.effects)
    tables = tuple(noted(table, cautions) for table in built)
    figures = tuple(difference_figures(made.effects, made.context.covering(made.scores), made.parameters))
    if folder is not None:
        write_tables(folder, tables, made.context, figures, cautions)
        write_cautions(folder, cautions)
    return StudyTables(tables, figures, tuple(cautions), tables_markdown(tables, made.context, figures, cautions))
