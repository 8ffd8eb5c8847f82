"""Every table of a study, and the folder they are written to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from bandbridge.files import write_text
from bandbridge.report.context import TableContext
from bandbridge.report.contrasts import differences_table, selection_table
from bandbridge.report.rendering import Table, to_csv, to_latex, to_markdown
from bandbridge.report.tables import fold_table, parameter_table, table2, table4

if TYPE_CHECKING:
    from bandbridge.model.complexity import Complexity


def build_tables(scores: pd.DataFrame, context: TableContext, complexity: Iterable[Complexity] = ()) -> list[Table]:
    """Return the tables in reading order: performance, gains, selection, architectures, approaches, folds.

    ``scores`` is the frame of ``fold_scores``; a table without anything to show is left out.
    """
    rows = list(complexity)
    tables = [
        table2(scores, context),
        differences_table(scores, context),
        selection_table(scores, context),
        parameter_table(rows) if rows else None,
        table4(context.covering(scores)),
        fold_table(scores, context),
    ]
    return [table for table in tables if table is not None and table.rows]


def tables_markdown(tables: Sequence[Table], context: TableContext) -> str:
    """Return one page with every table; its first line names the protocol."""
    head = f"# {context.title} (protocol: {context.protocol})\n\n{context.protocol_text}\n"
    return "\n".join([head, *(to_markdown(table) for table in tables)])


def write_tables(folder: Path, tables: Sequence[Table], context: TableContext) -> list[Path]:
    """Write ``<name>.md``, ``.csv``, ``.tex`` of each table and ``tables.md`` with all; return the paths."""
    contents = {"tables.md": tables_markdown(tables, context)}
    for table in tables:
        contents[f"{table.name}.md"] = to_markdown(table)
        contents[f"{table.name}.csv"] = to_csv(table)
        contents[f"{table.name}.tex"] = to_latex(table)
    for name, text in contents.items():
        write_text(folder / name, text)
    return [folder / name for name in contents]
