"""Improve a finished model with a site's own cells, in one call, and say what came of it without praise."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bandbridge.api.places import Place, opened_dataset
from bandbridge.api.study import parse_duration, time_limit
from bandbridge.boxes import at_home
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError
from bandbridge.extras import asking
from bandbridge.progress import Listener, in_place, listening, note, status

if TYPE_CHECKING:
    from bandbridge.api.model import Model
    from bandbridge.export.tuned import Measured
    from bandbridge.study.execute import Outcome
    from bandbridge.study.fine_tune import Tuning


@dataclass(frozen=True)
class FineTuned:
    """What came of a fine-tuning.

    folder: the new model; None where time ran out or another process holds a part of the work: the same call goes on.
    images, cells, patients: what it was tuned on, 0 where cells or patients are not named. before, after: share right,
    0..1, each chromosome by itself, of the original model and of the tuned ones out of fold; None where nothing was
    measured. scored_images, scored_cells: on what, none of it seen by the original. notes: what to know before
    believing any of it.

    >>> tuned = fine_tune("models/mine", "new-cells", "models/mine-2", epochs=1, folds=2)
    >>> tuned.images, tuned.cells, tuned.folder.as_posix()
    (92, 2, 'models/mine-2')
    >>> tuned.model.evaluate("new-cells")
    Traceback (most recent call last):
    bandbridge.errors.UserError: the model was trained on every image of new-cells: ...
    """

    folder: Path | None
    images: int
    cells: int
    patients: int
    before: float | None
    after: float | None
    scored_images: int
    scored_cells: int
    notes: tuple[str, ...]

    @property
    def model(self) -> Model:
        """The new model, opened. Raises :class:`UserError` where it is not finished."""
        from bandbridge.api.model import load_model

        if self.folder is None:
            raise UserError("the fine-tuning is not finished", "The same call goes on with it.")
        return load_model(self.folder)

    def __str__(self) -> str:
        lines = []
        if self.folder is not None:
            cells = f" of {counted(self.cells, 'cell')}" if self.cells else ""
            lines.append(f"tuned on {counted(self.images, 'image')}{cells}: {self.folder}")
        if self.before is not None and self.after is not None:
            cells = f" of {counted(self.scored_cells, 'cell')}" if self.scored_cells else ""
            lines.append(
                f"right by itself, {counted(self.scored_images, 'image')}{cells}: {self.before:.1%} before, "
                f"{self.after:.1%} after, each by a model that had not seen its cell"
            )
        return "\n".join([*lines, *self.notes])


@asking()
def fine_tune(
    model: Any,
    dataset: Place,
    out: str | Path,
    *,
    epochs: int | None = None,
    folds: int = 5,
    seed: int = 0,
    runs: str | Path = "runs",
    device: str = "auto",
    jobs: int | None = None,
    max_time: str | float | None = None,
    progress: Listener = False,
) -> FineTuned:
    """Train ``model`` on with the labelled cells of ``dataset``, and write the new model into the folder ``out``.

    model: the folder of a run or of an exported model, or what :func:`bandbridge.load_model` gives for one. Its classes
    and its preparation stay. dataset: a folder or zip with metadata.csv, such as the review page exports. out: a new or
    empty folder, or an exported model to replace, other than ``model``.

    The cells are divided into ``folds`` by patient where every image names one, else by cell. So many models, each
    without one fold, say what the tuning is worth, and from their answers the new model learns how far it can be
    believed; one more, on all cells, is the new model. Of a single patient or cell, or where no cells are named, that
    one is all there is, and the confidence stays the old model's.

    epochs: 16 unless given. runs: where the trainings are kept; the same call goes on with whatever is not done.
    max_time: no epoch is begun after this ("90s", "9m", "2h", or seconds). device: "auto", "cpu", "cuda" or "mps".
    jobs: trainings side by side, as of :meth:`bandbridge.Study.run`. progress: True for a display on the console, or a
    function that is told of each step.

    Raises :class:`UserError` for what is wrong with the model, the dataset or ``out`` before anything is trained, and
    for a training that fails.

    >>> fine_tune("models/mine", "new-cells", "models/mine")
    Traceback (most recent call last):
    bandbridge.errors.UserError: models/mine is the model that is to be tuned
    Name another folder with --out: this one is kept.
    """
    from bandbridge.export.folder import require_place
    from bandbridge.export.tuned import doubts, measure_tuning, unseen_images, write_tuned
    from bandbridge.predict.trained_on import keep_trained_on, notes_on_stain, read_trained_on
    from bandbridge.study.execute import Executor
    from bandbridge.study.fine_tune import Settings, plan_tuning
    from bandbridge.study.given import open_base
    from bandbridge.study.side_by_side import run_shared, share_out

    limit = None if max_time is None else parse_duration(max_time)
    deadline = None if limit is None else time.monotonic() + limit
    settings, folder, place, root = Settings(epochs, folds, seed), _folder_of(model), Path(out), Path(runs)
    base, known = open_base(folder), read_trained_on(folder)
    if place.resolve() == folder.resolve():
        raise UserError(f"{out} is the model that is to be tuned", "Name another folder with --out: this one is kept.")
    require_place(place)
    images = opened_dataset(dataset)
    with listening(progress):
        tuning = plan_tuning(base, images, settings)
        unseen = unseen_images(tuning, known)
        tuning = tuning.holding_out(unseen)
        executor = Executor(tuning, root, device, deadline=deadline)
        keep_trained_on(known, root, base.given.identity)
        states = [executor.ledger.state(run).kind for run in tuning.runs]
        sharing = share_out(tuning.runs, device, jobs)
        note(f"{counted(len(states), 'run')}, {states.count('done')} of them done; {sharing}")
        for line in (*notes_on_stain([known], set(images.samples["stain"])), *time_limit(limit)):
            note(line)
        with status("preparing") as update:
            executor.show, executor.live = update, update if in_place() else None
            outcome = run_shared(executor, tuning.runs, sharing)
        unfinished = _unfinished(outcome)
        if unfinished:
            return _result(tuning, None, None, [unfinished])
        measured = measure_tuning(tuning, executor, unseen)
        notes = write_tuned(tuning, executor, measured, place)
    return _result(tuning, place, measured, [*doubts(tuning, known, measured), *notes])


def _folder_of(model: Any) -> Path:
    if isinstance(model, str | Path):
        return at_home(Path(model))
    folders = tuple(getattr(model, "folders", ()))
    if len(folders) != 1:
        problem = f"{len(folders)} models cannot be tuned as one" if folders else f"{type(model).__name__} is no model"
        raise UserError(problem, "Give one model, or its folder.")
    return at_home(Path(folders[0]))


def _unfinished(outcome: Outcome) -> str:
    """Say why some of the runs are not done, "" where all are. Raises the first failure."""
    for name, error in outcome.failed.items():
        failure = UserError(f"{name} failed: {error.message}", error.remedy)
        failure.exit_code = error.exit_code
        raise failure
    if outcome.elsewhere:
        return f"another process holds {', '.join(outcome.elsewhere)}; when it has ended, the same command goes on"
    if outcome.out_of_time:
        more = "" if outcome.epochs else "; not one epoch fitted into it: give more time"
        return f"stopped at the time limit; the same command goes on{more}"
    return ""


def _result(tuning: Tuning, out: Path | None, measured: Measured | None, notes: Sequence[str]) -> FineTuned:
    samples = tuning.dataset.samples
    cells, patients = (len(set(samples[unit]) - {""}) for unit in ("cell", "patient"))
    before, after, scored_images, scored_cells = None, None, 0, 0
    if measured is not None:
        before, after = measured.before, measured.after
        scored_images, scored_cells = measured.images, measured.cells
    return FineTuned(out, len(samples), cells, patients, before, after, scored_images, scored_cells, tuple(notes))
