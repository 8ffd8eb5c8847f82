"""Questions 2 and 6: what models make of real cells that saw drawn ones alone, and what they flag."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from answers.drawing import as_svg, draw_shares
from answers.evidence import FOLDER, Question, bounded, met
from answers.setup import trained_on_drawn
from bandbridge.boxes import at_home, is_box
from bandbridge.evaluation.cluster_intervals import Estimate, Units
from bandbridge.evaluation.pooled import grouping_unit
from bandbridge.report.rendering import Cell, Column, Row, Table, percent, to_markdown

_DRAWN_ON = (
    "What is drawn was fitted to BioImLab and the 65 cells, and its variants were chosen by scores on them: what it is "
    "worth on these two is a little too good to expect elsewhere. Pki-3, scored once the drawing was frozen, is the "
    "clean set."
)
#: What is wanted of question 2, on this set: percent right by itself, and in its cell.
_WANTED_UNSEEN = ("Pki-3", 70.0, 85.0)


@dataclass(frozen=True)
class _Unseen:
    """What a model that saw drawn cells alone makes of one real set: of all images, or of those of whole cells.

    left_wrong: of what it does not flag. errors_flagged: of what is wrong. promised: what left_wrong is to be at most,
    percent; NaN of a model that is not in the box.
    """

    model: str
    name: str
    units: str
    alone: Estimate
    placed: Estimate
    flagged: Estimate
    left_wrong: Estimate
    errors_flagged: Estimate
    promised: float = math.nan

    @property
    def title(self) -> str:
        """The model and the set."""
        return f"{self.model}, {self.name}"


def _promised(model: str) -> float:
    """What ``model`` promises to be wrong at most of what it does not flag, percent, as its folder says; else NaN."""
    if not is_box(Path(model)):
        return math.nan
    text = (at_home(Path(model)) / "confidence.json").read_text(encoding="utf-8")
    return 100 * float(json.loads(text)["wanted_error"])


@cache
def _unseen() -> tuple[_Unseen, ...]:
    """What unseen.csv.gz holds: see unseen.py, which writes it."""
    rows = pd.read_csv(FOLDER / "unseen.csv.gz", dtype=str, keep_default_na=False)
    found = []
    for (name, model), frame in rows.groupby(["set", "model"], sort=False):
        unit = grouping_unit(frame)
        groups = Units.named(frame[unit])
        truth, whole, flagged = (frame["label"], frame["whole"] == "yes", (frame["flagged"] == "yes").to_numpy())
        wrong = (frame["placed"] != truth).to_numpy()
        every = np.ones(len(frame), dtype=bool)
        found.append(
            _Unseen(
                str(model),
                str(name),
                f"{groups.count} {unit}s",
                groups.share((frame["by_itself"] == truth).to_numpy(), every),
                groups.share(~wrong, whole.to_numpy()),
                groups.share(flagged, every),
                groups.share(wrong, ~flagged),
                groups.share(flagged, wrong),
                _promised(str(model)),
            )
        )
    return tuple(found)


def answer_unseen(question: Question) -> tuple[list[str], bytes]:
    """Question 2: what is right of each real set, by itself and in its cell."""
    name, alone, placed = _WANTED_UNSEEN
    found = sorted(_unseen(), key=lambda one: (one.model.startswith("box:"), one.name != name))
    told = []
    for one in found:
        if one.name == name:
            missed = f"wanted {alone:g} and {placed:g}: {met(one.alone, alone)} and {met(one.placed, placed)}"
            shares = f"{percent(one.alone.value, 1)}% right by itself, {percent(one.placed.value, 1)}% in its cell"
            told.append(f"{one.model} {shares} ({missed})")
    short = f"**In short:** on {name}, which was scored once the drawing was frozen, {'; '.join(told)}."
    panel = _Panel(
        "trained on drawn cells alone",
        "right, %: ■ alone, ▲ in its cell",
        "Right by itself and in its cell, trained on drawn cells alone",
        tuple((one.title, (one.alone, one.placed)) for one in found),
    )
    table = _table(
        question,
        "Right of all real images of the set in percent, each chromosome by itself, and of those in cells that are "
        "placed as a whole; with 95% intervals by whole patients where every image names one, else cells.",
        (
            *(Column(title, align="left") for title in ("Model", "Set")),
            *(Column(title) for title in ("Held out", "Images")),
            *(Column(title, "Right") for title in ("By itself", "In its cell")),
        ),
        [[one.model, one.name, one.units, f"{one.alone.n:,}", *map(bounded, (one.alone, one.placed))] for one in found],
        (
            "box:G and box:Q are tf_efficientnet_lite0, as they come; of the other, mirror images are averaged.",
            _DRAWN_ON,
        ),
    )
    parts, drawn = _parts(question, short, panel, table)
    return [
        *parts,
        trained_on_drawn(("2-drawn", "3-box")),
        "How the cells are drawn, how real they look, and what was tried: [drawn cells](drawn.md).",
    ], drawn


def answer_flags(question: Question) -> tuple[list[str], bytes]:
    """Question 6: what the models in the box flag of each real set, and what is wrong of the rest."""
    found = [one for one in _unseen() if one.model.startswith("box:")]
    told = [
        f"- *{one.title}:* it flags {percent(one.flagged.value, 1)}%, and {percent(one.errors_flagged.value, 0)}% of "
        f"what is wrong is flagged; of the others {_promise(one)}."
        for one in found
    ]
    short = (
        "**In short:** `bandbridge predict box:G IMAGES` works right after installation, for a person who looks at "
        "what it flags. What it promises of the rest it promises of drawn cells:\n\n" + "\n".join(told)
    )
    panel = _Panel(
        "the models in the box",
        "%: ■ flagged, ▲ wrong of the rest, | promised",
        "What the models in the box flag, what is wrong of the rest, and what they promise of it",
        tuple((one.title, (one.flagged, one.left_wrong)) for one in found),
        tuple(one.promised for one in found),
    )
    table = _table(
        question,
        "What the models in the box say of real images, in percent with 95% intervals by whole patients where "
        "every image names one, else cells. Wrong: not in its class once its cell is placed.",
        (
            Column("Model and set", align="left"),
            *(Column(title) for title in ("Held out", "Flagged", "Wrong of the others", "Flagged of what is wrong")),
        ),
        [[one.title, one.units, *map(bounded, (one.flagged, one.left_wrong, one.errors_flagged))] for one in found],
        (_DRAWN_ON,),
    )
    parts, drawn = _parts(question, short, panel, table)
    return [*parts, trained_on_drawn(("3-box",))], drawn


def _promise(one: _Unseen) -> str:
    """What is wrong of what is not flagged, beside what was promised."""
    kept = met(one.left_wrong, one.promised, at_most=True)
    if kept == "met":
        within = 100 * one.left_wrong.high <= one.promised
        kept = "kept" if within else "kept, though not by all of its interval"
    span = f"{percent(one.left_wrong.low, 1)} to {percent(one.left_wrong.high, 1)}"
    return f"{percent(one.left_wrong.value, 2)}% ({span}) are wrong, at most {one.promised:g}% promised: {kept}"


@dataclass(frozen=True)
class _Panel:
    """The figure of one answer: a pair of shares for each model and set. says: what it shows, for who cannot see it.

    promised: what each promises of the second share at most, percent.
    """

    title: str
    label: str
    says: str
    shares: tuple[tuple[str, tuple[Estimate, ...]], ...]
    promised: tuple[float, ...] = ()


def _table(
    question: Question, sentence: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], notes: tuple[str, ...]
) -> Table:
    return Table(
        name=f"question-{question.number}",
        title="The numbers",
        sentence=sentence,
        columns=tuple(columns),
        rows=tuple(Row(tuple(map(Cell, cells))) for cells in rows),
        data=pd.DataFrame(),
        notes=notes,
    )


def _parts(question: Question, short: str, panel: _Panel, table: Table) -> tuple[list[str], bytes]:
    drawn = as_svg(draw_shares([(panel.title, panel.shares)], panel.label, panel.promised), question.figure)
    image = f"![{panel.says}](images/{question.figure})"
    return [short, image, "#" + to_markdown(table).strip()], drawn
