"""How often a cut's runner-up is the better one; written to the section Doubtful cuts of docs/results/intake.md.

    python docs/results/intake_alternatives.py --spreads SPREADS

SPREADS as for intake_metaphases.py, whose halves these are. The thresholds were chosen by drawn metaphases and the
halves that tune, where decisions farther from even are looked at, too; the halves that report say what comes of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from intake_metaphases import PAGE, fields
from marks import put_between
from PIL import Image
from scipy.optimize import linear_sum_assignment

from bandbridge.metaphase.alternatives import Alternative
from bandbridge.metaphase.cores import Rules
from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.ground import BlankField
from bandbridge.metaphase.pieces import CHROMOSOME, Piece
from bandbridge.synthetic.spread import draw_spread

SETS = {"drawn": "drawn", "bioq": "Q-band", "mfish": "DAPI", "gpm": "cleaned G-band"}
#: Drawn metaphases are of this seed: nothing was fitted to them.
SEED = 31
#: What is looked at where thresholds are chosen, nats, and the bands of it.
_FAR, _BANDS = 3.0, (0.5, 1.0, 2.0, 3.0)
#: Better by so much of a chromosome, or worse: see Truth.score.
_BETTER = 0.05
_BEGIN, _END = (
    "<!-- doubtful, {part}: python docs/results/intake_alternatives.py -->",
    "<!-- end of doubtful, {part} -->",
)


@dataclass(frozen=True, eq=False)
class Truth:
    """Two maps of the true chromosomes, int [H, W], from 1."""

    first: np.ndarray
    second: np.ndarray
    count: int

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> Truth:
        """Return the truth of two maps with any numbers."""
        numbers = np.unique(first[first > 0])
        place = np.zeros(int(max(first.max(), second.max())) + 1, int)
        place[numbers] = np.arange(1, len(numbers) + 1)
        return cls(place[first], place[second], len(numbers))

    def matched(self, pieces: list[Piece]) -> np.ndarray:
        """Return the IoU of each piece with the chromosome that it is matched to, one to one; 0 where with none."""
        size = self.count + 1
        areas = sum(np.bincount(layer.ravel(), minlength=size) for layer in (self.first, self.second))
        iou = np.zeros((len(pieces), self.count))
        for row, piece in enumerate(pieces):
            both = sum(np.bincount(layer[piece.box][piece.mask], minlength=size) for layer in (self.first, self.second))
            iou[row] = (both / np.maximum(areas + piece.mask.sum() - both, 1))[1:]
        found = np.zeros(len(pieces))
        rows, columns = linear_sum_assignment(-iou)
        found[rows] = iou[rows, columns]
        return found

    def score(self, matched: np.ndarray) -> float:
        """Return the sum of IoU in harmony with how many pieces there are, in chromosomes of this field."""
        return 2 * float(matched.sum()) / (self.count + len(matched)) * self.count


def judged(
    name: str, gray: np.ndarray, truth: Truth, rules: Rules
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Return what came of one field, and of each alternative. Raises as ``cut_field``."""
    cut = cut_field(gray, rules, otherwise=True)
    standing: dict[object, Piece] = {k: one for k, one in enumerate(cut.pieces) if one.kind == CHROMOSOME}
    matched = truth.matched(list(standing.values()))
    wrong = {place for place, iou in zip(standing, matched, strict=True) if iou < 0.5}
    before = truth.score(matched)
    rows: list[dict[str, object]] = []
    for other in cut.otherwise:
        gain = truth.score(truth.matched(list(_after(standing, other, len(rows)).values()))) - before
        told = {"set": name, "by": other.by, "even": other.even, "margin": other.margin}
        rows.append(told | {"better": gain > _BETTER, "worse": gain < -_BETTER})
    touched = {place for other in cut.otherwise for place in other.replaces}
    right = truth.matched(list(_rightly(truth, standing, cut.otherwise).values()))
    return {
        "set": name,
        "truth": truth.count,
        "pieces": len(matched),
        "found": int((matched >= 0.5).sum()),
        "wrong": len(wrong),
        "touched": len(wrong & touched),
        "doubtful": len(touched),
        "told": len(rows),
        "even": sum(bool(one["even"]) for one in rows),
        "better": sum(bool(one["better"]) for one in rows),
        "then_pieces": len(right),
        "then_found": int((right >= 0.5).sum()),
    }, rows


def _after(standing: dict[object, Piece], other: Alternative, number: int) -> dict[object, Piece]:
    kept = {place: one for place, one in standing.items() if place not in other.replaces}
    return kept | {(number, k): one for k, one in enumerate(other.gives)}


def _rightly(truth: Truth, standing: dict[object, Piece], others: tuple[Alternative, ...]) -> dict[object, Piece]:
    """The pieces, where somebody took the other way each time that it is better and still can be taken."""
    for number, other in enumerate(others):
        if set(other.replaces) <= set(standing):
            after = _after(standing, other, number)
            scores = [truth.score(truth.matched(list(each.values()))) for each in (standing, after)]
            standing = after if scores[1] > scores[0] + _BETTER else standing
    return standing


def drawn(count: int) -> Iterator[tuple[str, np.ndarray, Truth]]:
    """Draw metaphases, G-band and Q-band in turn."""
    for number in range(count):
        spread = draw_spread("G" if number % 2 else "Q", SEED, number // 2)
        yield "drawn", spread.gray, Truth.of(spread.first, spread.second)


def real(spreads: Path, part: str) -> Iterator[tuple[str, np.ndarray, Truth]]:
    """Read the metaphases of ``part`` that have masks."""
    for row in fields(spreads, part).itertuples():
        if row.set in SETS:
            place = spreads / str(row.file)
            maps = (np.asarray(Image.open(place.with_name(f"{place.stem}_{end}.png"))) for end in ("inst", "over"))
            yield str(row.set), np.asarray(Image.open(place).convert("L")), Truth.of(*maps)


def measured(given: Iterator[tuple[str, np.ndarray, Truth]], rules: Rules) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row for each field, and one for each alternative."""
    cells, ways = [], []
    for name, gray, truth in given:
        try:
            cell, others = judged(name, gray, truth, rules)
        except BlankField:
            continue
        cells.append(cell)
        ways += others
        print(cell, flush=True)
    return pd.DataFrame(cells), pd.DataFrame(ways)


def bands(ways: pd.DataFrame, cells: pd.DataFrame) -> list[str]:
    """Return the table by how near to even decisions are."""
    chosen = [
        ("join", f"join, {low:g} to {high:g} nats", low, high)
        for low, high in zip((-np.inf, *_BANDS[:-1]), _BANDS, strict=True)
    ]
    chosen[0] = ("join", f"join, up to {_BANDS[0]:g} nats", -np.inf, _BANDS[0])
    chosen += [("outline", "outline nearly solid", 0, 0), ("path", "paths of a tangle", 0, 0)]
    names = [name for name in SETS if name in set(cells.set)]
    heads = [f"{SETS[name]}, {int((cells.set == name).sum())} fields" for name in names]
    lines = ["| decision | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(names)]
    for by, title, low, high in chosen:
        mine = ways[(ways.by == by) & ((by != "join") | ((ways.margin > low) & (ways.margin <= high)))]
        shown = [mine[mine.set == name] for name in names]
        lines.append(f"| {title} | " + " | ".join(f"{int(one.better.sum())} of {len(one)}" for one in shown) + " |")
    rules = Rules()
    kept = ways[(ways.by != "join") | (ways.margin <= rules.doubt)]
    shares = [f"{_share(kept[kept.set == name].better.sum(), ways[ways.set == name].better.sum())}" for name in names]
    return [*lines, f"| of the wrong ones, told up to {rules.doubt:g} nats | " + " | ".join(shares) + " |"]


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}% of {int(whole)}" if whole else "-"


def outcome(cells: pd.DataFrame) -> list[str]:
    """Return the table of what is told of the fields that report."""
    lines = [
        "| set | fields | told a cell | nearly even | the other way better | wrong pieces told of | pieces told of "
        "| recall, precision | chosen rightly |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in SETS:
        mine = cells[cells.set == name]
        if not len(mine):
            continue
        total = mine.drop(columns="set").sum()
        before = f"{100 * total.found / total.truth:.1f}%, {100 * total.found / total.pieces:.1f}%"
        then = f"{100 * total.then_found / total.truth:.1f}%, {100 * total.then_found / total.then_pieces:.1f}%"
        row = [
            *(SETS[name], len(mine), f"{total.told / len(mine):.1f}", f"{total.even / len(mine):.1f}"),
            *(f"{total.better} of {total.told}", f"{total.touched} of {total.wrong}"),
            *(f"{100 * total.doubtful / total.pieces:.0f}%", before, then),
        ]
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return lines


def write_part(part: str, lines: list[str]) -> None:
    """Print ``lines``, and put them between the marks of ``part`` on the page."""
    print("\n".join(lines))
    put_between(PAGE, _BEGIN.format(part=part), _END.format(part=part), "\n".join(lines))


def main() -> None:
    """Measure, print, and write the two tables."""
    parser = argparse.ArgumentParser(description="Measure what is told of doubtful cuts.")
    parser.add_argument("--spreads", type=Path, required=True)
    parser.add_argument("--part", choices=("tune", "report", "both"), default="both")
    parser.add_argument("--drawn", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.part != "report":
        far = Rules(doubt=_FAR, most=1000)
        parts = [measured(given, far) for given in (drawn(arguments.drawn), real(arguments.spreads, "tune"))]
        cells, ways = (pd.concat(each, ignore_index=True) for each in zip(*parts, strict=True))
        write_part("tune", bands(ways, cells))
    if arguments.part != "tune":
        write_part("report", outcome(measured(real(arguments.spreads, "report"), Rules())[0]))


if __name__ == "__main__":
    main()
