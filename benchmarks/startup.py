"""How long a command takes to answer: an earlier build and this one by turns.

    python benchmarks/startup.py --before afe3cdb --data-dir sets --model runs/G/resnet34/scratch/fold0-... --cell cell/

One row a command: the least of ``--rounds`` seconds of each build, from the start of the process to its end, and their
ratio. The least, because other load only ever adds. Each command is called once before, so that the disk is warm.
Plans are of studies of which nothing is done; each build reads its own ``studies``. data-dir: where the sets of
``studies/paper.yaml`` lie, if they are there. model, cell: what ``predict`` is called with; without them it is not.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from builds import HERE, checked_out, seconds_of


def commands(arguments: argparse.Namespace, place: Path) -> dict[str, tuple[list[object], bool]]:
    """What is timed: by its name, the arguments and whether it is a wrong command."""
    runs = ["--runs", place / "runs"]
    data = ["--data-dir", arguments.data_dir.resolve()] if arguments.data_dir else []
    paper, demo = ["study", "plan", "studies/paper.yaml", *data, *runs], ["study", "plan", "studies/demo.yaml", *runs]
    found: dict[str, tuple[list[object], bool]] = {
        "--help": (["--help"], False),
        "a wrong argument": (["study", "plan", "studies/paper.yaml", "--folds", "3"], True),
        "models": (["models"], False),
        "plan studies/paper.yaml --no-estimate": (
            ["study", "plan", "studies/paper.yaml", "--no-estimate", *data, *runs],
            False,
        ),
        "plan studies/demo.yaml": (demo, False),
        "plan studies/paper.yaml": (paper, False),
    }
    if arguments.model and arguments.cell:
        out = ["--out", place / "predictions"]
        found["predict one cell"] = (["predict", arguments.model.resolve(), arguments.cell.resolve(), *out], False)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="afe3cdb", help="commit of the earlier build")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--cell", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300)
    arguments = parser.parse_args()
    print(f"| `bandbridge ...` | {arguments.before}, s | this build, s | ratio |\n|---|--:|--:|--:|")
    with checked_out(arguments.before) as earlier, tempfile.TemporaryDirectory() as place:
        for name, (words, fails) in commands(arguments, Path(place)).items():
            best = {earlier: math.inf, HERE: math.inf}
            slow: set[Path] = set()
            for turn in range(arguments.rounds + 1):
                for build in best:
                    if build in slow:
                        continue
                    seconds = seconds_of(build, *words, limit=arguments.limit, fails=fails)
                    if math.isinf(seconds):
                        slow.add(build)
                    elif turn:
                        best[build] = min(best[build], seconds)
            before, after = best.values()
            texts = [
                f"{each:.2f}" if math.isfinite(each) else f"over {arguments.limit:.0f}" for each in (before, after)
            ]
            ratio = f"{before / after:.1f}" if math.isfinite(before) else f"over {arguments.limit / after:.0f}"
            print(f"| {name} | {texts[0]} | {texts[1]} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
