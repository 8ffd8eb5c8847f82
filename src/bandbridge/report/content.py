"""What a report says, section by section, before it is laid out: tables, figures, cases, and what is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bandbridge.progress import note
from bandbridge.report.caution import Caution
from bandbridge.report.figures.answer import answer_figure, answer_sentence, answer_steps
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.rendering import Table
from bandbridge.report.sections.answer import Answer, answer_study
from bandbridge.report.sections.blocks import Section, Wishes
from bandbridge.report.sections.cautions import find_cautions
from bandbridge.report.sections.checklists import checklists_section
from bandbridge.report.sections.domains import domains_section
from bandbridge.report.sections.eyes import eyes_section
from bandbridge.report.sections.numbers import design_section, errors_section, performance_section, training_section
from bandbridge.report.sections.own_results import compares_nothing, own_results
from bandbridge.report.sections.repetition import repetition_section
from bandbridge.report.study import Material, study_environments, study_material
from bandbridge.report.tables.cautions import noted
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study

#: The question of a study that has one approach, or several of which none is compared with another.
_ALONE = "How good is the classifier?"


@dataclass(frozen=True, eq=False)
class Content:
    """A whole report. ``finished`` of ``planned`` runs are behind it.

    ``question`` is what the answers are to. ``opening`` is the picture of the answer and ``headline`` the sentence
    above it; none before a pair is finished.
    """

    title: str
    protocol: str
    protocol_text: str
    finished: int
    planned: int
    answers: tuple[Answer, ...]
    cautions: tuple[Caution, ...]
    sections: tuple[Section, ...]
    question: str = "Does the intermediate staining domain help here?"
    headline: str = ""
    opening: Illustration | None = None

    @property
    def tables(self) -> list[Table]:
        """Every table, in reading order."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    @property
    def figures(self) -> list[Illustration]:
        """Every figure, in reading order."""
        first = [self.opening] if self.opening else []
        return [
            *first,
            *(block for section in self.sections for block in section.blocks if isinstance(block, Illustration)),
        ]


def gather(study: Study, root: Path, wishes: Wishes) -> Content:
    """Read the finished runs of ``study`` under ``root`` and return its report.

    Works on an unfinished study: what is not there is a :class:`Missing`. Raises :class:`UserError` when predictions
    are damaged or cannot be compared.
    """
    ledger = Ledger(root)
    note("reading predictions")
    made = study_material(study, root)
    environments = study_environments(study, root)
    cautions = tuple(find_cautions(study, made.scores, made.context, environments, made.runs))
    whole = made.context.covering(made.scores)
    steps = answer_steps(made.scores, made.effects, whole)
    sections = [
        performance_section(made),
        domains_section(wishes),
        training_section(study, root, made),
        errors_section(made),
        eyes_section(study, root, made, wishes),
        design_section(made),
        repetition_section(study, ledger, environments, wishes),
    ]
    sections.append(checklists_section(study, made, environments, cautions, sections))
    return Content(
        title=made.context.title,
        protocol=made.context.protocol,
        protocol_text=made.context.protocol_text,
        finished=len(environments),
        planned=len(study.runs),
        answers=tuple(_answers(made)),
        cautions=cautions,
        sections=tuple(_noted(section, cautions) for section in sections if section.blocks),
        question=_ALONE if compares_nothing(whole) else Content.question,
        headline=answer_sentence(steps, whole),
        opening=answer_figure(steps, whole),
    )


def _answers(made: Material) -> list[Answer]:
    if made.scores.empty:
        return []
    if compares_nothing(made.context.covering(made.scores)):
        return own_results(made.runs, made.context)
    return answer_study(made.scores, made.effects, made.context)


def _noted(section: Section, cautions: Sequence[Caution]) -> Section:
    blocks = tuple(noted(block, cautions) if isinstance(block, Table) else block for block in section.blocks)
    return replace(section, blocks=blocks)
