"""Coverage-guided fuzzing of the readers with atheris: ``make fuzz``.

    python tests/fuzz/fuzz.py --seconds 1200            all targets, one after another
    python tests/fuzz/fuzz.py --seconds 60 decoder      one of them

Prints a JSON line for each target: seconds, executions, edges of the code that were reached, findings. What was found
lies in build/fuzz/TARGET: each distinct traceback once, with the input that gave it. Exit code 1 where there is one.
An input that ends the process itself (a crash of a library, 25 s, 4 GB) is kept as crash-*, timeout-* or oom-*, and
the target goes on with another seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_NAMES = ("decoder", "metadata", "study", "labels")
_MOST_RESTARTS = 50


def main() -> int:
    """Fuzz the targets that the command line names, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=1200, help="for each target")
    parser.add_argument("--out", type=Path, default=_ROOT / "build" / "fuzz")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.one:
        fuzz_here(arguments.targets[0], arguments.out, arguments.seconds, arguments.seed)
    results = [fuzz(name, arguments.out, arguments.seconds, arguments.seed) for name in arguments.targets or _NAMES]
    return int(any(result["findings"] for result in results))


def fuzz(name: str, out: Path, seconds: int, seed: int) -> dict[str, object]:
    """Fuzz one target for so long, in as many processes as its crashes need; prints and returns what came of it."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        if old.is_file():
            old.unlink()
    started, executions, edges = time.monotonic(), 0, 0
    for restart in range(_MOST_RESTARTS):
        left = seconds - (time.monotonic() - started)
        if left < 2 and restart:
            break
        command = [sys.executable, __file__, "--one", name, "--seconds", f"{left:.0f}", "--out", str(out)]
        with (folder / "log.txt").open("w") as log:
            subprocess.run([*command, "--seed", str(seed + restart)], stdout=log, stderr=log, check=False)
        text = (folder / "log.txt").read_text(errors="replace")
        executions += _last(text, r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s")
        edges = max(edges, _last(text, r"cov: (\d+)"))
        if "Done " in text:
            break
    found = sorted(
        file.name for file in folder.glob("*") if re.match(r"(finding-.*\.txt|crash-|timeout-|oom-)", file.name)
    )
    result = {
        "target": name,
        "seconds": round(time.monotonic() - started),
        "executions": executions,
        "edges": edges,
        "findings": len(found),
        "files": found,
    }
    print(json.dumps(result), flush=True)
    return result


def _last(text: str, pattern: str) -> int:
    numbers = [next(filter(None, groups)) for groups in (match.groups() for match in re.finditer(pattern, text, re.M))]
    return int(numbers[-1]) if numbers else 0


def fuzz_here(name: str, out: Path, seconds: int, seed: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    sys.path.insert(0, str(_ROOT))
    with atheris.instrument_imports(include=["bandbridge", "PIL", "tifffile", "yaml"]):
        from tests.fuzz.targets import TARGETS, finds
    target, folder = TARGETS[name], out / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in target.seeds():
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    words = folder / "words.txt"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))

    def one_input(data: bytes) -> None:
        fault = finds(target, data)
        if fault is not None:
            _keep(folder, data, fault)

    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        "-max_len=4096",
        "-timeout=25",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/",
        *([f"-dict={words}"] if target.words else []),
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    return "".join(sign if sign.isalnum() else f"\\x{ord(sign):02x}" for sign in word)


def _keep(folder: Path, data: bytes, fault: Exception) -> None:
    """Keep a fault once for each place that it comes from."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(fault.__traceback__)]
    name = hashlib.sha256(repr((type(fault).__name__, places)).encode()).hexdigest()[:12]
    report = folder / f"finding-{name}.txt"
    if not report.exists():
        report.write_text("".join(traceback.format_exception(fault)))
        report.with_suffix(".bin").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
