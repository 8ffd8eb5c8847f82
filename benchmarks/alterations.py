"""What is on disk, altered in every way that has been thought of, and what each command that reads it makes of that.

    python benchmarks/alterations.py                      this build
    python benchmarks/alterations.py --source OTHER/src   another build, by its own sources

A study on drawn chromosomes is trained, and a model exported, by the build that is asked. Then, for each alteration and
each command, in a copy: the file is altered, the command is run, and its results are compared with those of an
untouched copy.

    refused    an error names the altered file, or its folder
    same       the results are those of the untouched copy, byte for byte: the file was not needed, or made again
    SILENT     other results, and exit code 0
    unnamed    an error that does not say where
    -          there is nothing of the kind in this build
    TRACEBACK  an exception that is none of ours
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STUDY = """\
name: mine
protocol: strict
tasks:
  q: {dataset: sets/q, intermediates: [g]}
  g: {dataset: sets/g, intermediates: [q]}
architectures: [test_resnet]
approaches: [scratch, domain]
split: {folds: 2, scheme: cell}
image_size: 32
recipe: {base: fast, epochs: 2, batch_size: 16}
"""
#: Where the exported model, and its graph, lie.
MODEL, GRAPH = Path("models/mine"), Path("graph")


class Alteration(NamedTuple):
    """A change of a folder: what it is, of what, and how; ``make`` returns the files that an error may name."""

    what: str
    of: str
    make: Callable[[Path], Iterable[Path]]


class Answer(NamedTuple):
    """What a command did: its exit code, its messages, a digest of its results."""

    code: int
    said: str
    results: str


def run_of(home: Path, name: str) -> Path:
    """Return the folder of the run ``task/approach/fold``."""
    task, approach, fold = name.split("/")
    return next((home / "runs" / task / "test_resnet" / approach).glob(f"{fold}-*"))


def stores_of(home: Path) -> list[Path]:
    """Return the folders of prepared images, by name."""
    return sorted(path.parent for path in (home / "runs" / ".stores").glob("*/store.json"))


def flip_byte(path: Path, place: int = -100) -> list[Path]:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(bytes(data))
    return [path]


def edit(path: Path, change: Callable[[Any], object]) -> list[Path]:
    """Change the value in a JSON file in place."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return [path]


def exchange(one: Path, other: Path) -> list[Path]:
    """Give two files or folders each other's names."""
    between = one.with_name(f"{one.name}.between")
    one.rename(between)
    other.rename(one)
    between.rename(other)
    return [one, other]


def copy_over(source: Path, target: Path) -> list[Path]:
    """Put one file in the place of another."""
    shutil.copyfile(source, target)
    return [target]


def edit_table(path: Path, change: Callable[[Any], Any]) -> list[Path]:
    """Change the frame in a Parquet file, written with the types that it had."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path, partitioning=None)
    frame = change(table.to_pandas())
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(frame), schema=table.schema, preserve_index=False), path)
    return [path]


def edit_array(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> list[Path]:
    """Change the array in a .npy file."""
    np.save(path, change(np.load(path)))
    return [path]


def _one_logit(frame: Any) -> Any:
    frame.loc[0, "logit_1"] = np.float32(99)
    return frame


def _infinite(frame: Any) -> Any:
    frame.loc[:, "logit_1"] = np.float32(np.inf)
    return frame


def _labels_permuted(frame: Any) -> Any:
    frame["label"] = np.roll(frame["label"].to_numpy(), 1)
    return frame


def _one_inverted(images: np.ndarray) -> np.ndarray:
    images[0] = 255 - images[0]
    return images


def _without_sums(folder: Path) -> None:
    """Make a model folder of one of an earlier build, which kept no hashes."""
    (folder / "SHA256SUMS").unlink(missing_ok=True)


def _confidence(home: Path, change: Callable[[Any], object]) -> list[Path]:
    _without_sums(home / MODEL)
    return edit(home / MODEL / "confidence.json", change)


def _config(home: Path, change: Callable[[Any], object]) -> list[Path]:
    _without_sums(home / MODEL)
    return edit(home / MODEL / "config.json", lambda value: change(value["bandbridge"]))


def _likeness(home: Path, change: Callable[[Any], object]) -> list[Path]:
    _without_sums(home / MODEL)
    return edit(home / MODEL / "likeness.json", change)


PARENT, CHILD = "g/scratch/fold0", "q/domain/fold0"
LEARNED = "q/scratch/fold0"


def _of_run(name: str, file: str) -> Callable[[Path], Path]:
    return lambda home: run_of(home, name) / file


def alterations() -> list[Alteration]:
    """Every change that is tried."""
    run, store, model = "a finished run", "prepared images", "a model folder"
    found = [
        Alteration(
            "predictions of another approach, same fold, copied over",
            run,
            lambda home: copy_over(
                run_of(home, CHILD) / "predictions.parquet", run_of(home, LEARNED) / "predictions.parquet"
            ),
        ),
        Alteration(
            "one logit changed", run, lambda h: edit_table(run_of(h, LEARNED) / "predictions.parquet", _one_logit)
        ),
        Alteration(
            "infinite logits", run, lambda home: edit_table(run_of(home, LEARNED) / "predictions.parquet", _infinite)
        ),
        Alteration(
            "labels permuted in predictions",
            run,
            lambda home: edit_table(run_of(home, LEARNED) / "predictions.parquet", _labels_permuted),
        ),
        Alteration(
            "two run folders exchanged by name",
            run,
            lambda home: exchange(run_of(home, LEARNED), run_of(home, "q/scratch/fold1")),
        ),
        Alteration(
            "run.json: another recipe",
            run,
            lambda home: edit(
                run_of(home, LEARNED) / "run.json", lambda value: value["record"]["recipe"].update(batch_size=8)
            ),
        ),
        Alteration(
            "run.json: another fold",
            run,
            lambda home: edit(run_of(home, LEARNED) / "run.json", lambda value: value.update(fold=None)),
        ),
        Alteration(
            "done.json: another run's",
            run,
            lambda home: copy_over(run_of(home, CHILD) / "done.json", run_of(home, LEARNED) / "done.json"),
        ),
        Alteration(
            "done.json: the best epoch",
            run,
            lambda home: edit(run_of(home, LEARNED) / "done.json", lambda value: value.update(best_epoch=7)),
        ),
        Alteration(
            "history.json: a loss",
            run,
            lambda home: edit(run_of(home, LEARNED) / "history.json", lambda value: value[0].update(training_loss=0.5)),
        ),
        Alteration(
            "environment.json: the device",
            run,
            lambda home: edit(run_of(home, LEARNED) / "environment.json", lambda value: value.update(device="abacus")),
        ),
    ]
    for who, name in (("the run's own", LEARNED), ("the parent's", PARENT)):
        last = _of_run(name, "last.safetensors")
        config = _of_run(name, "config.json")
        found += [
            Alteration(f"{who} weights: one bit", run, lambda home, last=last: flip_byte(last(home))),
            Alteration(
                f"{who} weights: another fold's",
                run,
                lambda home, last=last: copy_over(run_of(home, "g/scratch/fold1") / "last.safetensors", last(home)),
            ),
            Alteration(
                f"{who} config.json: the mean",
                run,
                lambda home, c=config: edit(c(home), lambda value: value.update(mean=[0.1, 0.1, 0.1])),
            ),
            Alteration(
                f"{who} config.json: two classes exchanged",
                run,
                lambda home, c=config: edit(c(home), lambda value: value["classes"].insert(0, value["classes"].pop(1))),
            ),
        ]
    found += [
        Alteration("one image inverted", store, lambda h: _each_store(h, "images.npy", edit_array, _one_inverted)),
        Alteration(
            "rows reversed",
            store,
            lambda h: _each_store(h, "images.npy", edit_array, lambda images: images[::-1].copy()),
        ),
        Alteration("labels permuted", store, lambda h: _each_store(h, "samples.parquet", edit_table, _labels_permuted)),
        Alteration("two stores exchanged", store, lambda home: exchange(*stores_of(home)[:2])),
        Alteration(
            "the contents of a set",
            "what a set is by content",
            lambda home: [
                path
                for path in sorted((home / "runs" / ".datasets").glob("*.json"))
                for path in edit(path, lambda value: value["files"].pop(next(iter(value["files"]))))
            ],
        ),
    ]
    sealed = {
        "weights: one bit": lambda home: flip_byte(home / MODEL / "model.safetensors"),
        "graph: one bit": lambda home: flip_byte(home / MODEL / "model.onnx"),
        "evidence: one bit": lambda home: flip_byte(home / MODEL / "evidence.onnx"),
        "config.json: the mean": lambda home: edit(
            home / MODEL / "config.json", lambda value: value["bandbridge"].update(mean=[0.1, 0.1, 0.1])
        ),
        "confidence.json: a plausible temperature": lambda home: edit(
            home / MODEL / "confidence.json", lambda value: value.update(temperature=3.0)
        ),
        "likeness.json: how far is unlike": lambda home: edit(
            home / MODEL / "likeness.json", lambda value: value.update(farthest=0.0)
        ),
        "training.json: nothing was seen": lambda home: edit(
            home / MODEL / "training.json", lambda value: value.update(files=[], sources=[])
        ),
    }
    found += [Alteration(what, model, make) for what, make in sealed.items()]
    unsealed: dict[str, Callable[[Path], list[Path]]] = {
        f"temperature {value}": lambda home, value=value: _confidence(home, lambda c: c.update(temperature=value))
        for value in (-1.0, 0.0, float("nan"), float("inf"))
    }
    unsealed |= {
        "thresholds of the wrong length": lambda home: _confidence(home, lambda value: value["thresholds"].pop()),
        "calibration of other classes": lambda home: _confidence(
            home, lambda value: value["classes"].insert(0, value["classes"].pop(1))
        ),
        "a class twice": lambda home: _config(home, lambda value: value["classes"].__setitem__(1, value["classes"][0])),
        "SD 0": lambda home: _config(home, lambda value: value.update(std=[0.0, 0.2, 0.2])),
        "SD not a number": lambda home: _config(home, lambda value: value.update(std=[float("nan"), 0.2, 0.2])),
        "likeness: SD 0": lambda home: _likeness(home, lambda value: value["sd"].__setitem__(0, 0.0)),
        "likeness of too few statistics": lambda home: _likeness(home, lambda value: value["mean"].pop()),
    }
    found += [Alteration(f"{what}, no hashes", model, make) for what, make in unsealed.items()]
    graph = "an exported graph"
    found += [
        Alteration("model.onnx: one bit", graph, lambda home: flip_byte(home / GRAPH / "model.onnx", -2000)),
        Alteration(
            "preparation.json: the temperature",
            graph,
            lambda home: edit(home / GRAPH / "preparation.json", lambda value: value.update(temperature=3.0)),
        ),
    ]
    found.append(
        Alteration(
            "another fold's checkpoint",
            "a paused run",
            lambda home: copy_over(
                run_of(home / "paused", "q/scratch/fold1") / "checkpoint.pt",
                run_of(home / "paused", LEARNED) / "checkpoint.pt",
            ),
        )
    )
    return found


def _each_store(home: Path, name: str, how: Callable[[Path, Any], list[Path]], change: Any) -> list[Path]:
    return [path for folder in stores_of(home) for path in how(folder / name, change)]


def one_job() -> list[str]:
    """Run after run; an early build does nothing else, and knows no such option."""
    return ["--jobs", "1"] if importlib.util.find_spec("bandbridge.study.side_by_side") else []


#: By name: arguments, given the home; what of the home it leaves as its results.
COMMANDS: dict[str, tuple[Callable[[Path], list[str]], tuple[str, ...]]] = {
    "study tables": (lambda _: ["study", "tables", "mine.yaml", "--out", "out"], ("out",)),
    "study run (a child)": (
        lambda _: ["study", "run", "mine.yaml", "--device", "cpu", *one_job(), "--only", "q/*/domain/fold0"],
        ("runs/q/test_resnet/domain/*/predictions.parquet",),
    ),
    "study run (paused)": (
        lambda _: [
            *("study", "run", "mine.yaml", "--runs", "paused/runs", "--device", "cpu", *one_job()),
            *("--only", "q/*/scratch/fold0"),
        ],
        ("paused/runs/q/test_resnet/scratch/fold0-*/predictions.parquet",),
    ),
    "study report": (
        lambda _: ["study", "report", "mine.yaml", "--out", "out", "--no-cases", "--no-attention", "--no-similarity"],
        ("out/**/*.csv",),
    ),
    "predict, a run": (lambda home: ["predict", str(run_of(home, LEARNED)), "new", "--out", "out"], ("out",)),
    "predict, a model": (lambda _: ["predict", str(MODEL), "new", "--out", "out"], ("out",)),
    "predict, a graph": (lambda _: ["predict", str(GRAPH), "new", "--out", "out"], ("out",)),
    "evaluate": (lambda _: ["evaluate", str(MODEL), "sets/q", "--out", "out"], ("out/*.csv",)),
    "models export": (
        lambda home: ["models", "export", str(run_of(home, LEARNED)), "--out", "out"],
        ("out/*.json", "out/model.safetensors"),
    ),
    "study verify": (lambda _: ["study", "verify"], ()),
}


#: Which commands read what is altered.
READERS = {
    "a finished run": (
        "study tables",
        "study run (a child)",
        "study report",
        "predict, a run",
        "models export",
        "study verify",
    ),
    "prepared images": ("study run (a child)", "study run (paused)", "models export", "study verify"),
    "what a set is by content": ("models export", "study verify"),
    "a model folder": ("predict, a model", "evaluate"),
    "an exported graph": ("predict, a graph",),
    "a paused run": ("study run (paused)",),
}


def ask(home: Path, arguments: list[str], results: Iterable[str]) -> Answer:
    """Run one command of the build that is imported, in ``home``, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            answer = _in_child(home, arguments)
        except BaseException:
            answer = (99, traceback.format_exc())
        with os.fdopen(writer, "w") as stream:
            json.dump(answer, stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    code, said = json.loads(told) if told else (98, "the process died")
    return Answer(code, said, digest(home, results))


def _in_child(home: Path, arguments: list[str]) -> tuple[int, str]:
    from bandbridge.cli.main import run

    os.chdir(home)
    os.environ["COLUMNS"] = "400"
    sys.argv = ["bandbridge", *arguments]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            run()
            code = 0
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 1 if stopped.code else 0
        except Exception:
            code = 99
            traceback.print_exc()
    return code, printed.getvalue()


def digest(home: Path, patterns: Iterable[str]) -> str:
    """Return one hash of all files under ``home`` that ``patterns`` name, and of their names."""
    found = hashlib.sha256()
    for pattern in patterns:
        places = sorted(home.glob(pattern))
        for path in sorted(one for place in places for one in (place.rglob("*") if place.is_dir() else [place])):
            if path.is_file():
                found.update(f"{path.relative_to(home)}:".encode() + path.read_bytes())
    return found.hexdigest()


def verdict(answer: Answer, untouched: Answer, altered: Iterable[Path], home: Path) -> str:
    """Judge what a command did with an altered folder."""
    if answer.code in (98, 99) or "Traceback (most recent call last)" in answer.said:
        return "TRACEBACK"
    if answer.code == 0:
        return "same" if answer.results == untouched.results else "SILENT"
    if answer.code == untouched.code and answer.said == untouched.said:
        return "-"  # this command does not go with this build
    flat = "".join(answer.said.split())
    names = {str(part) for path in altered for part in (path.relative_to(home), path.parent.relative_to(home))}
    return "refused" if any("".join(name.split()) in flat for name in names) else "unnamed"


def make_home(home: Path) -> None:
    """Train and export what is altered, by the build that is imported."""
    home.mkdir(parents=True)
    (home / "mine.yaml").write_text(STUDY)
    for arguments in (
        ["data", "synth", "sets/q", "--stain", "Q", "--cells", "4", "--seed", "1"],
        ["data", "synth", "sets/g", "--stain", "G", "--cells", "4", "--seed", "2"],
        ["data", "synth", "new", "--stain", "Q", "--cells", "1", "--seed", "9"],
        ["study", "run", "mine.yaml", "--device", "cpu", *one_job()],
    ):
        _must(home, arguments)
    learned = str(run_of(home, LEARNED))
    _must(home, ["models", "export", learned, "--out", str(MODEL), "--images", "sets/q"])
    _must(home, ["export", learned, "--out", str(GRAPH)])
    _pause(home)


def _must(home: Path, arguments: list[str]) -> None:
    answer = ask(home, arguments, ())
    if answer.code:
        raise SystemExit(f"bandbridge {' '.join(arguments)}:\n{answer.said}")


def _pause(home: Path) -> None:
    """Leave two runs half-way, in a folder of runs of their own: a process that dies after its first epoch."""
    child = os.fork()
    if child == 0:
        from bandbridge.study import execute
        from bandbridge.study.plan import open_study
        from bandbridge.training import loop

        os.chdir(home)
        saved = loop.save_state
        study = open_study(Path("mine.yaml"))
        for fold in (0, 1):

            def save_and_die(*arguments: Any) -> None:
                saved(*arguments)
                raise KeyboardInterrupt

            loop.save_state = save_and_die
            (run,) = [run for run in study.runs if run.name == f"q/test_resnet/scratch/fold{fold}"]
            with contextlib.suppress(KeyboardInterrupt), contextlib.redirect_stderr(io.StringIO()):
                execute.Executor(study, Path("paused/runs"), "cpu", checkpoint_interval=0).run([run])
        os._exit(0)
    os.waitpid(child, 0)
    if len(list((home / "paused").glob("runs/q/*/*/*/checkpoint.pt"))) != 2:
        raise SystemExit("no run was left half-way")


def try_all(wanted: Iterable[Alteration], commands: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return, by alteration and command, the verdict."""
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "made"
        make_home(made)
        untouched: dict[str, Answer] = {}
        found: dict[str, dict[str, str]] = {}
        for name in commands:
            with _copied(made, Path(place) / "copy") as home:
                _make_room(home, name)
                arguments, results = COMMANDS[name]
                untouched[name] = ask(home, arguments(home), results)
                if untouched[name].code not in (0, 2):
                    raise SystemExit(f"{name} fails on what is not altered:\n{untouched[name].said}")
        for one in wanted:
            row = found[f"{one.of}: {one.what}"] = {}
            for name in (name for name in commands if name in READERS[one.of]):
                with _copied(made, Path(place) / "copy") as home:
                    try:
                        altered = list(one.make(home))
                    except (FileNotFoundError, KeyError):  # an early build has nothing of the kind
                        row[name] = "-"
                        continue
                    _make_room(home, name)
                    arguments, results = COMMANDS[name]
                    row[name] = verdict(ask(home, arguments(home), results), untouched[name], altered, home)
            print(json.dumps({"altered": f"{one.of}: {one.what}", **row}), flush=True)
    return found


@contextlib.contextmanager
def _copied(made: Path, home: Path) -> Any:
    shutil.copytree(made, home)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def _make_room(home: Path, command: str) -> None:
    if command == "study run (a child)":
        shutil.rmtree(run_of(home, CHILD))


def main() -> int:
    """Print the table, and say whether anything was silent; 1 where it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="the folder src of another build")
    parser.add_argument("--only", default="", help="a part of an alteration's name")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    arguments = parser.parse_args()
    if arguments.source is not None:
        sys.path.insert(0, str(arguments.source.resolve()))
        os.environ["PYTHONPATH"] = str(arguments.source.resolve())  # of the processes that commands start
    import torch

    import bandbridge
    import bandbridge.cli.main
    import bandbridge.study.execute

    torch.set_num_threads(1)
    print(f"build: {Path(bandbridge.__file__).parent}", file=sys.stderr)
    wanted = [one for one in alterations() if arguments.only in f"{one.of}: {one.what}"]
    found = try_all(wanted, arguments.commands)
    print("\n| altered | " + " | ".join(arguments.commands) + " |")
    print("|---" * (1 + len(arguments.commands)) + "|")
    for what, row in found.items():
        print(f"| {what} | " + " | ".join(row.get(name, "") for name in arguments.commands) + " |")
    counts = Counter(verdict for row in found.values() for verdict in row.values())
    print(f"\n{len(found)} alterations, {sum(counts.values())} trials: {dict(counts)}")
    return int(bool(counts["SILENT"] or counts["TRACEBACK"] or counts["unnamed"]))


if __name__ == "__main__":
    raise SystemExit(main())
