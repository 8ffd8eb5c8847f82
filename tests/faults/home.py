"""The small study that accidents befall, and how its products are compared."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STUDY = """\
name: small
protocol: strict
tasks:
  Q: {dataset: q, intermediates: [G]}
  G: {dataset: g, intermediates: [Q]}
architectures: [test_resnet]
approaches: [scratch, domain]
split: {folds: 2, scheme: cell}
image_size: 32
preparation: published
recipe: {base: fast, epochs: 2, batch_size: 16}
"""
RUNS = 8
#: What of a run's products tells the time.
_TIMES = ("seconds", "images_per_second", "started")
_COMPARED = ("predictions.parquet", "best.safetensors", "last.safetensors", "history.json", "config.json")


@dataclass
class Part:
    """What one part of the campaign did. counts: how often, by kind; faults: a sentence for each promise broken."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, kind: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[kind] = self.counts.get(kind, 0) + number

    def check(self, holds: bool, fault: str) -> bool:
        """Note ``fault`` unless the promise ``holds``; returns whether it does."""
        if not holds:
            self.faults.append(fault)
        return holds


@dataclass(frozen=True)
class Home:
    """A folder with two drawn sets, a study file, and the whole study trained without an accident.

    whole: its runs. model: an exported model of one of them.
    """

    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "study.yaml"

    @property
    def whole(self) -> Path:
        return self.folder / "whole"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def train(self, runs: Path, *more: object) -> list[object]:
        """Return the command that trains the study into ``runs``, run after run."""
        return ["study", "run", self.study, "--runs", runs, "--device", "cpu", "--jobs", "1", *more]


def make_home(folder: Path) -> Home:
    """Draw the sets, train the study and export a model. Raises RuntimeError where that fails."""
    from tests.faults.child import run

    home = Home(folder)
    folder.mkdir(parents=True, exist_ok=True)
    home.study.write_text(STUDY)
    commands: list[list[object]] = [
        ["data", "synth", folder / "q", "--stain", "Q", "--cells", "4", "--seed", "1"],
        ["data", "synth", folder / "g", "--stain", "G", "--cells", "4", "--seed", "2"],
        ["data", "synth", folder / "new", "--stain", "Q", "--cells", "2", "--seed", "9"],
        home.train(home.whole),
    ]
    for command in commands:
        must(run(command, folder / "log"))
    must(run(export(home, home.model), folder / "log"))
    return home


def must(ended: Any) -> None:
    """Raise RuntimeError unless a command ended well."""
    if ended.code != 0:
        raise RuntimeError(f"exit code {ended.code}:\n{ended.output}")


def export(home: Home, out: Path) -> list[object]:
    """Return the command that exports a finished run as a model folder."""
    run = next(home.whole.glob("Q/*/scratch/fold0-*"))
    return ["models", "export", run, "--images", home.folder / "q", "--out", out]


def predict(home: Home, out: Path) -> list[object]:
    """Return the command that classifies two new cells with the exported model and draws them."""
    return ["predict", home.model, home.folder / "new", "--karyograms", "--out", out, "--device", "cpu"]


def products(runs: Path) -> dict[str, str]:
    """Return the digest of what finished runs keep, by path, without what tells the time."""
    found = {}
    for done in sorted(runs.glob("*/*/*/*/done.json")):
        for name in _COMPARED:
            path = done.parent / name
            if path.exists():
                found[path.relative_to(runs).as_posix()] = _digest(path)
    return found


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file in ``folder``, by path, locks aside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".safetensors":  # which writes the facts of its header in any order
        length = int.from_bytes(content[:8], "little")
        header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True).encode()
        content = header + content[8 + length :]
    if path.suffix == ".json":
        content = json.dumps(_timeless(json.loads(content)), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in _TIMES}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def leftovers(folder: Path) -> list[str]:
    """Return what is temporary in ``folder``: nothing, when the last command there ended well."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name.endswith(".tmp")]


def empty(folder: Path) -> Path:
    """Return ``folder``, emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
