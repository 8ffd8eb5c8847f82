"""Show trainings in MLflow, epoch by epoch: a copy of their histories, in a folder of this machine.

Nothing hangs on it: no id, no result, no resuming. What fails here is said once, and the training goes on without.

Every call compares what MLflow holds of a run with what it is given and adds what is missing, so that an epoch that is
trained again after an interruption is there once, and what was missed comes with the whole history of a finished run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bandbridge.errors import UserError
from bandbridge.extras import need
from bandbridge.files import load_json, require_folder
from bandbridge.study.ledger import HISTORY, Ledger
from bandbridge.study.run import PlannedRun

#: SCHEDULED: the time was over, and the same command goes on.
Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED"]
#: By this tag of ours MLflow finds a run again; its own ids are drawn.
RUN_TAG = "bandbridge.run"
#: What every folder of MLflow has.
_MARK = ".trash"
#: An address, as in http://host or file:/path; a letter alone before the colon is a drive of Windows.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_PAGE = 1000
#: The most of MLflow's parameters that go in one call.
_PARAMETERS = 100


@dataclass(frozen=True)
class Tracking:
    """Where trainings are shown. folder: of MLflow, absolute. experiment: the name in it, that of the study."""

    folder: Path
    experiment: str

    def client(self) -> Any:
        """Return MLflow's client for the folder, whatever the environment names as its server."""
        mlflow = need("mlflow")
        place = self.folder.as_uri()
        return mlflow.MlflowClient(tracking_uri=place, registry_uri=place)


def open_tracking(place: str | Path, experiment: str) -> Tracking:
    """Return the tracking of the study ``experiment`` in the folder ``place``, with its experiment made.

    Raises :class:`UserError` for an address, a folder with other things in it or that cannot be written, where MLflow
    is not installed, and for what MLflow itself refuses.
    """
    if _ADDRESS.match(str(place)):
        raise UserError(
            f"{place} is an address, and trainings are shown in a folder of this machine alone",
            "Name a folder. Where a server should have them, it can be sent what that folder holds.",
        )
    folder = Path(place).absolute()
    require_folder(folder)
    if folder.is_dir() and not (folder / _MARK).is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other things than MLflow's", "Name an empty folder, or a new one.")
    tracking = Tracking(folder, experiment)
    need("mlflow")
    try:
        _experiment_id(tracking.client(), experiment)
    except Exception as fault:  # whatever it may be: before anything is trained
        raise UserError(f"MLflow cannot use {folder}: {_first_line(fault)}", "Name another folder.") from fault
    return tracking


@dataclass
class Tracker:
    """What one process shows of its trainings. say: takes a line to keep, where it fails; then it is silent."""

    tracking: Tracking | None
    say: Callable[[str], None]
    _client: Any = None
    _experiment: str = ""
    _runs: dict[str, _Shown] = field(default_factory=dict)

    def show(self, run: PlannedRun, history: Iterable[Mapping[str, float]] = (), status: Status = "RUNNING") -> None:
        """Add what MLflow lacks of ``history``, entries of finished epochs of ``run``, and set its ``status``."""
        if self.tracking is None:
            return
        try:
            self._show(run, history, status)
        except Exception as fault:  # a training is worth more than its picture
            self._give_up(fault)

    def show_finished(self, runs: Sequence[PlannedRun], ledger: Ledger) -> None:
        """Show those of ``runs`` that are done and that MLflow does not know to be: another command trained them."""
        if self.tracking is None:
            return
        try:
            self._open()
            for run in runs:
                shown = self._runs.get(run.id)
                if ledger.state(run).kind == "done" and (shown is None or shown.status != "FINISHED"):
                    self._show(run, load_json(ledger.folder(run) / HISTORY), "FINISHED")
        except Exception as fault:
            self._give_up(fault)

    def _give_up(self, fault: Exception) -> None:
        self.tracking = None
        self.say(f"MLflow shows no more of this: {_first_line(fault)}; the training goes on without it")

    def _show(self, run: PlannedRun, history: Iterable[Mapping[str, float]], status: Status) -> None:
        self._open()
        shown = self._runs.get(run.id) or self._begin(run)
        if shown.has is None:
            shown.has = set(_held(self._client, shown.id))
        metric = need("mlflow").entities.Metric
        now = int(time.time() * 1000)
        missing = {
            (name, int(entry["epoch"])): float(value)
            for entry in history
            for name, value in entry.items()
            if name != "epoch" and (name, int(entry["epoch"])) not in shown.has
        }
        if missing:
            values = [metric(name, value, now, epoch) for (name, epoch), value in missing.items()]
            for start in range(0, len(values), _PAGE):
                self._client.log_batch(shown.id, metrics=values[start : start + _PAGE])
            shown.has |= missing.keys()
        if status != shown.status:
            if status in ("FINISHED", "FAILED"):
                self._client.set_terminated(shown.id, status)
            else:
                self._client.update_run(shown.id, status=status)
            shown.status = status

    def _open(self) -> None:
        """Read once what the experiment holds: a search costs as much for one run as for all."""
        if self._client is not None or self.tracking is None:
            return
        client = self.tracking.client()
        self._experiment = _experiment_id(client, self.tracking.experiment)
        token = None
        while True:
            page = client.search_runs([self._experiment], max_results=_PAGE, page_token=token)
            for run in page:
                if RUN_TAG in run.data.tags:
                    self._runs[run.data.tags[RUN_TAG]] = _Shown(run.info.run_id, run.info.status)
            token = page.token
            if not token:
                break
        self._client = client

    def _begin(self, run: PlannedRun) -> _Shown:
        made = self._client.create_run(self._experiment, run_name=run.name, tags={RUN_TAG: run.id})
        entities = need("mlflow").entities
        facts = run.describe()
        place = {name: facts[name] for name in ("task", "architecture", "approach", "intermediate")}
        texts = dict(_flat({**place, **facts["record"]}))
        values = [entities.Param(name, text) for name, text in texts.items()]
        for start in range(0, len(values), _PARAMETERS):
            self._client.log_batch(made.info.run_id, params=values[start : start + _PARAMETERS])
        self._runs[run.id] = _Shown(made.info.run_id, "RUNNING", set())
        return self._runs[run.id]


@dataclass
class _Shown:
    """A run in MLflow: its id and status there, and what it has, by name and epoch; None where that was not read."""

    id: str
    status: str
    has: set[tuple[str, int]] | None = None


def _held(client: Any, run: str) -> Iterator[tuple[str, int]]:
    for name in client.get_run(run).data.metrics:
        for one in client.get_metric_history(run, name):
            yield name, one.step


def _experiment_id(client: Any, name: str) -> str:
    """Return the id of the experiment ``name``, made where there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except Exception:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise UserError(f"its experiment {name!r} was deleted there", "Restore it with: mlflow experiments restore")
    return str(found.experiment_id)


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of a record as MLflow's parameters: ``recipe.phases.0.epochs`` and its text."""
    for name, item in value.items():
        if isinstance(item, list | tuple):
            item = {str(place): one for place, one in enumerate(item)}
        if isinstance(item, Mapping):
            yield from _flat(item, f"{above}{name}.")
        elif item not in (None, ""):
            yield f"{above}{name}", str(item)


def _first_line(fault: Exception) -> str:
    return str(fault).strip().partition("\n")[0][:300] or type(fault).__name__
