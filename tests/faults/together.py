"""Several processes on one study, with and without locks, some of them killed: nothing is trained twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from tests.faults.child import Accident, Command, entries
from tests.faults.home import RUNS, Home, Part, empty, leftovers, products


def together(home: Home, place: Path, scale: float, seed: int) -> Part:
    """Train one study by 2 and by 8 processes, ``scale`` times eight rounds of each."""
    part, chance = Part("together"), random.Random(seed)
    expected = products(home.whole)
    for several in (2, 8):
        for round_ in range(max(2, round(8 * scale))):
            no_locks, killed = round_ % 2 == 1, round_ // 2 % 2 == 1
            _train(home, place, part, chance, expected, several, no_locks=no_locks, killed=killed)
    return part


def _train(
    home: Home,
    place: Path,
    part: Part,
    chance: random.Random,
    expected: dict[str, str],
    several: int,
    *,
    no_locks: bool,
    killed: bool,
) -> None:
    runs, log = empty(place / "runs"), place / "kept"
    log.unlink(missing_ok=True)
    accident = Accident(no_locks=no_locks)
    processes = [Command(home.train(runs), log, accident) for _ in range(several)]
    kind = f"{several} processes{', no locks' * no_locks}{', some killed' * killed}"
    victims = processes[: several // 2] if killed else []
    for process in victims:
        process.kill_after(chance.uniform(0.3, 2.0))
    ends = [process.wait() for process in processes]
    for process, ended in zip(processes, ends, strict=True):
        right = (0, -9) if process in victims else (0,)
        part.check(ended.code in right, f"{kind}: exit code {ended.code}: {ended.output[-600:]}")
    part.count(f"rounds of {kind.replace(', some killed', '')}")
    part.count("killed", sum(ended.code == -9 for ended in ends))
    found = products(runs)
    part.check(found == expected, f"{kind}: {len(found)} of {len(expected)} products, or these differ")
    part.check(not leftovers(runs), f"{kind}: left: {leftovers(runs)}")
    part.check(not list(runs.rglob(".claim*")), f"{kind}: claims are left")
    times = Counter(entry["name"] for entry in entries(log, "kept"))
    # One killed while it keeps a run's results leaves that run to another, once.
    allowed = sum(ended.code == -9 for ended in ends)
    part.count("trained", sum(times.values()))
    part.check(sum(times.values()) - RUNS <= allowed, f"{kind}: trained more than once: {dict(times)}")
    waited = [ended for ended in ends if "waiting for" in ended.output]
    part.count("processes that waited for another", len(waited))
    if no_locks:
        said = [ended.output.count("no file locks") for ended in ends if ended.code == 0]
        part.check(all(count <= 1 for count in said) and any(said), f"{kind}: without locks was said {said} times")
