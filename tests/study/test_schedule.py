"""Schedules against another scheduler, a clock, and all possible ones."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from bandbridge.study.schedule import (
    critical_path,
    enough_devices,
    longest_chain_first,
    most_at_once,
    schedule,
)


def random_graph(seed: int, runs: int) -> tuple[list[int], list[int | None]]:
    """Whole seconds, and parents that come before their children."""
    draw = np.random.default_rng(seed)
    parents = [int(draw.integers(run)) if run and draw.random() < 0.6 else None for run in range(runs)]
    return draw.integers(1, 8, runs).tolist(), parents


def tick_by_tick(durations: list[int], parents: list[int | None], devices: int) -> list[tuple[int, int]]:
    """The same rule, second after second: a queue that runs join when they become ready, and a list of busy devices."""
    queue = [run for run, parent in enumerate(parents) if parent is None]
    busy: list[list[int]] = []  # run, seconds left
    times: dict[int, tuple[int, int]] = {}
    clock = 0
    while queue or busy:
        while queue and len(busy) < devices:
            run = queue.pop(0)
            busy.append([run, durations[run]])
            times[run] = (clock, clock + durations[run])
        clock += 1
        for slot in busy:
            slot[1] -= 1
        over = {run for run, left in busy if left == 0}
        busy = [slot for slot in busy if slot[1] > 0]
        queue += [run for run, parent in enumerate(parents) if parent in over]
    return [times[run] for run in range(len(durations))]


def least_makespan(durations: list[int], parents: list[int | None], devices: int) -> int:
    """Brute force: in every order of starting, each run on the device that is free first.

    The runs of a best schedule, in the order in which they start there, start no later this way.
    """
    best = sum(durations)
    for order in permutations(range(len(durations))):
        free, finish = [0] * devices, {}
        for run in order:
            parent = parents[run]
            if parent is not None and parent not in finish:
                break
            device = free.index(min(free))
            finish[run] = free[device] = max(free[device], finish.get(parent, 0)) + durations[run]
        else:
            best = min(best, max(free))
    return best


def longest_chain(durations: list[int], parents: list[int | None]) -> int:
    def until(run: int | None) -> int:
        return 0 if run is None else durations[run] + until(parents[run])

    return max(map(until, range(len(durations))))


@pytest.mark.parametrize(
    ("devices", "start", "makespan"),
    [(2, (0, 15, 0, 13, 4, 18, 6, 9, 9, 18), 21), (3, (0, 11, 0, 7, 0, 10, 4, 5, 6, 12), 14)],
)
def test_runs_are_taken_in_the_order_in_which_ray_was_seen_to_take_them(devices, start, makespan):
    # Tasks a0 a1 b0 b1 c0 c1 d0 e0 f0 f1, submitted in this order; those that end in 1 wait for their namesakes. Ray
    # 2.60.0 began them as a0 b0 c0 d0 e0 f0 b1 a1 c1 f1 on two cores, and with b1 c1 a1 f1 at the end on three.
    durations, parents = [6, 3, 4, 5, 5, 3, 3, 6, 4, 2], [None, 0, None, 2, None, 4, None, None, None, 8]
    found = schedule(durations, parents, devices)
    assert found.start == start and found.makespan == makespan


@pytest.mark.parametrize("devices", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("seed", range(20))
def test_schedule_is_the_one_of_a_clock(seed, devices):
    durations, parents = random_graph(seed, 30)
    found = schedule(durations, parents, devices)
    assert list(zip(found.start, found.finish, strict=True)) == tick_by_tick(durations, parents, devices)
    if devices == 1:
        assert found.makespan == sum(durations)


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_makespan_lies_between_the_bounds_and_grahams(seed, devices):
    durations, parents = random_graph(100 + seed, 6)
    best, found = least_makespan(durations, parents, devices), schedule(durations, parents, devices).makespan
    assert critical_path(durations, parents) == longest_chain(durations, parents)
    assert max(sum(durations) / devices, longest_chain(durations, parents)) <= best <= found
    assert found <= (2 - 1 / devices) * best


@pytest.mark.parametrize("packed", [1, 3])
@pytest.mark.parametrize("seed", range(20))
def test_one_device_fewer_than_enough_is_too_few(seed, packed):
    durations, parents = random_graph(200 + seed, 25)
    goal = 1.05 * longest_chain(durations, parents)
    near = [n for n in range(1, 26) if schedule(durations, parents, n * packed).makespan <= goal]
    assert enough_devices(durations, parents, packed) == near[0]


def test_nothing_and_no_time_at_all():
    assert schedule([], [], 3).makespan == critical_path([], []) == 0
    assert enough_devices([], []) == enough_devices([0.0, 0.0], [None, 0]) == 1
    assert schedule([0.0, 0.0, 2.0], [None, 0, 1], 1).finish == (0, 0, 2)


def chain_from(run: int, weights: list[int], parents: list[int | None]) -> int:
    """By following every child down."""
    return weights[run] + max(
        (chain_from(child, weights, parents) for child, parent in enumerate(parents) if parent == run), default=0
    )


@pytest.mark.parametrize("seed", range(20))
def test_ranks_follow_part_then_chain_then_place(seed):
    weights, parents = random_graph(300 + seed, 20)
    ranks = longest_chain_first(weights, parents, [0] * 20)
    order = sorted(range(20), key=ranks.__getitem__)
    assert sorted(ranks) == list(range(20))
    chains = [(-chain_from(run, weights, parents), run) for run in order]
    assert chains == sorted(chains)


def test_parts_go_one_after_the_other_and_a_parent_with_its_first_child():
    # The last run, a parent on all rows, belongs to no part of its own.
    weights, parents, parts = [5, 9, 1, 2, 7], [None, None, 4, 4, None], [0, 1, 1, 0, 2]
    # Part 0: run 0 (5), run 3 (2), and run 4, on which 7 + 2 hangs; part 1: run 1 (9), run 2 (1).
    assert longest_chain_first(weights, parents, parts) == [1, 3, 4, 2, 0]


@pytest.mark.parametrize("devices", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(20))
def test_a_free_device_takes_the_ready_run_of_the_lowest_rank(seed, devices):
    durations, parents = random_graph(400 + seed, 30)
    ranks = np.random.default_rng(seed).permutation(30).tolist()
    found = schedule(durations, parents, devices, ranks)
    for run, parent in enumerate(parents):
        assert found.finish[run] == found.start[run] + durations[run]
        assert parent is None or found.start[run] >= found.finish[parent]
    for moment in sorted(set(found.start)):
        busy = sum(start <= moment < finish for start, finish in zip(found.start, found.finish, strict=True))
        assert busy <= devices
        ready = [
            run
            for run, parent in enumerate(parents)
            if found.start[run] > moment and (parent is None or found.finish[parent] <= moment)
        ]
        begun = [run for run in range(30) if found.start[run] == moment]
        # Whoever waits while others begin ranks after them, and nobody waits beside an idle device.
        assert not ready or (busy == devices and max(ranks[run] for run in begun) < min(ranks[run] for run in ready))


def test_longest_chain_first_beats_rays_order_where_the_longest_comes_last():
    durations, parents = [1, 1, 1, 1, 4], [None] * 5
    ranks = longest_chain_first(durations, parents, [0] * 5)
    assert schedule(durations, parents, 2).makespan == 6 and schedule(durations, parents, 2, ranks).makespan == 4


@pytest.mark.parametrize("seed", range(12))
def test_most_at_once_is_the_largest_set_without_a_forebear_in_it(seed):
    _, parents = random_graph(500 + seed, 9)

    def forebears(run: int) -> set[int]:
        parent = parents[run]
        return set() if parent is None else {parent} | forebears(parent)

    def unrelated(some: tuple[int, ...]) -> bool:
        return not any(forebears(run) & set(some) for run in some)

    largest = max(size for size in range(1, 10) for some in combinations(range(9), size) if unrelated(some))
    assert most_at_once(parents) == largest
    assert most_at_once([]) == 1
