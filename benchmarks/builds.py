"""An earlier build beside this one: for benchmarks that let the two take turns in one run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: This build.
HERE = Path(__file__).resolve().parents[1]
_COMMAND = "from bandbridge.cli.main import run; run()"


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Yield a folder that holds this repository at ``commit``, which goes away again."""
    git = ["git", "-C", str(HERE), "worktree"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "earlier"
        subprocess.run([*git, "add", "--detach", str(folder), commit], check=True, capture_output=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def seconds_of(source: Path, *arguments: object, limit: float | None = None, fails: bool = False) -> float:
    """Run the command line of the build in ``source``; returns its seconds, infinity where it takes over ``limit``.

    Both builds have the packages of this interpreter. fails: a wrong command, which is to end with exit code 2.
    """
    started = time.monotonic()
    try:
        result = subprocess.run(
            [sys.executable, "-c", _COMMAND, *map(str, arguments)],
            cwd=source,
            env={**os.environ, "PYTHONPATH": str(source / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return float("inf")
    passed = time.monotonic() - started
    if result.returncode != (2 if fails else 0):
        raise SystemExit(result.stderr)
    return passed
