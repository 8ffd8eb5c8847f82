"""Come back to runs that other processes hold: when one of these dies, or leaves a run undone, this process goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError, in_one_line
from bandbridge.holding import claimed, holder, say_if_without_locks
from bandbridge.study.execute import Executor, Outcome
from bandbridge.study.run import PlannedRun, distinct

_POLL_S = 1.0


def in_rounds(
    executor: Executor, runs: Sequence[PlannedRun], once: Callable[[Sequence[PlannedRun]], Outcome]
) -> Outcome:
    """Have ``once`` carry out ``runs``, then those that other processes held and those that wait for these.

    Between two rounds it waits until a run is free, done or failed, at most until the deadline of ``executor``; what is
    then still held stays in the outcome as ``elsewhere``. A run that failed in another process is not tried again.
    """
    left, outcome = _not_done(executor, runs), Outcome()
    if not left:
        return outcome
    say_if_without_locks(executor.root)
    executor.ledger.clear_leftovers()
    while True:
        found = once(left)
        back = _to_come_back_to(left, found)
        names = {run.name for run in back}
        outcome.add(replace(found, elsewhere=[], waiting=[name for name in found.waiting if name not in names]))
        held = [run for run in back if run.name in found.elsewhere]
        if not held:
            return outcome
        if found.out_of_time or not _wait_for_one(executor, held):
            waiting = [run.name for run in back if run.name not in found.elsewhere]
            outcome.add(Outcome(elsewhere=found.elsewhere, waiting=waiting, out_of_time=True))
            return outcome
        left = _not_settled(executor, back, held, outcome)


def _not_done(executor: Executor, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    return [run for run in distinct(runs) if executor.ledger.state(run).kind != "done"]


def _to_come_back_to(runs: Sequence[PlannedRun], found: Outcome) -> list[PlannedRun]:
    """Return, parents first, the runs that others held and those that wait for one of these."""
    back: dict[str, PlannedRun] = {}
    for run in runs:
        waits = run.name in found.waiting and run.parent is not None and run.parent.id in back
        if run.name in found.elsewhere or waits:
            back[run.id] = run
    return list(back.values())


def _not_settled(
    executor: Executor, back: Sequence[PlannedRun], held: Sequence[PlannedRun], outcome: Outcome
) -> list[PlannedRun]:
    """Return those of ``back`` that are not done; those of ``held`` that failed elsewhere go to ``outcome``."""
    left = []
    for run in back:
        state = executor.ledger.state(run)
        if state.kind == "done":
            executor.say(f"{run.name}: done by another process")
        elif state.kind == "failed" and run in held:
            error = UserError(state.message, state.remedy)
            outcome.failed[run.name] = error
            executor.say(f"{run.name}: failed in another process: {in_one_line(error.message, error.remedy)}")
        else:
            left.append(run)
    return left


def _wait_for_one(executor: Executor, held: Sequence[PlannedRun]) -> bool:
    """Wait until one of ``held`` is done, failed or free to be claimed; False when time runs out before."""
    holders = [f"{run.name} by {holder(executor.ledger.folder(run))}" for run in held[:3]]
    executor.say(
        f"waiting for {counted(len(held), 'run')} that another process trains: {', '.join(holders)}"
        f"{', ...' * (len(held) > 3)}; this one goes on when it is done or its process has ended (Ctrl-C to leave it)"
    )
    while executor.deadline is None or time.monotonic() < executor.deadline:
        for run in held:
            if executor.ledger.state(run).kind in ("done", "failed"):
                return True
            with claimed(executor.ledger.folder(run)) as claim:
                if claim is not None:
                    return True
        time.sleep(_POLL_S)
    return False
