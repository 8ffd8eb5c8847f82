"""What a training keeps of its speed beside one other busy program, by threads and by how they wait.

    python benchmarks/neighbour.py --architectures mobilenetv3_large_100 resnet34 --size 64 --seconds 15

For each architecture, number of threads and way to wait: images a second of the training loop alone, and beside a
process of the same niceness that spins on one core; the last column is the share that is kept. Alone and beside follow
one another, so that each ratio is of one moment. The ways are that which comes with torch, PASSIVE (OMP_WAIT_POLICY:
asleep at once), and numbers (GOMP_SPINCOUNT: so many turns awake, then asleep). What the command line sets is in
``bandbridge.machine.let_threads_sleep``. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AS_IT_COMES = "as it comes"
HERE = Path(__file__).resolve().parent
_TRAIN = """
import json, sys
settings, threads = json.loads(sys.argv[1]), int(sys.argv[2])
sys.path.insert(0, settings["here"])
from packing import train_for
class Alone:
    def wait(self): pass
class Ends:
    def put(self, found): self.found = found
ends = Ends()
train_for(settings, threads, Alone(), ends)
first, times, images = ends.found
print(images * (len(times) - 1) / (times[-1] - first) if len(times) > 1 else 0.0)
"""


def speed(settings: dict[str, object], threads: int, way: str) -> float:
    """Images a second of one training in a process of its own."""
    ways = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in ways}
    if way != AS_IT_COMES:
        environment[ways[way.isdecimal()]] = way
    result = subprocess.run(
        [sys.executable, "-c", _TRAIN, json.dumps(settings), str(threads)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout.split()[-1])


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Keep one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", default=["mobilenetv3_large_100", "resnet34"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=2, help="in an epoch, between two looks at the clock")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--ways", nargs="+", default=[AS_IT_COMES, "PASSIVE", "1000", "10000"])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--allowance", type=float, default=5, help="seconds to start and to warm up")
    arguments = parser.parse_args()
    print("| architecture | threads | waiting | alone, images/s | beside one busy process | kept |")
    print("|---|--:|---|--:|--:|--:|")
    for architecture in arguments.architectures:
        settings = {**vars(arguments), "architecture": architecture, "device": "cpu", "here": str(HERE)}
        for threads in arguments.threads:
            for way in arguments.ways if threads > 1 else [AS_IT_COMES]:
                alone = speed(settings, threads, way)
                with busy_neighbour():
                    beside = speed(settings, threads, way)
                row = (architecture, threads, way, f"{alone:.0f}", f"{beside:.0f}")
                print("| " + " | ".join(map(str, row)) + f" | {beside / alone:.0%} |", flush=True)


if __name__ == "__main__":
    main()
