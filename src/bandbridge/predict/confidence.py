"""How far a classifier can be believed, learned from its out-of-fold predictions and carried with the model.

Every image of the training set has been predicted by a model of the cross-validation that had not seen it. Those
predictions give the temperature, the thresholds of the prediction sets, the threshold below which a person should
look, how a real chromosome scores, and how many chromosomes of each class real cells show.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import pandas as pd
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainSerializer,
    model_validator,
)
from scipy.special import logsumexp, softmax

from bandbridge.dataset.cell_folders import MOST_IN_CELL
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.evaluation.assignment import assign_cell
from bandbridge.evaluation.assignment_trial import CellLogits, choose_weight, perturb_cell
from bandbridge.evaluation.calibration import expected_calibration_error
from bandbridge.evaluation.conformal import Guarantee, calibrate, lac_scores
from bandbridge.evaluation.count_rates import CountRates, measure_rates
from bandbridge.evaluation.counts import Constitution, CountCosts, learn_costs
from bandbridge.evaluation.crossfit import true_deviations
from bandbridge.evaluation.flagging import ReviewThreshold, choose_threshold
from bandbridge.evaluation.pooled import grouping_unit
from bandbridge.evaluation.predictions import logits_of
from bandbridge.evaluation.temperature import LOWEST, apply_temperature, cross_fitted, fit_temperature
from bandbridge.files import write_text
from bandbridge.karyotype import CLASSES, each_once
from bandbridge.seal import COPY_AGAIN, parsed, read_product

FILE = "confidence.json"


@dataclass(frozen=True)
class Promise:
    """What is asked of a classifier, shares in 0..1.

    coverage: of the prediction sets, for a chromosome of a new cell. wanted_error: the most among what is not flagged;
    where it cannot be promised, the smallest of :data:`LARGER_ERRORS` that can.
    """

    coverage: float = 0.95
    wanted_error: float = 0.01


#: Of the training images this share scores lower than what is still taken for one of them.
UNLIKE_SHARE = 0.005
#: Errors to fall back to where the wanted one cannot be promised.
LARGER_ERRORS = (0.02, 0.05, 0.1, 0.2)
#: Of normal cells this share may raise a suspicion that the prices of counts have overruled.
SUSPECTED_SHARE = 0.1

#: A class that is likelier than all others together is in the set of its chromosome, whatever the quantile of sure
#: calibration cells says: of a chromosome that is only less sure than those, a set without any class tells nothing.
LEAST_THRESHOLD = 0.5

#: Chromosomes of a complete human cell.
COMPLETE = 46

#: JSON has no infinity: a threshold that nothing passes is null there.
Threshold = Annotated[
    float,
    BeforeValidator(lambda value: math.inf if value is None else value),
    PlainSerializer(lambda value: None if math.isinf(value) else value, when_used="json"),
]
Maybe = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: None if math.isnan(value) else value, when_used="json"),
]
#: Where everything passes, null. Not NaN.
Lowest = Annotated[
    float,
    Field(le=math.inf),
    BeforeValidator(lambda value: -math.inf if value is None else value),
    PlainSerializer(lambda value: None if math.isinf(value) else value, when_used="json"),
]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[Finite, Field(ge=0, le=1)]


Tally = tuple[tuple[NonNegativeInt, NonNegativeInt], ...]


class MeasuredCounts(BaseModel):
    """:class:`bandbridge.evaluation.count_rates.CountRates` as JSON: a row for each of its units, gains and losses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: Tally
    planted: Tally
    alarms: Tally
    cells: Tally
    source: str = ""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        self.rates()  # raises ValueError
        return self

    @classmethod
    def of(cls, rates: CountRates) -> Self:
        """Return ``rates`` as they are written."""
        names = ("found", "planted", "alarms", "cells")
        tables = {name: tuple(map(tuple, getattr(rates, name).tolist())) for name in names}
        return cls(**tables, source=rates.source)

    def rates(self) -> CountRates:
        """Return what was measured. Raises ValueError where the tables do not fit together."""
        found, planted, alarms, cells = (
            np.array(table, dtype=np.int64) for table in (self.found, self.planted, self.alarms, self.cells)
        )
        return CountRates(found, planted, alarms, cells, self.source)


class Counts(BaseModel):
    """:class:`CountCosts` as JSON, learned from ``cells`` cells.

    suspect_above: a deviation that the prices overruled is still worth a word when its log-odds reach this.
    most_deviating: in how many classes the count of one of those cells deviated at most, by its labels or as it was
    placed (:func:`count_deviating`); None where an earlier build did not count it. rates: how often gains and losses
    are found and invented in those cells; None where an earlier build did not measure it, or no cell was normal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: NonNegativeInt
    constitutions: Annotated[tuple[tuple[str, tuple[NonNegativeInt, ...], Finite, bool], ...], Field(min_length=1)]
    losses: tuple[tuple[Finite, ...], ...]
    gains: tuple[tuple[Finite, ...], ...]
    rejection: Finite
    weight: Annotated[Finite, Field(ge=0)]
    suspect_above: Lowest
    most_deviating: NonNegativeInt | None = None
    rates: MeasuredCounts | None = None

    def costs(self) -> CountCosts:
        """Return the prices for :func:`bandbridge.evaluation.assignment.assign_cell`."""
        constitutions = tuple(
            Constitution(name, np.array(expected), price, normal)
            for name, expected, price, normal in self.constitutions
        )
        return CountCosts(constitutions, np.array(self.losses), np.array(self.gains), self.rejection, self.weight)


class Confidence(BaseModel):
    """What out-of-fold predictions say of a classifier.

    images, groups, unit: what it was learned from; the unit (patient, cell or image) is what is independent.
    accuracy: of those predictions, 0..1. temperature with its 95% interval (NaN where hardly an error tells it:
    :mod:`bandbridge.evaluation.temperature`); ece_before, ece_after: expected
    calibration error, the latter with each fold scaled by the temperature of the others (NaN for one fold). coverage,
    thresholds: of the prediction sets, the largest 1 - p with which each class enters (infinity: always), for a
    chromosome of a new ``sets_unit``, which is finer than ``unit`` where there are too few of those. wanted_error,
    review_below: chromosomes with a probability below it are for a person to check, ``review_share`` of those known,
    so that of the others at most ``wanted_error`` are wrong (``review_bound``: the 95% upper bound); it is larger than
    what was asked for where that could not be promised. energy_low: the
    log-sum-exp of the logits below which an image looks unlike those. counts: the prices of a cell's counts, None where
    no whole cell was held out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    classes: Annotated[tuple[str, ...], AfterValidator(each_once)]
    images: NonNegativeInt
    groups: NonNegativeInt
    unit: str
    accuracy: Share
    temperature: Annotated[Finite, Field(gt=0)]
    temperature_low: Maybe
    temperature_high: Maybe
    ece_before: Share
    ece_after: Maybe
    coverage: Share
    thresholds: tuple[Annotated[Threshold, Field(ge=0)], ...]
    sets_unit: str
    wanted_error: Share
    review_below: Annotated[Threshold, Field(ge=0)]
    review_share: Share
    review_bound: Maybe
    energy_low: Finite
    counts: Counts | None = None

    @model_validator(mode="after")
    def _of_these_classes(self) -> Self:
        if len(self.thresholds) != len(self.classes):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.classes)} classes")
        # Prices that do not fit together raise ValueError, too.
        if self.counts is not None and len(self.counts.costs().losses) != len(self.classes):
            raise ValueError(f"prices of {len(self.counts.losses)} classes for {len(self.classes)}")
        return self

    def costs(self) -> CountCosts:
        """Return the prices of a cell's counts; those of no experience where none were learned."""
        return self.counts.costs() if self.counts is not None else no_experience()


def without_errors(confidence: Confidence) -> str:
    """Return a sentence on probabilities that no error could teach; "" where errors could."""
    if confidence.temperature <= LOWEST * (1 + 1e-6):
        return (
            "an earlier build took this model for always right, as no error of it was known: its probabilities are all "
            "about 1 and mean nothing; export it again"
        )
    if confidence.accuracy < 1:
        return ""
    unit = confidence.unit
    images = f"{confidence.images:,} images" + ("" if unit == "image" else f" of {counted(confidence.groups, unit)}")
    return (
        f"none of these {images} was named wrongly, and only errors show how far a model can be believed: "
        f"its probabilities are no surer than {counted(confidence.groups, unit)} can support, and errors will come"
    )


def no_experience() -> CountCosts:
    """Return prices of counts from one normal cell: what there is to go by without whole cells."""
    normal = np.full((1, len(CLASSES)), 2)
    normal[0, -2:] = 1
    return learn_costs(normal)


def fit_confidence(
    folds: Sequence[pd.DataFrame], checkpoint: str, promise: Promise | None = None, seed: int = 0
) -> Confidence:
    """Learn from the predictions of each fold of one cross-validation (as ``predictions.parquet`` holds them).

    ``seed`` draws the abnormal cells planted for choosing the weight of the counts. Raises :class:`UserError` where the
    folds hold no such checkpoint or predict different classes.
    """
    promise = promise or Promise()
    parts = [logits_of(frame, checkpoint) for frame in folds]
    names = parts[0][2]
    if any(part[2] != names for part in parts):
        raise UserError("the folds predict different classes", "Give the folds of one training.")
    truth, logits = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    frame = pd.concat([one.loc[one["checkpoint"] == checkpoint] for one in folds], ignore_index=True)
    numbers = np.repeat(np.arange(len(folds)), [len(part[0]) for part in parts])
    unit = grouping_unit(frame)
    groups = None if unit == "image" else frame[unit].to_numpy()
    cells = frame["cell"].to_numpy() if (frame["cell"] != "").all() else None
    fitted = fit_temperature(logits, truth, groups)
    scaled = apply_temperature(logits, fitted.value)
    likely = softmax(scaled, axis=1)
    correct, sure = likely.argmax(axis=1) == truth, likely.max(axis=1)
    sets_unit, thresholds = _thresholds(likely, truth, frame, 1 - promise.coverage)
    review = _keep_promise(sure, correct, promise.wanted_error, groups)
    after = math.nan
    if len(folds) > 1:
        after = expected_calibration_error(softmax(cross_fitted(logits, truth, numbers, groups).logits, axis=1), truth)
    return Confidence(
        classes=names,
        images=len(truth),
        groups=len(truth) if groups is None else len(np.unique(groups)),
        unit=unit,
        accuracy=float(correct.mean()),
        temperature=fitted.value,
        temperature_low=fitted.low,
        temperature_high=fitted.high,
        ece_before=expected_calibration_error(softmax(logits.astype(np.float64), axis=1), truth),
        ece_after=after,
        coverage=promise.coverage,
        thresholds=thresholds,
        sets_unit=sets_unit,
        wanted_error=review.wanted_error,
        review_below=review.threshold,
        review_share=review.review_share,
        review_bound=review.upper_bound,
        energy_low=float(np.quantile(energies(logits), UNLIKE_SHARE)),
        counts=_learn_counts(names, scaled, truth, cells, numbers, seed),
    )


def _keep_promise(
    sure: np.ndarray, correct: np.ndarray, wanted_error: float, groups: np.ndarray | None
) -> ReviewThreshold:
    """The threshold for ``wanted_error``, or for the smallest larger error that can be promised."""
    for error in (wanted_error, *(each for each in LARGER_ERRORS if each > wanted_error)):
        review = choose_threshold(sure, correct, error, groups)
        if not math.isinf(review.threshold):
            break
    return review


def _thresholds(
    likely: np.ndarray, truth: np.ndarray, frame: pd.DataFrame, alpha: float
) -> tuple[str, tuple[float, ...]]:
    """The coarsest unit that there are enough of for ``alpha``, and the thresholds that hold for a new one."""
    for unit in ("patient", "cell"):
        groups = frame[unit].to_numpy()
        if (groups != "").all() and len(np.unique(groups)) >= 1 / alpha - 1:
            found = calibrate(lac_scores(likely), truth, Guarantee(alpha, "hierarchical"), groups)
            break
    else:
        unit, found = "image", calibrate(lac_scores(likely), truth, Guarantee(alpha, "chromosome"))
    return unit, tuple(np.maximum(found.values, LEAST_THRESHOLD).tolist())


def energies(logits: np.ndarray) -> np.ndarray:
    """Return the log-sum-exp of ``logits`` [N, K], float64 [N]: low for what the classifier has not met.

    It is the negative free energy of Liu, Wang, Owens & Li 2020 ("Energy-based out-of-distribution detection").
    """
    return np.asarray(logsumexp(np.asarray(logits, dtype=np.float64), axis=1))


def _learn_counts(
    names: tuple[str, ...],
    scaled: np.ndarray,
    truth: np.ndarray,
    cells: np.ndarray | None,
    numbers: np.ndarray,
    seed: int,
) -> Counts | None:
    """The prices from whole cells, those held out together.

    None for other classes than a human's, for split cells, and where all are more than a cell has.
    """
    if cells is None or names != CLASSES or len(set(zip(cells, numbers, strict=True))) > len(set(cells)):
        return None
    sizes = zip(*np.unique(cells, return_counts=True), strict=True)
    known = [cell for cell, images in sizes if images <= MOST_IN_CELL]
    if not known:
        return None
    whole = [CellLogits(str(cell), scaled[cells == cell], truth[cells == cell]) for cell in known]
    costs = learn_costs(np.stack([cell.copies for cell in whole]))
    planted = list(_plant(whole, np.random.default_rng(seed)))
    weight = choose_weight([*whole, *planted], costs)
    weighted = replace(costs, weight=weight)
    constitutions = tuple(
        (one.name, tuple(int(value) for value in one.expected), one.price, one.normal) for one in costs.constitutions
    )
    losses, gains = (tuple(map(tuple, table.tolist())) for table in (costs.losses, costs.gains))
    return Counts(
        cells=len(whole),
        constitutions=constitutions,
        losses=losses,
        gains=gains,
        rejection=costs.rejection,
        weight=weight,
        suspect_above=_suspect_above(whole, weighted),
        most_deviating=_most_deviating(whole, weighted),
        rates=_measured(whole, weighted, seed),
    )


def _measured(cells: Sequence[CellLogits], costs: CountCosts, seed: int) -> MeasuredCounts | None:
    """What the counts of the held-out cells are worth; ``costs`` are a few numbers learned from all of them."""
    source = f"the model's own {counted(len(cells), 'cell')} that were held out of its training"
    try:
        return MeasuredCounts.of(measure_rates(cells, costs, seed, source, each=1))
    except ValueError:
        return None


def _suspect_above(cells: Sequence[CellLogits], costs: CountCosts) -> float:
    """The log-odds that a wrong suspicion reaches in ``SUSPECTED_SHARE`` of the cells; 0 where it would be above."""
    strongest = []
    for cell in cells:
        suspects = assign_cell(cell.log_probabilities, costs).suspects
        wrong = [one.log_odds for one in suspects if cell.copies[one.class_index] != one.copies]
        strongest.append(max(wrong, default=-math.inf))
    return min(0.0, float(np.quantile(strongest, 1 - SUSPECTED_SHARE)))


def count_deviating(changes: Iterable[int], chromosomes: int) -> int:
    """Return in how many classes the count of a cell of so many ``chromosomes`` is wrong.

    ``changes`` are the copies too many (above 0) or too few (below) of each class that deviates. Losses do not count
    that chromosomes which are missing from the cell account for: nobody cut them out, or the cell has burst.
    """
    found = list(changes)
    gains, losses = sum(change > 0 for change in found), sum(change < 0 for change in found)
    return gains + max(0, losses - max(0, COMPLETE - chromosomes))


def _most_deviating(cells: Sequence[CellLogits], costs: CountCosts) -> int:
    most = 0
    for cell in cells:
        placed = [one.copies - one.expected for one in assign_cell(cell.log_probabilities, costs).anomalies]
        for changes in (placed, true_deviations(cell.copies).values()):
            most = max(most, count_deviating(changes, len(cell.truth)))
    return most


def _plant(cells: Sequence[CellLogits], generator: np.random.Generator) -> Iterator[CellLogits]:
    """Abnormal cells made of real ones: by turns one chromosome too many, one too few, and both at once.

    A gain and a loss together leave the number of chromosomes as it was: on single changes alone the weight would
    grow until it sorts such cells as normal.
    """
    autosomes = len(CLASSES) - 2
    for number, cell in enumerate(cells):
        gained, lost = (int(index) for index in generator.choice(autosomes, 2, replace=False))
        changes = ({gained: 1}, {lost: -1}, {gained: 1, lost: -1})[number % 3]
        try:
            yield perturb_cell(cell, changes, cells, generator)
        except ValueError:
            continue  # no other cell has such a chromosome to give, or this one has none to lose


def write_confidence(confidence: Confidence, folder: Path) -> None:
    """Write it beside a model."""
    write_text(folder / FILE, confidence.model_dump_json(indent=2) + "\n")


def read_confidence(folder: Path) -> Confidence | None:
    """Return the confidence beside the model in ``folder``, None where there is none.

    Raises :class:`UserError` when the file is damaged.
    """
    path = folder / FILE
    value = read_product(path)
    return parsed(Confidence, value, path, COPY_AGAIN) if value else None
