"""What a model is worth on labelled cells it was not trained on: every number with its interval.

Of each chromosome there are two answers: the likeliest class of its image by itself, and the class it was placed in
when its whole cell was. Intervals (:mod:`bandbridge.evaluation.cluster_intervals`) are over whole patients, cells or
images. They speak of further cells like these, and of a model that was neither trained on them nor chosen by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bandbridge.dataset.census import require_one_patient
from bandbridge.dataset.findings import counted
from bandbridge.errors import ManyErrors, UserError, first_few
from bandbridge.evaluation.calibration import reliability
from bandbridge.evaluation.cluster_intervals import (
    FEWEST_TELLING,
    FEWEST_UNITS,
    Estimate,
    Units,
    estimate_calibration_error,
    estimate_macro_f1,
    estimate_mean,
)
from bandbridge.evaluation.crossfit import true_deviations
from bandbridge.evaluation.pooled import Unit, grouping_unit
from bandbridge.evaluation.worth import Evaluation
from bandbridge.files import content_hash
from bandbridge.karyotype import CLASS_INDEX, CLASSES, SEX_CHROMOSOMES

__all__ = ["COLUMNS", "FINDING_COLUMNS", "Estimate", "Evaluation", "evaluate_predictions"]

COLUMNS = ("image", "cell", "patient", "label", "by_itself", "placed", "in_cell", "flagged", "covered", "set_size")
FINDING_COLUMNS = ("cell", "label", "copies", "expected", "log_odds")


def evaluate_predictions(
    rows: pd.DataFrame,
    probabilities: np.ndarray,
    classes: Sequence[str],
    findings: pd.DataFrame | None = None,
    *,
    notes: Sequence[str] = (),
    own: Mapping[str, float] | None = None,
    generator: np.random.Generator | None = None,
) -> Evaluation:
    """Measure predictions for labelled images.

    ``rows`` has one row for each of N images, with :data:`COLUMNS`: image, cell, patient (texts, the latter two ""
    where unknown), label (the truth), by_itself (the likeliest class), placed (the class it ends up in, "" for no
    place; by_itself where its cell was not placed as a whole), in_cell (bool: whether it was), flagged (bool), covered
    (bool: whether the truth is in its prediction set, NA without sets) and set_size. ``probabilities`` is float64
    [N, K] in the order of ``classes``.

    ``findings`` has one row for each unusual count named in a cell placed as a whole, with :data:`FINDING_COLUMNS`: the
    name of the :class:`~bandbridge.karyogram.sheet.CellSheet` and the fields of its
    :class:`~bandbridge.karyogram.sheet.CountFinding`. Empty: nothing was found. None: nothing was looked for. The true
    counts are those of the labels; a chromosome that is not among ``rows`` counts as missing from its cell.

    ``own`` is as :class:`Evaluation` has it. ``notes`` come before those made here. ``generator`` resamples for the
    calibration error; by default it follows from the predictions, so that the same ones give the same numbers, in
    whatever order.

    Raises :class:`UserError` for no rows, labels that are none of ``classes`` and cells of two patients,
    :class:`ValueError` for tables that do not fit together.
    """
    classes, probabilities = tuple(classes), np.asarray(probabilities, dtype=np.float64)
    _check(rows, probabilities, classes, findings)
    order = np.argsort(rows["image"].to_numpy(dtype=str), kind="stable")
    rows, probabilities = rows.iloc[order].reset_index(drop=True), probabilities[order]
    if generator is None:
        seed = content_hash([rows[name].tolist() for name in ("image", "label", "by_itself", "placed")])
        generator = np.random.default_rng(int(seed[:16], 16))
    unit = grouping_unit(rows)
    sample = Units.named(rows[unit])
    truth, alone, placed = (_indices(rows[name], classes) for name in ("label", "by_itself", "placed"))
    whole, flagged = (rows[name].to_numpy(dtype=bool) for name in ("in_cell", "flagged"))
    every, wrong = np.ones(len(rows), dtype=bool), placed != truth
    counts, counts_alone, counts_placed = (
        sample.class_counts(truth, guess, len(classes), among)
        for guess, among in ((alone, every), (alone, whole), (placed, whole))
    )
    cells = _cells(rows, alone != truth, wrong)
    return Evaluation(
        images=len(rows),
        cells=len(cells),
        patients=rows["patient"].replace("", None).nunique(),
        unit=unit,
        units=sample.count,
        accuracy=sample.share(alone == truth, every),
        macro_f1=estimate_macro_f1(counts),
        in_cell_accuracy_by_itself=sample.share(alone == truth, whole),
        in_cell_accuracy=sample.share(~wrong, whole),
        in_cell_macro_f1_by_itself=estimate_macro_f1(counts_alone),
        in_cell_macro_f1=estimate_macro_f1(counts_placed),
        flagged=sample.share(flagged, every),
        error_unflagged=sample.share(wrong, ~flagged),
        errors_flagged=sample.share(flagged, wrong),
        per_class=_per_class(classes, truth, alone, counts.sum(axis=0), counts_placed.sum(axis=0)),
        worst_cells=cells.drop(columns="whole"),
        **_whole_cells(cells, unit, rows, truth, classes, findings),
        **_calibration(sample, probabilities, truth, generator),
        **_sets(sample, rows),
        notes=(*notes, *_notes(sample, unit, rows, classes, alone == truth)),
        own=own or {},
    )


def _whole_cells(
    cells: pd.DataFrame,
    unit: Unit,
    rows: pd.DataFrame,
    truth: np.ndarray,
    classes: tuple[str, ...],
    findings: pd.DataFrame | None,
) -> dict[str, Estimate]:
    """What came of the cells placed as a whole: those without an error, and unusual counts by :func:`_judged`."""
    sample = Units.named(cells["patient" if unit == "patient" else "cell"])
    whole = cells["whole"].to_numpy(dtype=bool)
    found = {
        "cells_right_by_itself": sample.share(cells["wrong_by_itself"].to_numpy() == 0, whole),
        "cells_right": sample.share(cells["wrong_in_cell"].fillna(1).to_numpy() == 0, whole),
    }
    names_of_counts = ("false_alarms", "false_alarms_suspected", "abnormal_found", "abnormal_found_suspected")
    if findings is None or classes != CLASSES:
        return found | {name: Estimate() for name in names_of_counts}
    copies = np.zeros((len(cells), len(classes)), dtype=np.int64)
    place = pd.Index(cells["cell"]).get_indexer(pd.Index(rows["cell"]))
    np.add.at(copies, (place[place >= 0], truth[place >= 0]), 1)
    named = dict(tuple(findings.groupby("cell")))
    judged = [_judged(one, named.get(cell)) for cell, one in zip(cells["cell"], copies, strict=True)]
    abnormal, *said = np.array(judged, dtype=bool).reshape(-1, 5).T
    cases = (~abnormal & whole, ~abnormal & whole, abnormal & whole, abnormal & whole)
    return found | {
        name: sample.share(hits, among) for name, hits, among in zip(names_of_counts, said, cases, strict=True)
    }


def _judged(copies: np.ndarray, named: pd.DataFrame | None) -> tuple[bool, bool, bool, bool, bool]:
    """Whether a cell with ``copies`` int64 [24] is abnormal, and whether anything was reported, anything named at all,
    something reported that is so, something named that is so. What is reported has evidence above 0.

    So is what deviates in this class and direction; of the sex chromosomes it is enough that either deviates, as
    :func:`bandbridge.evaluation.crossfit.judge_cell` has it.
    """
    deviations = true_deviations(copies)
    if named is None:
        return bool(deviations), False, False, False, False
    index = named["label"].map(CLASS_INDEX).to_numpy(dtype=np.int64)
    steps = np.array([deviations.get(int(one), 0) for one in index])
    so = steps * (named["copies"] - named["expected"]).to_numpy() > 0
    sex = [CLASS_INDEX[name] for name in SEX_CHROMOSOMES]
    so = np.where(np.isin(index, sex), any(one in deviations for one in sex), so)
    reported = named["log_odds"].to_numpy() > 0
    return bool(deviations), bool(reported.any()), True, bool((reported & so).any()), bool(so.any())


def _calibration(
    sample: Units, probabilities: np.ndarray, truth: np.ndarray, generator: np.random.Generator
) -> dict[str, Estimate]:
    """Expected calibration error, and mean confidence minus accuracy, of images by themselves."""
    edges = reliability(probabilities, truth).edges
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    every, bins = np.ones(len(truth), dtype=bool), len(edges) - 1
    place = np.searchsorted(edges[1:-1], sure, side="left")
    excess = np.bincount(sample.of * bins + place, right - sure, sample.count * bins).reshape(-1, bins)
    sizes, telling = sample.totals(every, every), sample.telling(right, every)
    return {
        "calibration_error": estimate_calibration_error(excess, sizes, telling, generator),
        "overconfidence": estimate_mean(-excess.sum(axis=1), sizes, telling),
    }


def _sets(sample: Units, rows: pd.DataFrame) -> dict[str, Estimate]:
    """How many prediction sets hold the true class, and how many classes are in a set."""
    known = rows["covered"].notna().to_numpy()
    if not known.any():
        return {"set_coverage": Estimate(), "set_size": Estimate()}
    covered, size = np.zeros(len(rows), dtype=bool), np.zeros(len(rows))
    covered[known] = rows.loc[known, "covered"].to_numpy(dtype=bool)
    size[known] = rows.loc[known, "set_size"].to_numpy(dtype=np.float64)
    values, times = np.unique(size[known], return_counts=True)
    usual = size == values[times.argmax()]
    mean = estimate_mean(sample.totals(size, known), sample.totals(known, known), sample.telling(usual, known))
    return {"set_coverage": sample.share(covered, known), "set_size": mean}


def _cells(rows: pd.DataFrame, wrong_alone: np.ndarray, wrong_placed: np.ndarray) -> pd.DataFrame:
    """A row for each named cell, most errors first: see :class:`Evaluation`, and ``whole`` (bool)."""
    table = rows.assign(wrong_by_itself=wrong_alone, wrong_in_cell=wrong_placed, whole=rows["in_cell"])
    groups = table.loc[rows["cell"] != ""].groupby("cell", sort=True)
    cells = groups.agg(
        patient=("patient", "first"),
        chromosomes=("image", "size"),
        wrong_by_itself=("wrong_by_itself", "sum"),
        wrong_in_cell=("wrong_in_cell", "sum"),
        flagged=("flagged", "sum"),
        whole=("whole", "all"),
    ).reset_index()
    cells = cells.sort_values(["wrong_in_cell", "wrong_by_itself"], ascending=False, kind="stable", ignore_index=True)
    cells["wrong_in_cell"] = cells["wrong_in_cell"].astype("Int64").where(cells["whole"])
    return cells


def _per_class(
    classes: tuple[str, ...], truth: np.ndarray, alone: np.ndarray, counts: np.ndarray, counts_placed: np.ndarray
) -> pd.DataFrame:
    """The classes one by one, from their ``counts`` [3, C]: see :class:`Evaluation`."""
    confusions = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(confusions, (truth, alone), truth != alone)
    times, other = confusions.max(axis=1), confusions.argmax(axis=1)
    mistaken = [classes[index] if count else "" for index, count in zip(other, times, strict=True)]
    by_itself = pd.DataFrame({"label": classes, **_scores(counts)}).assign(mistaken_for=mistaken, times=times)
    return by_itself.join(pd.DataFrame(_scores(counts_placed)).add_suffix("_in_cell"))


def _scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Images, recall, precision and F1 of each class; NaN of one without images, or guesses, or images."""
    hits, images, guesses = counts

    def ratio(numerator: np.ndarray, denominator: np.ndarray, where: np.ndarray) -> np.ndarray:
        return np.divide(numerator, denominator, out=np.full(len(hits), np.nan), where=where > 0)

    f1 = ratio(2 * hits, images + guesses, images)
    return {
        "images": images,
        "recall": ratio(hits, images, images),
        "precision": ratio(hits, guesses, guesses),
        "f1": f1,
    }


def _notes(sample: Units, unit: Unit, rows: pd.DataFrame, classes: tuple[str, ...], right: np.ndarray) -> list[str]:
    """What to know of the numbers, a clause each, as a list has it."""
    found, known = [], set(rows["label"])
    telling = sample.telling(right, np.ones(len(right), dtype=bool))
    if unit == "image":
        found.append(
            "images count as independent, for not all name their cell: intervals are too narrow where they share one"
        )
    if sample.count < FEWEST_UNITS:
        found.append(f"{counted(sample.count, unit)} cannot tell how others differ: most numbers have no interval")
    elif telling < FEWEST_TELLING:
        found.append(
            f"calibration has no interval: {FEWEST_TELLING} {unit}s with an error would be needed, there are {telling}"
        )
    absent = [name for name in classes if name not in known]
    if absent:
        found.append(f"classes without an image, left out of the mean F1: {', '.join(absent)}")
    if not rows["in_cell"].any():
        found.append("no cell was placed as a whole: nothing is said of chromosomes in their cells, and of counts")
    return found


def _indices(labels: pd.Series, classes: tuple[str, ...]) -> np.ndarray:
    """Return the index of each label, int64 [N]; -1 for none of the classes."""
    return pd.Index(classes).get_indexer(pd.Index(labels)).astype(np.int64)


def _check(
    rows: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...], findings: pd.DataFrame | None
) -> None:
    """Raise what :func:`evaluate_predictions` raises."""
    missing = [name for name in COLUMNS if name not in rows]
    missing += [name for name in FINDING_COLUMNS if findings is not None and name not in findings]
    if missing:
        raise ValueError(f"the tables lack {', '.join(missing)}")
    if rows.empty:
        raise UserError("there is no labelled image to evaluate on", "Name a dataset that holds images.")
    strange = Counter(label for label in rows["label"] if label not in classes)
    if strange:
        problems = [f"{label!r}: {counted(count, 'image')}" for label, count in strange.items()]
        remedy = f"It knows {', '.join(classes)}. Correct the labels, or leave these images out."
        raise ManyErrors("labels that the model does not know:", problems, remedy)
    require_one_patient(rows)
    faults = _faults(rows, probabilities, classes, findings)
    if faults:
        raise ValueError("; ".join(faults))


def _faults(
    rows: pd.DataFrame, probabilities: np.ndarray, classes: tuple[str, ...], findings: pd.DataFrame | None
) -> list[str]:
    """What is wrong in ways that no user can cause."""
    if probabilities.shape != (len(rows), len(classes)):
        return [f"probabilities must be [{len(rows)}, {len(classes)}], not {list(probabilities.shape)}"]
    alone, covered = _indices(rows["by_itself"], classes), rows["covered"].notna()
    likeliest = probabilities[np.arange(len(rows)), alone] == probabilities.max(axis=1)
    whole = set(rows.loc[rows["in_cell"].astype(bool), "cell"])
    elsewhere = set() if findings is None else set(findings["cell"]) - whole
    faults = [
        ("an image is there twice", rows["image"].duplicated().any()),
        ("in_cell and flagged must be bool", any(rows[name].dtype != bool for name in ("in_cell", "flagged"))),
        ("by_itself is not everywhere the likeliest of the classes", not likeliest.all() or alone.min() < 0),
        ("placed is somewhere neither a class nor empty", not rows["placed"].isin([*classes, ""]).all()),
        ("an image without a cell cannot have been placed in one", "" in whole),
        ("a prediction set has no size", rows.loc[covered, "set_size"].isna().any()),
        (f"findings in cells that were not placed as a whole: {first_few(sorted(elsewhere))}", elsewhere),
        ("findings of unknown classes", findings is not None and not findings["label"].isin(classes).all()),
    ]
    return [text for text, found in faults if found]
