"""A full disk at every kind of write: it is named, nothing finished is lost, and the same command goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.faults.child import Accident, run
from tests.faults.home import Home, Part, digests, empty, export, leftovers, predict, products


def disk(home: Home, place: Path, scale: float, seed: int) -> Part:
    """Let the disk be full at each name that each command writes, from the first byte and after some.

    ``scale`` below 1 leaves names out.
    """
    part, out = Part("disk"), place / "out"
    drawn = home.folder / "g"
    commands: dict[str, Callable[[], list[object]]] = {
        "study run": lambda: home.train(out / "runs"),
        "predict": lambda: predict(home, out / "predict"),
        "models export": lambda: export(home, out / "model"),
        "data synth": lambda: ["data", "synth", out / "set", "--stain", "G", "--cells", "2"],
        "study tables": lambda: ["study", "tables", home.study, "--runs", home.whole, "--out", out / "tables"],
        "study split": lambda: ["study", "split", home.study, out / "split"],
        "explain": lambda: [
            "explain",
            next(home.whole.glob("Q/*/scratch/fold0-*")),
            *_images(home),
            "--out",
            out / "e",
        ],
        "evaluate": lambda: ["evaluate", home.model, drawn, "--out", out / "score"],
    }
    for name, command in commands.items():
        _fill_at_each(name, command, out, part, scale)
    return part


def _images(home: Home) -> list[Path]:
    return sorted((home.folder / "new").rglob("*.png"))[:2]


def _fill_at_each(name: str, command: Callable[[], list[object]], out: Path, part: Part, scale: float) -> None:
    log = out.parent / "log"
    log.unlink(missing_ok=True)
    empty(out)
    ended = run(command(), log)
    part.check(ended.code == 0, f"{name}: {ended.output[-300:]}")
    expected = _kept(out)
    kinds = list({re.sub(r"\d+", "0", written): written for written in ended.names}.values())
    for number, written in enumerate(kinds[: max(1, round(len(kinds) * scale))]):
        # From the first byte, or after some, with the file begun.
        limit = 100 * (number % 2)
        empty(out)
        ended = run(command(), log, Accident(full_at=(written, limit)))
        if ended.code == 0 and limit:  # the file is that small
            limit = 0
            ended = run(command(), log, Accident(full_at=(written, limit)))
        part.count("full disks")
        which = f"{name}: {written} after {limit} bytes"
        part.check(ended.code in (1, 2), f"{which}: exit code {ended.code}: {ended.output[-600:]}")
        part.check("Traceback" not in ended.output, f"{which}: {ended.output[-900:]}")
        named = "".join(written.split()) in "".join(ended.output.split())
        part.check(named, f"{which}: it is not named: {ended.output[-300:]}")
        ended = run(command(), log)
        part.check(ended.code == 0, f"{which}: it does not go on: {ended.output[-300:]}")
        found = _kept(out)
        part.check(found == expected, f"{which}: these differ: {_differing(found, expected)}")
        part.check(not leftovers(out), f"{which}: left: {leftovers(out)}")


def _kept(out: Path) -> dict[str, str]:
    if (out / "runs").is_dir():
        return products(out / "runs")
    return digests(out)


def _differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))[:5]
