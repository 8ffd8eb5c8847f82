"""The section on what the classifiers see: where their attention lies, and the cases worth looking at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from bandbridge.errors import UserError
from bandbridge.explain.cases import KINDS
from bandbridge.explain.panels import CasePanel, study_cases
from bandbridge.explain.runs import missing_runs
from bandbridge.explain.survey import attention_table
from bandbridge.progress import note
from bandbridge.report.context import TableContext
from bandbridge.report.sections.blocks import Block, CaseGroup, Missing, Section, Wishes, reason_of
from bandbridge.report.study import Material
from bandbridge.report.tables.attention import attention_report_table
from bandbridge.report.tables.published import reported
from bandbridge.study.plan import Study

#: Architectures whose cases are shown: pictures of all would make the page too large to send.
SHOWN_ARCHITECTURES = 2


def eyes_section(study: Study, root: Path, made: Material, wishes: Wishes) -> Section:
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
            blocks.append(Missing("Attention was not measured", reason_of(error)))
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
            blocks.append(Missing("Cases could not be drawn", reason_of(error)))
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
