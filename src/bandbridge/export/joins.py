"""How likely two ends are of one chromosome, fitted to drawn spreads alone, in one command.

    python -m bandbridge.export.joins FOLDER --spreads 260

FOLDER keeps what was seen on each spread: the same command goes on where it was stopped. Its joins.json is what
:mod:`bandbridge.metaphase.joins` reads.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bandbridge.files import replacing, write_text
from bandbridge.metaphase.cores import Rules, parts_of_cores
from bandbridge.metaphase.field import look_without_nuclei
from bandbridge.metaphase.ground import BlankField
from bandbridge.metaphase.joins import Judge
from bandbridge.metaphase.meetings import FACTS, Core, meetings
from bandbridge.progress import listening, note, track
from bandbridge.synthetic.spread import Spread, draw_spread

#: Spreads that joins are fitted to are of this seed; others try them.
SEED = 5
#: Networks, units of each, and the weight of their squares.
NETWORKS, UNITS, DECAY = 8, 8, 10.0
#: Share of a core that lies in one chromosome, for it to be that one's.
_OWN = 0.6


def seen_on(spread: Spread) -> tuple[np.ndarray, np.ndarray]:
    """Return all that is seen where cores of a spread meet, float [n, FACTS], and whether they are of one, bool [n].

    Meetings of cores that are nobody's are left out. Raises as :func:`bandbridge.metaphase.field.cut_field`.
    """
    looked = look_without_nuclei(spread.gray)
    cores = parts_of_cores(looked.said, Rules())
    owners = [_owner(core, spread, looked.said.there.shape) for core in cores]
    found = [one for one in meetings(cores, looked.said, looked.stain) if owners[one.a] and owners[one.b]]
    seen = np.array([one.seen for one in found]).reshape(-1, FACTS)
    return seen, np.array([owners[one.a] == owners[one.b] for one in found], dtype=bool)


def _owner(core: Core, spread: Spread, shape: tuple[int, ...]) -> int:
    """The number of the chromosome that most of ``core`` lies in, 0 where none is."""
    down, over = (wanted / had for wanted, had in zip(spread.first.shape, shape, strict=True))
    rows = np.minimum(((core.rows + 0.5) * down).astype(int), spread.first.shape[0] - 1)
    columns = np.minimum(((core.columns + 0.5) * over).astype(int), spread.first.shape[1] - 1)
    counts = sum(
        np.bincount(layer[rows, columns], minlength=len(spread.labels) + 1) for layer in (spread.first, spread.second)
    )
    counts = np.asarray(counts)
    counts[0] = 0
    return int(counts.argmax()) if counts.max() > _OWN * len(core.rows) else 0


def fit(seen: np.ndarray, same: np.ndarray) -> Judge:
    """Fit networks to what is ``seen``, float [n, FACTS], and whether that is the ``same`` chromosome, bool [n]."""
    from sklearn.neural_network import MLPClassifier

    middle, spread = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-6)
    scaled = np.clip((seen - middle) / spread, -5, 5)
    inner, outer = [], []
    for number in range(NETWORKS):
        one = MLPClassifier(
            (UNITS,), activation="tanh", alpha=DECAY, solver="lbfgs", max_iter=1000, random_state=number
        )
        one.fit(scaled, same)
        inner.append(np.vstack([one.coefs_[0], one.intercepts_[0]]))
        outer.append(np.append(one.coefs_[1][:, 0], one.intercepts_[1][0]))
    return Judge(middle, spread, np.stack(inner), np.stack(outer))


def write_judge(judge: Judge, path: Path) -> None:
    """Write ``judge`` as JSON to ``path``."""
    named = {name: getattr(judge, name) for name in ("middle", "spread", "inner", "outer")}
    rounded = {name: np.round(values, 4).tolist() for name, values in named.items()}
    write_text(path, json.dumps(rounded) + "\n")


def _see(folder: Path, number: int) -> None:
    place = folder / f"seen-{number:05d}.npz"
    if place.is_file():
        return
    try:
        seen, same = seen_on(draw_spread("G" if number % 2 else "Q", SEED, number // 2))
    except BlankField:
        return
    with replacing(place) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, seen=seen, same=same)


def read_seen(places: Iterable[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return what was kept in all of ``places``, as :func:`seen_on` has it."""
    seen, same = [np.zeros((0, FACTS))], [np.zeros(0, bool)]
    for place in places:
        with np.load(place, allow_pickle=False) as stored:
            seen.append(stored["seen"])
            same.append(stored["same"])
    return np.concatenate(seen), np.concatenate(same)


def main() -> None:
    """Draw, look, fit and write ``joins.json``."""
    parser = argparse.ArgumentParser(description="Fit how likely two ends are of one chromosome.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spreads", type=int, default=260)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with listening(True), ProcessPoolExecutor(arguments.processes) as pool:
        work = pool.map(partial(_see, arguments.folder), range(arguments.spreads))
        for _ in track(work, arguments.spreads, "drawing spreads"):
            pass
        seen, same = read_seen(sorted(arguments.folder.glob("seen-*.npz")))
        note(f"{len(same):,} meetings, {same.mean():.1%} of one chromosome")
        write_judge(fit(seen, same), arguments.folder / "joins.json")


if __name__ == "__main__":
    main()
