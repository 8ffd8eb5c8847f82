"""What an earlier build made is opened as it is: image sets, studies, runs, a paused training, models, a review.

``made_by_afe3cdb/make.sh`` made the files with the commands of that commit, and ``expected.json`` holds what that
build said of them. All is opened through the command line: where the modules behind it lie is of no account.
"""

from __future__ import annotations

import csv
import json
import re
import runpy
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from bandbridge.cli.main import app

HOME = Path(__file__).with_name("made_by_afe3cdb")
EXPECTED: dict[str, Any] = json.loads((HOME / "expected.json").read_text(encoding="utf-8"))
IDS: dict[str, str] = EXPECTED["plan"]["study.yaml"]
PAUSED, DONE_EPOCHS, EPOCHS = next(name for name in IDS if EXPECTED["states"][name] == "paused"), 5, 12
#: Of a probability. Another processor or library adds float32 products in another order, which moves it by 1e-6.
TOLERANCE = 1e-5
#: Of a loss, relative: the same, grown over the epochs that are left.
LOSS_TOLERANCE = 1e-3
KEY = "the-key-of-before"
Rows = list[dict[str, Any]]


class Said(NamedTuple):
    """Standard output, and standard error with line breaks folded into spaces."""

    out: str
    err: str


def say(*arguments: object) -> Said:
    """Run ``bandbridge`` with ``arguments``, which must succeed."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Said(result.stdout, " ".join(result.stderr.split()))


@pytest.fixture(autouse=True)
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a copy of everything: opening may change it."""
    for variable in ("BANDBRIDGE_DATA", "BANDBRIDGE_WEIGHTS", "BANDBRIDGE_RUNS", "BANDBRIDGE_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(HOME, tmp_path / "made")
    monkeypatch.chdir(tmp_path / "made")
    # What a strict study meant then by saying nothing.
    study = Path("study.yaml")
    study.write_text(study.read_text() + "preparation: published\n")


def folder_of(name: str) -> Path:
    """Return the folder of the run ``name`` of study.yaml."""
    return Path("runs") / f"{name}-{IDS[name]}"


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return what every file below ``folder`` holds and when it was written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def planned(study: object) -> dict[str, tuple[str, str]]:
    """Return id and state of every run that the plan of ``study`` names."""
    out = say("study", "plan", study, "--no-estimate").out
    found = re.findall(r"^ *(\S+/fold\d) +([0-9a-f]{12}) .* (done|paused|failed|pending)\b", out, re.MULTILINE)
    return {name: (identity, state) for name, identity, state in found}


# Studies and their runs


@pytest.mark.parametrize("study", ["study.yaml", "extra.yaml"])
def test_a_plan_names_the_same_runs_and_finds_them(study: str) -> None:
    expected = EXPECTED["plan"][study]
    assert planned(study) == {name: (expected[name], EXPECTED["states"][name]) for name in expected}


def test_a_strict_study_that_says_nothing_of_preparation_names_the_runs_that_it_would_make_again() -> None:
    shutil.copy(HOME / "study.yaml", "study.yaml")
    said = say("study", "plan", "study.yaml", "--no-estimate").out
    done = [name for name in IDS if EXPECTED["states"][name] == "done"]
    assert f"{len(done)} runs that are finished differ from these in the preparation of the images alone" in said
    assert folder_of(done[0]).relative_to("runs").as_posix() in said and "preparation: published" in said
    assert {state for _, state in planned("study.yaml").values()} == {"pending"}


def test_the_folds_are_made_as_before_and_read_from_the_files_of_before() -> None:
    say("study", "split", "study.yaml", "folds")
    text = Path("study.yaml").read_text()
    for task, dataset in (("Q", "q.zip"), ("G", "g.zip")):
        again = Path("folds", f"{task}.json").read_bytes()
        # Two of them are of task G: extra.yaml divides it otherwise.
        (kept,) = (path for path in Path("runs/.splits").glob(f"{task}-*.json") if path.read_bytes() == again)
        text = text.replace(f"dataset: {dataset}", f"dataset: {dataset}, split_file: {kept}")
    Path("by-file.yaml").write_text(text)
    assert text.count("split_file") == 2
    assert {name: identity for name, (identity, _) in planned("by-file.yaml").items()} == IDS


def test_the_status_tells_what_is_done_and_what_is_paused() -> None:
    out = say("study", "status", "study.yaml").out
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for name in IDS:
        task, _, approach, _ = name.split("/")
        counts.setdefault((task, approach), Counter())[EXPECTED["states"][name]] += 1
    rows = {
        (task, approach): Counter(done=int(done.replace("–", "0")), paused=int(paused.replace("–", "0")))
        for task, approach, done, paused in re.findall(r"^ *(\w) +(\w+) +(\d|–) +(\d|–) +– +– *$", out, re.MULTILINE)
    }
    assert rows == counts
    assert f"paused: {PAUSED} after epoch {DONE_EPOCHS} of {EPOCHS}\n" in out


def test_only_the_paused_run_is_trained_and_it_goes_on_where_it_was() -> None:
    folder, before = folder_of(PAUSED), contents(Path("runs"))
    assert folder / "checkpoint.pt" in before and any(".stores" in path.parts for path in before)
    err = say("study", "run", "study.yaml", "--device", "cpu").err
    after = contents(Path("runs"))
    # The other runs and the folds: nothing is written anew, nothing is added to them. What images a set holds is kept
    # beside them since; and images are prepared once more, as deep and transparent ones were read otherwise then: these
    # are neither, and come out as they were.
    made = {path for path in after.keys() - before.keys() if path.parts[1] == ".stores"}
    pictures = {after[path][0] for path in made if path.name == "images.npy"}
    assert pictures and pictures <= {content for path, (content, _) in before.items() if path.name == "images.npy"}
    for state in (before, after):
        for path in [path for path in state if folder in path.parents or path.parts[1] in (".datasets", ".lock")]:
            del state[path]
    assert {path: content for path, content in after.items() if path not in made} == before
    assert [int(epoch) for epoch in re.findall(rf"epoch (\d+)/{EPOCHS},", err)] == [*range(DONE_EPOCHS + 1, EPOCHS + 1)]
    assert f"[1/1] {PAUSED}: done" in err
    assert json.loads((folder / "done.json").read_text())["epochs"] == EPOCHS
    assert not (folder / "checkpoint.pt").exists() and (folder / "predictions.parquet").exists()
    history = json.loads((folder / "history.json").read_text())
    for entry, expected in zip(history, EXPECTED["finished"], strict=True):
        told = {key: entry[key] for key in expected}
        if entry["epoch"] <= DONE_EPOCHS:
            assert told == expected
        for key in ("training_loss", "held_out_loss", "learning_rate"):
            assert told[key] == pytest.approx(expected[key], rel=LOSS_TOLERANCE), (entry["epoch"], key)
    assert {state for _, state in planned("study.yaml").values()} == {"done"}


def test_a_study_that_is_done_is_left_alone() -> None:
    before = contents(Path("runs"))
    assert "1 run, 1 of them done" in say("study", "run", "extra.yaml", "--device", "cpu").err
    assert contents(Path("runs")) == before


def numbers(text: str) -> list[list[str]]:
    """Return the numbers of each row of the tables in Markdown ``text``."""
    return [re.findall(r"[-+]?\d+(?:\.\d+)?", line) for line in text.splitlines() if line.startswith("|")]


def test_the_tables_hold_the_same_numbers() -> None:
    expected = numbers(EXPECTED["tables"])
    assert sum(map(len, expected)) > 50
    assert numbers(say("study", "tables", "study.yaml", "--out", "tables").out) == expected


# Models


def model_folder(name: str) -> Path:
    """Return the folder of the model that expected.json calls ``name``."""
    return Path("exported") if name == "exported" else folder_of(exported_run())


def exported_run() -> str:
    """Return the name of the run that the exported models were made from."""
    return next(name for name in IDS if name.startswith("G/") and name.endswith("/scratch/fold0"))


def probabilities(rows: Rows) -> np.ndarray:
    """Return float64 [n, 24]."""
    return np.array([[value for key, value in row.items() if key.startswith("p_")] for row in rows])


def predict(model: Path, checkpoint: str = "last") -> Rows:
    """Classify the images in cells/."""
    options = ("--checkpoint", checkpoint, "--out", "predicted", "--device", "cpu", "--json")
    rows: Rows = json.loads(say("predict", model, "cells", *options).out)
    return rows


def assert_alike(rows: Rows, expected: Rows) -> None:
    """Compare what two builds predict."""
    for row, other in zip(rows, expected, strict=True):
        for key in ("file", "cell", "class", "by_itself", "set", "flag"):
            assert row[key] == other[key], (other["file"], key)
    np.testing.assert_allclose(probabilities(rows), probabilities(expected), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["last", "best", "exported"])
def test_a_model_predicts_what_it_predicted(name: str) -> None:
    assert_alike(predict(model_folder(name), "best" if name == "best" else "last"), EXPECTED["predictions"][name])


def test_an_export_of_a_run_of_before_is_the_same_model() -> None:
    # With --images: that the set is the one that the run was trained on is known by its fingerprint.
    say("models", "export", model_folder("last"), "--images", "g.zip", "--out", "again")
    assert_alike(predict(Path("again")), EXPECTED["predictions"]["exported"])
    kept, again = (json.loads(Path(folder, "likeness.json").read_text()) for folder in ("exported", "again"))
    assert again.keys() == kept.keys()


def run_onnx(folder: Path) -> np.ndarray:
    """Return what the model in ``folder`` says of cells/, by the example beside it and without this package."""
    example = runpy.run_path(str(folder / "example.py"))
    facts = json.loads((folder / "preparation.json").read_text())
    files = [Path("cells") / row["file"] for row in EXPECTED["predictions"]["last"]]
    images = np.stack([example["prepare"](example["read_gray"](str(file)), facts["preparation"]) for file in files])
    shares: np.ndarray = example["open_model"](folder)(images)
    return shares


def test_the_onnx_file_runs_and_agrees_and_so_does_a_new_one() -> None:
    pytest.importorskip("onnxruntime", reason="needs bandbridge[export]")
    pytest.importorskip("onnx", reason="needs bandbridge[export]")
    expected = probabilities(EXPECTED["predictions"]["last"])
    np.testing.assert_allclose(run_onnx(Path("onnx")), expected, rtol=0, atol=TOLERANCE)
    say("export", model_folder("last"), "--out", "again")
    np.testing.assert_allclose(run_onnx(Path("again")), expected, rtol=0, atol=TOLERANCE)
    say("export", "exported", "--out", "once-more")
    np.testing.assert_allclose(run_onnx(Path("once-more")), expected, rtol=0, atol=TOLERANCE)


# Image sets


def test_a_drawn_set_is_kept_and_drawn_today_has_the_same_chromosomes() -> None:
    shutil.unpack_archive("q.zip", "kept")
    before = contents(Path("kept"))
    drawing = ("--stain", "Q", "--cells", 2, "--seed", 3)
    assert "was drawn by an earlier version: it is kept" in say("data", "synth", "kept", *drawing).err
    assert contents(Path("kept")) == before
    say("data", "synth", "again", *drawing)
    came_since = {Path("README.md"), Path("croissant.json")}  # how other programs read it
    assert {path.relative_to("again") for path in contents(Path("again"))} - came_since == {
        path.relative_to("kept") for path in before
    }
    assert Path("again", "metadata.csv").read_bytes() == before[Path("kept", "metadata.csv")][0]


# The review


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None], object], Said]:
    """Return a function that runs ``bandbridge review`` and hands its page to another; its cells are sorted then."""
    uvicorn = pytest.importorskip("uvicorn", reason="needs bandbridge[review]")
    testclient = pytest.importorskip("starlette.testclient", reason="needs bandbridge[dev]")

    def opened(use: Callable[[Any], None], *cells: object) -> Said:
        def work(server: Any, sockets: list[Any]) -> None:
            """Take the server's place: ask its application directly."""
            for one in sockets:
                one.close()
            own = {"x-bandbridge": "review"}
            with testclient.TestClient(server.config.app, "http://127.0.0.1", headers=own) as page:
                assert page.get("/", params={"key": KEY}).status_code == 200
                end = time.monotonic() + 60
                while page.get("/api/state").json()["waiting"]:
                    assert time.monotonic() < end
                    time.sleep(0.05)
                use(page)

        monkeypatch.setattr(uvicorn.Server, "run", work)
        # Each start has a key of its own now; the one that the folder held opens nothing any more.
        monkeypatch.setattr("secrets.token_urlsafe", lambda _: KEY)
        return say("review", "exported", *cells, "--work", "review", "--port", 0, "--no-browser", "--device", "cpu")

    return opened


def listed(page: Any) -> list[dict[str, Any]]:
    """Return all that the page shows of each cell on its list."""
    return [page.get(f"/api/cells/{cell['id']}").json() for cell in page.get("/api/state").json()["cells"]]


def assert_same_cell(shown: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare a cell on the page with what the earlier build showed of it."""
    for key in ("name", "state", "accepted", "flagged", "patient", "stain", "undo", "redo"):
        assert shown[key] == expected[key], (expected["name"], key)
    known = {one["file"]: one for one in shown["chromosomes"]}
    for key in ("suggested", "placed"):
        assert {file: one[key] for file, one in known.items()} == expected[key]
    assert [file for file, one in known.items() if one["corrected"]] == expected["corrected"]
    assert known.keys() == expected["turned"].keys()
    for file, (angle, flipped) in expected["turned"].items():
        assert known[file]["angle"] == pytest.approx(angle, abs=0.01) and known[file]["flipped"] == flipped


def test_a_review_shows_its_cells_with_every_correction_and_goes_on(open_page: Callable[..., Said]) -> None:
    def check(page: Any) -> None:
        cells = listed(page)
        # "four" was handed in and not classified yet; "three" was taken off the list.
        assert [cell["name"] for cell in cells] == ["one", "two", "four"]
        for shown, expected in zip(cells, EXPECTED["cells"], strict=True):
            assert_same_cell(shown, expected)
        one, two, _ = cells
        assert one["accepted"] and [each["file"] for each in one["chromosomes"] if not each["placed"]] == ["21b.png"]
        # What was taken back can be made again: the history is read.
        again = page.post(f"/api/cells/{two['id']}/redo", json={"version": two["version"], "reader": "Anna"}).json()
        assert next(each["placed"] for each in again["chromosomes"] if each["file"] == "5b.png") == "Y"
        picture = page.get(one["chromosomes"][0]["tile"])
        assert picture.status_code == 200 and picture.content.startswith(b"\x89PNG")

    assert f"/?key={KEY}" in open_page(check).out


def test_cells_of_a_review_are_known_when_handed_in_again(open_page: Callable[..., Said]) -> None:
    def check(page: Any) -> None:
        assert {cell["name"] for cell in listed(page)} == {"one", "two", "three", "four"}
        assert_same_cell(listed(page)[0], EXPECTED["cells"][0])

    assert "3 cells, 0 of them new" in open_page(check, "cells").err


def test_the_accepted_cells_of_a_review_become_the_same_dataset(open_page: Callable[..., Said]) -> None:
    def check(page: Any) -> None:
        folder = Path(page.post("/api/export", json={}).json()["folder"])
        for name, expected in EXPECTED["accepted"].items():
            rows = list(csv.DictReader((folder / name).read_text().splitlines()))
            assert [{key: row[key] for key in other} for row, other in zip(rows, expected, strict=True)] == expected
        for row in EXPECTED["accepted"]["metadata.csv"]:
            original = Path("cells/one", row["source"].removeprefix("reviewed: "))
            assert pixels(folder / row["file_name"]) == pixels(original)

    open_page(check)


def pixels(path: Path) -> tuple[tuple[int, int], bytes]:
    """Return size and gray values of an image."""
    from PIL import Image

    with Image.open(path) as image:
        return image.size, image.convert("L").tobytes()
