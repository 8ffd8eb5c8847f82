"""From metaphases to what is said of patients: the amniotic G-band fields (set cil), told in docs/results/patient.md.

    bandbridge cut FIELDS CUT
    python docs/results/patient_fields.py label --spreads SPREADS --cut CUT --to DATA/cil
    bandbridge study run studies/patient-fields.yaml --data-dir DATA --runs RUNS
    python docs/results/patient_fields.py judge --spreads SPREADS --cut CUT --runs RUNS --pki3 MODEL

FIELDS: the pictures of the set, nothing else. MODEL: a classifier trained on Pki-3, exported. ``label`` makes a set of
the pieces that match a box of known class. ``judge`` writes ``patient-fields.csv.gz`` (a row for each cell) and
``patient-fields-cases.csv`` (a row for each case), of which docs/results/patient.py tells.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

import bandbridge as bb
from bandbridge.evaluation.count_rates import shown_changes
from bandbridge.files import csv_text, replacing, write_text
from bandbridge.karyotype import CLASS_INDEX, CLASSES
from bandbridge.patient.cells import CountedCell
from bandbridge.patient.verdict import judge_patients
from bandbridge.predict.intake import hand_over

HERE = Path(__file__).resolve().parent
CELLS, CASES = HERE / "patient-fields.csv.gz", HERE / "patient-fields-cases.csv"
#: A piece is a chromosome if its box overlaps that of the truth by so much.
IOU = 0.5
_SIDES = ["x0", "y0", "x1", "y1"]


def cases_of(spreads: Path) -> dict[str, str]:
    """Return the case of each field of the set, by the name of its cell."""
    table = pd.read_csv(spreads / "manifest.csv", keep_default_na=False).query("set == 'cil'")
    return {Path(row.file).stem: row.group.removeprefix("cil case ").removesuffix("d") for row in table.itertuples()}


def matched(spreads: Path, cut: Path) -> pd.DataFrame:
    """Return a row for each box of known class: cell, label, and the piece that matches it one to one, "" for none."""
    boxes = pd.read_csv(spreads / "boxes.csv", dtype={"class": str})
    boxes = boxes.assign(cell=boxes.file.map(lambda name: Path(name).stem))
    pieces = pd.read_csv(cut / "pieces.csv", keep_default_na=False)
    return pd.concat([_of_cell(boxes[boxes.cell == cell], pieces[pieces.cell == cell]) for cell in cases_of(spreads)])


def _of_cell(boxes: pd.DataFrame, pieces: pd.DataFrame) -> pd.DataFrame:
    known, found = (table[_SIDES].to_numpy(float) for table in (boxes, pieces))
    low = np.maximum(known[:, None, :2], found[None, :, :2])
    high = np.minimum(known[:, None, 2:], found[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(one[:, 2:] - one[:, :2]).prod(axis=1) for one in (known, found)]
    overlap = shared / (areas[0][:, None] + areas[1] - shared)
    files = np.full(len(boxes), "", dtype=object)
    for box, piece in zip(*linear_sum_assignment(-overlap), strict=True):
        if overlap[box, piece] >= IOU:
            files[box] = pieces.file_name.iloc[piece]
    return pd.DataFrame({"cell": boxes["cell"].to_numpy(), "label": boxes["class"].to_numpy(), "file_name": files})


def label(spreads: Path, cut: Path, destination: Path) -> None:
    """Write the pieces of known class as a set, its patients the cases."""
    table, cases = matched(spreads, cut), cases_of(spreads)
    table = table[table.file_name != ""]
    for name in table.file_name:
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cut / name, destination / name)
    table = table.assign(patient=table.cell.map(cases), stain="G")
    write_text(destination / "metadata.csv", csv_text(table[["file_name", "label", "cell", "patient", "stain"]]))
    print(f"{len(table)} chromosomes of {table.cell.nunique()} cells")


def models_of(runs: Path, pki3: Path, cases: dict[str, str]) -> Iterator[tuple[str, bb.Model, list[str]]]:
    """Yield who judges, with what, and which cells: none of them was seen by whoever judges it."""
    everything = list(cases)
    yield "box:G", bb.load_model("box:G"), everything
    yield "Pki-3", bb.load_model(pki3), everything
    for place in sorted((runs / "C" / "tf_efficientnet_lite0").glob("*/fold*")):
        held = set(pd.read_parquet(place / "predictions.parquet")["cell"])
        yield "other cases", bb.load_model(place), [cell for cell in everything if cell in held]


def judge(spreads: Path, cut: Path, runs: Path, pki3: Path) -> None:
    """Judge all cells and cases."""
    table, cases = matched(spreads, cut), cases_of(spreads)
    handed = hand_over(cut)
    cells: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for who, model, mine in models_of(runs, pki3, cases):
        result = model.predict([one for one in handed if one.cell in set(mine)], keep_images=False)
        for sheet in result.sheets:
            cells.append(_row(who, sheet, table[table.cell == sheet.name], cases[sheet.name]))
        # How often counts of cells are right that were cut by a program is not known to any model.
        verdicts = judge_patients(result.sheets, {cell: cases[cell] for cell in mine}, None)
        said += [
            {
                "model": who,
                "case": one.patient,
                "usable": len(one.usable),
                "clones": "; ".join(f"{found.name} in {len(found.cells)}" for found in one.clones),
                "others": "; ".join(
                    f"{found.name} in {len(found.cells)}" for found in one.findings if found.kind != "clone"
                ),
            }
            for one in verdicts
        ]
        print(f"{who}: {len(mine)} cells judged", flush=True)
    with replacing(CELLS) as temporary:
        temporary.write_bytes(gzip.compress(csv_text(pd.DataFrame(cells)).encode(), mtime=0))
    write_text(CASES, csv_text(pd.DataFrame(said).sort_values(["model", "case"], kind="stable")))


def _row(who: str, sheet: Any, truth: pd.DataFrame, case: str) -> dict[str, Any]:
    counted = CountedCell.of(sheet)
    given = {one.file: one for one in sheet.chromosomes}
    found = [
        (given[name.removeprefix("images/")], label)
        for name, label in zip(truth.file_name, truth.label, strict=True)
        if name
    ]
    row: dict[str, Any] = {"model": who, "case": case, "cell": sheet.name, "pieces": len(sheet.chromosomes)}
    row |= {"boxes": len(truth), "cut": len(found), "placed": sum(one.placed == label for one, label in found)}
    row |= {"alone": sum(one.predicted == label for one, label in found), "excluded": counted.excluded}
    true = np.bincount([CLASS_INDEX[label] for label in truth.label], minlength=len(CLASSES))
    row |= {"has": _changes(true), "shows": _changes(counted.copies)}
    return row


def _changes(copies: np.ndarray) -> str:
    return "; ".join(f"{unit} {direction}" for unit, direction in sorted(shown_changes(copies)))


def section() -> list[str]:
    """Return the lines of the page, from what ``judge`` wrote."""
    cells = pd.read_csv(CELLS, dtype={"case": str}, keep_default_na=False)
    cases = pd.read_csv(CASES, dtype={"case": str}, keep_default_na=False)
    ways = list(dict.fromkeys(cells.model))
    rows = [_scores(cells[cells.model == way], cases[cases.model == way]) for way in ways]
    true = _true(cells[cells.model == ways[0]])
    named = [case for case, changes in true.items() if any(changes.values())]
    lines = [f"| | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    lines += [f"| {name} | {' | '.join(row[name] for row in rows)} |" for name in rows[0]]
    lines += ["", "The cases whose cells have a change by their boxes:", ""]
    lines += [f"| case | cells with it, by the boxes | {' | '.join(ways)} |", "|---|---|" + "---|" * len(ways)]
    for case in named:
        of_case = {way: cells[(cells.model == way) & (cells.case == case)] for way in ways}
        what = ", ".join(
            f"{change} in {hits} of {len(of_case[ways[0]])}" for change, hits in true[case].items() if hits
        )
        said = [_said(of_case[way], cases[(cases.model == way) & (cases.case == case)].iloc[0]) for way in ways]
        lines.append(f"| {case} | {what} | {' | '.join(said)} |")
    return lines


def _true(cells: pd.DataFrame) -> dict[str, dict[str, int]]:
    """The changes of each case by its boxes, and in how many of its cells."""
    found: dict[str, dict[str, int]] = {}
    for row in cells.itertuples():
        changes = found.setdefault(row.case, {})
        for change in filter(None, row.has.split("; ")):
            changes[change] = changes.get(change, 0) + 1
    return found


def _said(cells: pd.DataFrame, case: Any) -> str:
    usable = cells[cells.excluded == ""]
    shown = "; ".join(one for one in (case.clones and f"clone: {case.clones}", case.others) if one)
    return f"{len(usable)} of {len(cells)} usable{f': {shown}' if shown else ''}"


def _scores(cells: pd.DataFrame, cases: pd.DataFrame) -> dict[str, str]:
    boxes, cut = cells.boxes.sum(), cells.cut.sum()
    usable = cells[cells.excluded == ""]
    right = [
        set(filter(None, row.shows.split("; "))) == set(filter(None, row.has.split("; ")))
        for row in usable.itertuples()
    ]
    true = _true(cells)
    false = hits = 0
    for row in cases.itertuples():
        for one in filter(None, row.clones.split("; ")):
            name = _as_change(one.rpartition(" in ")[0])
            false, hits = false + (not true[row.case].get(name)), hits + bool(true[row.case].get(name))
    return {
        "chromosomes cut right": f"{cut / boxes:.1%} of {boxes:,}",
        "of those, placed right": f"{cells.placed.sum() / cut:.1%}",
        "of those, right by themselves": f"{cells.alone.sum() / cut:.1%}",
        "cut and placed right": f"{cells.placed.sum() / boxes:.1%}",
        "cells that can be counted": f"{len(usable)} of {len(cells)}",
        "of those, with the changes that they have and no others": f"{sum(right)} of {len(usable)}",
        "cases with a cell that can be counted": f"{usable.case.nunique()} of {cells.case.nunique()}",
        "clones said that a cell of the case has": str(hits),
        "clones said that none has": str(false),
    }


def _as_change(name: str) -> str:
    """A finding's name as a change of the boxes: "21 gained" as "21 gain", a constitution as one of the sex."""
    for ending, way in ((" gained", "gain"), (" lost", "loss")):
        if name.endswith(ending):
            return f"{name.removesuffix(ending)} {way}"
    return f"sex {'loss' if len(name) < 2 else 'gain'}"


def main() -> None:
    """Label or judge."""
    parser = argparse.ArgumentParser(description="From metaphases to what is said of patients.")
    parser.add_argument("step", choices=["label", "judge"])
    parser.add_argument("--spreads", type=Path, required=True)
    parser.add_argument("--cut", type=Path, required=True)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--pki3", type=Path)
    arguments = parser.parse_args()
    if arguments.step == "label":
        label(arguments.spreads, arguments.cut, arguments.to)
    else:
        judge(arguments.spreads, arguments.cut, arguments.runs, arguments.pki3)


if __name__ == "__main__":
    main()
