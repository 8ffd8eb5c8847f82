"""``bandbridge explain`` from the outside, on a run folder with random weights."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.finished import begin_run, seal
from tests.networks import write_moved

from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.evaluation.predictions import write_predictions
from bandbridge.explain.attention import SHARES
from bandbridge.karyotype import CLASSES


@pytest.fixture
def dataset(chromosome_set):
    return chromosome_set("Q", 2)


@pytest.fixture
def run(tmp_path, dataset):
    """A finished run as a study leaves it, of which the second cell was held out."""
    facts = {"task": "Q", "architecture": "test_resnet", "approach": "scratch", "fold": 0}
    folder = begin_run(tmp_path / "runs" / "Q" / "test_resnet" / "scratch", **facts)
    for checkpoint in ("best", "last"):
        write_moved(folder / f"{checkpoint}.safetensors")
    config = {
        "architecture": "test_resnet",
        "classes": CLASSES,
        "preparation": {"size": 64},
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    (folder / "config.json").write_text(json.dumps(config))
    samples = open_dataset(dataset).samples.rename(columns={"file_name": "image"})
    held_out = samples[samples["cell"] == "synthetic-q0002"]
    frame = held_out[["image", "cell", "patient", "label"]].assign(checkpoint="best").reset_index(drop=True)
    logits = pd.DataFrame(np.zeros((len(frame), 24), np.float32), columns=[f"logit_{name}" for name in CLASSES])
    write_predictions(folder / "predictions.parquet", pd.concat([frame, logits], axis=1))
    seal(folder)
    return folder


def table(folder):
    return pd.read_csv(folder / "explanations.csv", dtype={"label": str, "class": str}, keep_default_na=False)


def test_images_of_the_runs_dataset_are_drawn_from_those_held_out(bandbridge, run, dataset, tmp_path):
    result = bandbridge("explain", run, dataset, "--out", tmp_path / "out", "--limit", 3, "--device", "cpu")
    assert result.code == 0, result.err
    rows = table(tmp_path / "out")
    assert rows["image"].nunique() == 3 and set(rows["held_out"]) == {"yes"}
    assert set(rows["image"].str.split("/").str[1]) == {"synthetic-q0002"}
    for name, of_image in rows.groupby("image"):
        assert "true" in " ".join(of_image["role"]) and "predicted" in " ".join(of_image["role"])
        picture = Image.open(tmp_path / "out" / of_image["picture"].iloc[0])
        original = Image.open(dataset / name)
        factor = max(1, round(240 / max(original.size)))
        assert picture.mode == "RGB" and picture.height == original.height * factor + 30
        assert picture.width >= (1 + len(of_image)) * original.width * factor
        gray = np.asarray(picture)[30 : 30 + original.height * factor, : original.width * factor]
        np.testing.assert_array_equal(gray[::factor, ::factor, 0], np.asarray(original))
        assert name in result.out
    assert set(SHARES) <= set(rows.columns)
    written = json.loads((tmp_path / "out" / "explanations.json").read_text())
    assert (written["layer"], written["checkpoint"], written["run"]["id"]) == ("layer4", "best", run.name[-12:])
    assert len(written["images"]) == len(rows)


def test_files_that_cannot_be_read_are_listed_and_the_rest_is_done(bandbridge, run, dataset, tmp_path):
    good = dataset / "images" / "synthetic-q0001" / "7a.png"
    plain = tmp_path / "plain"
    plain.mkdir()
    shutil.copy(good, plain / "copy.png")
    (plain / "broken.png").write_bytes(b"\x89PNG damaged")
    absent = tmp_path / "absent.png"
    result = bandbridge("explain", run, good, plain, absent, "--out", tmp_path / "out", "--device", "cpu")
    assert result.code == 2
    assert "absent.png" in result.err and "broken.png" in result.err and "the rest is done" in result.err
    rows = table(tmp_path / "out")
    first, second = (of_image for _, of_image in rows.groupby("image", sort=False))
    assert set(first["label"]) == {"7"} and set(first["held_out"]) == {"no"} and "trained on" in result.out
    assert set(second["label"]) == {""} and second["role"].tolist() == ["predicted"] and set(second["held_out"]) == {""}


def test_nothing_to_explain_writes_nothing(bandbridge, run, tmp_path):
    (tmp_path / "bare").mkdir()
    out = tmp_path / "out"
    result = bandbridge("explain", run, tmp_path / "bare", tmp_path / "absent", "--out", out, "--device", "cpu")
    assert result.code == 2 and not out.exists()
    assert "bare: holds no image" in result.err and "absent: there is no image or dataset" in result.err


def test_the_limit_is_spoken_of_only_where_it_leaves_images_out(bandbridge, run, dataset, tmp_path):
    """Each cell of the set holds 46 images."""
    files = sorted((dataset / "images" / "synthetic-q0002").iterdir())[:2]
    options = ("--out", tmp_path / "out", "--device", "cpu", "--limit", 2)
    named = bandbridge("explain", run, *files, *options)
    assert named.code == 0 and "--limit" not in named.err
    assert "2 x 2 places" in named.out
    drawn = bandbridge("explain", run, dataset, *options)
    assert drawn.code == 0 and "2 images are drawn" in drawn.err


def test_a_class_may_be_asked_for_and_a_layer_named(bandbridge, run, dataset, tmp_path):
    image = dataset / "images" / "synthetic-q0002" / "3b.png"
    options = ("--target-class", "X", "--layer", "layer3", "--colour-map", "jet", "--checkpoint", "last")
    result = bandbridge("explain", run, image, "--out", tmp_path / "out", "--device", "cpu", *options)
    assert result.code == 0, result.err
    assert "asked" in " ".join(table(tmp_path / "out")["role"])
    written = json.loads((tmp_path / "out" / "explanations.json").read_text())
    assert (written["layer"], written["checkpoint"], written["colour_map"]) == ("layer3", "last", "jet")
    unknown = bandbridge("explain", run, image, "--out", tmp_path / "out", "--target-class", "25", "--device", "cpu")
    assert unknown.code == 2 and "no class '25'" in unknown.err
    nowhere = bandbridge("explain", run, image, "--layer", "layer7", "--device", "cpu")
    assert nowhere.code == 2 and "--layer" in nowhere.err


def test_images_inside_a_zip_in_the_data_folder(bandbridge, run, dataset, tmp_path):
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data" / "set.zip", "w") as archive:
        for file in dataset.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(dataset))
    name = "set.zip/images/synthetic-q0002/Xa.png"
    where = ("--data-dir", tmp_path / "data", "--out", tmp_path / "out", "--device", "cpu")
    assert bandbridge("explain", run, name, *where).code == 0
    assert set(table(tmp_path / "out")["label"]) == {"X"}
    assert bandbridge("explain", run, "set.zip/images/none.png", *where).code == 2


def test_a_folder_that_is_no_run_and_one_that_is_not_finished(bandbridge, run, dataset, tmp_path):
    wrong = bandbridge("explain", tmp_path, dataset)
    assert wrong.code == 2 and "not the folder of a run" in wrong.err
    (run / "best.safetensors").unlink()
    early = bandbridge("explain", run, dataset)
    assert early.code == 2 and "is missing, and done.json names it" in early.err
    (run / "done.json").unlink()
    early = bandbridge("explain", run, dataset)
    assert early.code == 2 and "not finished" in early.err


@pytest.fixture
def study(tmp_path, dataset, chromosome_set):
    value = {
        "name": "looked-at",
        "protocol": "strict",
        "tasks": {
            "Q": {"dataset": dataset.name, "intermediates": ["G"]},
            "G": {"dataset": chromosome_set("G", 2).name},
        },
        "architectures": ["test_resnet"],
        "approaches": ["scratch"],
        "split": {"folds": 2, "scheme": "cell"},
        "run_folds": [0],
        "image_size": 32,
        "recipe": {"base": "fast", "epochs": 1},
    }
    path = dataset.parent / "looked-at.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_the_attention_of_a_study_is_measured_and_written(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs", "--device", "cpu")
    assert bandbridge("study", "run", study, *runs, "--only", "Q/*").code == 0
    out = tmp_path / "out"
    result = bandbridge("study", "attention", study, *runs, "--out", out, "--limit", 4, "--steps", 2)
    assert result.code == 0, result.err
    assert "Scratch" in result.out and "test_resnet 1 x 1" in result.out
    assert "G, test_resnet: no run is finished" in result.err
    assert {path.name for path in out.iterdir()} == {"attention.md", "attention.csv", "attention.tex"}
    assert (out / "attention.md").read_text() == result.out
    rows = pd.read_csv(out / "attention.csv")
    assert set(SHARES) <= set(rows["measure"]) and set(rows["images"]) == {4} and set(rows["task"]) == {"Q"}


def test_attention_without_a_run_or_of_an_unknown_architecture_says_what_to_do(bandbridge, study, tmp_path):
    runs = ("--runs", tmp_path / "runs", "--device", "cpu")
    nothing = bandbridge("study", "attention", study, *runs)
    assert nothing.code == 2 and "Q, test_resnet: no run is finished" in nothing.err
    assert "bandbridge study run" in nothing.err
    unknown = bandbridge("study", "attention", study, *runs, "--architecture", "resnet18")
    assert unknown.code == 2 and "It has test_resnet." in unknown.err
