"""Reading, writing and pooling prediction tables: what comes back, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.finished import begin_run, seal, unseal

from bandbridge.errors import ManyErrors, UserError
from bandbridge.evaluation.predictions import (
    RunPredictions,
    class_names,
    disagreements,
    logits_of,
    pool_folds,
    read_predictions,
    write_predictions,
)
from bandbridge.seal import AlteredError

CLASSES = ("1", "2", "10", "X")


def make_frame(images: list[str], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, size=len(images))
    parts = []
    for checkpoint in ("best", "last"):
        part = pd.DataFrame(
            {
                "image": images,
                "cell": [name.split("/")[0] for name in images],
                "patient": "",
                "label": labels,
                "checkpoint": checkpoint,
            }
        )
        for name in CLASSES:
            part[f"logit_{name}"] = rng.normal(size=len(images)).astype(np.float32)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def make_run(fold: int, images: list[str], seed: int = 0) -> RunPredictions:
    return RunPredictions("q", "Q-band", "ResNet-34", "imagenet", "", fold, make_frame(images, seed))


FRAME = make_frame([f"cell{i // 4}/{i}.png" for i in range(40)])


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    # A folder named like a partition must not add a column.
    path = tmp_path / "fold=3" / "predictions.parquet"
    write_predictions(path, FRAME)
    back = read_predictions(path)
    pd.testing.assert_frame_equal(back, FRAME, check_dtype=False, check_exact=True)
    assert (back.dtypes[[f"logit_{name}" for name in CLASSES]] == np.float32).all()
    assert class_names(back) == CLASSES


def test_two_writes_of_one_table_are_the_same_bytes(tmp_path: Path) -> None:
    write_predictions(tmp_path / "a.parquet", FRAME)
    other_types = FRAME.astype({"label": "category", "cell": object}).set_index(np.arange(100, 180))
    write_predictions(tmp_path / "b.parquet", other_types)
    content = (tmp_path / "a.parquet").read_bytes()
    assert content == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_schema(tmp_path / "a.parquet").metadata is None
    write_predictions(tmp_path / "c.parquet", FRAME.assign(cell="another"))
    assert content != (tmp_path / "c.parquet").read_bytes()


def test_logits_of_follows_the_columns(tmp_path: Path) -> None:
    truth, logits, classes = logits_of(FRAME, "last")
    rows = FRAME[FRAME.checkpoint == "last"]
    assert classes == CLASSES
    assert [CLASSES[index] for index in truth] == rows["label"].tolist()
    assert (truth.dtype, logits.dtype, logits.shape) == (np.int64, np.float32, (40, 4))
    for index, name in enumerate(CLASSES):
        np.testing.assert_array_equal(logits[:, index], rows[f"logit_{name}"].to_numpy())
    with pytest.raises(UserError, match="no rows of checkpoint 'best'"):
        logits_of(rows, "best")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: f.drop(columns="patient"), "column patient is missing"),
        (lambda f: f.assign(score=1.0), "column score is not expected"),
        (
            lambda f: f.drop(columns=[f"logit_{n}" for n in CLASSES[1:]]),
            "fewer than two columns logit_<class>",
        ),
        (lambda f: f.astype({"logit_2": "float64"}), "column logit_2 is float64, expected float32"),
        (lambda f: f.assign(cell=None), "column cell holds values that are not text"),
        (lambda f: f.assign(label="Y"), "label is one of 1, 2, 10, X; found Y"),
        (lambda f: f.assign(checkpoint="newest"), "checkpoint is one of best, last; found newest"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "images more than once in one checkpoint: cell0/0.png"),
        (lambda f: f.iloc[:-1], "the checkpoints do not predict the same images"),
        (lambda f: f.iloc[:0], "there are no rows"),
        (
            lambda f: f.assign(logit_2=f["logit_2"].where(f.index > 2, np.float32(np.nan))),
            "column logit_2 holds values that are not finite: 3",
        ),
        (
            lambda f: f.assign(logit_X=f["logit_X"].where(f.index > 0, np.float32(np.inf))),
            "column logit_X holds values that are not finite: 1",
        ),
    ],
)
def test_a_table_of_another_shape_is_refused_with_its_name(tmp_path: Path, change, problem: str) -> None:
    path = tmp_path / "predictions.parquet"
    with pytest.raises(UserError) as on_writing:
        write_predictions(path, change(FRAME))
    assert not path.exists()
    change(FRAME).to_parquet(path, index=False)
    with pytest.raises(UserError) as on_reading:
        read_predictions(path)
    for error in (on_writing, on_reading):
        assert problem in error.value.message and str(path) in error.value.message


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(ManyErrors) as error:
        write_predictions(tmp_path / "p.parquet", FRAME.assign(label="Y", checkpoint="newest"))
    assert len(error.value.problems) == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no predictions at .*absent\.parquet"):
        read_predictions(tmp_path / "absent.parquet")


def test_damage_is_either_an_error_naming_the_file_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_predictions(path, FRAME)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [b"", whole[:10], whole[: len(whole) // 2], whole[:-1], b"PAR1" * 5]
    for position in rng.integers(len(whole), size=300):
        damaged.append(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            back = read_predictions(path)
        except UserError as error:
            assert str(path) in error.message
            refused += 1
        else:
            assert class_names(back) and len(back) > 0
            values = back[[name for name in back.columns if name.startswith("logit_")]].to_numpy()
            np.testing.assert_array_equal(values, FRAME.iloc[:, 5:].to_numpy())
    assert refused > 150


def test_pooled_folds_hold_every_row_once_with_its_fold() -> None:
    runs = [make_run(1, ["c", "d", "e"]), make_run(0, ["a", "b"])]
    pooled = pool_folds(runs)
    assert pooled.columns[0] == "fold" and len(pooled) == 10
    assert pooled.loc[pooled.checkpoint == "best", "image"].tolist() == ["a", "b", "c", "d", "e"]
    assert pooled.loc[pooled.image == "d", "fold"].tolist() == [1, 1]


def test_folds_that_predict_one_image_are_refused() -> None:
    runs = [make_run(0, ["a", "b"]), make_run(1, ["c"]), make_run(3, ["b", "c"])]
    with pytest.raises(ManyErrors) as error:
        pool_folds(runs)
    assert error.value.problems == ["b: folds 0 and 3", "c: folds 1 and 3"]
    with pytest.raises(ManyErrors):
        pool_folds([make_run(2, ["a"]), make_run(2, ["a"])])


def test_only_the_folds_of_one_arm_are_pooled() -> None:
    with pytest.raises(ValueError, match="one task"):
        pool_folds([make_run(0, ["a"]), replace(make_run(1, ["b"]), architecture="VGG-16")])
    fewer = make_run(1, ["b"])
    fewer = replace(fewer, predictions=fewer.predictions.drop(columns="logit_X"))
    with pytest.raises(UserError, match="same classes"):
        pool_folds([make_run(0, ["a"]), fewer])


def test_an_unknown_approach_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown approach 'three-step'"):
        replace(make_run(0, ["a"]), approach="three-step")


def test_a_table_that_its_run_did_not_write_is_refused(tmp_path: Path) -> None:
    """The values are as good as any: only the hash tells."""
    folder = begin_run(tmp_path)
    path = folder / "predictions.parquet"
    write_predictions(path, FRAME)
    seal(folder)
    assert len(read_predictions(path)) == len(FRAME)
    write_predictions(path, FRAME.assign(label=FRAME["label"].iloc[::-1].to_numpy()))
    with pytest.raises(AlteredError, match=r"predictions\.parquet was altered"):
        read_predictions(path)
    unseal(folder)
    assert len(read_predictions(path)) == len(FRAME)


def test_one_label_edited_is_named_with_its_image_in_one_checkpoint_and_between_the_runs_of_a_fold() -> None:
    edited = FRAME.copy()
    first = edited.loc[0, "label"]
    edited.loc[0, "label"] = next(name for name in CLASSES if name != first)
    with pytest.raises(ManyErrors, match=r"images of two labels, cells or patients: cell0/0\.png"):
        write_predictions(Path("nowhere"), edited)
    edited.loc[edited["image"] == "cell0/0.png", "label"] = edited.loc[0, "label"]
    files = {Path("a"): FRAME, Path("b"): edited, Path("c"): FRAME.copy()}
    assert disagreements(files) == ["b: other facts than elsewhere of cell0/0.png"]
    assert disagreements({Path("a"): FRAME, Path("c"): FRAME.sample(frac=1, random_state=0)}) == []
    renamed = FRAME.rename(columns={"logit_X": "logit_Y"})
    assert disagreements({**files, Path("d"): renamed})[1:] == ["d: other classes than elsewhere"]
