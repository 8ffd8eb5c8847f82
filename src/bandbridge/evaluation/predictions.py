"""The product of every run: ``predictions.parquet``, one row per held-out image and kept checkpoint.

Columns: ``image``, ``cell``, ``patient``, ``label`` (text; cell and patient are "" where unknown),
``checkpoint`` ("best" or "last") and ``logit_<class>`` (float32), one per class in class order. Every score,
table and interval is recomputed from these files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge.errors import ManyErrors, UserError
from bandbridge.extras import need
from bandbridge.files import replacing
from bandbridge.seal import require_unaltered

TEXT_COLUMNS = ("image", "cell", "patient", "label", "checkpoint")
CHECKPOINTS = ("best", "last")
#: What is so of an image, whoever predicts it.
FACTS = ("image", "cell", "patient", "label")
#: The training approaches: ImageNet no/yes x intermediate domain no/yes ("domain" is not in the paper), two that
#: start from the model in the box, ImageNet and then drawn cells, without and with an intermediate domain, and one
#: that learns from the target's own images without their labels, ImageNet's weights before and the labels after.
APPROACHES = ("scratch", "imagenet", "two-step", "domain", "boxed", "boxed-two-step", "self-supervised")
#: What each begins with, before the target's labelled images.
BEGINNINGS = {
    "scratch": "random weights",
    "imagenet": "ImageNet weights",
    "two-step": "ImageNet weights, then the intermediate domain",
    "domain": "random weights, then the intermediate domain",
    "boxed": "the model in the box (ImageNet weights, then drawn cells)",
    "boxed-two-step": "the model in the box, then the intermediate domain",
    "self-supervised": "ImageNet weights, then the target images without labels (VICReg)",
}
#: Those that pass through an intermediate domain of the study.
DETOURS = ("two-step", "domain", "boxed-two-step")
#: Those that begin with random weights.
RANDOM_STARTS = ("scratch", "domain")
#: What the runs without labels that the self-supervised ones start from have in place of an approach.
UNLABELLED = "unlabelled"
#: What the runs of a fine-tuning have in place of an approach; studies do not compare them.
FINE_TUNED = "fine-tuned"
_LOGIT = "logit_"


@dataclass(frozen=True, eq=False)
class RunPredictions:
    """The predictions of one run, and which run of the study it is.

    ``band`` is what a reader calls the task ("Q-band"; "" to show ``task``); ``intermediate`` is the task or
    dataset that the approaches of :data:`DETOURS` pass through, "" for the others. Raises
    :class:`ValueError` for an unknown approach.
    """

    task: str
    band: str
    architecture: str
    approach: str
    intermediate: str
    fold: int
    predictions: pd.DataFrame

    def __post_init__(self) -> None:
        if self.approach not in APPROACHES:
            raise ValueError(f"unknown approach {self.approach!r}, expected one of {', '.join(APPROACHES)}")

    @property
    def arm(self) -> tuple[str, str, str, str]:
        """Task, architecture, approach and intermediate: what the folds of a cross-validation share."""
        return (self.task, self.architecture, self.approach, self.intermediate)

    def __str__(self) -> str:
        return f"{' / '.join(part for part in self.arm if part)} / fold {self.fold}"


def class_names(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the class names of the logit columns, in their order."""
    return tuple(str(name).removeprefix(_LOGIT) for name in frame.columns if str(name).startswith(_LOGIT))


def logits_of(frame: pd.DataFrame, checkpoint: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return (truth int64 [N], logits float32 [N, C], class names) of one checkpoint, in row order.

    Raises :class:`UserError` when the checkpoint has no rows, or a label has no logit column.
    """
    classes = class_names(frame)
    rows = frame.loc[frame["checkpoint"] == checkpoint]
    if rows.empty:
        raise UserError(
            f"the predictions hold no rows of checkpoint {checkpoint!r}",
            f"They hold: {', '.join(sorted(set(frame['checkpoint'])))}.",
        )
    truth = rows["label"].map({name: index for index, name in enumerate(classes)})
    if truth.isna().any():
        raise UserError(f"labels without a logit column: {_some(rows.loc[truth.isna(), 'label'])}")
    logits = rows[[_LOGIT + name for name in classes]].to_numpy(dtype=np.float32)
    return truth.to_numpy(dtype=np.int64), logits, classes


def pool_folds(runs: Sequence[RunPredictions]) -> pd.DataFrame:
    """Return the predictions of one cross-validation under one another, with a ``fold`` column in front.

    Raises :class:`ManyErrors` when two folds predict the same image: the held-out sets must not overlap, or
    images would count twice. Raises :class:`ValueError` for runs of different arms and :class:`UserError` for
    folds with different classes.
    """
    if len({run.arm for run in runs}) != 1:
        raise ValueError("pool_folds takes the folds of one task, architecture, approach and intermediate")
    if len({class_names(run.predictions) for run in runs}) != 1:
        raise UserError(f"the folds of {runs[0]} do not have the same classes", _TRAIN_AGAIN)
    parts = [run.predictions.assign(fold=run.fold) for run in sorted(runs, key=lambda run: run.fold)]
    pooled = pd.concat(parts, ignore_index=True)
    twice = pooled[pooled.duplicated(["image", "checkpoint"], keep=False)]
    if not twice.empty:
        folds = twice.groupby("image", sort=True)["fold"].agg(lambda folds: sorted(set(folds)))
        problems = [f"{image}: folds {_joined(numbers)}" for image, numbers in folds.items()]
        arm = " / ".join(part for part in runs[0].arm if part)
        raise ManyErrors(f"{arm}: {len(problems)} images are predicted more than once", problems, _TRAIN_AGAIN)
    return pooled[["fold", *(name for name in pooled.columns if name != "fold")]]


def read_predictions(path: Path | str) -> pd.DataFrame:
    """Read a ``predictions.parquet`` and check it; columns and row order as written.

    Raises :class:`UserError` naming the file when it is missing, damaged (page checksums are verified), not as its run
    wrote it, or not such a table; all its problems are listed together.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no predictions at {path}", "The same study command makes them: the run counts as unfinished.")
    require_unaltered(path)
    pa, pq = need("pyarrow"), need("pyarrow.parquet")
    try:
        # A ParquetFile, not read_table: that would take folders named a=b above the file for columns.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            frame = file.read().to_pandas()
    except (pa.ArrowException, OSError, ValueError) as fault:
        first_line = str(fault).partition("\n")[0]
        raise UserError(f"{path} is damaged and cannot be read: {first_line}", _REMOVE) from fault
    _check(frame, path)
    return frame


def write_predictions(path: Path, frame: pd.DataFrame) -> None:
    """Check ``frame`` and write it to ``path``, whole or not at all; the same frame gives the same bytes.

    Raises :class:`UserError` naming the file, with every problem, when the frame is not a predictions table.
    """
    _check(frame, path)
    pa, pq = need("pyarrow"), need("pyarrow.parquet")
    logits = [_LOGIT + name for name in class_names(frame)]
    schema = pa.schema([(name, pa.string()) for name in TEXT_COLUMNS] + [(name, pa.float32()) for name in logits])
    columns = [pa.array(frame[name].to_numpy(dtype=object), pa.string()) for name in TEXT_COLUMNS]
    columns += [pa.array(frame[name].to_numpy(), pa.float32()) for name in logits]
    with replacing(Path(path)) as temporary:
        pq.write_table(
            pa.Table.from_arrays(columns, schema=schema),
            temporary,
            version="2.6",
            compression="zstd",
            compression_level=3,
            use_dictionary=list(TEXT_COLUMNS),
            write_page_checksum=True,
            store_schema=False,
        )


_REMOVE = "Remove the run's folder and run the same study command again: only that run is repeated."
_TRAIN_AGAIN = "These runs do not belong to one split. Train them again from one study file, in an empty folder."


def _check(frame: pd.DataFrame, path: Path) -> None:
    problems = _column_problems(frame) or _row_problems(frame)
    if problems:
        raise ManyErrors(f"{path} is not a table of predictions:", problems, _REMOVE)


def _column_problems(frame: pd.DataFrame) -> list[str]:
    names = [str(name) for name in frame.columns]
    expected = [*TEXT_COLUMNS, *(name for name in names if name.startswith(_LOGIT))]
    problems = [f"column {name} is missing" for name in TEXT_COLUMNS if name not in names]
    problems += [f"column {name} is not expected" for name in names if name not in expected]
    problems += [f"column {name} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if len(class_names(frame)) < 2:
        problems.append("fewer than two columns logit_<class>")
    if problems:
        return problems
    for name in expected:
        column = frame[name]
        if name.startswith(_LOGIT):
            if column.dtype != np.float32:
                problems.append(f"column {name} is {column.dtype}, expected float32")
            elif strange := int((~np.isfinite(column)).sum()):
                problems.append(f"column {name} holds values that are not finite: {strange}")
        elif not column.map(lambda value: isinstance(value, str)).all():
            problems.append(f"column {name} holds values that are not text")
    return problems


def _row_problems(frame: pd.DataFrame) -> list[str]:
    if frame.empty:
        return ["there are no rows"]
    problems = []
    for name, allowed in (("label", class_names(frame)), ("checkpoint", CHECKPOINTS)):
        strange = frame.loc[~frame[name].isin(allowed), name]
        if not strange.empty:
            problems.append(f"{name} is one of {_some(allowed)}; found {_some(strange)}")
    if (frame["image"] == "").any():
        problems.append("image is empty in some rows")
    twice = frame.loc[frame.duplicated(["image", "checkpoint"]), "image"]
    if not twice.empty:
        problems.append(f"images more than once in one checkpoint: {_some(twice)}")
    per_checkpoint = [frozenset(rows["image"]) for _, rows in frame.groupby("checkpoint")]
    if len(set(per_checkpoint)) > 1:
        problems.append("the checkpoints do not predict the same images")
    told = frame.drop_duplicates(list(FACTS))
    torn = told.loc[told.duplicated("image"), "image"]
    if not torn.empty:
        problems.append(f"images of two labels, cells or patients: {_some(torn)}")
    return problems


def disagreements(predictions: Mapping[Path, pd.DataFrame]) -> list[str]:
    """Say, file by file, where the predictions of one fold by several runs are of other images, labels or classes.

    All runs of a fold hold out the same images; the file that most agree with is taken for right.
    """
    held: dict[Path, frozenset[tuple[str, ...]]] = {
        path: frozenset(frame[list(FACTS)].itertuples(index=False, name=None)) for path, frame in predictions.items()
    }
    classes = {path: class_names(frame) for path, frame in predictions.items()}
    usual = Counter(held.values()).most_common(1)[0][0]
    usual_classes = Counter(classes.values()).most_common(1)[0][0]
    problems = []
    for path, rows in held.items():
        names = sorted({row[0] for row in rows ^ usual})
        if names:
            problems.append(f"{path}: other facts than elsewhere of {_some(names)}")
        if classes[path] != usual_classes:
            problems.append(f"{path}: other classes than elsewhere")
    return problems


def _some(values: Sequence[str] | pd.Series, shown: int = 5) -> str:
    distinct = list(dict.fromkeys(str(value) for value in values))
    more = f" and {len(distinct) - shown} more" if len(distinct) > shown else ""
    return ", ".join(distinct[:shown]) + more


def _joined(numbers: Sequence[int]) -> str:
    return " and ".join(str(number) for number in numbers)
