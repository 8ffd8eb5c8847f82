"""What a laboratory waits for: a cell from the shell to its karyogram, and twenty in one call; two builds by turns.

    python benchmarks/laboratory.py --run runs/G/mobilenetv3-l/scratch/fold0-... --cells cells/

run: one of the earlier build, which makes its model folder; this build completes a copy. cells: a folder of images for
each cell; the first is the one, the first twenty are the twenty, which are classified and not drawn. The builds take
turns, ``--rounds`` times after one that is not counted; printed is the least of the seconds, because other load only
ever adds, the largest peak memory, and the ratios. ``--python``: the interpreter of an installation of this build
without PyTorch (``make lean``); the earlier build runs on this one's packages. ``--int8``: a graph of 8 bits of the
same run, exported by this build.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from builds import HERE, checked_out

_COMMAND = "from bandbridge.cli.main import run; run()"


@dataclass
class Build:
    """An interpreter with its source (None: what is installed), and the model that it opens."""

    name: str
    python: str
    source: Path | None
    model: Path
    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    def run(self, *words: object) -> tuple[float, float]:
        """Run ``bandbridge`` with ``words``; return seconds and peak memory, MB."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if self.source is not None:
            environment["PYTHONPATH"] = str(self.source / "src")
        started = time.monotonic()
        command = [self.python, "-c", _COMMAND, *map(str, words)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        told = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        passed = time.monotonic() - started
        process.stderr.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(told.decode())
        return passed, usage.ru_maxrss / 1024

    def predict(self, name: str, cells: Path, out: Path) -> None:
        """Classify ``cells``, with the karyogram of one, and note what it took."""
        drawn = ["--karyograms"] if sum(1 for _ in cells.iterdir()) == 1 else []
        seconds, peak = self.run("predict", self.model, cells, *drawn, "--out", out)
        self.seconds.setdefault(name, []).append(seconds)
        self.peak[name] = max(self.peak.get(name, 0.0), peak)


def first_cells(cells: Path, count: int, place: Path) -> tuple[Path, int]:
    """Return a folder with the first ``count`` cells, and how many images they have."""
    folder = place / f"cells-{count}"
    for cell in sorted(cells.iterdir())[:count]:
        shutil.copytree(cell, folder / cell.name)
    return folder, sum(path.is_file() for path in folder.rglob("*"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--before", default="afe3cdb", help="commit of the earlier build")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--int8", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with checked_out(arguments.before) as earlier, tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        old = Build(arguments.before, sys.executable, earlier, place / "old")
        old.run("models", "export", arguments.run.resolve(), "--out", old.model)
        shutil.copytree(old.model, place / "new")
        Build("", sys.executable, HERE, place).run("models", "complete", place / "new")
        source = HERE if arguments.python == sys.executable else None
        builds = [old, Build("this build", arguments.python, source, place / "new")]
        if arguments.int8 is not None:
            builds.append(Build("this build, int8", arguments.python, source, arguments.int8.resolve()))
        print("| | images | build | s | ratio | images/s | ratio | peak, MB | ratio |")
        print("|---|--:|---|--:|--:|--:|--:|--:|--:|")
        for count in (1, 20):
            cells, images = first_cells(arguments.cells, count, place)
            name = f"{count} cell{'s' if count > 1 else ''}"
            for turn in range(arguments.rounds + 1):
                for number, build in enumerate(builds):
                    build.predict(name if turn else "", cells, place / f"out-{number}")
            for build in builds:
                seconds, first = min(build.seconds[name]), min(old.seconds[name])
                print(
                    f"| {name} | {images} | {build.name} | {seconds:.2f} | {seconds / first:.2f} "
                    f"| {images / seconds:.1f} | {first / seconds:.2f} "
                    f"| {build.peak[name]:.0f} | {build.peak[name] / old.peak[name]:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
