"""A table of marked cells, and its faces: Markdown, CSV, LaTeX (booktabs) and HTML for a notebook."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Literal

import pandas as pd

from bandbridge.files import csv_text, write_text
from bandbridge.files import markdown_text as markdown_text

MISSING = "–"
DAGGER = "†"
#: Characters of \footnotesize, about 4.3 pt each, in a line of LaTeX's article class, 345 pt.
_LINE_CHARACTERS = 80


@dataclass(frozen=True)
class Column:
    """A column; neighbours of one ``group`` share a heading above their titles."""

    title: str
    group: str = ""
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Cell:
    """What a reader sees in one cell."""

    text: str = ""
    bold: bool = False
    dagger: bool = False


@dataclass(frozen=True)
class Row:
    """A row of cells, one per column; ``section`` is a heading printed above it, "" for none."""

    cells: tuple[Cell, ...]
    section: str = ""


@dataclass(frozen=True, eq=False)
class Table:
    """A table for readers (``columns``, ``rows``, ``notes``) and the same numbers for machines (``data``).

    ``name`` is the stem of its files, ``sentence`` says what the table shows.
    """

    name: str
    title: str
    sentence: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    data: pd.DataFrame
    notes: tuple[str, ...] = ()


def percent(value: float, decimals: int) -> str:
    """Return a share in 0..1 as a percentage without its sign, "n/a" for NaN."""
    return "n/a" if math.isnan(value) else f"{100 * value:.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    """Return a difference with its sign ("+0.40"), zero without one, "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}" if rounded else f"{0:.{decimals}f}"


def to_markdown(table: Table) -> str:
    """Return GitHub-flavoured Markdown under a level-2 heading, with columns aligned as plain text too."""
    header = [markdown_text(f"{column.group} {column.title}".strip()) for column in table.columns]
    body: list[list[str]] = []
    for row in table.rows:
        if row.section:
            body.append([f"*{markdown_text(row.section)}*", *[""] * (len(header) - 1)])
        body.append([_markdown_cell(cell) for cell in row.cells])
    widths = [max(len(line[index]) for line in [header, *body]) for index in range(len(header))]
    rule = [
        "-" * max(width - 1, 2) + ":" if column.align == "right" else "-" * max(width, 3)
        for column, width in zip(table.columns, widths, strict=True)
    ]
    grid = [_markdown_line(line, table.columns, widths) for line in (header, rule, *body)]
    parts = [f"## {markdown_text(table.title)}", markdown_text(table.sentence), "\n".join(grid)]
    if table.notes:
        parts.append("\n".join(f"- {markdown_text(note)}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def to_csv(table: Table) -> str:
    """Return the machine values at full precision, one header line; missing values are empty."""
    return csv_text(table.data)


def to_latex(table: Table) -> str:
    r"""Return a ``table`` environment; the document needs ``\usepackage{booktabs}``.

    A table that may be wider than the text is scaled down to ``\linewidth`` where it is, and then needs ``graphicx``
    too; a comment in its first line says so.
    """
    align = "".join("l" if column.align == "left" else "r" for column in table.columns)
    wide = _characters_across(table) > _LINE_CHARACTERS
    lines = [r"% A wide table: it needs \usepackage{booktabs,graphicx}."] if wide else []
    lines += [r"\begin{table}", r"  \centering\footnotesize"]
    title = re.sub(r"^Table \d+\. ", "", table.title)  # LaTeX numbers its tables itself.
    lines += [rf"  \caption{{{latex_text(title)}. {latex_text(table.sentence)}}}"]
    lines += [rf"  \label{{tab:{table.name}}}"]
    # \width is the table's own: what fits, in landscape for one, is not scaled up.
    lines += [r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"] if wide else []
    lines += [rf"  \begin{{tabular}}{{{align}}}", r"    \toprule"]
    lines += [f"    {line}" for line in _latex_header(table.columns)]
    lines += [r"    \midrule"]
    for index, row in enumerate(table.rows):
        if row.section:
            lines += [r"    \addlinespace"] if index else []
            lines.append(rf"    \multicolumn{{{len(table.columns)}}}{{l}}{{\textit{{{latex_text(row.section)}}}}} \\")
        lines.append("    " + " & ".join(_latex_cell(cell) for cell in row.cells) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}}" if wide else r"  \end{tabular}"]
    if table.notes:
        lines.append(r"  \par\smallskip " + " ".join(latex_text(note) for note in table.notes))
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_html(table: Table) -> str:
    """Return the table as HTML for a notebook: title and sentence above it, notes below, every text escaped."""
    groups = [_html_head(title, "center", width) for title, width in column_groups(table.columns)]
    titles = [_html_head(column.title, column.align) for column in table.columns]
    heads = [f"<tr>{''.join(line)}</tr>" for line in (groups, titles) if line]
    body = []
    for row in table.rows:
        if row.section:
            head = _html_head(row.section, "left", len(table.columns))
            body.append(f"<tr>{head}</tr>")
        cells = (_html_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True))
        body.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    parts = [
        '<div class="bandbridge-table">',
        f"<p><strong>{escape(table.title)}</strong><br>{escape(table.sentence)}</p>",
        f"<table><thead>{''.join(heads)}</thead>",
        f"<tbody>{''.join(body)}</tbody></table>",
        f"<ul>{notes}</ul>" if notes else "",
        "</div>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def column_groups(columns: tuple[Column, ...]) -> list[tuple[str, int]]:
    """Return the headings above the titles and how many columns each spans; none where no column has a group."""
    if not any(column.group for column in columns):
        return []
    return [(name, len(list(members))) for name, members in groupby(columns, key=lambda column: column.group)]


def write_table(folder: Path, table: Table) -> list[Path]:
    """Write ``<name>.md``, ``.csv`` and ``.tex`` into ``folder``, each whole or not at all; return the paths."""
    paths = []
    for kind, render in (("md", to_markdown), ("csv", to_csv), ("tex", to_latex)):
        paths.append(folder / f"{table.name}.{kind}")
        write_text(paths[-1], render(table))
    return paths


def latex_text(text: str) -> str:
    """Return ``text`` with LaTeX's special characters escaped and signs set as mathematics."""
    text = "".join(_LATEX.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", re.sub(r"(?<!\w)\+(?=\d)", "$+$", text))


_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "²": r"$^2$",
    DAGGER: r"$^\dagger$",
    MISSING: "--",
    "\n": " ",
}


def _characters_across(table: Table) -> int:
    """Return how many characters the widest cells of all columns take side by side, the gaps being three each."""
    lines = [[column.title for column in table.columns], *([cell.text for cell in row.cells] for row in table.rows)]
    return sum(max(map(len, column)) + 3 for column in zip(*lines, strict=True))


def _html_head(text: str, align: str, width: int = 1) -> str:
    span = f' colspan="{width}"' if width > 1 else ""
    return f'<th{span} style="text-align: {align}">{escape(text)}</th>'


def _html_cell(cell: Cell, column: Column) -> str:
    text = escape(cell.text)
    marked = (f"<strong>{text}</strong>" if cell.bold else text) + (DAGGER if cell.dagger else "")
    return f'<td style="text-align: {column.align}">{marked}</td>'


def _latex_cell(cell: Cell) -> str:
    text = latex_text(cell.text)
    return (rf"\textbf{{{text}}}" if cell.bold else text) + (r"$^\dagger$" if cell.dagger else "")


def _latex_header(columns: tuple[Column, ...]) -> list[str]:
    titles = " & ".join(latex_text(column.title) for column in columns) + r" \\"
    heads = column_groups(columns)
    if not heads:
        return [titles]
    groups, rules, start = [], [], 1
    for name, width in heads:
        if name:
            groups.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_text(name)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        else:
            groups += [""] * width
        start += width
    return [" & ".join(groups) + r" \\", " ".join(rules), titles]


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    return (f"**{text}**" if cell.bold else text) + (DAGGER if cell.dagger else "")


def _markdown_line(line: list[str], columns: tuple[Column, ...], widths: list[int]) -> str:
    padded = [
        text.ljust(max(width, 3)) if column.align == "left" else text.rjust(max(width, 3))
        for text, column, width in zip(line, columns, widths, strict=True)
    ]
    return f"| {' | '.join(padded)} |"
