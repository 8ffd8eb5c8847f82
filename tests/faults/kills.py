"""Sudden death: of trainings, of the making of stores, of exports and predictions, at random and beside renames.

What was finished is never made again, what is made in the end is the same to the byte as without an accident, and no
temporary file is left.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.child import Accident, Command, entries, run
from tests.faults.home import RUNS, Home, Part, digests, empty, export, leftovers, predict, products

#: Kills of each kind in the whole campaign.
_KILLS = {"at random": 90, "before a rename": 60, "after a rename": 40, "store": 30, "export": 15, "predict": 15}


def kills(home: Home, place: Path, scale: float, seed: int) -> Part:
    """Kill commands ``scale`` times as often as the whole campaign does."""
    part, chance = Part("kills"), random.Random(seed)
    wanted = {kind: max(2, round(count * scale)) for kind, count in _KILLS.items()}
    for kind in ("at random", "before a rename", "after a rename"):
        _kill_trainings(home, empty(place / "runs"), part, chance, kind, wanted[kind])
    _kill_stores(home, place / "runs", part, chance, wanted["store"])
    _kill_writing(place / "out", part, chance, ("export", wanted["export"]), lambda out: export(home, out))
    _kill_writing(place / "out", part, chance, ("predict", wanted["predict"]), lambda out: predict(home, out))
    check_order(home, empty(place / "runs"), part)
    return part


def _kill_trainings(home: Home, runs: Path, part: Part, chance: random.Random, kind: str, wanted: int) -> None:
    """Kill ``study run`` until that has hit so often; whenever the study is done, a new one is begun."""
    expected, hits, started = products(home.whole), 0, time.monotonic()
    done: dict[Path, int] = {}
    while hits < wanted:
        command = home.train(runs)
        if kind == "at random":
            process = Command(command, runs.parent / "log")
            process.kill_after(chance.uniform(0.05, 1.5))
            ended = process.wait()
        else:
            event = "os.rename" if kind == "before a rename" else "folder"
            ended = run(command, runs.parent / "log", Accident(kill_at=(event, chance.randint(1, 25))))
        hits += ended.code == -signal.SIGKILL
        part.count(f"killed {kind}", int(ended.code == -signal.SIGKILL))
        part.check(ended.code in (0, -signal.SIGKILL), f"{kind}: exit code {ended.code}: {ended.output[-300:]}")
        for path, at in done.items():
            part.check(path.exists() and path.stat().st_mtime_ns == at, f"{kind}: {path.parent} was trained again")
        done = {path: path.stat().st_mtime_ns for path in runs.glob("*/*/*/*/done.json")}
        _compare(part, kind, {name: value for name, value in expected.items() if (runs / name).exists()}, runs)
        if len(done) == RUNS:
            empty(runs)
            done = {}
    ended = run(home.train(runs), runs.parent / "log")
    part.check(ended.code == 0 and len(products(runs)) == len(expected), f"{kind}: the end: {ended.output[-300:]}")
    part.check(not leftovers(runs), f"{kind}: left: {leftovers(runs)}")
    _compare(part, kind, expected, runs)
    part.count("seconds of trainings killed", round(time.monotonic() - started))


def _compare(part: Part, kind: str, expected: dict[str, str], runs: Path) -> None:
    found = products(runs)
    part.count("finished runs compared", len(found) // 5)
    differing = [name for name, value in found.items() if expected.get(name, value) != value]
    part.check(not differing, f"{kind}: these differ: {differing}")


def _kill_stores(home: Home, runs: Path, part: Part, chance: random.Random, wanted: int) -> None:
    """Kill while images are prepared: at random, and before each of the renames that make the stores."""
    whole = {name: value for name, value in digests(home.whole / ".stores").items() if not name.endswith("store.json")}
    for number in range(wanted):
        empty(runs)
        accident = Accident(kill_at=("os.rename", 1 + number // 2 % 6)) if number % 2 else None
        process = Command(home.train(runs), runs.parent / "log", accident)
        if accident is None:
            process.kill_after(chance.uniform(0.02, 0.6))
        code = process.wait().code
        part.count("killed while preparing", int(code == -signal.SIGKILL))
        if number % 5 == 4 or number == wanted - 1:
            ended = run(home.train(runs), runs.parent / "log")
            found = digests(runs / ".stores")
            same = all(found.get(name) == value for name, value in whole.items())
            part.count("stores compared", len(whole) // 2)
            part.check(ended.code == 0 and same, f"store: it differs or failed: {ended.output[-300:]}")
            part.check(not leftovers(runs / ".stores"), f"store: left: {leftovers(runs / '.stores')}")


def _kill_writing(
    out: Path, part: Part, chance: random.Random, wanted: tuple[str, int], command: Callable[[Path], list[object]]
) -> None:
    """Kill a command that writes a folder, at random and before its renames; then let it end."""
    kind, number = wanted
    empty(out)
    log = out.parent / "log"
    begun = time.monotonic()
    ended = run(command(out / "whole"), log)
    took = time.monotonic() - begun
    part.check(ended.code == 0, f"{kind}: {ended.output[-300:]}")
    expected = digests(out / "whole")
    for kill in range(number):
        accident = Accident(kill_at=("os.rename", 1 + kill // 2)) if kill % 2 else None
        process = Command(command(out / "killed"), log, accident)
        if accident is None:
            process.kill_after(chance.uniform(0.1, took))
        code = process.wait().code
        part.count(f"killed {kind}", int(code == -signal.SIGKILL))
    ended = run(command(out / "killed"), log)
    part.check(ended.code == 0, f"{kind}: after the kills: {ended.output[-300:]}")
    found = digests(out / "killed")
    differing = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
    part.check(not differing, f"{kind}: these differ: {differing}")
    part.check(not leftovers(out), f"{kind}: left: {leftovers(out)}")
    part.count(f"files compared of {kind}", len(expected))


def check_order(home: Home, runs: Path, part: Part) -> None:
    """Check of every file that a training keeps: flushed, then renamed, then its folder flushed."""
    log = runs.parent / "order"
    log.unlink(missing_ok=True)
    ended = run(home.train(runs), log, Accident(note_order=True))
    part.check(ended.code == 0, f"order: {ended.output[-300:]}")
    steps = [(entry["name"].split(" ", 1)) for entry in entries(log, "order")]
    for index, (step, name) in enumerate(steps):
        if step == "rename":
            temporary, final = name.split(" -> ")
            folder = str(Path(final).parent)
            before = [one for one in steps[:index] if one == ["flush", temporary]]
            after = steps[index + 1 : index + 2] == [["flush", folder]]
            part.check(bool(before) and after, f"order: {final} was renamed before or without its flushes")
            part.count("renames between two flushes", int(bool(before) and after))
