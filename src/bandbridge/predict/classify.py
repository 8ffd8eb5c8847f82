"""From images to decisions: a class for each chromosome, who should look at it and why, and each cell as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bandbridge.dataset.by_cell import FEWEST
from bandbridge.dataset.cell_folders import MOST_IN_CELL
from bandbridge.dataset.cutout import is_bright_ground
from bandbridge.dataset.decode import quiet_pillow
from bandbridge.dataset.findings import counted
from bandbridge.evaluation.assignment import REJECTED, assign_cell
from bandbridge.evaluation.count_rates import CountRates
from bandbridge.karyogram.grade import grade_cell
from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountEvidence, CountFinding
from bandbridge.karyotype import CLASSES
from bandbridge.predict.confidence import COMPLETE, count_deviating, no_experience
from bandbridge.predict.ensemble import BATCH, Ensemble, Prepared
from bandbridge.predict.intake import Handed, decoded, in_whole_cells
from bandbridge.progress import track

#: Smallest probability that enters a logarithm.
_TINY = 1e-12
_CROWDS_SHOWN = 5
#: What helps where a model does not know the cells.
_HELP = "bandbridge evaluate measures it on a few labelled cells of this kind, bandbridge fine-tune adapts it to them."
#: Why a chromosome is to be looked at.
_UNLIKE = "looks unlike the images the model was trained on"
_EMPTY = "no chromosome is to be seen in this image"
_UNSCALED = "judged without scale: fewer than ten chromosomes of its cell are here"
#: Cells of a patient that are offered for karyotyping; the others are counted.
KARYOTYPED = 2
_GRADE_COLUMNS = ("touching", "sharpness", "length_of_1", "bands", "banding", "level", "rank", "offered")
NO_CELL = "judged without scale: which cell it is of is not known"


@dataclass(frozen=True, eq=False)
class Classified:
    """Every cell's sheet, chromosomes without a cell in one sheet named "", and the images that could not be read.

    labels: the known label of each image by name, "" where none is. refused: (name, reason). notes: what to know of how
    the images were read. patients: whose each named cell is, as far as that is known; a cell that images give to
    several is of none. rates: how often its counts are right, None where that is not known, as of cells that a program
    cut out of metaphases.
    """

    classes: tuple[str, ...]
    sheets: tuple[CellSheet, ...]
    labels: dict[str, str]
    refused: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    patients: Mapping[str, str] = field(default_factory=dict)
    rates: CountRates | None = None


def classify(
    ensemble: Ensemble,
    handed: Sequence[Handed],
    *,
    flips: bool = False,
    joint: bool = True,
    keep_images: bool = True,
    grades: bool = False,
) -> Classified:
    """Classify every image of ``handed``.

    ``flips`` averages over mirror images. ``joint`` assigns the chromosomes of each cell together, where the classes
    are a human's 24; each keeps its own opinion beside that. ``keep_images`` False drops the pictures, with which a
    large set would fill the memory. ``grades`` says how good each named cell is for karyotyping, by
    :func:`bandbridge.karyogram.grade.grade_cell`. Images that cannot be read are listed and stop nothing.
    """
    found: list[tuple[Handed, Chromosome]] = []
    refused: list[tuple[str, str]] = []
    batches = in_whole_cells(handed, BATCH)
    grounds: list[bool] = []
    with quiet_pillow():
        work = decoded(batches, ensemble.prepare, ensemble.bits)
        for kept, images, prepared, failed in track(work, len(batches), "classifying"):
            refused += failed
            if kept:
                named = [(one.name, image) for one, image in zip(kept, images, strict=True)]
                cells = [one.cell for one in kept]
                grounds += _grounds(cells, images)
                judged = judge_images(
                    ensemble, named, flips=flips, keep_images=keep_images or grades, cells=cells, prepared=prepared
                )
                found += zip(kept, map(_with_doubt, kept, judged), strict=True)
    given = (CellSheet(cell, ensemble.classes, members, remark=ensemble.remark) for cell, members in _by_cell(found))
    sheets = [_placed_together(sheet, ensemble) if joint else sheet for sheet in given]
    if grades:
        sheets = [_graded(sheet, keep_images) for sheet in track(sheets, len(sheets), "grading cells")]
    labels = {one.name: one.label for one in handed}
    notes = [
        line for depth in {one.depth for one in handed} if depth is not None for line in depth.remarks(ensemble.bits)
    ]
    notes += _on_ground(ensemble.drawn_stain, grounds)
    if joint and ensemble.classes == CLASSES:
        crowds = [sheet for sheet in sheets if sheet.name and len(sheet.chromosomes) > MOST_IN_CELL]
        notes += [f"{sheet.name}: {no_cell(len(sheet.chromosomes))}" for sheet in crowds[:_CROWDS_SHOWN]]
        if len(crowds) > _CROWDS_SHOWN:
            notes.append(f"... and {len(crowds) - _CROWDS_SHOWN} more such cells")
    patients = _patients(handed)
    # Rates are those of chromosomes that came one by one: what a program's cut joins, divides or misses is not in them.
    rates = None if any(one.cut for one in handed) else ensemble.rates
    return Classified(ensemble.classes, tuple(sheets), labels, tuple(refused), tuple(notes), patients, rates)


def _grounds(cells: Sequence[str], images: Sequence[np.ndarray]) -> list[bool]:
    """Whether the ground of each of ``cells`` is bright; of ``images`` without a cell, all together."""
    members: dict[str, list[np.ndarray]] = {}
    for cell, image in zip(cells, images, strict=True):
        members.setdefault(cell, []).append(image)
    return [is_bright_ground(each) for each in members.values()]


def _on_ground(stain: str, grounds: Sequence[bool]) -> list[str]:
    """What to know where most cells lie on the other ground than the drawn ones of ``stain`` that a model knows."""
    other = {"G": "Q", "Q": "G"}.get(stain)
    if other is None or 2 * sum(bright == (stain == "Q") for bright in grounds) <= len(grounds):
        return []
    dark, bright = "dark on a bright ground", "bright on a dark ground"
    known, shown = (dark, bright) if stain == "G" else (bright, dark)
    which = f"the model knows chromosomes that are {known}, of stain {stain}, and most of these are {shown}"
    return [f"warning: {which}; if that is their stain, take box:{other}"]


def _with_doubt(one: Handed, judged: Chromosome) -> Chromosome:
    """``judged`` with what its cut leaves doubtful."""
    reasons = (*judged.reasons, f"its cut is doubtful: {one.doubt}") if one.doubt else judged.reasons
    return replace(judged, reasons=reasons)


def _graded(sheet: CellSheet, keep_images: bool) -> CellSheet:
    named = [(one.placed, one.image) for one in sheet.chromosomes if _EMPTY not in one.reasons]
    grade = grade_cell(named) if sheet.name and sheet.classes == CLASSES and len(named) >= FEWEST else None
    if not keep_images:
        nothing = np.zeros((0, 0), dtype=np.uint8)
        sheet = replace(sheet, chromosomes=tuple(replace(one, image=nothing) for one in sheet.chromosomes))
    return replace(sheet, grade=grade)


def _patients(handed: Sequence[Handed]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for one in handed:
        if one.cell and one.patient:
            found.setdefault(one.cell, set()).add(one.patient)
    return {cell: min(names) for cell, names in found.items() if len(names) == 1}


def judge_images(
    ensemble: Ensemble,
    images: Sequence[tuple[str, np.ndarray]],
    *,
    flips: bool = False,
    keep_images: bool = True,
    cells: Sequence[str] | None = None,
    prepared: Prepared | None = None,
) -> list[Chromosome]:
    """Return what ``ensemble`` thinks of each (name, uint8 [H, W]) of ``images`` by itself, in their order.

    cells, prepared: as :meth:`Ensemble.judge` has them.
    """
    opinion = ensemble.judge([image for _, image in images], flips, cells, prepared)
    doubts = [
        [text for text, so in ((_EMPTY, empty), (_UNLIKE, unlike), (_UNSCALED if cell else NO_CELL, unscaled)) if so]
        for empty, unlike, unscaled, cell in zip(
            opinion.empty, opinion.unlike, opinion.unscaled, cells or [""] * len(images), strict=True
        )
    ]
    found = [
        _chromosome(ensemble, name, image, row, reasons, keep_images)
        for (name, image), row, reasons in zip(images, opinion.probabilities, doubts, strict=True)
    ]
    errors = opinion.scale_error.tolist()
    return [replace(one, scale_error=error) for one, error in zip(found, errors, strict=True)]


def _by_cell(found: Sequence[tuple[Handed, Chromosome]]) -> Iterator[tuple[str, tuple[Chromosome, ...]]]:
    cells: dict[str, list[Chromosome]] = {}
    for one, chromosome in found:
        cells.setdefault(one.cell, []).append(chromosome)
    for cell, members in cells.items():
        yield cell, tuple(members)


def _chromosome(
    ensemble: Ensemble, name: str, image: np.ndarray, probabilities: np.ndarray, reasons: list[str], keep: bool
) -> Chromosome:
    """One chromosome by itself, with the ``reasons`` to look at it, to which those of its scores are added."""
    order = np.argsort(-probabilities, kind="stable")
    best, second = (ensemble.classes[int(index)] for index in order[:2])
    thresholds = ensemble.thresholds
    fitting = probabilities >= 1 - thresholds if thresholds is not None else probabilities >= probabilities.max()
    labels = tuple(ensemble.classes[int(index)] for index in order if fitting[index])
    if not labels and _UNLIKE not in reasons:
        reasons.append("fits no class well")
    below = ensemble.review_below
    if below is not None and below > 1:
        reasons.append("nothing is known of this model that would spare a look")
    elif below is not None and probabilities[order[0]] < below:
        reasons.append(f"unsure: {best} ({probabilities[order[0]]:.0%}) or {second} ({probabilities[order[1]]:.0%})")
    picture = image if keep else np.zeros((0, 0), dtype=np.uint8)
    return Chromosome(name, picture, best, "" if _EMPTY in reasons else best, probabilities, labels, tuple(reasons))


def assign_sheet(sheet: CellSheet, ensemble: Ensemble) -> CellSheet:
    """Return ``sheet`` with its chromosomes placed together and its unusual counts found.

    What the cell as a whole changes is a reason to look, and so is a class with too many chromosomes. Nothing is
    hidden: the opinion on each chromosome by itself stays. Of a cell that the model does not know, which looks unlike
    its training images or deviates in more classes than any cell that it was measured on, the counts are withheld. A
    cell of fewer than ``FEWEST`` chromosomes is left alone. Raises ValueError for classes that are not a human's 24.
    """
    seen = [one for one in sheet.chromosomes if _EMPTY not in one.reasons]
    if len(seen) < FEWEST:
        return sheet
    likely = np.stack([one.probabilities for one in seen])
    costs = ensemble.confidence.costs() if ensemble.confidence is not None else no_experience()
    found = assign_cell(np.log(np.clip(likely, _TINY, 1.0)), costs)
    counts = ensemble.confidence.counts if ensemble.confidence is not None else None
    noted = 0.0 if counts is None else counts.suspect_above
    findings = tuple(
        CountFinding(sheet.classes[one.class_index], one.copies, one.expected, one.log_odds)
        for one in found.suspects
        if one.log_odds > 0 or one.log_odds >= noted  # what is reported is said whatever a file makes of the rest
    )
    changes = [one.copies - one.expected for one in findings if not one.overruled]
    unknown = _unknown(seen, count_deviating(changes, len(seen)), ensemble)
    if unknown:
        findings = ()
    surplus = {one.label: one.text for one in findings if one.copies > one.expected and not one.overruled}
    told = {
        id(one): _placed(one, index, margin, sheet.classes, surplus)
        for one, index, margin in zip(seen, found.classes, found.margins, strict=True)
    }
    placed = tuple(told.get(id(one), one) for one in sheet.chromosomes)
    evidence = CountEvidence(found.gains, found.losses, found.sex_log_odds)
    return replace(sheet, chromosomes=placed, findings=findings, unknown=unknown, evidence=evidence)


def _unknown(cell: Sequence[Chromosome], deviating: int, ensemble: Ensemble) -> str:
    """Why the model does not know cells like ``cell``, of which ``deviating`` classes have unusual counts; or ""."""
    strange, count = sum(_UNLIKE in one.reasons for one in cell), len(cell)
    counts = ensemble.confidence.counts if ensemble.confidence is not None else None
    most = None if counts is None else counts.most_deviating
    if strange > count / 2:
        why = f"{strange} of its {count} chromosomes look unlike the images the model was trained on"
    elif most is not None and deviating > most:
        gone = max(0, COMPLETE - count)
        besides = f" besides {counted(gone, 'chromosome')} missing" if gone else ""
        known = f"those of the cells it was measured on in {most} at most"
        why = f"its counts deviate in {deviating} classes{besides}, {known}"
    else:
        return ""
    return f"The model does not know cells like this one: {why}. Its counts are withheld. {_HELP}"


def _placed_together(sheet: CellSheet, ensemble: Ensemble) -> CellSheet:
    if is_placed_whole(sheet):
        return assign_sheet(sheet, ensemble)
    if sheet.name and sheet.classes == CLASSES and len(sheet.chromosomes) > MOST_IN_CELL:
        return replace(sheet, unknown=no_cell(len(sheet.chromosomes)))
    return sheet


def no_cell(images: int) -> str:
    """Say why so many ``images`` are not placed together."""
    return (
        f"{images:,} images are not one cell, which has {MOST_IN_CELL} at most: each is judged by itself. "
        "Give the images of each cell a folder of their own, or name their cells in metadata.csv."
    )


def is_placed_whole(sheet: CellSheet) -> bool:
    """Whether the chromosomes of ``sheet`` are placed together.

    They are those of a named cell of a human's classes, and neither too few nor more than a cell has.
    """
    return bool(sheet.name) and sheet.classes == CLASSES and FEWEST <= len(sheet.chromosomes) <= MOST_IN_CELL


def _placed(
    one: Chromosome, index: int, margin: float, classes: tuple[str, ...], surplus: dict[str, str]
) -> Chromosome:
    label = "" if index == REJECTED else classes[int(index)]
    reasons = list(one.reasons)
    if not label:
        reasons.append("has no place in this cell")
    elif label != one.predicted:
        reasons.append(f"{label} by the cell's counts, {one.predicted} by itself")
    if label in surplus:
        reasons.append(f"the cell shows {surplus[label]}")
    return replace(one, placed=label, reasons=tuple(reasons), margin=float(margin))


def prediction_table(result: Classified) -> pd.DataFrame:
    """Return a row for each chromosome, in the order of the cells.

    Columns: file, cell, label (where one is known), class (where the chromosome is sorted, "" nowhere), probability of
    that class, by_itself and its probability, runner_up and its probability, set (the classes that cannot be ruled
    out), flag ("yes" or ""), reason, and the calibrated probability of every class, ``p_1`` to ``p_Y``.
    """
    labels = result.labels if any(result.labels.values()) else None
    rows = [_row(sheet, one, labels) for sheet in result.sheets for one in sheet.chromosomes]
    return pd.DataFrame(rows)


def _row(sheet: CellSheet, one: Chromosome, labels: dict[str, str] | None) -> dict[str, Any]:
    first, second = (int(index) for index in np.argsort(-one.probabilities, kind="stable")[:2])
    row: dict[str, Any] = {"file": one.file, "cell": sheet.name}
    if labels is not None:
        row["label"] = labels.get(one.file, "")
    placed = sheet.classes.index(one.placed) if one.placed else None
    row |= {
        "class": one.placed,
        "probability": round(float(one.probabilities[placed]), 6) if placed is not None else None,
        "by_itself": one.predicted,
        "by_itself_probability": round(float(one.probabilities[first]), 6),
        "runner_up": sheet.classes[second],
        "runner_up_probability": round(float(one.probabilities[second]), 6),
        "set": " ".join(one.labels),
        "flag": "yes" if one.reasons else "",
        "reason": "; ".join(one.reasons),
    }
    return row | {
        f"p_{name}": round(float(value), 6) for name, value in zip(sheet.classes, one.probabilities, strict=True)
    }


def cell_table(result: Classified) -> pd.DataFrame:
    """Return a row for each cell: its patient ("" unknown), its chromosomes, how many are flagged, unusual counts.

    ``evidence`` is the log-odds (natural logarithm) of the strongest finding, empty without one. ``unknown`` says why
    the model does not know such cells, empty where it does: findings are then withheld. ``scale_error`` is how far the
    scale of the cell can be wrong that its chromosomes were judged by, percent (standard error); empty where none was.

    touching, sharpness, length_of_1, bands, banding and level are those of
    :class:`bandbridge.karyogram.grade.CellGrade`, empty where the cell was not graded; rank is its place by its score
    among the cells of its patient, or among all where none is known; offered is "karyotype" for the first two of them,
    and "count". remark: what has to be known of the model.
    """
    rows, offers = [], _ranks(result)
    for sheet in result.sheets:
        if not sheet.name:
            continue
        rows.append(
            {
                "cell": sheet.name,
                "patient": result.patients.get(sheet.name, ""),
                "chromosomes": len(sheet.chromosomes),
                "flagged": sum(bool(one.reasons) for one in sheet.chromosomes),
                "moved": sum(one.placed != one.predicted for one in sheet.chromosomes),
                "not_placed": len(sheet.of("")),
                "findings": "; ".join(finding.text for finding in sheet.findings),
                "evidence": sheet.findings[0].log_odds if sheet.findings else None,
                "unknown": sheet.unknown,
                "scale_error": round(100 * sheet.chromosomes[0].scale_error, 1),
                **_grade_row(sheet, offers.get(sheet.name)),
                "remark": sheet.remark,
            }
        )
    names = [
        "cell",
        "patient",
        "chromosomes",
        "flagged",
        "moved",
        "not_placed",
        "findings",
        "evidence",
        "unknown",
        "scale_error",
    ]
    return pd.DataFrame(rows, columns=[*names, *_GRADE_COLUMNS, "remark"])


def _grade_row(sheet: CellSheet, rank: int | None) -> dict[str, Any]:
    grade = sheet.grade
    if grade is None or rank is None:
        return dict.fromkeys(_GRADE_COLUMNS)
    values = (grade.touching, grade.sharpness, grade.length_of_1, grade.bands, grade.banding)
    measures = dict(zip(_GRADE_COLUMNS, (round(value, 2) for value in values), strict=False))
    offered = "karyotype" if rank <= KARYOTYPED else "count"
    return measures | {"level": grade.level or None, "rank": rank, "offered": offered}


def _ranks(result: Classified) -> dict[str, int]:
    """The place of each graded cell among those of its patient, or of all of no known one: 1 for the best."""
    of_patient: dict[str, list[tuple[float, str]]] = {}
    for sheet in result.sheets:
        if sheet.name and sheet.grade is not None:
            score = sheet.grade.score
            worst = sheet.unknown or np.isnan(score)
            of_patient.setdefault(result.patients.get(sheet.name, ""), []).append(
                (1.0 if worst else -score, sheet.name)
            )
    return {name: place for cells in of_patient.values() for place, (_, name) in enumerate(sorted(cells), start=1)}
