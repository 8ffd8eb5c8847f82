"""What grades of cells are worth, for docs/results/patient.py to tell of: drawn ones of known level, real ones by rank.

The real cells' grades are in ``patient-cells.csv.gz``, from classes that the model in the box gave them. Who reads the
cells are models that never saw them, from ``packs/5-best-q.zip`` (BioImLab, folds 1 to 4, three seeds together) and the
pack of the folds by patient (Pki-3): a cell that is better to read should be read better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import bandbridge.synthetic.cells as drawing
from bandbridge.evaluation.pack import read_pack
from bandbridge.karyogram.grade import CellGrade, grade_cell
from bandbridge.synthetic.look import Drawing

LEVELS = (400, 550, 850)
KNOBS = {"neighbours": (0.0, 0.1, 0.3), "blur": (0.5, 1.0, 2.0), "length": (0.7, 1.0, 1.4)}
OF_DRAWN = ("touching", "sharpness", "length_of_1", "bands", "banding", "score")
OF_REAL = ("banding", "score", "bands", "sharpness", "touching")
#: Draws of the interval of a rank correlation.
_DRAWS = 2000


def section(cells: pd.DataFrame, packs: Mapping[str, Path]) -> list[str]:
    """Lines of the page: ``cells`` as they were graded, and of each set the pack of who reads it."""
    return [
        "The level of 16 drawn cells each, of classes known:",
        "",
        *_levels(),
        "",
        *_knobs(),
        "",
        "Of real cells no level is known. They are held against how many of a cell's chromosomes are named rightly,",
        "each by itself, by models that never saw the cell: Spearman's rank correlation, with 95% intervals by",
        "resampled cells. What the score is made of was chosen on BioImLab; Pki-3 reports. The number of bands, by",
        "which an earlier build ranked cells, goes with nothing.",
        "",
        *_ranks(cells, packs),
    ]


def _graded(stain: str, number: int, seed: int, knobs: Drawing | None = None) -> CellGrade:
    drawn = drawing.draw_cell(stain, seed, number, *([] if knobs is None else [knobs]))
    return grade_cell([(one.label, one.image) for one in drawn])


def _levels() -> list[str]:
    odds = drawing._RESOLUTION_ODDS
    lines = ["| drawn at | said 400 | 550 | 850 | bands that show, mean | banding, mean |", "|---|--:|--:|--:|--:|--:|"]
    try:
        for place, level in enumerate(LEVELS):
            drawing._RESOLUTION_ODDS = tuple(float(number == place) for number in range(3))  # type: ignore[assignment]
            found = [_graded(stain, 3 * number, 404) for stain in ("G", "Q") for number in range(8)]
            said = " | ".join(str(sum(one.level == other for one in found)) for other in LEVELS)
            bands, banding = (np.mean([getattr(one, name) for one in found]) for name in ("bands", "banding"))
            lines.append(f"| {level} | {said} | {bands:.1f} | {banding:.2f} |")
    finally:
        drawing._RESOLUTION_ODDS = odds
    return lines


def _knobs() -> list[str]:
    lines = [
        "| knob of the drawing | value | touching | sharpness | length of 1 | bands | banding | score |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for knob, values in KNOBS.items():
        for value in values:
            found = [_graded("G", 3 * number, 405, Drawing(**{knob: value})) for number in range(6)]
            means = [float(np.mean([getattr(one, name) for one in found])) for name in OF_DRAWN]
            lines.append(f"| {knob} | {value:g} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    return lines


def _read(pack_path: Path) -> dict[str, float]:
    """The share of each cell's chromosomes that the models which never saw it name rightly, the mean of the models."""
    pack, found = read_pack(pack_path), defaultdict(list)
    for run in pack.facts.runs:
        if run.fold is None:
            continue
        task = pack.facts.task(run.task)
        rows = task.held_out(run.fold)
        cells = np.array(task.cells)[rows]
        right = pack.logits[run.member(run.checkpoints[0])].argmax(axis=1) == np.array(task.labels)[rows]
        for cell in np.unique(cells):
            found[str(cell)].append(float(right[cells == cell].mean()))
    return {cell: float(np.mean(shares)) for cell, shares in found.items()}


def _ranks(cells: pd.DataFrame, packs: Mapping[str, Path]) -> list[str]:
    lines = ["| real cells | cells | " + " | ".join(OF_REAL) + " |", "|---|--:|" + "--:|" * len(OF_REAL)]
    for name, path in packs.items():
        rows = cells.loc[(cells["set"] == name) & (cells["bands"] != "")]
        rows = rows.assign(read=rows["cell"].map(_read(path))).dropna(subset="read")
        shown = [_rank(rows[measure].astype(float), rows["read"]) for measure in OF_REAL]
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(shown) + " |")
    return lines


def _rank(measure: pd.Series, read: pd.Series) -> str:
    """Their rank correlation with its interval; constant measures have none."""
    if measure.nunique() < 2:
        return "-"
    generator, values = np.random.default_rng(3), np.stack([measure, read])
    draws = [spearmanr(*values[:, generator.integers(0, len(measure), len(measure))]).statistic for _ in range(_DRAWS)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return f"{spearmanr(*values).statistic:+.2f} ({low:+.2f} to {high:+.2f})"
