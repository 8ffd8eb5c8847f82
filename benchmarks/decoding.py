"""How long it takes to decode image files: an earlier build and this one, by turns in one run.

    python benchmarks/decoding.py --before afe3cdb --data-dir sets

A thousand images of each set (its zip in data-dir), read beforehand: the least seconds of ``--rounds`` and the ratio to
the earlier build. ``--as-png`` stores them as PNG first.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from builds import HERE, checked_out
from stores import seconds

_DECODE = """
import io, sys, time
from pathlib import Path
from PIL import Image
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.imagefolder import open_dataset
dataset = open_dataset(Path(sys.argv[1]))
names = dataset.samples["file_name"].tolist()[: int(sys.argv[2])]
files = [dataset.read_bytes(name) for name in names]
if sys.argv[3] == "png":
    for number, data in enumerate(files):
        stream = io.BytesIO()
        Image.open(io.BytesIO(data)).save(stream, format="PNG")
        files[number] = stream.getvalue()
decode_gray(files[0], names[0])
best = float("inf")
for _ in range(5):
    started = time.perf_counter()
    for data, name in zip(files, names):
        decode_gray(data, name)
    best = min(best, time.perf_counter() - started)
print(best)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="afe3cdb", help="commit of the earlier build")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["pki3", "gband65", "bioimlab"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--as-png", action="store_true")
    arguments = parser.parse_args()
    with checked_out(arguments.before) as earlier:
        print("| set | earlier, s | now, s | ratio |")
        for name in arguments.sets:
            best = {earlier: math.inf, HERE: math.inf}
            for _ in range(arguments.rounds):
                for build in best:
                    dataset = (arguments.data_dir / f"{name}.zip").resolve()
                    kind = "png" if arguments.as_png else "as it is"
                    best[build] = min(best[build], seconds(build, _DECODE, dataset, arguments.images, kind))
            print(f"| {name} | {best[earlier]:.3f} | {best[HERE]:.3f} | {best[HERE] / best[earlier]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
