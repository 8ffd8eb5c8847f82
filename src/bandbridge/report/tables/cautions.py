"""The cautions of a study beside its tables: on top of their page, under each table that they bear upon, as files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bandbridge.files import csv_text, write_json, write_text
from bandbridge.report.caution import KINDS, Caution, kind_of
from bandbridge.report.rendering import Table, markdown_text

_FIELDS = ("code", "gravity", "title", "text", "details", "page")


def bearing_upon(tables: Iterable[Table], cautions: Iterable[Caution]) -> list[Caution]:
    """Return those of ``cautions`` that bear upon the numbers of some of ``tables``, in their order."""
    names = {table.name for table in tables}
    return [caution for caution in cautions if names.intersection(kind_of(caution.code).tables)]


def noted(table: Table, cautions: Iterable[Caution]) -> Table:
    """Return ``table`` with a note that names the ``cautions`` that bear upon it; itself where none does."""
    codes = sorted({caution.code for caution in bearing_upon([table], cautions)})
    if not codes:
        return table
    return replace(table, notes=(*table.notes, f"See caution{'s' if len(codes) > 1 else ''} {', '.join(codes)}."))


def cautions_markdown(cautions: Sequence[Caution]) -> str:
    """Return a level-2 heading and one line for each of ``cautions``, in their order; "" where there is none."""
    if not cautions:
        return ""
    lines = [
        f"- **{caution.code} {caution.gravity}: {markdown_text(caution.title)}.** {markdown_text(caution.text)}"
        for caution in cautions
    ]
    about = f"What each code means and what to do about it: {cautions[0].page} and so on."
    return "\n".join(["## Before you believe it", "", about, "", *lines]) + "\n"


def caution_records(cautions: Iterable[Caution]) -> list[dict[str, Any]]:
    """Return each caution as a plain dict of code, gravity, title, text, details and page, for JSON."""
    return [{**asdict(caution), "details": list(caution.details), "page": caution.page} for caution in cautions]


def write_cautions(folder: Path, cautions: Sequence[Caution]) -> list[Path]:
    """Write ``cautions.md``, ``.csv`` (details one under another) and ``.json``, also without any; return the paths.

    The Markdown has every detail; the tables' own page has one line for each caution.
    """
    paths = [folder / f"cautions.{kind}" for kind in ("md", "csv", "json")]
    records = caution_records(cautions)
    frame = pd.DataFrame([{**one, "details": "\n".join(one["details"])} for one in records], columns=list(_FIELDS))
    write_text(paths[0], _page(cautions))
    write_text(paths[1], csv_text(frame))
    write_json(paths[2], records)
    return paths


def _page(cautions: Sequence[Caution]) -> str:
    if not cautions:
        return f"# Cautions\n\nNone of {KINDS[0].code} to {KINDS[-1].code} applies.\n"
    parts = ["# Cautions\n"]
    for caution in cautions:
        parts.append(f"## {caution.code} {caution.gravity}: {markdown_text(caution.title)}\n")
        parts.append(f"{markdown_text(caution.text)}\n")
        if caution.details:
            parts.append("\n".join(f"- {markdown_text(line)}" for line in caution.details) + "\n")
        parts.append(f"See {caution.page}.\n")
    return "\n".join(parts)
