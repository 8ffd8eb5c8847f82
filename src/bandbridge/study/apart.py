"""Runs that other processes carry out: what these are given and give back, and what the one that waits shows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bandbridge.errors import EnvironmentFault, ManyErrors, UserError, in_one_line
from bandbridge.study.execute import Clock, Executor, Outcome, Work, epoch_line
from bandbridge.study.run import PlannedRun
from bandbridge.study.tracking import Tracking


@dataclass(frozen=True)
class Errand:
    """What a process needs to make an executor of its own; images are opened by path, never sent.

    threads: torch threads of a run that is begun; None leaves them as they are. until: the deadline by the wall clock,
    seconds since 1970. tracking: as the executor has it.
    """

    study: Work
    root: Path
    device: str
    weights_dir: Path | None
    threads: int | None
    until: float | None
    checkpoint_interval: float
    tracking: Tracking | None

    @classmethod
    def of(cls, executor: Executor, device: str | None = None, threads: int | None = None) -> Errand:
        """That of ``executor``, with absolute paths: other processes may start in other folders."""
        until = None if executor.deadline is None else time.time() + executor.deadline - time.monotonic()
        folder = executor.weights_dir
        return cls(
            executor.study,
            executor.root.resolve(),
            device or executor.device,
            folder.resolve() if folder else None,
            threads if threads is not None else executor.threads,
            until,
            executor.checkpoint_interval,
            executor.tracking,
        )

    def executor(self, say: Callable[[str], None] = lambda _: None) -> Executor:
        """An executor of this process; ``say`` takes its lines, and epochs are shown nowhere."""
        return Executor(
            self.study,
            self.root,
            self.device,
            self.weights_dir,
            None if self.until is None else time.monotonic() + self.until - time.time(),
            self.checkpoint_interval,
            say=say,
            show=lambda _: None,
            threads=self.threads,
            tracking=self.tracking,
        )


@dataclass
class Report:
    """What a process gives back of a run. lines: to say. fault: what stops the other runs too."""

    outcome: Outcome
    lines: list[str] = field(default_factory=list)
    fault: UserError | None = None


class Watch:
    """Shows what the folders of runs say that others carry out, and gathers what became of them.

    at_once: how many are carried out at a time. ranks: of ``pending``, as of
    :func:`bandbridge.study.schedule.schedule`.
    """

    def __init__(
        self, executor: Executor, pending: Sequence[PlannedRun], at_once: int, ranks: Sequence[int] | None = None
    ) -> None:
        self.executor = executor
        self.labels = {run.id: f"[{number}/{len(pending)}] {run.name}" for number, run in enumerate(pending, start=1)}
        self.clock = Clock(pending, executor.ledger, at_once, ranks)
        self.outcome = Outcome()
        self._total, self._over = len(pending), 0
        self._seen = {run.id: self._progress(run) for run in pending}
        self._lines: dict[str, str] = {}

    def show_epochs(self, runs: Iterable[PlannedRun]) -> None:
        """Show the epochs that ``runs``, those that are being trained, have come to since."""
        training = {run.id: run for run in runs}
        self._lines = {name: self._lines.get(name, f"{self.labels[name]}: starting") for name in training}
        for name, run in training.items():
            entry = self._progress(run)
            if entry and entry != self._seen[name]:
                self._seen[name] = entry
                self.clock.tick(run, entry)
                self._lines[name] = f"{self.labels[name]}: {epoch_line(entry, run.record.recipe)}"
                if self.executor.live is None:
                    self.executor.show(f"{self._lines[name]}; {self.clock.left()}")
        if self.executor.live is not None:
            state = f"{self._over} of {self._total} over, {len(training)} in training; {self.clock.left()}"
            self.executor.live("\n".join([*self._lines.values(), state]))

    def _progress(self, run: PlannedRun) -> dict[str, Any]:
        # A shared disk may refuse a file in the moment in which it is replaced, and then there is nothing.
        return self.executor.ledger.progress(run)

    def take(self, run: PlannedRun, report: Report) -> None:
        """Add what became of ``run`` to the outcome; raises what stops all runs."""
        if report.fault is not None:
            raise report.fault
        for line in report.lines:
            self.executor.say(line)
        if report.outcome == Outcome():  # found done, by a process whose word was lost with it
            self.executor.say(f"{self.labels[run.id]}: found done")
            report.outcome.done.append(run.name)
        if not report.outcome.out_of_time:
            self._put_away(run)
        self.outcome.add(report.outcome)

    def fail(self, run: PlannedRun, error: UserError) -> None:
        """Record and say that ``run`` came to nothing."""
        self._put_away(run)
        self.executor.say(f"{self.labels[run.id]}: failed: {in_one_line(error.message, error.remedy)}")
        self.executor.record_failure(run, error)
        self.outcome.failed[run.name] = error

    def wait_for_parent(self, run: PlannedRun) -> None:
        """Note that ``run`` cannot be begun in this call."""
        self._put_away(run)
        self.outcome.waiting.append(run.name)

    def _put_away(self, run: PlannedRun) -> None:
        self._over += 1
        self.clock.drop(run)


def portable(error: UserError) -> UserError:
    """Return ``error`` in one of the two classes that survive the way; which one decides whether other runs go on."""
    kind = EnvironmentFault if isinstance(error, EnvironmentFault | ManyErrors) else UserError
    plain = kind(error.message, error.remedy)
    plain.exit_code = error.exit_code
    return plain
