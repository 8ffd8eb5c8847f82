"""Altered inputs by the thousand: each is read, or refused with its name, in a few seconds."""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import tarfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults.home import Home, Part, empty
from tests.fuzz.targets import image_seeds, table_seeds

#: Mutants of each kind in the whole campaign, at once in one process, and the longest that one may take, seconds.
_MUTANTS, _BATCH, _LONGEST_S = 2000, 100, 10
_NASTY: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        2**63,
        -(2**70),
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
        "",
        "\0",
        "\ud800",
        "NaN",
        "../x",
    ),
    *("=1+1", "1e999", [], {}, [[]], [None], {"a": {}}, "x" * 5000, list(range(500))),
)
_WORDS = (
    b"",
    b"\0",
    b",",
    b"\n",
    b'"',
    b"NaN",
    b"-1",
    b"1e999",
    b"\xff",
    b"\xef\xbb\xbf",
    b"../",
    b"{",
    b"]",
    b"9" * 40,
)


class _TooLong(BaseException):
    """A mutant took too long; no reader catches it by accident."""


def mutants(home: Home, place: Path, scale: float, seed: int) -> Part:
    """Read ``scale`` times 2,000 mutants of images, tables, archives and JSON."""
    part = Part("mutants")
    wanted = max(20, round(_MUTANTS * scale))
    context = multiprocessing.get_context("forkserver")
    for kind in ("images", "tables", "archives", "JSON"):
        for start in range(0, wanted, _BATCH):
            count = min(_BATCH, wanted - start)
            receiving, sending = context.Pipe(duplex=False)
            arguments = (kind, home, place / kind, seed + start, count, sending)
            process = context.Process(target=_read_batch, args=arguments)
            process.start()
            sending.close()
            _take(part, kind, receiving)
            process.join()
            part.check(
                process.exitcode == 0, f"{kind}: the process ended with {process.exitcode} (seed {seed + start})"
            )
    return part


def _take(part: Part, kind: str, receiving: Any) -> None:
    try:
        while True:
            outcome, story = receiving.recv()
            part.count(f"{kind} {outcome}")
            if story:
                part.faults.append(f"{kind}: {story}")
    except EOFError:
        return


def _read_batch(kind: str, home: Home, place: Path, seed: int, count: int, sending: Any) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with Path(os.devnull).open("w") as nowhere:  # libtiff writes to standard error by itself
        os.dup2(nowhere.fileno(), 2)
    signal.signal(signal.SIGALRM, _too_long)
    make = {"images": _images, "tables": _tables, "archives": _archives, "JSON": _json}[kind]
    for number, (name, read) in enumerate(make(home, empty(place), random.Random(seed))):
        if number == count:
            break
        sending.send(_outcome(f"seed {seed}, number {number}, {name}", name, read))
    sending.close()


def _too_long(*_: object) -> None:
    raise _TooLong


def _outcome(which: str, name: str, read: Callable[[], object]) -> tuple[str, str]:
    """Read one mutant; returns what came of it, and what is wrong with that."""
    from bandbridge.errors import UserError

    begun = time.monotonic()
    signal.alarm(_LONGEST_S)
    try:
        read()
    except UserError as error:
        named = name in str(error)
        return "refused", "" if named else f"{which} is not named: {str(error)[:300]}"
    except _TooLong:
        return "too long", f"{which}: more than {_LONGEST_S} s"
    except BaseException:
        return "let through", f"{which}: {traceback.format_exc(limit=-4)[-700:]}"
    finally:
        signal.alarm(0)
    taken = time.monotonic() - begun
    return "read", f"{which}: {taken:.0f} s" if taken > _LONGEST_S / 2 else ""


def altered(data: bytes, chance: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return ``data`` with one to six changes: bits, words, pieces left out, repeated or taken from ``others``."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        place, kind = chance.randrange(len(changed) + 1), chance.randrange(6)
        length = chance.choice((1, 1, 2, 4, 16, 200))
        if kind == 0 and changed:
            changed[min(place, len(changed) - 1)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[place : place + 1] = bytes([chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))])
        elif kind == 2:
            del changed[place : place + length]
        elif kind == 3:
            changed[place:place] = changed[max(0, place - length) : place]
        elif kind == 4:
            changed[place:place] = chance.choice(_WORDS)
        elif others:
            other = chance.choice(others)
            start = chance.randrange(len(other))
            changed[place : place + length] = other[start : start + length]
    if chance.random() < 0.1:
        del changed[chance.randrange(len(changed) + 1) :]
    return bytes(changed)


def _images(home: Home, place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    from bandbridge.dataset.decode import decode_image

    seeds = image_seeds()
    while True:
        data = altered(chance.choice(seeds), chance, seeds)
        yield "cell/1a.png", lambda data=data: decode_image(data, "cell/1a.png")


def _tables(home: Home, place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    import pandas as pd

    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.evaluation.predictions import read_predictions

    for name in ("a.png", "b.png"):
        (place / name).write_bytes(image_seeds()[0])
    csv = tuple(table_seeds())
    lines = (b'{"file_name": "a.png", "label": "1", "cell": "c"}\n{"file_name": "b.png", "label": 2}\n',)
    stream = io.BytesIO()
    pd.DataFrame({"file_name": ["a.png", "b.png"], "label": ["1", "X"], "cell": ["c", None]}).to_parquet(stream)
    kept = next(home.whole.rglob("predictions.parquet")).read_bytes()
    kinds = {
        "metadata.csv": csv,
        "metadata.jsonl": lines,
        "metadata.parquet": (stream.getvalue(),),
        "predictions.parquet": (kept,),
    }
    while True:
        name, seeds = chance.choice(list(kinds.items()))
        for other in kinds:
            (place / other).unlink(missing_ok=True)
        path = place / name
        path.write_bytes(altered(chance.choice(seeds), chance, seeds))
        if name == "predictions.parquet":
            yield name, lambda path=path: read_predictions(path)
        else:
            yield place.name, lambda: open_dataset(place)


def _archives(home: Home, place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    from bandbridge.dataset.archive import read_images
    from bandbridge.dataset.imagefolder import open_dataset

    images = {f"c{number % 3}/{number}a.png": data for number, data in enumerate(image_seeds()[:6])}
    table = ("file_name,label,cell\n" + "".join(f"{name},1,c\n" for name in images)).encode()
    seeds = {"set.zip": _zip({**images, "metadata.csv": table}, zipfile.ZIP_DEFLATED), "cells.zip": _zip(images, 0)}
    for name, mode in (("cells.tar", "w"), ("cells.tar.gz", "w:gz")):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
            for inner, data in images.items():
                member = tarfile.TarInfo(inner)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        seeds[name] = stream.getvalue()

    def read_set(path: Path) -> None:
        dataset = open_dataset(path)
        for name in dataset.samples["file_name"]:
            dataset.read_bytes(name)

    while True:
        name, seed = chance.choice(list(seeds.items()))
        path = place / name
        path.write_bytes(altered(seed, chance, tuple(seeds.values())))
        if name == "set.zip":
            yield name, lambda path=path: read_set(path)
        else:
            yield name, lambda path=path: list(read_images(path))


def _zip(files: dict[str, bytes], packing: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, packing)
    return stream.getvalue()


def _json(home: Home, place: Path, chance: random.Random) -> Iterator[tuple[str, Callable[[], object]]]:
    readers = _json_readers(home, place)
    while True:
        path, read = chance.choice(readers)
        whole = path.read_bytes()
        changed = _restructured(whole, chance) if chance.random() < 0.6 else altered(whole, chance)

        def look(
            path: Path = path, read: Callable[[], object] = read, whole: bytes = whole, to: bytes = changed
        ) -> object:
            path.write_bytes(to)
            try:
                return read()
            finally:
                path.write_bytes(whole)

        # A remedy may name the folder, which goes as a whole.
        yield path.name if path.parent == place else path.parent.name, look


def _json_readers(home: Home, place: Path) -> list[tuple[Path, Callable[[], object]]]:
    """Return JSON files of every kind, and what reads each."""
    from bandbridge.dataset.contents import read_contents
    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.dataset.splits import read_split
    from bandbridge.dataset.store import open_store
    from bandbridge.model.config import read_config
    from bandbridge.predict.confidence import read_confidence
    from bandbridge.predict.ensemble import open_models
    from bandbridge.predict.likeness import read_likeness
    from bandbridge.predict.trained_on import read_trained_on
    from bandbridge.study.ledger import Ledger
    from bandbridge.study.plan import open_study

    runs, model = place / "runs", place / "model"
    shutil.copytree(home.whole, runs)
    shutil.copytree(home.model, model)
    study = open_study(home.study)
    planned = study.runs[0]
    run = planned.folder(runs)
    samples = open_dataset(home.folder / "q").samples
    split = next((runs / ".splits").glob("Q-*.json"))
    store = next((runs / ".stores").glob("*/store.json"))
    contents = next(path for path in (runs / ".contents").glob("*.json")) if (runs / ".contents").is_dir() else None
    whole = (run / "done.json").read_bytes()

    def state() -> None:
        (run / "done.json").unlink()
        (run / "checkpoint.pt").touch()
        try:
            Ledger(runs).state(planned)
            Ledger(runs).speeds()
        finally:
            (run / "checkpoint.pt").unlink()
            (run / "done.json").write_bytes(whole)

    (run / "failed.json").write_text('{"message": "it diverged", "remedy": "Lower the rate."}')
    found: list[tuple[Path, Callable[[], object]]] = [
        (run / "progress.json", state),
        (run / "failed.json", state),
        (run / "run.json", lambda: read_trained_on(run)),
        (run / "run.json", lambda: Ledger(runs).otherwise_prepared(planned)),
        (run / "config.json", lambda: read_config(run)),
        (run / "config.json", lambda: open_models([run], "last", "cpu")),
        (run / "history.json", lambda: Ledger(runs).speeds()),
        (run / "environment.json", lambda: Ledger(runs).speeds()),
        (store, lambda: open_store(store.parent)),
        (split, lambda: read_split(split, samples)),
        (model / "config.json", lambda: read_config(model)),
        (model / "config.json", lambda: open_models([model], "last", "cpu")),
        (model / "confidence.json", lambda: read_confidence(model)),
        (model / "likeness.json", lambda: read_likeness(model)),
        (model / "trained_on.json", lambda: read_trained_on(model)),
    ]
    if contents is not None:
        found.append((contents, lambda: read_contents(runs, contents.stem)))
    return [(path, read) for path, read in found if path.exists()]


def _restructured(whole: bytes, chance: random.Random) -> bytes:
    """Return JSON with one to three values exchanged, left out, or repeated under another name."""
    value = json.loads(whole)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        holder, key = chance.choice(places)
        kind = chance.randrange(4)
        if kind == 0 and isinstance(holder, dict):
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[f"{key}x"] = holder[key]
        else:
            holder[key] = copy.deepcopy(chance.choice(_NASTY))
    return json.dumps(value).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
