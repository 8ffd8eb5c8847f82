"""What a report says, section by section, before it is laid out: tables, figures, cases, and what is not there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bandbridge import __version__
from bandbridge.errors import UserError
from bandbridge.explain.cases import KINDS
from bandbridge.explain.panels import CasePanel, study_cases
from bandbridge.explain.runs import missing_runs
from bandbridge.explain.survey import attention_table
from bandbridge.progress import note
from bandbridge.report.answer import Answer, answer_study
from bandbridge.report.attention import attention_report_table
from bandbridge.report.cautions import Caution, find_cautions, read_environments
from bandbridge.report.class_scores import class_f1_figures, class_f1_table
from bandbridge.report.confusion import confusion_figures, confusions_table
from bandbridge.report.context import TableContext
from bandbridge.report.contrasts import differences_table, selection_table
from bandbridge.report.effect_tables import class_table, comparison_table, mixed_table
from bandbridge.report.figures import Illustration, difference_figures
from bandbridge.report.learning_curves import learning_figures, read_histories
from bandbridge.report.provenance import provenance_tables
from bandbridge.report.reliability import calibration_table, reliability_figures
from bandbridge.report.rendering import Table
from bandbridge.report.study import Material, study_material
from bandbridge.report.tables import fold_table, parameter_table, reported, table2, table4
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study

#: Architectures whose cases are shown: pictures of all would make the page too large to send.
SHOWN_ARCHITECTURES = 2


@dataclass(frozen=True)
class Missing:
    """A part that cannot be shown, with the reason and what to do."""

    title: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """Commands or a file, as they are."""

    title: str
    text: str


@dataclass(frozen=True, eq=False)
class CaseGroup:
    """The cases of one task and architecture by kind: (heading, rule, panels)."""

    title: str
    kinds: tuple[tuple[str, str, tuple[CasePanel, ...]], ...]


Block = Table | Illustration | CaseGroup | Missing | Listing


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the report; ``name`` is its place in the page, ``sentence`` what it is about."""

    name: str
    title: str
    sentence: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, eq=False)
class Content:
    """A whole report. ``finished`` of ``planned`` runs are behind it."""

    title: str
    protocol: str
    protocol_text: str
    finished: int
    planned: int
    answers: tuple[Answer, ...]
    cautions: tuple[Caution, ...]
    sections: tuple[Section, ...]

    @property
    def tables(self) -> list[Table]:
        """Every table, in reading order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    @property
    def figures(self) -> list[Illustration]:
        """Every figure, in reading order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Illustration)]


@dataclass(frozen=True)
class Wishes:
    """What to put into a report besides the numbers.

    cases, attention: whether to look through the classifiers' eyes (loads models). limit: cases of each kind.
    domains: makes the section on similarity; None leaves it out. commands: how the study was run, to be printed.
    """

    cases: bool = True
    attention: bool = True
    limit: int = 3
    seed: int = 0
    colour_map: str = "inferno"
    device: str = "auto"
    domains: Callable[[], list[Block]] | None = None
    commands: tuple[str, ...] = ()


def gather(study: Study, root: Path, wishes: Wishes) -> Content:
    """Read the finished runs of ``study`` under ``root`` and return its report.

    Works on an unfinished study: what is not there is a :class:`Missing`. Raises :class:`UserError` when predictions
    are damaged or cannot be compared.
    """
    ledger = Ledger(root)
    note("reading predictions")
    made = study_material(study, root)
    done = [run for run in study.runs if ledger.state(run).kind == "done"]
    environments = read_environments([ledger.folder(run) for run in done])
    sections = [
        _performance(made),
        _domains(wishes),
        _training(study, root, made),
        _errors(made),
        _eyes(study, root, made, wishes),
        _design(made),
        _repetition(study, ledger, environments, wishes),
    ]
    return Content(
        title=made.context.title,
        protocol=made.context.protocol,
        protocol_text=made.context.protocol_text,
        finished=len(done),
        planned=len(study.runs),
        answers=tuple(answer_study(made.scores, made.effects, made.context)) if len(made.scores) else (),
        cautions=tuple(find_cautions(study, made.scores, made.context, environments)),
        sections=tuple(section for section in sections if section.blocks),
    )


def _performance(made: Material) -> Section:
    whole = made.context.covering(made.scores)
    blocks: list[Block | None] = [
        table2(made.scores, made.context),
        *difference_figures(made.effects, whole, made.parameters),
        differences_table(made.scores, made.context),
        comparison_table(made.effects, whole),
        mixed_table(made.effects, whole),
        class_table(made.effects, whole),
    ]
    sentence = "How good each approach is, what the detour over another stain gains, and how sure that is."
    return Section("performance", "Performance", sentence, _kept(blocks))


def _domains(wishes: Wishes) -> Section:
    sentence = "How far the domains are apart as an ImageNet model sees them, before any training."
    blocks: list[Block] = []
    if wishes.domains is not None:
        note("comparing the domains")
        try:
            blocks = wishes.domains()
        except UserError as error:
            blocks = [Missing("Similarity of the domains was not measured", _reason(error))]
    return Section("domains", "The domains", sentence, tuple(blocks))


def _training(study: Study, root: Path, made: Material) -> Section:
    blocks: list[Block | None] = [
        *learning_figures(read_histories(study, root), made.context.covering(made.scores)),
        fold_table(made.scores, made.context),
        selection_table(made.scores, made.context),
    ]
    return Section("training", "Folds and training", "Every fold by itself, and how training went.", _kept(blocks))


def _errors(made: Material) -> Section:
    whole = made.context.covering(made.scores)
    note("drawing figures")
    blocks: list[Block | None] = [
        confusions_table(made.runs, whole),
        *confusion_figures(made.runs, whole),
        *class_f1_figures(made.runs, whole),
        class_f1_table(made.runs, whole),
        calibration_table(made.runs, whole),
        *reliability_figures(made.runs, whole),
    ]
    sentence = "Which chromosomes are taken for which, and whether a stated probability can be believed."
    return Section("errors", "Errors and confidence", sentence, _kept(blocks))


def _eyes(study: Study, root: Path, made: Material, wishes: Wishes) -> Section:
    """What the classifiers see; the parts that need images or models may be missing for themselves."""
    blocks: list[Block] = []
    shown = case_architectures(made.scores, made.context)
    if wishes.attention and shown:
        note("measuring attention")
        try:
            frame = attention_table(study, root, seed=wishes.seed, architectures=shown, device=wishes.device)
            table = attention_report_table(frame, made.context.covering(made.scores))
            blocks += [table] if table is not None else []
        except UserError as error:
            blocks.append(Missing("Attention was not measured", _reason(error)))
    if wishes.cases and shown:
        note("drawing cases")
        try:
            panels = study_cases(
                study,
                root,
                seed=wishes.seed,
                limit=wishes.limit,
                architectures=shown,
                colour_map=wishes.colour_map,
                device=wishes.device,
            )
            blocks += group_cases(panels, made.context)
        except UserError as error:
            blocks.append(Missing("Cases could not be drawn", _reason(error)))
        absent = missing_runs(study, root)
        if absent:
            blocks.append(Missing("Not looked at", "; ".join(absent)))
    sentence = (
        "Grad-CAM: the places that speak for a class. Each map is stretched to its own maximum; the number under it is "
        "that maximum in units of the class's logit, so that maps can be compared. Images are held out from the models "
        f"shown. Shown are {' and '.join(shown)}: the best architecture of each family by mean Macro-F1, of one family "
        f"the best {SHOWN_ARCHITECTURES}."
    )
    return Section("attention", "What the classifiers see", sentence, tuple(blocks))


def case_architectures(scores: pd.DataFrame, context: TableContext) -> list[str]:
    """Return the architectures to look through: the best of each family by mean Macro-F1, of one family the best two.

    Fewer where fewer have been scored.
    """
    if scores.empty:
        return []
    means = reported(scores, context.checkpoint).groupby("architecture")["macro_f1"].mean()
    ranked = list(means.sort_values(ascending=False, kind="stable").index)
    families = {label.name: label.family for label in context.architectures}
    best: dict[str, str] = {}
    for name in ranked:
        best.setdefault(families.get(name, ""), name)
    chosen = list(best.values()) if len(best) > 1 else ranked
    return chosen[:SHOWN_ARCHITECTURES]


def group_cases(panels: Sequence[CasePanel], context: TableContext) -> list[CaseGroup]:
    """Return ``panels`` by task and architecture, each kind under its heading, in the order they were chosen."""
    groups: dict[tuple[str, str, int], list[CasePanel]] = {}
    for panel in panels:
        groups.setdefault((panel.task, panel.architecture, panel.fold), []).append(panel)
    found = []
    for (task, architecture, fold), members in groups.items():
        title = f"{context.task(task).shown}: {architecture}, fold {fold}"
        found.append(CaseGroup(title, tuple(_by_kind(members))))
    return found


def _by_kind(panels: Sequence[CasePanel]) -> Iterator[tuple[str, str, tuple[CasePanel, ...]]]:
    for kind, heading in KINDS.items():
        members = [panel for panel in panels if panel.kind == kind]
        rules = dict.fromkeys(panel.rule for panel in members)
        if members:
            yield heading, f"Chosen by rule: {'; '.join(rules)}.", tuple(members)


def _design(made: Material) -> Section:
    blocks: list[Block] = [parameter_table(made.sizes), table4(made.context.covering(made.scores))]
    return Section("design", "Design of the study", "What was compared with what.", tuple(blocks))


def _repetition(study: Study, ledger: Ledger, environments: Sequence[dict[str, object]], wishes: Wishes) -> Section:
    commands = "\n".join(wishes.commands)
    blocks: list[Block] = [Listing("Commands", commands)] if commands else []
    blocks += [
        *provenance_tables(study, ledger, environments),
        Listing(f"Study file {study.path.name}", study.path.read_text(encoding="utf-8")),
    ]
    sentence = f"Everything that decides the numbers above. This page was made by Bandbridge {__version__}."
    return Section("repeat", "To repeat it", sentence, tuple(blocks))


def study_commands(study_file: Path, data_dir: Path | None, weights_dir: Path | None) -> tuple[str, ...]:
    """Return the commands that make the study and this report again, without the folders of this machine."""
    options = (" --data-dir DATA" if data_dir else "") + (" --weights-dir WEIGHTS" if weights_dir else "")
    name = shlex.quote(study_file.name)
    only_data = " --data-dir DATA" if data_dir else ""
    return (
        f"pip install bandbridge=={__version__}",
        f"bandbridge study run {name}{options}",
        f"bandbridge study report {name}{only_data}",
    )


def _kept(blocks: Sequence[Block | None]) -> tuple[Block, ...]:
    """The blocks that have something to show."""
    return tuple(block for block in blocks if block is not None and not (isinstance(block, Table) and not block.rows))


def _reason(error: UserError) -> str:
    return f"{error.message} {error.remedy}".strip()
