"""The sections of a report that come from predictions alone: performance, training, errors, design."""

from __future__ import annotations

from pathlib import Path

from bandbridge.progress import note
from bandbridge.report.contrasts import differences_table, selection_table
from bandbridge.report.figures.class_scores import class_f1_figures, class_f1_table
from bandbridge.report.figures.confusion import confusion_figures, confusions_table
from bandbridge.report.figures.few_cells import few_cells_figures
from bandbridge.report.figures.gains import difference_figures
from bandbridge.report.figures.learning_curves import learning_figures, read_histories
from bandbridge.report.figures.reliability import calibration_table, reliability_figures
from bandbridge.report.sections.blocks import Block, Section, kept
from bandbridge.report.study import Material
from bandbridge.report.tables.effects import class_table, comparison_table, mixed_table
from bandbridge.report.tables.laboratories import laboratories_table
from bandbridge.report.tables.published import fold_table, parameter_table, table2, table4
from bandbridge.study.plan import Study


def performance_section(made: Material) -> Section:
    whole = made.context.covering(made.scores)
    blocks: list[Block | None] = [
        table2(made.scores, made.context),
        laboratories_table(made.scores, made.context),
        *few_cells_figures(made.runs, whole),
        *difference_figures(made.effects, whole, made.parameters),
        differences_table(made.scores, made.context),
        comparison_table(made.effects, whole),
        mixed_table(made.effects, whole),
        class_table(made.effects, whole),
    ]
    sentence = "How good each approach is, what the detour over another stain gains, and how sure that is."
    return Section("performance", "Performance", sentence, kept(blocks))


def training_section(study: Study, root: Path, made: Material) -> Section:
    blocks: list[Block | None] = [
        *learning_figures(read_histories(study, root), made.context.covering(made.scores)),
        fold_table(made.scores, made.context),
        selection_table(made.scores, made.context),
    ]
    return Section("training", "Folds and training", "Every fold by itself, and how training went.", kept(blocks))


def errors_section(made: Material) -> Section:
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
    return Section("errors", "Errors and confidence", sentence, kept(blocks))


def design_section(made: Material) -> Section:
    blocks: list[Block] = [parameter_table(made.sizes), table4(made.context.covering(made.scores))]
    return Section("design", "Design of the study", "What was compared with what.", tuple(blocks))
