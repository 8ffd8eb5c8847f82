"""Every table and figure of a study, and the folder they are written to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bandbridge.files import write_text
from bandbridge.report.caution import Caution
from bandbridge.report.context import TableContext
from bandbridge.report.contrasts import differences_table, selection_table
from bandbridge.report.effects import Effects
from bandbridge.report.figures.illustration import Illustration, save_illustration
from bandbridge.report.rendering import Table, to_csv, to_latex, to_markdown
from bandbridge.report.tables.cautions import cautions_markdown
from bandbridge.report.tables.effects import class_table, comparison_table, mixed_table
from bandbridge.report.tables.laboratories import laboratories_table
from bandbridge.report.tables.published import fold_table, parameter_table, table2, table4

if TYPE_CHECKING:
    from bandbridge.model.complexity import Complexity


def build_tables(
    scores: pd.DataFrame, context: TableContext, complexity: Iterable[Complexity] = (), effects: Effects | None = None
) -> list[Table]:
    """Return the tables in reading order: performance, gains, selection, architectures, approaches, folds.

    ``scores`` is the frame of ``fold_scores``, ``effects`` what ``measure_effects`` makes of it, for the tables on how
    sure the gains are; a table without anything to show is left out.
    """
    rows = list(complexity)
    whole = context.covering(scores)
    tables = [
        table2(scores, context),
        laboratories_table(scores, context),
        differences_table(scores, context),
        *([table(effects, whole) for table in (comparison_table, mixed_table, class_table)] if effects else []),
        selection_table(scores, context),
        parameter_table(rows) if rows else None,
        table4(whole),
        fold_table(scores, context),
    ]
    return [table for table in tables if table is not None and table.rows]


def tables_markdown(
    tables: Sequence[Table],
    context: TableContext,
    figures: Sequence[Illustration] = (),
    cautions: Sequence[Caution] = (),
) -> str:
    """Return one page: its first line names the protocol, then come cautions, every table and the figures."""
    head = f"# {context.title} (protocol: {context.protocol})\n\n{context.protocol_text}\n"
    warned = [cautions_markdown(cautions)] if cautions else []
    shown = [f"## {one.title}\n\n{one.sentence}\n\n![{one.title}]({one.name}.svg)\n" for one in figures]
    return "\n".join([head, *warned, *(to_markdown(table) for table in tables), *shown])


def write_tables(
    folder: Path,
    tables: Sequence[Table],
    context: TableContext,
    figures: Sequence[Illustration] = (),
    cautions: Sequence[Caution] = (),
) -> list[Path]:
    """Write ``<name>.md``, ``.csv``, ``.tex`` of each table, ``.svg``, ``.pdf``, ``.png`` of each figure, and
    ``tables.md`` with all, ``cautions`` on top; return the paths."""
    contents = {"tables.md": tables_markdown(tables, context, figures, cautions)}
    for table in tables:
        contents[f"{table.name}.md"] = to_markdown(table)
        contents[f"{table.name}.csv"] = to_csv(table)
        contents[f"{table.name}.tex"] = to_latex(table)
    for name, text in contents.items():
        write_text(folder / name, text)
    drawn = [path for figure in figures for path in save_illustration(figure, folder)]
    return [folder / name for name in contents] + drawn
