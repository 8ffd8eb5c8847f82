"""In what order runs are trained, and when each is over, if it is known how long each takes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

#: How near to the longest chain the wall time has to come for more devices to be of no use.
_NEAR = 1.05


@dataclass(frozen=True)
class Schedule:
    """When each run starts and finishes, seconds from now, in the order that was given; makespan: the last finish."""

    start: tuple[float, ...]
    finish: tuple[float, ...]

    @property
    def makespan(self) -> float:
        """When the last run is finished; 0 where there is none."""
        return max(self.finish, default=0.0)


def schedule(
    durations: Sequence[float],
    parents: Sequence[int | None],
    devices: int,
    ranks: Sequence[int] | None = None,
) -> Schedule:
    """Lay runs out over ``devices``: a free device takes, of the runs that are ready, the one of the lowest rank.

    A run is ready when its parent is finished. Without ``ranks`` it is as Ray does: the run that has been ready for
    longest, and of those that become so at one moment the first; runs without a parent, ready from the start,
    therefore all precede those with one. No device is idle while a run is ready, so the makespan is at most 2 -
    1/``devices`` times the least possible (Graham 1969, Bounds on multiprocessing timing anomalies).
    durations: seconds [R], 0 or more. parents: positions in ``durations`` [R]; no run is its own forebear. ranks: [R],
    as of :func:`longest_chain_first`.
    """
    children: list[list[int]] = [[] for _ in durations]
    ready: list[tuple[float, int]] = []

    def key(run: int, moment: float) -> tuple[float, int]:
        return (moment if ranks is None else ranks[run], run)

    for run, parent in enumerate(parents):
        if parent is None:
            heapq.heappush(ready, key(run, 0.0))
        else:
            children[parent].append(run)
    start, finish = [0.0] * len(durations), [0.0] * len(durations)
    training: list[tuple[float, int]] = []
    now = 0.0
    while ready or training:
        while ready and len(training) < devices:
            _, run = heapq.heappop(ready)
            start[run], finish[run] = now, now + durations[run]
            heapq.heappush(training, (finish[run], run))
        now = training[0][0]
        while training and training[0][0] == now:
            _, run = heapq.heappop(training)
            for child in children[run]:
                heapq.heappush(ready, key(child, now))
    return Schedule(tuple(start), tuple(finish))


def longest_chain_first(weights: Sequence[float], parents: Sequence[int | None], parts: Sequence[int]) -> list[int]:
    """Return the rank of each run [R], 0 first: part by part, and in each part those that most work hangs on.

    What hangs on a run is its own work and that of the longest chain of children after it (Hu 1961, Parallel sequencing
    and assembly line problems). Of equals, the first goes first. weights: work [R], in any unit. parents: positions
    [R]. parts: [R], of which lower ones go first; a parent goes with the first of its children's parts.
    """
    children: list[list[int]] = [[] for _ in weights]
    for run, parent in enumerate(parents):
        if parent is not None:
            children[parent].append(run)
    hanging, part = [0.0] * len(weights), list(parts)
    for run in reversed(_parents_first(parents, children)):
        hanging[run] = weights[run] + max((hanging[child] for child in children[run]), default=0.0)
        part[run] = min([part[child] for child in children[run]], default=part[run])
    order = sorted(range(len(weights)), key=lambda run: (part[run], -hanging[run], run))
    ranks = [0] * len(weights)
    for rank, run in enumerate(order):
        ranks[run] = rank
    return ranks


def _parents_first(parents: Sequence[int | None], children: Sequence[Sequence[int]]) -> list[int]:
    order = [run for run, parent in enumerate(parents) if parent is None]
    for run in order:  # which grows meanwhile
        order.extend(children[run])
    return order


def most_at_once(parents: Sequence[int | None]) -> int:
    """Return how many runs could be trained at one time, if there were devices enough; at least 1.

    Each run that is no parent stands for a chain, and of a chain one run can go at a time.
    """
    return max(1, len(parents) - len({parent for parent in parents if parent is not None}))


def critical_path(durations: Sequence[float], parents: Sequence[int | None]) -> float:
    """Return the seconds of the longest chain of runs; no number of devices is faster. Arguments as of `schedule`."""
    # With a device for each run, none waits for anything but its parent.
    return schedule(durations, parents, max(1, len(durations))).makespan


def enough_devices(durations: Sequence[float], parents: Sequence[int | None], runs_per_device: int = 1) -> int:
    """Return the fewest devices, of ``runs_per_device`` runs each, whose makespan is within 5% of the critical path."""
    goal = _NEAR * critical_path(durations, parents)
    if goal == 0:
        return 1
    # Fewer than this could not do all the work in time; a device for each run always can.
    least = max(1, math.ceil(sum(durations) / goal / runs_per_device - 1e-9))
    for devices in range(least, len(durations)):
        if schedule(durations, parents, devices * runs_per_device).makespan <= goal:
            return devices
    return max(least, len(durations))
