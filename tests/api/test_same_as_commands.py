"""Each call gives what its command gives: sets, studies, distances, advice and fine-tuned models, file by file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import bandbridge as bb


@pytest.fixture
def home(example_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(example_home)
    return example_home


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_drawn_cells_are_those_of_data_synth(tmp_path: Path, bandbridge) -> None:
    bandbridge("data", "synth", tmp_path / "cli", "--stain", "G", "--cells", 3, "--seed", 1)
    cells = bb.draw_cells("G", 3, seed=1)
    assert files(cells.save(tmp_path / "python")) == files(tmp_path / "cli")
    opened = bb.open_dataset(tmp_path / "cli")
    assert cells.samples.equals(opened.samples)
    assert cells.content_hashes() == opened.content_hashes()
    assert repr(cells).split(":")[1] == repr(opened).split(":")[1]


def test_a_study_is_planned_and_told_as_by_its_commands(home: Path, bandbridge, tmp_path: Path) -> None:
    study = bb.Study.read("mine.yaml")
    plan, printed = study.plan(), bandbridge("study", "plan", "mine.yaml", "--no-estimate").out
    assert str(plan) in printed
    for row in plan.table.to_dict("records"):
        assert f"{row['run']}" in printed and row["id"] in printed
    counts = study.status()
    assert counts["done"].sum() == 6 and counts[["paused", "failed", "pending"]].sum().sum() == 0
    done = bandbridge("study", "tables", "mine.yaml", "--out", tmp_path / "cli")
    tables = study.tables(tmp_path / "python")
    assert done.out == f"{tables}\n" and files(tmp_path / "cli") == files(tmp_path / "python")
    cautions = study.cautions()
    assert [str(one) for one in cautions] == bandbridge("study", "cautions", "mine.yaml").out.splitlines()
    assert tuple(cautions) == tables.cautions


def test_a_study_is_run_as_by_its_command(home: Path, bandbridge, tmp_path: Path) -> None:
    text = Path("mine.yaml").read_text().replace("epochs: 1", "epochs: 2")
    (home / "again.yaml").write_text(text)
    bandbridge(
        "study", "run", "again.yaml", "--runs", tmp_path / "cli", "--only", "q/*/scratch/fold0", "--device", "cpu"
    )
    study = bb.Study.read("again.yaml", runs=tmp_path / "python")
    outcome = study.run(max_time="10m", only="q/*/scratch/fold0", device="cpu")
    assert outcome.done == ["q/test_resnet/scratch/fold0"] and not outcome.out_of_time
    predictions, weights = (
        [next((tmp_path / side).rglob(name)) for side in ("cli", "python")]
        for name in ("predictions.parquet", "last.safetensors")
    )
    assert predictions[0].read_bytes() == predictions[1].read_bytes()
    # Of a weights file the header's texts come in any order.
    first, second = map(load_file, weights)
    assert first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)
    assert study.run(0.0, only="q/*/scratch/fold1", device="cpu").out_of_time


@pytest.mark.slow
def test_distances_and_advice_are_those_of_their_commands(home: Path, bandbridge, tmp_path: Path) -> None:
    small = (
        "--architecture",
        "test_resnet",
        "--image-size",
        64,
        "--weights-dir",
        "weights",
        "--runs",
        tmp_path / "runs",
    )
    settings = {
        "architecture": "test_resnet",
        "image_size": 64,
        "weights_dir": "weights",
        "runs": tmp_path / "runs",
        "device": "cpu",
    }
    few = ("--bootstraps", 20, "--permutations", 19)
    cells = bb.open_dataset("sets/q")
    done = bandbridge("similarity", "sets/q", "sets/g", *small, *few, "--json", "--out", tmp_path / "cli")
    near = bb.similarity(cells, "sets/g", bootstraps=20, permutations=19, **settings)
    assert json.loads(done.out) == json.loads(json.dumps(near.as_dict()))
    written, expected = files(near.save(tmp_path / "python")), files(tmp_path / "cli")
    assert written == expected
    done = bandbridge("advise", "sets/q", "sets/g", *small, "--out", tmp_path / "advice-cli")
    advice = bb.advise(cells, [Path("sets/g")], **settings)
    assert done.out == f"{advice}\n"
    assert files(advice.save(tmp_path / "advice-python")) == files(tmp_path / "advice-cli")
    drawn = bb.advise(bb.draw_cells("Q", 4, seed=1), ["sets/g"], **settings)
    assert (
        drawn.table()
        .drop(columns="target", errors="ignore")
        .equals(advice.table().drop(columns="target", errors="ignore"))
    ), "a set in memory is the set on disk"


def test_a_model_is_tuned_as_by_its_command(home: Path, bandbridge, tmp_path: Path) -> None:
    arguments = ("--epochs", 1, "--folds", 2, "--device", "cpu")
    shutil.copytree("new-cells", tmp_path / "corrections")
    (tmp_path / "corrections" / "metadata.csv").write_text(
        Path("new-cells/metadata.csv").read_text().replace("synthetic-q-p0001", "")
    )
    done = bandbridge(
        *("fine-tune", "models/mine", tmp_path / "corrections", "--out", tmp_path / "cli"),
        *(*arguments, "--runs", tmp_path / "runs-cli"),
    )
    assert done.code == 0, done.err
    model = bb.load_model("models/mine", device="cpu")
    tuned = bb.fine_tune(
        *(model, tmp_path / "corrections", tmp_path / "python"),
        **{"epochs": 1, "folds": 2, "device": "cpu", "runs": tmp_path / "runs-python"},
    )
    assert done.out.replace("/cli", "/python") == f"{tuned}\n"
    assert files(tmp_path / "cli") == files(tmp_path / "python")
    assert tuned.model.classes == model.classes


def test_a_mistake_is_the_same_error_in_both(home: Path, bandbridge) -> None:
    for call, command in (
        (lambda: bb.Study.read("none.yaml"), ("study", "plan", "none.yaml")),
        (lambda: bb.open_dataset("none"), ("data", "check", "none")),
        (lambda: bb.load_model("none"), ("predict", "none", "new-cells")),
        (lambda: bb.draw_cells("G", 0), None),
        (lambda: bb.similarity("sets/q"), ("similarity", "sets/q")),
    ):
        with pytest.raises(bb.UserError) as error:
            call()
        assert error.value.remedy or command is None
        if command is not None:
            done = bandbridge(*command)
            assert done.code == 2 and " ".join(error.value.message.split()) in done.err


def test_a_data_folder_that_is_not_there_stops_a_training_though_the_sets_are_found(home: Path, bandbridge) -> None:
    done = bandbridge("study", "run", "mine.yaml", "--data-dir", "nowhere", "--device", "cpu")
    assert done.code == 2 and "the data folder nowhere does not exist" in done.err
    with pytest.raises(bb.UserError, match="data folder nowhere does not exist"):
        bb.Study.read("mine.yaml", data_dir="nowhere").run(device="cpu")
