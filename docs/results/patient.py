"""Verdicts on patients, measured: written to docs/results/patient.md.

    python docs/results/patient.py

It reads ``packs/5-best-p.zip`` (what models that never saw the patient say of each image of Pki-3, by
``studies/answer/5-best-p.yaml``), ``packs/5-best-q.zip`` (the same for BioImLab, to rank its cells),
``patient-cells.csv.gz`` and ``patient-drawn.npz`` (what the models in the box count, by ``patient_measure.py``), and
nothing else: no image, weight or training. Minutes on one core.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from patient_fields import section as fields_section
from patient_grades import section as grades_section
from scipy.stats import binom

from bandbridge.evaluation.assignment import joint_classes
from bandbridge.evaluation.assignment_trial import CellLogits, choose_weight, perturb_cell
from bandbridge.evaluation.count_rates import DIRECTIONS, UNITS, CountRates, measure_rates, shown_changes
from bandbridge.evaluation.counts import CountCosts, learn_costs
from bandbridge.evaluation.pack import read_pack
from bandbridge.evaluation.temperature import fit_temperature
from bandbridge.files import write_text
from bandbridge.karyotype import AUTOSOMES, CLASS_INDEX, CLASSES
from bandbridge.patient.cells import FEWEST_COUNTED, MOST_COUNTED, MOST_UNPLACED, CountedCell
from bandbridge.patient.findings import CLONE_CELLS, MOST_CHANCE, Finding
from bandbridge.patient.mosaic import chance_of, clopper_pearson, least_shown, melded_interval
from bandbridge.patient.verdict import PatientVerdict, judge
from bandbridge.predict.box_rates import measured_boxes

HERE = Path(__file__).resolve().parent
PAGE, PACK = HERE / "patient.md", HERE / "packs" / "5-best-p.zip"
#: Cells of the other folds that a fold's temperature, prices and rates are learned from: a laboratory's own would be.
LEARNED_FROM = 120
SEX = (CLASS_INDEX["X"], CLASS_INDEX["Y"])
MOSAICS = (0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True, eq=False)
class Judged:
    """The real cells of Pki-3 as one way of judging counts them: by patient, with the truth and the rates."""

    patients: Mapping[str, list[tuple[CountedCell, np.ndarray]]]
    rates: Mapping[str, CountRates]

    def verdicts(self) -> dict[str, PatientVerdict]:
        return {
            name: judge(name, [cell for cell, _ in cells], self.rates[name]) for name, cells in self.patients.items()
        }


def counted_cell(name: str, copies: np.ndarray, chromosomes: int) -> CountedCell:
    """A cell with ``copies`` of ``chromosomes``, left out by the same rules as in use; its evidence is not kept."""
    unplaced = chromosomes - int(copies.sum())
    odd = not FEWEST_COUNTED <= chromosomes <= MOST_COUNTED or unplaced > MOST_UNPLACED
    return CountedCell(name, chromosomes, copies, "odd number" if odd else "", np.full((24, 2), np.nan), 0, unplaced)


def placed(cell: CellLogits, costs: CountCosts) -> np.ndarray:
    classes = joint_classes(cell.log_probabilities, costs)
    return np.bincount(classes[classes >= 0], minlength=len(CLASSES))


# --- Pki-3 by models that never saw the patient ---------------------------------------------------------------------


def folds_of_pack() -> tuple[list[list[CellLogits]], dict[str, str]]:
    """The cells that each fold holds out, with logits not yet calibrated, and the patient of each cell."""
    pack = read_pack(PACK)
    task = pack.facts.task("P")
    assert task.scheme == "patient"
    patients = dict(zip(task.cells, task.patients, strict=True))
    found = []
    for run in sorted((one for one in pack.facts.runs if one.fold is not None), key=lambda one: one.fold or 0):
        rows = task.held_out(run.fold or 0)
        logits = pack.logits[run.member(run.checkpoints[0])].astype(np.float64)
        cells, truth = np.array(task.cells)[rows], np.array(task.labels)[rows]
        found.append(
            [CellLogits(str(name), logits[cells == name], truth[cells == name]) for name in dict.fromkeys(cells)]
        )
    return found, patients


def plant(cells: Sequence[CellLogits], generator: np.random.Generator) -> list[CellLogits]:
    """Abnormal cells to choose the weight of the counts with: gains, losses and both, as a model's confidence does."""
    found = []
    for number, cell in enumerate(cells):
        gained, lost = (int(index) for index in generator.choice(len(AUTOSOMES), 2, replace=False))
        try:
            found.append(
                perturb_cell(cell, ({gained: 1}, {lost: -1}, {gained: 1, lost: -1})[number % 3], cells, generator)
            )
        except ValueError:
            continue
    return found


@dataclass(frozen=True, eq=False)
class Learned:
    """What a fold is judged with, learned from cells of the others."""

    temperature: float
    costs: CountCosts
    rates: CountRates

    def calibrated(self, cell: CellLogits) -> CellLogits:
        return CellLogits(cell.cell, cell.logits / self.temperature, cell.truth)


def learn(cells: Sequence[CellLogits], source: str) -> Learned:
    generator = np.random.default_rng(0)
    logits, truth = (np.concatenate([getattr(one, name) for one in cells]) for name in ("logits", "truth"))
    temperature = fit_temperature(logits, truth, np.repeat(np.arange(len(cells)), [len(one.truth) for one in cells]))
    scaled = [CellLogits(one.cell, one.logits / temperature.value, one.truth) for one in cells]
    costs = learn_costs(np.stack([one.copies for one in scaled]))
    weight = choose_weight([*scaled, *plant(scaled, generator)], costs)
    costs = CountCosts(costs.constitutions, costs.losses, costs.gains, costs.rejection, weight)
    return Learned(temperature.value, costs, measure_rates(scaled, costs, 0, source))


@cache
def cross_validated() -> tuple[Judged, tuple[list[CellLogits], ...], tuple[Learned, ...], float]:
    """Pki-3 judged, the calibrated cells of each fold, what each was judged with, and the share right by itself."""
    folds, patients = folds_of_pack()
    generator = np.random.default_rng(1)
    judged: dict[str, list[tuple[CountedCell, np.ndarray]]] = defaultdict(list)
    rates, learned, ready, right = {}, [], [], []
    for number, cells in enumerate(folds):
        others = [cell for index, fold in enumerate(folds) for cell in fold if index != number]
        chosen = generator.choice(len(others), min(LEARNED_FROM, len(others)), replace=False)
        known = learn([others[place] for place in sorted(chosen)], f"{len(chosen)} cells of other patients")
        learned.append(known)
        ready.append([known.calibrated(cell) for cell in cells])
        for cell in ready[-1]:
            patient = patients[cell.cell]
            counted = counted_cell(cell.cell, placed(cell, known.costs), len(cell.truth))
            judged[patient].append((counted, cell.copies))
            rates[patient] = known.rates
            right.append(cell.logits.argmax(axis=1) == cell.truth)
        print(f"fold {number}: judged", flush=True)
    return Judged(judged, rates), tuple(ready), tuple(learned), float(np.concatenate(right).mean())


@cache
def cells_of_box() -> pd.DataFrame:
    return pd.read_csv(HERE / "patient-cells.csv.gz", dtype={"cell": str, "patient": str}, keep_default_na=False)


def boxed() -> tuple[Judged, float]:
    """Pki-3 as the model in the box counts it, and the share right by itself."""
    judged: dict[str, list[tuple[CountedCell, np.ndarray]]] = defaultdict(list)
    rows = cells_of_box().query("set == 'Pki-3'")
    rates = measured_boxes()["box:G"]
    for row in rows.to_dict("records"):
        copies, true = (np.array([int(row[f"{what}_{label}"]) for label in CLASSES]) for what in ("placed", "true"))
        cell = CountedCell(row["cell"], int(true.sum()), copies, row["excluded"], np.full((24, 2), np.nan))
        judged[row["patient"]].append((cell, true))
    sizes = rows[[f"true_{label}" for label in CLASSES]].astype(int).sum(axis=1)
    return Judged(judged, dict.fromkeys(judged, rates)), float(np.average(rows["right"].astype(float), weights=sizes))


def true_changes(copies: np.ndarray) -> set[tuple[str, str]]:
    return {(unit, direction) for unit, direction in shown_changes(copies)}


def true_clones(cells: Sequence[tuple[CountedCell, np.ndarray]]) -> list[tuple[str, str, str]]:
    """(unit, direction, what) of the changes that enough cells have by their labels."""
    found: list[tuple[str, str, str]] = []
    for unit in UNITS:
        for direction in DIRECTIONS:
            have = [copies for _, copies in cells if (unit, direction) in true_changes(copies)]
            if unit == "sex":
                kinds = {("X" * int(one[SEX[0]]) + "Y" * int(one[SEX[1]])) for one in have}
                what = "/".join(sorted(kinds))
            else:
                what = f"three {unit}s" if direction == "gain" else f"one {unit}"
            if len(have) >= CLONE_CELLS[direction]:
                found.append((unit, direction, what))
    return found


def is_false(finding: Finding, cells: Sequence[tuple[CountedCell, np.ndarray]], needed: int) -> bool:
    """Whether fewer than ``needed`` of the patient's cells have what the finding says, by their labels."""
    have = sum((finding.unit, finding.direction) in true_changes(copies) for _, copies in cells)
    return have < needed


def said_of(verdict: PatientVerdict) -> str:
    clones = ", ".join(f"{one.name} in {len(one.cells)} of {one.usable}" for one in verdict.clones)
    other = ", ".join(f"{one.name} in {len(one.cells)}" for one in verdict.findings if one.kind != "clone")
    parts = [f"clone: {clones}" if clones else "no clone", f"besides {other}" if other else ""]
    parts.append(f"`{verdict.draft.text}`" if verdict.draft.text else f"no draft: {verdict.draft.why_none}")
    return "; ".join(part for part in parts if part)


def rate(hits: int, trials: int) -> str:
    low, high = clopper_pearson(hits, trials)
    return f"{hits} of {trials} ({hits / trials:.1%}; {low:.1%} to {high:.1%})"


def alarms(judged: Judged, verdicts: Mapping[str, PatientVerdict]) -> list[str]:
    """Rows of the table of false alarms."""
    several = {name: cells for name, cells in judged.patients.items() if len(cells) >= 2}
    cells = [(cell, copies) for members in several.values() for cell, copies in members if cell.usable]
    wrong_cells = sum(
        any(change not in true_changes(copies) for change in shown_changes(cell.copies)) for cell, copies in cells
    )
    before = ruled = passed = drafted = wrong = 0
    for name, members in several.items():
        verdict = verdicts[name]
        false = [one for one in verdict.findings if is_false(one, members, 1)]
        by_rule = [
            one
            for one in verdict.findings
            if len(one.cells) >= CLONE_CELLS[one.direction] and is_false(one, members, CLONE_CELLS[one.direction])
        ]
        before += bool(false)
        ruled += bool(by_rule)
        passed += any(one.kind == "clone" for one in by_rule)
        drafted += bool(verdict.draft.text)
        wrong += bool(verdict.draft.text) and (
            bool(verdict.clones) != bool(true_clones(members)) or any(one.kind == "clone" for one in by_rule)
        )
    return [
        f"cells with a change that they have not | {rate(wrong_cells, len(cells))}",
        f"patients with such a cell: before the clone rule | {rate(before, len(several))}",
        f"patients with a false clone by the rule alone | {rate(ruled, len(several))}",
        f"patients with a false clone, by the rule and above chance ({MOST_CHANCE:g}) | {rate(passed, len(several))}",
        f"patients with a draft | {rate(drafted, len(several))}",
        f"drafts that leave a clone out or have one too many | {rate(wrong, max(drafted, 1))}",
    ]


def section_real() -> list[str]:
    ways: dict[str, tuple[Judged, float]] = {}
    if PACK.is_file():
        judged, _, _, right = cross_validated()
        ways["folds by patient"] = (judged, right)
    ways["box:G"] = boxed()
    lines = [
        "## Real patients: Pki-3",
        "",
        "279 patients, of whom 104 have one cell here, 166 two and 9 three. By their labels the rule for",
        "gains fits 7, that for",
        "losses none. *folds by patient*: `tf_efficientnet_lite0` at 64 px, trained on drawn cells, then on",
        "BioImLab, then on Pki-3 (`studies/answer/5-best-p.yaml`), each patient judged by the one",
        "of five models that never saw them, with temperature, prices and rates of counts learned from",
        f"{LEARNED_FROM} cells of the other folds. *box:G*: the model in the box, trained on drawn cells",
        "alone, with the",
        "rates that were measured on this very set.",
        "",
        "| | " + " | ".join(ways) + " |",
        "|---|" + "---|" * len(ways),
    ]
    lines.append(
        "| chromosomes right by themselves | " + " | ".join(f"{right:.1%}" for _, right in ways.values()) + " |"
    )
    verdicts = {way: judged.verdicts() for way, (judged, _) in ways.items()}
    tables = [alarms(judged, verdicts[way]) for way, (judged, _) in ways.items()]
    for rows in zip(*tables, strict=True):
        lines.append(f"| {rows[0].split(' | ')[0]} | " + " | ".join(row.split(" | ")[1] for row in rows) + " |")
    lines += [
        "",
        "Denominators: the patients with two cells or more (175 in all), and their usable cells. Intervals:",
        "Clopper & Pearson.",
        "",
        "### The seven",
        "",
        "| patient | by the labels | " + " | ".join(ways) + " |",
        "|---|---|" + "---|" * len(ways),
    ]
    any_way = next(iter(ways.values()))[0]
    for name in sorted(any_way.patients):
        true = true_clones(any_way.patients[name])
        if true:
            what = ", ".join(one[2] for one in true)
            said = " | ".join(said_of(verdicts[way][name]) for way in ways)
            lines.append(f"| {name} | {what}, {len(any_way.patients[name])} cells | {said} |")
    lines += [
        "",
        "The false clone of *folds by patient* is 97002570: 7 gained in both cells, and 3 lost in both. Each cell",
        "holds 46 chromosomes: two labelled 2, of 125 and 84 and of 123 and 83 pixels along the axis, and two",
        "labelled 3, of 110 and 152 and of 116 and 148. A 2 and a 3 seem to have exchanged parts, and the short 2 is",
        "taken for a 7. Counts do not show such a change. No draft is written where the same cells gain one and lose",
        "another.",
        "",
        *together(ways),
    ]
    return lines


def together(ways: Mapping[str, tuple[Judged, float]]) -> list[str]:
    """Whether false alarms of a patient's two cells go together, which the interval and the chance do not allow for."""
    lines = []
    for way, (judged, _) in ways.items():
        both, expected, pairs = 0, 0.0, 0
        share: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for cells in judged.patients.values():
            for cell, copies in cells:
                false = set(shown_changes(cell.copies)) - true_changes(copies)
                for unit in UNITS:
                    for direction in DIRECTIONS:
                        share[unit, direction].append((unit, direction) in false)
        for cells in judged.patients.values():
            if len(cells) >= 2:
                pairs += 1
                shown = [set(shown_changes(cell.copies)) - true_changes(copies) for cell, copies in cells[:2]]
                both += len(shown[0] & shown[1])
                expected += sum(float(np.mean(said)) ** 2 for said in share.values())
        lines.append(
            f"- *{way}*: the same false change in both of a patient's first two cells {both} times in {pairs} "
            "patients; "
            f"were cells independent, {expected:.1f} times."
        )
    return ["Cells of one patient share preparation and heteromorphisms, and so errors:", "", *lines]


# --- Simulation at the level of counts -------------------------------------------------------------------------------


def reference() -> tuple[CountRates, str]:
    """The rates that stand for a classifier as good as ours."""
    if PACK.is_file():
        _, ready, learned, _ = cross_validated()
        tables = [measure_rates(cells, known.costs, 3) for cells, known in zip(ready, learned, strict=True)]
        total = [sum(getattr(one, name) for one in tables) for name in ("found", "planted", "alarms", "cells")]
        return CountRates(*total), "the models of the folds by patient on the cells they never saw"
    return measured_boxes()["box:G"], "box:G"


def simulated_counts(rates: CountRates, replicates: int = 80, usable: int = 20) -> list[str]:
    """Coverage and width of the interval, with the true rates of each class drawn from what was measured."""
    generator = np.random.default_rng(7)
    shares = (0.0, *MOSAICS, 1.0)
    held: dict[tuple[str, float], list[float]] = defaultdict(list)
    widths: dict[tuple[str, float], list[float]] = defaultdict(list)
    plain_held: dict[tuple[str, float], list[float]] = defaultdict(list)
    for _ in range(replicates):
        unit = AUTOSOMES[int(generator.integers(len(AUTOSOMES)))]
        for direction in DIRECTIONS:
            true = [
                float(generator.beta(one.hits, one.trials - one.hits))
                for one in (rates.sensitivity(unit, direction), rates.false_alarms(unit, direction))
            ]
            measured = remeasured(rates, unit, direction, true, generator)
            there, invented = measured.sensitivity(unit, direction), measured.false_alarms(unit, direction)
            limits = [melded_interval(hits, usable, there, invented) for hits in range(usable + 1)]
            plains = [clopper_pearson(hits, usable) for hits in range(usable + 1)]
            for share in shares:
                chances = binom.pmf(np.arange(usable + 1), usable, share * true[0] + (1 - share) * true[1])
                covered = np.array([low - 1e-9 <= share <= high + 1e-9 for low, high in limits])
                held[direction, share].append(float(chances @ covered))
                covered = np.array([low - 1e-9 <= share <= high + 1e-9 for low, high in plains])
                plain_held[direction, share].append(float(chances @ covered))
                hits = int(generator.choice(usable + 1, p=chances / chances.sum()))
                widths[direction, share].append(
                    (limits[hits][1] - limits[hits][0]) / (plains[hits][1] - plains[hits][0])
                )
    lines = [
        "| share of the cells | " + " | ".join(f"{share:.0%}" for share in shares) + " |",
        "|---|" + "--:|" * len(shares),
    ]
    for direction in DIRECTIONS:
        for title, table, form in (
            (f"{direction}: coverage", held, "{:.1%}"),
            (f"{direction}: coverage of the plain interval", plain_held, "{:.1%}"),
            (f"{direction}: median width over the plain one's", widths, "{:.2f}"),
        ):
            middle = np.median if "width" in title else np.mean
            values = [form.format(float(middle(table[direction, share]))) for share in shares]
            lines.append(f"| {title} | " + " | ".join(values) + " |")
    return lines


def remeasured(
    rates: CountRates, unit: str, direction: str, true: Sequence[float], generator: np.random.Generator
) -> CountRates:
    """``rates`` with those of one unit measured anew on as many trials as a laboratory of 120 cells would have."""
    row, column = UNITS.index(unit), DIRECTIONS.index(direction)
    scale = LEARNED_FROM / float(rates.cells[row, column])
    tables: dict[str, np.ndarray] = {}
    for hits, trials in (("found", "planted"), ("alarms", "cells")):
        whole = np.maximum(np.round(getattr(rates, trials) * scale), 1).astype(np.int64)
        share = getattr(rates, hits) / np.maximum(getattr(rates, trials), 1)
        drawn = generator.binomial(whole, np.clip(share, 0, 1))
        drawn[row, column] = generator.binomial(whole[row, column], true[0 if hits == "found" else 1])
        tables |= {hits: drawn, trials: whole}
    return CountRates(tables["found"], tables["planted"], tables["alarms"], tables["cells"])


def power(rates: CountRates) -> list[str]:
    """How often a mosaic is called a clone, by cells."""
    numbers = (2, 5, 10, 20, 30, 50)
    lines = [
        "| | " + " | ".join(f"{count} cells" for count in numbers) + " |",
        "|---|" + "--:|" * len(numbers),
    ]
    for direction in DIRECTIONS:
        for share in (*MOSAICS, 1.0):
            values = []
            for count in numbers:
                found = []
                for unit in AUTOSOMES:
                    there = rates.sensitivity(unit, direction).value
                    alarm = rates.false_alarms(unit, direction)
                    least = needed_cells(count, direction, alarm)
                    found.append(binom.sf(least - 1, count, share * there + (1 - share) * alarm.value))
                values.append(f"{float(np.mean(found)):.0%}")
            lines.append(f"| {direction} in {share:.0%} of the cells | " + " | ".join(values) + " |")
    return lines


def needed_cells(count: int, direction: str, alarm: Any) -> int:
    """The fewest of ``count`` cells that are called a clone."""
    least: int = CLONE_CELLS[direction]  # type: ignore[index]
    while least <= count and chance_of(least, count, alarm) > MOST_CHANCE:
        least += 1
    return least


def false_clones(rates: CountRates) -> list[str]:
    """False clones among 1,000 normal patients of 20 cells, from the rates of each class."""
    lines = [
        "| cells | any cell with a false change | by the rule alone | by the rule and above chance |",
        "|---|--:|--:|--:|",
    ]
    for count in (2, 10, 20, 30):
        chances: list[list[float]] = [[], [], []]
        for unit in UNITS:
            for direction in DIRECTIONS:
                alarm = rates.false_alarms(unit, direction)
                for place, least in enumerate((1, CLONE_CELLS[direction], needed_cells(count, direction, alarm))):
                    chances[place].append(float(binom.sf(least - 1, count, alarm.value)))
        values = [1000 * (1 - float(np.prod(1 - np.array(one)))) for one in chances]
        lines.append(f"| {count} | " + " | ".join(f"{value:.1f}" for value in values) + " |")
    return lines


# --- Simulation with real and with drawn cells -----------------------------------------------------------------------


def pools() -> dict[str, tuple[list[CellLogits], CountCosts]]:
    """Normal cells to put patients together from, with what they are judged with."""
    found = {}
    if PACK.is_file():
        _, ready, learned, _ = cross_validated()
        cells = [cell for fold in ready for cell in fold]
        found["real cells (Pki-3, folds by patient)"] = (cells, learned[0].costs)
    stored = np.load(HERE / "patient-drawn.npz")
    ends = np.cumsum(stored["sizes"])
    parts = zip(np.split(stored["logits"], ends[:-1]), np.split(stored["truth"], ends[:-1]), strict=True)
    cells = [
        CellLogits(f"d{number}", logits.astype(np.float64), truth.astype(np.int64))
        for number, (logits, truth) in enumerate(parts)
    ]
    from bandbridge.boxes import at_home
    from bandbridge.predict.confidence import read_confidence

    confidence = read_confidence(at_home(Path("box:G")))
    assert confidence is not None
    found["drawn cells (box:G)"] = (cells, confidence.costs())
    return found


def put_together(patients: int = 15, usable: int = 20, lost: float = 0.05) -> list[str]:
    """Patients of 20 normal cells of one sex, mosaic or not; ``lost``: share of cells that lost one chromosome."""
    lines = [
        "| cells of | share | patients | interval holds it | median width over the plain one's | called a clone | "
        "other clones |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for title, (cells, costs) in pools().items():
        generator = np.random.default_rng(11)
        normal = [cell for cell in cells if not shown_changes(cell.copies)]
        order = generator.permutation(len(normal))
        half = [normal[place] for place in order[: len(normal) // 2]]
        rest = [normal[place] for place in order[len(normal) // 2 :]]
        rates = measure_rates(half, costs, 5)
        rates = with_losses(rates, lost)
        for share in (0.0, 0.05, 0.1, 0.25, 0.5):
            count = 2 * patients if share == 0 else patients
            held, widths, called, others = [], [], 0, 0
            for _ in range(count):
                unit = AUTOSOMES[int(generator.integers(len(AUTOSOMES)))]
                direction = DIRECTIONS[int(generator.integers(2))]
                shown, verdict = patient_of(rest, costs, rates, (unit, direction, share, lost), usable, generator)
                mine = [one for one in verdict.clones if (one.unit, one.direction) == (unit, direction)]
                called += bool(mine) and share > 0
                others += len(verdict.clones) > (len(mine) if share > 0 else 0)
                args = rates.sensitivity(unit, direction), rates.false_alarms(unit, direction)
                low, high = melded_interval(shown, usable, *args)
                plain = clopper_pearson(shown, usable)
                held.append(low <= share <= high)
                widths.append((high - low) / (plain[1] - plain[0]))
            text = rate(called, count) if share else "-"
            lines.append(
                f"| {title} | {share:.0%} | {count} | {rate(sum(held), count)} | {np.median(widths):.2f} | {text} | "
                f"{rate(others, count)} |"
            )
        print(f"{title}: put together", flush=True)
    return lines


def with_losses(rates: CountRates, lost: float) -> CountRates:
    """``rates`` of cells of which a share ``lost`` has also lost a chromosome at random, as the patients here have."""
    extra = np.zeros_like(rates.alarms)
    extra[:, 1] = np.round(
        rates.cells[:, 1] * lost / len(CLASSES) * rates.found[:, 1] / np.maximum(rates.planted[:, 1], 1)
    )
    return CountRates(rates.found, rates.planted, np.minimum(rates.alarms + extra, rates.cells), rates.cells)


def patient_of(
    cells: Sequence[CellLogits],
    costs: CountCosts,
    rates: CountRates,
    plan: tuple[str, str, float, float],
    usable: int,
    generator: np.random.Generator,
) -> tuple[int, PatientVerdict]:
    """How many cells of a patient that is put together show the change, and the verdict."""
    unit, direction, share, lost = plan
    sex = "XX" if generator.random() < 0.5 else "XY"
    same = [one for one in cells if one.copies[SEX[1]] == sex.count("Y")] or list(cells)
    chosen = generator.choice(len(same), usable, replace=len(same) < usable)
    counted = []
    for place, number in enumerate(chosen):
        changes: dict[int, int] = {}
        if generator.random() < share:
            changes[CLASS_INDEX[unit]] = 1 if direction == "gain" else -1
        if generator.random() < lost:
            gone = int(generator.integers(len(AUTOSOMES)))
            if gone not in changes:
                changes[gone] = -1
        cell = perturb_cell(same[number], changes, same, generator) if changes else same[number]
        counted.append(counted_cell(f"c{place}", placed(cell, costs), len(cell.truth)))
    verdict = judge("P", counted, rates)
    shown = sum(cell.shows(unit, direction) for cell in counted)  # type: ignore[arg-type]
    return shown, verdict


# --- The page --------------------------------------------------------------------------------------------------------


def shares_of(rates: CountRates) -> str:
    found = rates.found[:-1].sum(axis=0) / rates.planted[:-1].sum(axis=0)
    false = rates.alarms[:-1].sum(axis=0) / rates.cells[:-1].sum(axis=0)
    return (
        f"{found[0]:.0%} of gains and {found[1]:.0%} of losses of an autosome found; {false[0]:.2%} of normal "
        "autosomes "
        f"with a false gain, {false[1]:.2%} with a loss, false or random"
    )


def excluded_table() -> list[str]:
    lines = ["| cells | in one cell | a gain in two | a loss in three |", "|--:|--:|--:|--:|"]
    for count in (5, 10, 20, 30, 50, 100):
        values = [least_shown(count, needed) for needed in (1, 2, 3)]
        lines.append(f"| {count} | " + " | ".join(f"{value:.1%}" for value in values) + " |")
    return lines


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description="Write docs/results/patient.md.").parse_args()
    rates, whose = reference()
    real = section_real()
    text = [
        "# What is said of a patient",
        "",
        "A laboratory answers for a patient: a clone is the same gain in two cells or the same loss in",
        "three. This page",
        "says what `bandbridge predict --patients` makes of real patients and of simulated ones; how to use it is in",
        "[patients](../how-to/patients.md). Everything here is written by one program from the files beside it.",
        "",
        "<!-- not run: minutes; the second line trains for hours, the third takes the real sets and an hour -->",
        "```console",
        "$ python docs/results/patient.py",
        "$ bandbridge study run studies/answer/5-best-p.yaml --data-dir DATA --weights-dir WEIGHTS",
        "$ python docs/results/patient_measure.py --data-dir DATA",
        "```",
        "",
        *real,
        "",
        "## From metaphases: the amniotic fields",
        "",
        "89 G-band fields of 70 cases (CIL 54816), 4,092 chromosomes with box and class. `bandbridge cut`",
        "divides them without a hand, and a model that saw none of the case's cells places the pieces:",
        "*box:G*, trained on drawn cells; *Pki-3*, one of the models of the folds by patient above",
        "(fold 0); *other cases*, `tf_efficientnet_lite0` trained on drawn",
        "cells and then on the pieces of four fifths of these cases that match a box",
        "(`studies/patient-fields.yaml`); its temperature and prices of counts were measured on the pieces of",
        "the fifth that it judges. A piece matches a box at IoU 0.5. Cells are left out whose counts deviate in",
        "more classes than those of any cell that the model was measured on. Of cut cells no rates of counts",
        "are known, so a clone is one by the rule alone, and no draft is written. The fields were cut by an",
        "earlier separator; that of now finds 90.6% of the boxes of those that report, in place of 86.7%",
        "([sheets and metaphases](intake.md#metaphases)).",
        "",
        "<!-- not run: the collection, and trainings -->",
        "```console",
        "$ python docs/results/patient_fields.py label --spreads SPREADS --cut CUT --to DATA/cil",
        "$ bandbridge study run studies/patient-fields.yaml --data-dir DATA --weights-dir WEIGHTS --runs RUNS",
        "$ python docs/results/patient_fields.py judge --spreads SPREADS --cut CUT --runs RUNS --pki3 MODEL",
        "```",
        "",
        *fields_section(),
        "",
        "Few of the real changes, or none, are found as clones without a hand, and some clones are said that no cell",
        "has: an eighth of the chromosomes has no piece of its own, and a loss or a doubled piece looks like a change.",
        "Cuts want a person first (the review page), which is why no draft is written of them. *other cases* was",
        "trained on pieces that an earlier build cut (83.6% right).",
        "",
        "## How often counts are right",
        "",
        "Measured by planting: a chromosome of one cell added to another, or one taken away.",
        "",
        f"- {whose}: {shares_of(rates)}.",
        *(f"- {name}, on {one.source}: {shares_of(one)}." for name, one in measured_boxes().items()),
        "",
        "## The share of the cells, simulated",
        "",
        f"A classifier as good as {whose}. In each of 80 rounds an autosome's true rates are drawn from what was",
        f"measured of it, measured anew on {LEARNED_FROM} cells, and 20 cells are counted. Coverage is exact given the",
        "rates. Wanted: 95% at least, and",
        "a median width of at most 1.5 times Clopper and Pearson's, which allows for no error of the counts.",
        "",
        *simulated_counts(rates),
        "",
        "How often a mosaic is called a clone (rule and chance), mean over the autosomes, by the same rates:",
        "",
        *power(rates),
        "",
        "Normal patients in 1,000 with a false clone, were cells independent:",
        "",
        *false_clones(rates),
        "",
        "## Patients put together from single cells",
        "",
        "20 normal cells of one sex, of different patients; a chromosome is planted into, or taken from, a",
        "share of them, and",
        "5% of all cells lose one",
        "at random. Rates are measured on one half of the cells, patients put together from the other.",
        "",
        *put_together(),
        "",
        "## What cannot be excluded",
        "",
        "The smallest mosaic that shows 19 times in 20, no change being missed (the first column is Hook's, 1977):",
        "",
        *excluded_table(),
        "",
        "## Grades of cells",
        "",
        *grades_section(cells_of_box(), {"BioImLab": HERE / "packs" / "5-best-q.zip", "Pki-3": PACK}),
    ]
    write_text(PAGE, "\n".join(text) + "\n")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
