"""Where each approach's attention lies, beside chance, as a table for readers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from bandbridge.dataset.findings import counted
from bandbridge.evaluation.cluster_intervals import FEWEST_RESAMPLED
from bandbridge.report.context import APPROACH_TITLES, TableContext
from bandbridge.report.rendering import MISSING, Cell, Column, Row, Table, percent, signed

_DECIMALS = 1
_REFERENCE = "imagenet"
_SHARES = {"chromosome": "Chromosome", "border": "Outline", "short_arm": "Short arm", "both_arms": "Both arms"}
_PERTURBED = {"deletion": "Deletion", "insertion": "Insertion"}
_TARGETS = {"truth": "the true class", "predicted": "the predicted class"}
#: The rows of the frame for one approach, by measure.
_Measured = dict[str, dict[Any, Any]]


def attention_report_table(frame: pd.DataFrame, context: TableContext) -> Table | None:
    """Return the frame of :func:`bandbridge.explain.survey.attention_table` for readers; None if it is empty.

    For each task and architecture a row for chance, one for each approach and one for each two-step approach minus
    ImageNet, in percent; deletion and insertion, where the frame has them, as differences to a random map. ``data`` is
    the frame.
    """
    if frame.empty:
        return None
    perturbed = [name for name in _PERTURBED if name in set(frame["measure"])]
    rows = []
    for task, of_task in frame.groupby("task", sort=False):
        section = context.task(str(task)).shown
        for architecture, part in of_task.groupby("architecture", sort=False):
            name = str(architecture)
            for title, cells in _lines(part, perturbed, context):
                rows.append(Row((Cell(name), Cell(title), *cells), section))
                name = section = ""
    return Table(
        name="attention",
        title="Where the attention lies (Grad-CAM, %)",
        sentence=_sentence(frame, context),
        columns=(
            Column("Architecture", align="left"),
            Column("Maps", align="left"),
            Column("Empty"),
            *(Column(title) for title in _SHARES.values()),
            *(Column(_PERTURBED[name], "Against a random map") for name in perturbed),
        ),
        rows=tuple(rows),
        data=frame,
        notes=tuple(_notes(frame, bool(perturbed))),
    )


def _lines(part: pd.DataFrame, perturbed: list[str], context: TableContext) -> Iterator[tuple[str, list[Cell]]]:
    """The rows of one task and architecture: a title, and the cells after it."""
    arms: dict[str, _Measured] = {}
    for record in part.to_dict("records"):
        arms.setdefault(record["approach"], {})[record["measure"]] = record
    # Chance is that of the images with evidence: of the approach that has most of them.
    fullest = min(arms.values(), key=lambda arm: int(arm["chromosome"]["empty"]))
    chance = [Cell(percent(fullest[measure]["chance"], _DECIMALS)) for measure in _SHARES]
    yield "Chance", [Cell(), *chance, *(Cell(f"{0:.{_DECIMALS}f}") for _ in perturbed)]
    for name, arm in arms.items():
        empty = Cell(f"{arm['chromosome']['empty']} of {arm['chromosome']['images']}")
        shares = [_share(arm, measure) for measure in _SHARES]
        yield _title(name, context), [empty, *shares, *(_difference(arm, one, "over_chance") for one in perturbed)]
    for name, arm in arms.items():
        if name.startswith("two-step") and _REFERENCE in arms:
            shares = [_difference(arm, measure, "difference") for measure in _SHARES]
            title = f"{_title(name, context)} minus {_title(_REFERENCE, context)}"
            yield title, [Cell(), *shares, *(Cell(MISSING) for _ in perturbed)]


def _title(approach: str, context: TableContext) -> str:
    """The reader's name of an approach as the frame has it, such as "two-step via G"."""
    name, _, intermediate = approach.partition(" via ")
    title = APPROACH_TITLES[name]
    return f"{title} via {context.data_title(intermediate)}" if intermediate else title


def _share(arm: _Measured, measure: str) -> Cell:
    """A share with its interval; bold where the interval of its difference to chance excludes zero."""
    row = arm[measure]
    low, high = (percent(row[end], _DECIMALS) for end in ("low", "high"))
    span = "" if math.isnan(row["low"]) else f" ({low} to {high})"
    # No map gets more than 100% of both arms, the value of chance: to be below it is no finding.
    bold = measure != "both_arms" and _excludes_zero(row, "over_chance")
    return Cell(f"{percent(row['mean'], _DECIMALS)}{span}", bold)


def _difference(arm: _Measured, measure: str, name: str) -> Cell:
    """A difference with its interval, percentage points; bold where that excludes zero."""
    if measure not in arm or math.isnan(arm[measure][name]):
        return Cell(MISSING)
    row = arm[measure]
    low, high = (signed(100 * row[f"{name}_{end}"], _DECIMALS) for end in ("low", "high"))
    span = "" if math.isnan(row[f"{name}_low"]) else f" ({low} to {high})"
    return Cell(f"{signed(100 * row[name], _DECIMALS)}{span}", _excludes_zero(row, name))


def _excludes_zero(row: dict[Any, Any], name: str) -> bool:
    return bool(row[f"{name}_low"] > 0 or row[f"{name}_high"] < 0)


def _sentence(frame: pd.DataFrame, context: TableContext) -> str:
    about = " and ".join(_TARGETS[name] for name in frame["target"].unique())
    return (
        f"Share of the class evidence for {about} that lies on the chromosome, on its outline and, of that inside, on "
        f"its short arm, over held-out images with 95% intervals ({context.checkpoint} checkpoint, protocol: "
        f"{context.protocol}). Both arms: how dense the evidence is on the arm that has less of it, in percent of the "
        "chromosome's density. Chance: evidence that is equal everywhere. Bold: the interval of the difference to "
        "chance, in the rows with minus of the difference itself, excludes zero."
    )


def _notes(frame: pd.DataFrame, perturbed: bool) -> Iterator[str]:
    for (task, fold, unit), part in frame.groupby(["task", "fold", "unit"], sort=False):
        maps = part.drop_duplicates("architecture")[["architecture", "layer", "grid"]].itertuples(index=False)
        grids = ", ".join(f"{one.architecture} {one.grid} (layer {one.layer})" for one in maps)
        first = part.iloc[0]
        # Each image counts for itself where neither cells nor patients are known.
        groups = "" if unit == "image" else f" of {counted(int(first['cells']), str(unit))}"
        waisted = int(part.loc[part["measure"] == "both_arms", "measured"].max())
        yield (
            f"{task}: {counted(int(first['images']), 'image')}{groups}, fold {fold}; {waisted} of them with evidence "
            f"and a waist to divide the arms at. Grid of the maps: {grids}. Places are that coarse: evidence cannot be "
            "told apart within one of them."
        )
    yield (
        "Maps are the mean of upright and upside down, because one alone lies up to half a place off. Empty: no "
        "positive evidence at all; such an image counts for no share. A row with minus is on the images where both "
        "have evidence. The intervals resample cells, or patients, with the trained models held fixed, each by itself: "
        f"among twenty that are bold, one may be so by chance. Fewer than {FEWEST_RESAMPLED} have no interval."
    )
    yield (
        "Both arms cannot exceed 100, which is what evidence equal everywhere gives: a high value speaks for a "
        "classifier only together with a high share on the chromosome. The arms are divided at the narrowest place "
        "of the outline; a chromosome without a waist, as are most acrocentric ones, counts for neither column of arms."
    )
    if perturbed:
        yield (
            "Deletion and insertion: area under the probability of the class while the image is painted over, or "
            "brought back, in the order of the map, minus that for a random map of the same grid. Deletion below zero "
            "and insertion above it say that the map points at what the classifier goes by, better than chance."
        )
