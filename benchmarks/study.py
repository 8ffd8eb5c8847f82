"""A whole study on this machine's cores: an earlier build and this one by turns, alone and beside a busy neighbour.

    python benchmarks/study.py --before afe3cdb --architectures tf_mobilenetv3_small_100 tf_efficientnet_lite0 --size 64

One plan of eight runs (two drawn sets, each the other's intermediate, scratch and domain, two architectures, one fold)
is trained by ``bandbridge study run``, as a user would, by each build in turn. The seconds are those of the command,
from its start to its end, and the ratio is what the newer build gains. Beside it stands what ``benchmarks/packing.py``
gives in the same run: trainings side by side over one that has all cores, without a study around them; the first should
reach the second. Then this build once more, with a process of the same niceness that spins on one core.

The earlier build is checked out of this repository's history into a temporary folder; both use the same packages. Run
it on a quiet machine: it takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import yaml

from bandbridge.machine import usable_cores
from builds import HERE, checked_out, seconds_of
from neighbour import busy_neighbour
from packing import together


def write_study(folder: Path, arguments: argparse.Namespace) -> Path:
    """Draw the two sets and write the plan."""
    for seed, stain in enumerate("QG"):
        seconds_of(HERE, "data", "synth", folder / stain, "--stain", stain, "--cells", arguments.cells, "--seed", seed)
    study = {
        "name": "benchmark",
        "protocol": "paper",  # whose preparation of images every build has
        "tasks": {"Q": {"dataset": "Q", "intermediates": ["G"]}, "G": {"dataset": "G", "intermediates": ["Q"]}},
        "architectures": arguments.architectures,
        "approaches": ["scratch", "domain"],
        "split": {"folds": 5, "scheme": "cell"},
        "run_folds": [0],
        "image_size": arguments.size,
        "recipe": {"base": "fast", "epochs": arguments.epochs, "batch_size": arguments.batch},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def study_seconds(source: Path, study: Path) -> float:
    """Seconds of ``study run`` with nothing done before it."""
    with tempfile.TemporaryDirectory() as runs:
        return seconds_of(source, "study", "run", study, "--runs", runs, "--device", "cpu")


def packing_ratio(arguments: argparse.Namespace) -> float:
    """How much longer the same images take one training after another, of all cores, than side by side."""
    cores = usable_cores()
    alone, packed = 0.0, 0.0
    for architecture in arguments.architectures:
        settings = {
            "architecture": architecture,
            "size": arguments.size,
            "batch": arguments.batch,
            "seconds": arguments.seconds,
            "allowance": 10,
            "device": "cpu",
        }
        first, both = (together(settings, count, cores) for count in (1, cores))
        print(
            f"{architecture}: {first:.0f} images/s with {cores} threads, {both:.0f} of {cores} side by side", flush=True
        )
        alone += 1 / first
        packed += 1 / both
    return alone / packed


def main() -> None:
    """Print what was measured, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="afe3cdb", help="commit of the earlier build")
    parser.add_argument("--architectures", nargs="+", default=["tf_mobilenetv3_small_100", "tf_efficientnet_lite0"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15, help="of each training of the packing ratio")
    arguments = parser.parse_args()
    with checked_out(arguments.before) as earlier, tempfile.TemporaryDirectory() as place:
        study = write_study(Path(place), arguments)
        before, after = [], []
        for turn in range(arguments.rounds):
            before.append(study_seconds(earlier, study))
            after.append(study_seconds(HERE, study))
            print(f"round {turn + 1}: {arguments.before} {before[-1]:.0f} s, this build {after[-1]:.0f} s", flush=True)
        packing = packing_ratio(arguments)
        with busy_neighbour():
            beside = study_seconds(HERE, study)
    gain = statistics.median(one / two for one, two in zip(before, after, strict=True))
    print(f"\ngain over {arguments.before}: {gain:.2f}; packing: {packing:.2f}; share of it: {gain / packing:.2f}")
    print(f"beside a busy process: {beside:.0f} s, {statistics.median(after) / beside:.2f} of the quiet speed")


if __name__ == "__main__":
    main()
