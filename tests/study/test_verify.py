"""A folder of runs is read anew: what is as it was written, what is not, what nobody can tell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.finished import unseal

from bandbridge import seal as module
from bandbridge.errors import UserError
from bandbridge.seal import read_sealed, write_sealed
from bandbridge.study.verify import verify_runs


@pytest.fixture
def runs(small_study, tmp_path: Path) -> Path:
    """Four runs, two stores and the contents of two sets, the test's own."""
    return shutil.copytree(small_study.runs, tmp_path / "runs")


def run_of(runs: Path, approach: str, task: str = "Q") -> Path:
    return next((runs / task).glob(f"*/{approach}/fold0-*"))


def test_what_nobody_touched_is_as_it_was_written_and_stays_so(runs: Path) -> None:
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    stores = len(list(runs.glob(".stores/*/store.json")))
    found = verify_runs(runs)
    assert (found.folders, found.unsealed, found.problems, found.notes) == (4 + stores, (), (), ())
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before


PRODUCTS = ("run.json", "config.json", "environment.json", "history.json", "best.safetensors", "predictions.parquet")


@pytest.mark.parametrize("name", [*PRODUCTS, "done.json"])
@pytest.mark.parametrize("how", ["altered", "deleted"])
def test_every_product_of_a_run_is_compared(runs: Path, name: str, how: str) -> None:
    path = run_of(runs, "scratch") / name
    if how == "deleted":
        path.unlink()
        found = verify_runs(runs)
        assert found.problems == (
            (f"{path} is missing" + ", and done.json names it" * (name == "run.json"),) if name != "done.json" else ()
        )
        return
    content = path.read_bytes()
    middle = content.index(b"0123456789"[:1], len(content) // 2) if b"0" in content[len(content) // 2 :] else 40
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    (problem,) = verify_runs(runs).problems
    assert str(path) in problem


@pytest.mark.parametrize("place", [".stores/*/images.npy", ".stores/*/samples.parquet", ".stores/*/store.json"])
def test_stores_are_compared(runs: Path, place: str) -> None:
    path = sorted(runs.glob(place))[0]
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    (problem,) = verify_runs(runs).problems
    assert str(path) in problem


def test_contents_models_from_elsewhere_and_embeddings_are_compared(runs: Path) -> None:
    write_sealed(runs / ".models" / "a.json", {"version": 1})
    write_sealed(runs / ".embeddings" / "0" / "facts.json", {"fingerprint": "a"})
    assert verify_runs(runs).problems == ()
    paths = [sorted(runs.glob(".datasets/*.json"))[0], runs / ".models" / "a.json", runs / ".embeddings/0/facts.json"]
    for path in paths:
        path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1}))
    problems = verify_runs(runs).problems
    assert len(problems) == 3 and all(any(str(path) in problem for problem in problems) for path in paths)


def test_runs_of_an_earlier_build_are_counted_apart(runs: Path) -> None:
    folder = run_of(runs, "scratch")
    unseal(folder)
    (folder / "config.json").write_text("{}")
    found = verify_runs(runs)
    assert found.unsealed == (folder,) and found.problems == ()


def test_nothing_that_is_remembered_is_believed(runs: Path, monkeypatch) -> None:
    path = run_of(runs, "scratch") / "last.safetensors"
    genuine = module.file_hash(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    monkeypatch.setitem(module._hashes, module._status(path), genuine)
    (problem,) = verify_runs(runs).problems
    assert str(path) in problem


def test_a_parent_that_was_trained_anew_since_is_noted(runs: Path) -> None:
    child, parent = run_of(runs, "two-step"), run_of(runs, "imagenet", "G")
    done = read_sealed(parent / "done.json", "")
    assert read_sealed(child / "done.json", "")["start"] == done["files"]["last.safetensors"]
    other = read_sealed(child / "done.json", "")
    write_sealed(child / "done.json", {**other, "start": "0" * 64})
    found = verify_runs(runs)
    (line,) = found.notes
    assert str(child) in line and str(parent) in line and "began with other weights" in line and found.problems == ()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no folder of runs"):
        verify_runs(tmp_path / "none")


def test_a_folder_that_holds_nothing_of_the_kind_is_not_found_to_be_as_written(tmp_path):
    with pytest.raises(UserError, match="holds no finished run"):
        verify_runs(tmp_path)
