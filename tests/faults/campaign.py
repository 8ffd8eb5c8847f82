"""The campaign of faults: ``make faults``.

    python tests/faults/campaign.py                     all parts
    python tests/faults/campaign.py kills mutants       some of them
    python tests/faults/campaign.py --scale 0.1         a tenth of it

Prints a JSON line for each part and a table in the end. Exit code 1 where a promise was broken; each such case has a
line of its own. Everything is drawn from ``--seed``, but for the moments of random kills, which the clock decides.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT))
# The server that forks the commands finds its modules by this.
os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), str(_ROOT / "src"), os.environ.get("PYTHONPATH", "")])

from tests.faults.alterations import alterations  # noqa: E402
from tests.faults.disk import disk  # noqa: E402
from tests.faults.home import Home, Part, make_home  # noqa: E402
from tests.faults.kills import kills  # noqa: E402
from tests.faults.mutants import mutants  # noqa: E402
from tests.faults.together import together  # noqa: E402

PARTS: dict[str, Callable[[Home, Path, float, int], Part]] = {
    "kills": kills,
    "disk": disk,
    "together": together,
    "mutants": mutants,
    "alterations": alterations,
}
_MOST_SHOWN = 20


def main() -> int:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all unless named")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the campaign, 1 for all of it")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - PARTS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="bandbridge-faults-") as folder:
        home = make_home(Path(folder) / "home")
        done = [
            carry_out(name, home, Path(folder) / name, arguments.scale, arguments.seed)
            for name in arguments.parts or PARTS
        ]
    print(table(done))
    return int(any(part.faults for part in done))


def carry_out(name: str, home: Home, place: Path, scale: float, seed: int) -> Part:
    """Run one part in the folder ``place``; prints its counts and its faults."""
    place.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    part = PARTS[name](home, place, scale, seed)
    part.seconds = round(time.monotonic() - started, 1)
    print(json.dumps({**asdict(part), "faults": len(part.faults)}), flush=True)
    for fault in part.faults[:_MOST_SHOWN]:
        print(f"  {fault}", flush=True)
    if len(part.faults) > _MOST_SHOWN:
        print(f"  ... and {len(part.faults) - _MOST_SHOWN} more", flush=True)
    return part


def table(parts: list[Part]) -> str:
    """Return the counts as a Markdown table."""
    lines = ["", "| part | counts | broken | seconds |", "|---|---|--:|--:|"]
    for part in parts:
        counts = ", ".join(f"{number:,} {kind}" for kind, number in part.counts.items())
        lines.append(f"| {part.name} | {counts} | {len(part.faults)} | {part.seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    multiprocessing.freeze_support()
    sys.exit(main())
