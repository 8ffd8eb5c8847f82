"""What a model is worth: not on what it was trained on, and the same in Python and on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

import bandbridge as bb
from bandbridge.evaluation.predictions import read_predictions


@pytest.fixture(scope="session")
def run(example_home: Path) -> Path:
    return next((example_home / "runs" / "q").glob("*/scratch/fold0-*"))


def test_new_cells_are_scored_as_their_labels_say(example_home: Path, bandbridge, tmp_path: Path) -> None:
    model = bb.load_model(example_home / "models" / "mine", device="cpu")
    score = model.evaluate(example_home / "new-cells")
    table = model.predict(example_home / "new-cells").table()
    assert score.images == len(table) == 92 and score.cells == 2 and score.patients == 1
    assert score.accuracy.value == pytest.approx(accuracy_score(table["label"], table["by_itself"]), abs=1e-12)
    assert score.in_cell_accuracy.value == pytest.approx(accuracy_score(table["label"], table["class"]), abs=1e-12)
    assert score.flagged.value == pytest.approx((table["flag"] == "yes").mean(), abs=1e-12)
    arguments = (example_home / "models" / "mine", example_home / "new-cells", "--device", "cpu")
    assert bandbridge("evaluate", *arguments).out == f"{score}\n"
    done = bandbridge("evaluate", *arguments, "--json", "--out", tmp_path)
    assert json.loads(done.out) == json.loads(json.dumps(score.as_dict()))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "evaluation.csv"), score.table())


def test_a_run_is_judged_by_its_held_out_images_alone(example_home: Path, run: Path) -> None:
    model = bb.load_model(run, device="cpu")
    score = model.evaluate(example_home / "sets" / "q")
    frame = read_predictions(run / "predictions.parquet")
    last = frame.loc[frame["checkpoint"] == "last"].set_index("image")
    # Not by the logits of the run, which are of the images one way up: a model judges them both ways up.
    guessed = model.predict(example_home / "sets" / "q").table().set_index("file")["by_itself"][last.index]
    assert score.images == len(last) < 184
    assert score.accuracy.value == pytest.approx((guessed == last["label"]).mean(), abs=1e-12)
    assert any(f"{184 - len(last)} of 184 images were trained on and are left out" in note for note in score.notes)
    assert any("learned from held-out predictions of this very set" in note for note in score.notes)


def test_training_images_are_known_in_another_set_under_other_names(
    example_home: Path, run: Path, tmp_path: Path
) -> None:
    held_out = set(read_predictions(run / "predictions.parquet")["image"])
    samples = bb.open_dataset(example_home / "sets" / "q").samples
    rows = []
    for number, row in enumerate(samples.to_dict("records")):
        name = f"{number}.png"
        shutil.copy(example_home / "sets" / "q" / row["file_name"], tmp_path / name)
        rows.append({**row, "file_name": name, "cell": "", "known": row["file_name"] not in held_out})
    frame = pd.DataFrame(rows)
    frame.drop(columns="known").to_csv(tmp_path / "metadata.csv", index=False)
    for place in (run, example_home / "models" / "mine"):
        score = bb.load_model(place, device="cpu").evaluate(tmp_path)
        assert score.images == int((~frame["known"]).sum())


def test_a_set_that_was_trained_on_as_a_whole_is_refused(
    example_home: Path, run: Path, tmp_path: Path, bandbridge
) -> None:
    held_out = set(read_predictions(run / "predictions.parquet")["image"])
    source = bb.open_dataset(example_home / "sets" / "q")
    trained = source.samples.loc[~source.samples["file_name"].isin(held_out)]
    for name in trained["file_name"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(source.read_bytes(name))
    trained.to_csv(tmp_path / "metadata.csv", index=False)
    done = bandbridge("evaluate", run, tmp_path, "--device", "cpu")
    assert done.code == 2 and "was trained on every image" in done.err and "can only be praised" in done.err


def test_a_graph_is_judged_like_the_model_it_came_from(example_home: Path, tmp_path: Path, bandbridge) -> None:
    pytest.importorskip("onnxruntime")
    assert bandbridge("export", example_home / "models" / "mine", "--out", tmp_path / "graph").code == 0
    graph, model = bb.load_model(tmp_path / "graph"), bb.load_model(example_home / "models" / "mine", device="cpu")
    found, expected = (each.evaluate(example_home / "sets" / "q") for each in (graph, model))
    assert found.images == expected.images < 184 and found.notes == expected.notes
    assert any("learned from held-out predictions of this very set" in note for note in found.notes)
    for name in ("training.json", "SHA256SUMS"):  # as earlier builds exported
        (tmp_path / "graph" / name).unlink()
    with pytest.raises(bb.UserError, match="trained on every image"):
        bb.load_model(tmp_path / "graph").evaluate(example_home / "sets" / "q")


def test_of_several_models_an_image_must_be_new_to_all(example_home: Path) -> None:
    runs = [next((example_home / "runs" / "q").glob(f"*/scratch/fold{fold}-*")) for fold in (0, 1)]
    with pytest.raises(bb.UserError, match="trained on every image"):
        bb.load_model(runs, device="cpu").evaluate(example_home / "sets" / "q")


def test_the_intermediate_domain_was_trained_on_too(example_home: Path) -> None:
    run = next((example_home / "runs" / "q").glob("*/domain/fold0-*"))
    score = bb.load_model(run, device="cpu").evaluate(example_home / "sets" / "g")
    parent = next((example_home / "runs" / "g").glob("*/scratch/fold0-*"))
    assert score.images == read_predictions(parent / "predictions.parquet")["image"].nunique()


def test_labels_that_the_model_does_not_know_are_named(example_home: Path, tmp_path: Path, bandbridge) -> None:
    shutil.copytree(example_home / "new-cells", tmp_path / "set")
    text = (tmp_path / "set" / "metadata.csv").read_text().replace(",22,", ",marker,")
    (tmp_path / "set" / "metadata.csv").write_text(text)
    done = bandbridge("evaluate", example_home / "models" / "mine", tmp_path / "set", "--device", "cpu")
    assert done.code == 2 and "labels that the model does not know: marker" in done.err
    assert bandbridge("evaluate", example_home / "models" / "mine").code == 2
