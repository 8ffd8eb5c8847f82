"""How long the pending runs will take: image passes over a measured speed, laid out over the devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study
from bandbridge.study.rates import Rate, Trained, find_rates
from bandbridge.study.run import PlannedRun, distinct
from bandbridge.study.schedule import Schedule, critical_path, enough_devices, schedule
from bandbridge.study.side_by_side import Sharing

#: A forward pass without gradients costs about a third of a training step.
_EVALUATION_SHARE = 1 / 3
#: Images of a study none of whose datasets is here.
_USUAL_IMAGES = 5000


@dataclass(frozen=True)
class Estimate:
    """How long the pending runs take.

    runs: each training once, in the order of the plan. seconds: what each takes, in that order, beside the others
    on its device. work: device-seconds of all of them. chain: seconds of the longest chain of runs, each of which
    starts from the one before. enough: the fewest devices that come within 5% of ``chain``. rates: by architecture.
    sharing: how the runs share this machine; None where they are trained elsewhere.
    """

    runs: tuple[PlannedRun, ...]
    seconds: tuple[float, ...]
    schedule: Schedule
    work: float
    chain: float
    enough: int
    rates: Mapping[str, Rate]
    sharing: Sharing | None = None

    @property
    def makespan(self) -> float:
        """The wall time, seconds."""
        return self.schedule.makespan


def estimate(
    study: Study,
    runs: Sequence[PlannedRun],
    ledger: Ledger,
    device: str = "auto",
    devices: int = 1,
    runs_per_device: int = 1,
    ranks: Sequence[int] | None = None,
) -> Estimate:
    """Return the time that the pending ``runs`` will take on ``devices`` devices like this machine's ``device``.

    On a CPU a device is as many cores as torch has threads. ranks: of the distinct ``runs``, as of
    :func:`bandbridge.study.schedule.schedule`.

    Speeds are as of :func:`bandbridge.study.rates.find_rates`. Runs that share a device are assumed to gain nothing by
    it: with ``runs_per_device`` k, each takes k times as long as alone. Runs whose dataset is absent count as if they
    had as many images as the largest present one; parents that are not among ``runs`` count as done. Preparing the
    images and starting worker processes is not counted. Raises :class:`UserError` for a device that is not there
    and for an architecture that cannot take the image size.
    """
    pending = distinct(runs)
    needed = {
        run.architecture: Trained(run.record.architecture, study.spec.image_size, run.record.recipe) for run in pending
    }
    rates = find_rates(needed, ledger.speeds(), device, study.spec.precision)
    alone = [_seconds_left(study, run, ledger, rates[run.architecture]) for run in pending]
    position = {run.id: index for index, run in enumerate(pending)}
    parents = [position.get(run.parent.id) if run.parent else None for run in pending]
    seconds = [runs_per_device * each for each in alone]
    return Estimate(
        runs=tuple(pending),
        seconds=tuple(seconds),
        schedule=schedule(seconds, parents, devices * runs_per_device, ranks),
        work=sum(alone),
        chain=critical_path(seconds, parents),
        enough=enough_devices(seconds, parents, runs_per_device),
        rates=rates,
    )


def _seconds_left(study: Study, run: PlannedRun, ledger: Ledger, rate: Rate) -> float:
    epochs = run.record.recipe.epochs - ledger.state(run).epochs
    training, held_out = _images(study, run)
    recipe = run.record.recipe
    training = recipe.steps_of(training) * recipe.batch_of(training) * recipe.views
    return epochs * (training + _EVALUATION_SHARE * held_out) / rate.images_per_second + rate.overhead


def _images(study: Study, run: PlannedRun) -> tuple[int, int]:
    """How many images ``run`` trains on, and how many it holds out."""
    task = study.tasks[run.task]
    if task.split is not None and task.dataset is not None:
        training, rest = task.rows(run.fold, task.dataset.samples, run.record.recipe.objective)
        return len(training), len(rest)
    counts = [len(task.dataset.samples) for task in study.tasks.values() if task.dataset is not None]
    images = max(counts, default=_USUAL_IMAGES)
    held_out = 0 if run.fold is None else images // study.spec.split.folds
    return images - held_out, held_out if run.predicts else 0
