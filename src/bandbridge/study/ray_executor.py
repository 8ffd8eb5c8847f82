"""Carry out planned runs as tasks of a Ray cluster: each with its share of a GPU, a child after its parent."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.extras import lacking
from bandbridge.machine import usable_cores
from bandbridge.study.apart import Errand, Report, Watch
from bandbridge.study.execute import Clock, Executor, Outcome
from bandbridge.study.rounds import in_rounds
from bandbridge.study.run import PlannedRun, distinct

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as fault:
    raise lacking(fault) or fault from fault

#: How often Ray starts a run again whose worker or machine was lost; each time it goes on from its checkpoint.
MAX_RETRIES = 10
#: How long a run waits for a claim that a lost machine left (NFS keeps its locks for up to 90 s), seconds.
PATIENCE_S = 120.0
_POLL_S = 1.0
#: How often is looked whether the cluster still has a machine, seconds.
_LOOK_S = 10.0
_REMEDY = "Start one with ray start --head, name its address with --address, or use --address local."


@dataclass(frozen=True)
class Cluster:
    """Where runs are carried out, and what each takes.

    address: ``auto`` (the cluster that RAY_ADDRESS names or that runs on this machine, else a new one), ``local`` (a
    new one, of the cores that this process may use), or what ``ray.init`` takes. cpus_per_run: cores, and as many torch
    threads. gpus_per_run: share of one GPU where the cluster has any and ``device`` allows it.
    """

    address: str = "auto"
    device: str = "auto"
    cpus_per_run: int = 1
    gpus_per_run: float = 1.0


def run_on_ray(executor: Executor, runs: Sequence[PlannedRun], cluster: Cluster) -> Outcome:
    """Carry out ``runs``, given parents first, on ``cluster``; files and outcome are as of ``executor.run``.

    ``executor`` stays on this machine: it prepares the images, shows the epochs and keeps the deadline. Raises
    :class:`UserError` for a cluster that cannot be reached or has no machine large enough.
    """
    pending = [run for run in distinct(runs) if executor.ledger.state(run).kind != "done"]
    if not pending:
        return Outcome()
    for task in dict.fromkeys(run.task for run in pending):
        executor.store(task)
    with _connected(cluster.address):
        resources, at_once = _resources(cluster)
        # What every task needs goes into the cluster once.
        errand = ray.put(Errand.of(executor, cluster.device, cluster.cpus_per_run))
        return in_rounds(executor, pending, lambda left: _Driver(executor, left, at_once).drive(errand, resources))


@contextmanager
def _connected(address: str) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray itself will do from its next release on, and else announces in every process.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    require_reachable(address)
    try:
        _join_or_start(address)
    except (ConnectionError, ImportError, RuntimeError, ValueError) as fault:
        reason = str(fault).strip().partition("\n")[0]
        raise UserError(f"no Ray cluster at {address}: {reason}", _REMEDY) from fault
    try:
        yield
    finally:
        ray.shutdown()


def _join_or_start(address: str) -> None:
    """Join the cluster at ``address``, or start one here of the cores that this process may use.

    Ray itself would count all that the machine has, whatever an affinity or SLURM grants, and would start as many runs.
    """
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    where = None if address == "auto" else address
    if address in ("auto", "local"):
        try:
            ray.init(where, num_cpus=usable_cores(), **options)
            return
        except ValueError as fault:
            if "existing cluster" not in str(fault):
                raise
            # One runs already, and has the cores that it was started with.
    ray.init(where, **options)


def require_reachable(address: str) -> None:
    """Raise :class:`UserError` if nothing answers at ``address``, ``host:port``: Ray would ask for over a minute."""
    host, _, port = address.rpartition(":")
    if not host or "//" in address or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as fault:
        raise UserError(f"no Ray cluster at {address}: {fault}", _REMEDY) from fault


def require_machines() -> None:
    """Raise :class:`EnvironmentFault` where no machine of the cluster is left: Ray would wait for ever."""
    try:
        left = any(node["Alive"] for node in ray.nodes())
    except RayError:
        left = False
    if not left:
        raise EnvironmentFault(
            "Ray's own processes have ended, and the runs with them",
            "Look at the memory of the machines and at Ray's logs, in /tmp/ray/session_latest/logs; the same command "
            "goes on from the checkpoints.",
        )


def _resources(cluster: Cluster) -> tuple[dict[str, Any], int]:
    """Return what each task asks for, and how many such tasks the cluster holds at once."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked: dict[str, Any] = {"num_cpus": cluster.cpus_per_run}
    has_gpus = any(machine.get("GPU") for machine in machines)
    if cluster.device == "cuda" or (cluster.device == "auto" and has_gpus):
        asked["num_gpus"] = cluster.gpus_per_run
    names = {"num_cpus": "CPU", "num_gpus": "GPU"}
    at_once = sum(
        min(int(machine.get(names[kind], 0) / amount + 1e-9) for kind, amount in asked.items()) for machine in machines
    )
    if at_once == 0:
        wanted = " and ".join(f"{amount:g} {names[kind]}" for kind, amount in asked.items())
        raise UserError(
            f"no machine of the Ray cluster has the {wanted} that a run asks for",
            "Add one, or change --cpus-per-run, --gpus-per-run or --device.",
        )
    return asked, at_once


class _Driver(Watch):
    """This machine's part: submit every run, show what their folders say, gather what became of them."""

    def __init__(self, executor: Executor, pending: Sequence[PlannedRun], at_once: int) -> None:
        super().__init__(executor, pending, at_once)
        self.pending = pending

    def drive(self, errand: Any, resources: dict[str, Any]) -> Outcome:
        # Ray tries lost workers and machines again by max_retries alone; what the task itself raises, never.
        task = ray.remote(carry_out)
        options = {"max_retries": MAX_RETRIES, "retry_exceptions": False, **resources}
        references: dict[str, Any] = {}
        for run in self.pending:
            parent = references.get(run.parent.id) if run.parent else None
            references[run.id] = task.options(name=run.name, **options).remote(errand, run, self.labels[run.id], parent)
        left = {references[run.id]: run for run in self.pending}
        looked = time.monotonic()
        try:
            while left:
                if time.monotonic() - looked > _LOOK_S:
                    require_machines()
                    looked = time.monotonic()
                ready, _ = ray.wait(list(left), num_returns=len(left), timeout=_POLL_S)
                self.show_epochs(left.values())
                for reference in ready:
                    self._fetch(left.pop(reference), reference)
        finally:
            for reference in left:  # after Ctrl-C or a fault; a killed run goes on from its checkpoint
                with suppress(RayError):
                    ray.cancel(reference, force=True)
        return self.outcome

    def _fetch(self, run: PlannedRun, reference: Any) -> None:
        """Add what became of ``run`` to the outcome; raise what stops all runs."""
        try:
            report: Report = ray.get(reference)
        except RayTaskError:  # a mistake in the program, here or in its parent: the traceback is wanted
            raise
        except RayError as fault:
            self._lose(run, fault)
        else:
            self.take(run, report)

    def _lose(self, run: PlannedRun, fault: RayError) -> None:
        if run.parent is not None and self.executor.ledger.state(run.parent).kind != "done":
            self.wait_for_parent(run)  # it is the parent that was lost
            return
        reason = str(fault).strip().partition("\n")[0]
        error = EnvironmentFault(
            f"its worker was lost {MAX_RETRIES + 1} times: {reason}",
            "Look at the memory of the machines; the same command goes on from the checkpoint.",
        )
        self.fail(run, error)


def carry_out(errand: Errand, run: PlannedRun, label: str, parent: Report | None) -> Report:
    """Train ``run`` on the worker that this is called on, as the local executor would.

    parent: what became of its parent, where that is a task too; Ray holds this one back until it is known. Waits for
    at most ``PATIENCE_S`` where a claim is held, or where a parent that is done cannot be seen yet: both are what a
    lost machine or a shared disk leaves for a while.
    """
    if parent is not None and parent.outcome.out_of_time:
        return Report(Outcome(out_of_time=True))
    if not (errand.root / ".stores").is_dir():
        remedy = "All machines need that folder, under the same path; name a shared one with --runs."
        return Report(Outcome(), fault=_from_here(EnvironmentFault(f"there are no runs in {errand.root}", remedy)))
    left = PATIENCE_S if errand.until is None else min(PATIENCE_S, errand.until - time.time())
    give_up = time.monotonic() + left
    lines: list[str] = []
    while True:
        outcome = Outcome()
        try:
            executor = errand.executor(lines.append)
            executor.carry_out(run, label, Clock([run], executor.ledger), outcome)
        except UserError as error:
            return Report(outcome, lines, _from_here(error))
        unseen = outcome.waiting and (parent is None or parent.outcome.done)
        if not (outcome.elsewhere or unseen) or time.monotonic() > give_up:
            return Report(outcome, lines)
        time.sleep(_POLL_S)


def _from_here(error: UserError) -> UserError:
    """Return ``error`` with the name of this machine, in the one class that survives the way to the driver."""
    named = UserError(f"on {socket.gethostname()}: {error.message}", error.remedy)
    named.exit_code = error.exit_code
    return named
