"""The verdicts on all patients as one HTML file that needs nothing else; each cell one click away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from bandbridge.dataset.findings import counted
from bandbridge.karyotype import CLASSES
from bandbridge.patient.findings import SAID
from bandbridge.patient.verdict import COPIES, PatientVerdict
from bandbridge.templates import page_templates

DISCLAIMER = "Research use only: this is no diagnosis."


def render(
    verdicts: Sequence[PatientVerdict], cells: Mapping[Any, Mapping[Any, Any]], links: Mapping[str, str], rates: str
) -> str:
    """Return the page. Every text that comes from outside is escaped; the page runs no script.

    cells: the row of each cell in cells.csv. links: where the karyogram of a cell lies, none where it was not drawn.
    rates: how often the counts are right, a sentence.
    """
    environment = page_templates("bandbridge.patient")
    environment.filters |= {"percent": _percent, "number": _number, "counted": counted}
    css = Path(__file__).with_name("templates").joinpath("patients.css").read_text(encoding="utf-8")
    return environment.get_template("patients.html.j2").render(
        verdicts=verdicts,
        unusual=[verdict for verdict in verdicts if verdict.clones or not verdict.draft.text],
        cells=cells,
        links=links,
        rates=rates,
        said=SAID,
        counts={verdict.patient: _counts(verdict) for verdict in verdicts},
        disclaimer=DISCLAIMER,
        css=Markup(css),
    )


def _counts(verdict: PatientVerdict) -> list[dict[str, Any]]:
    """The rows of its table of counts, the numbers as texts."""
    table = verdict.counts()
    return [
        {"label": row["chromosome"], "cells": [row[name] or "" for name in COPIES]}
        | {"gain": _nats(row["gain"]), "loss": _nats(row["loss"])}
        for row in table.to_dict("records")
        if row["chromosome"] in CLASSES
    ]


def _nats(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.1f}"


def _percent(share: float) -> str:
    return "not known" if math.isnan(share) else f"{share:.0%}"


def _number(value: Any) -> str:
    return "" if value is None or pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
