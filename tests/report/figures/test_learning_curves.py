"""Histories read from run folders as they were written, and the means that are drawn of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.finished import seal

from bandbridge.errors import ManyErrors
from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.figures.learning_curves import learning_figures, mean_curve, read_histories
from bandbridge.report.figures.styles import APPROACH_STYLES
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study, open_study
from bandbridge.study.run import PlannedRun
from bandbridge.training.checkpoint import TrainingState, save_state

CONTEXT = TableContext(
    title="Two stains",
    protocol="strict",
    protocol_text="",
    folds=(0, 1),
    tasks=(TaskLabel("Q", "Q-band"), TaskLabel("G")),
    architectures=(ArchitectureLabel("VGG-16"), ArchitectureLabel("ViT-S/16")),
    arms=(Arm("Q", "scratch"), Arm("Q", "imagenet"), Arm("G", "scratch")),
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A plan without data: two tasks, scratch and domain, folds 0 and 1."""
    spec = {
        "name": "small",
        "protocol": "strict",
        "tasks": {"Q": {"dataset": "q", "intermediates": ["G"]}, "G": {"dataset": "g", "intermediates": ["Q"]}},
        "architectures": ["test_resnet"],
        "approaches": ["scratch", "domain"],
        "split": {"folds": 2, "scheme": "cell"},
        "image_size": 32,
        "recipe": {"base": "fast", "epochs": 3, "batch_size": 16},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return open_study(tmp_path / "study.yaml", need_data=False)


def epochs(count: int, start: float = 3.0) -> list[dict[str, float]]:
    return [
        {"epoch": n, "training_loss": start / n, "training_accuracy": n / 10}
        | {"held_out_loss": start / n + 0.1, "held_out_accuracy": n / 20, "learning_rate": 0.1}
        | {"images_per_second": 9.5, "seconds": 1.25}
        for n in range(1, count + 1)
    ]


def finish(run: PlannedRun, root: Path, history: str) -> Path:
    """Make the folder of a finished run with ``history`` as its text; return the file."""
    folder = Ledger(root).folder(run)
    folder.mkdir(parents=True)
    (folder / "history.json").write_text(history)
    (folder / "predictions.parquet").touch()
    seal(folder, run.id)
    return folder / "history.json"


def test_finished_and_paused_runs_are_read_and_no_others(study: Study, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    finished, paused, failed, pending = [run for run in study.runs if run.approach == "scratch"]
    finish(finished, root, json.dumps(epochs(3)))
    for run, name in ((paused, "progress.json"), (failed, "failed.json")):
        folder = Ledger(root).folder(run)
        folder.mkdir(parents=True)
        (folder / name).write_text('{"epoch": 2}')
        save_state(TrainingState(epoch=2, history=epochs(2, start=5.0)), folder / "checkpoint.pt")
    Ledger(root).folder(pending).mkdir(parents=True)
    found = read_histories(study, root)
    names = ["task", "architecture", "approach", "intermediate", "fold"]
    rows = [
        (run, entry) for run, count, start in ((finished, 3, 3.0), (paused, 2, 5.0)) for entry in epochs(count, start)
    ]
    assert found[names].to_numpy().tolist() == [[run.task, "test_resnet", "scratch", "", run.fold] for run, _ in rows]
    pd.testing.assert_frame_equal(
        found.drop(columns=names), pd.DataFrame([entry for _, entry in rows]), check_exact=True
    )


def test_a_run_on_all_images_has_no_fold_and_nothing_held_out(study: Study, tmp_path: Path) -> None:
    run = next(run for run in study.runs if run.approach == "scratch")
    history = [{"epoch": 1, "training_loss": 2.5, "training_accuracy": 0.25}]
    finish(run, tmp_path / "runs", json.dumps(history))
    found = read_histories(study, tmp_path / "runs")
    assert len(found) == 1
    assert found.loc[0, "training_loss"] == 2.5
    assert found.loc[0, ["held_out_loss", "held_out_accuracy", "seconds"]].isna().all()
    assert learning_figures(found.assign(fold=pd.array([None], dtype="Int64")), CONTEXT) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"epoch": 1, "training_lo', "Unterminated string"),
        ("{}", "expected a list of epochs"),
        ("[]", "expected a list of epochs"),
        ("[3]", "expected a list of epochs"),
        ('[{"epoch": 1, "training_loss": 2.5}]', "training_accuracy of epoch 1 is None"),
        ('[{"epoch": 1, "training_loss": "x", "training_accuracy": 0}]', "training_loss of epoch 1 is 'x'"),
        ('[{"epoch": 2, "training_loss": 1, "training_accuracy": 0}]', "epoch 2 in the place of epoch 1"),
    ],
)
def test_damaged_histories_are_named_together(study: Study, tmp_path: Path, text: str, says: str) -> None:
    root = tmp_path / "runs"
    first, second, third, paused = [run for run in study.runs if run.approach == "scratch"]
    damaged = finish(first, root, text)
    finish(second, root, json.dumps(epochs(1)))
    missing = finish(third, root, "")
    missing.unlink()
    folder = Ledger(root).folder(paused)
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text('{"epoch": 1}')
    (folder / "checkpoint.pt").write_bytes(b"no archive")
    with pytest.raises(ManyErrors, match="histories") as caught:
        read_histories(study, root)
    one, two, three = caught.value.problems
    assert str(damaged) in one
    assert says in one
    assert two == f"{missing} is missing, and done.json names it"
    assert str(folder / "checkpoint.pt") in three
    assert "run the same study command again" in caught.value.remedy


def frame_of(folds: dict[tuple[str, str, str, int], list[float]]) -> pd.DataFrame:
    """Histories of {(task, architecture, approach, fold): losses of epochs 1, 2, ...}; accuracy is 1 - loss."""
    rows = [
        {"task": task, "architecture": architecture, "approach": approach, "intermediate": "", "fold": fold}
        | {"epoch": epoch, "training_loss": loss, "held_out_accuracy": 1 - loss}
        for (task, architecture, approach, fold), losses in folds.items()
        for epoch, loss in enumerate(losses, start=1)
    ]
    return pd.DataFrame(rows).astype({"fold": "Int64"})


FOLDS = {
    ("Q", "ViT-S/16", "scratch", 0): [0.9, 0.8, 0.7, 0.6],
    ("Q", "ViT-S/16", "scratch", 1): [0.7, 0.5],
    ("Q", "ViT-S/16", "imagenet", 0): [0.4, 0.3, 0.2],
    ("Q", "VGG-16", "imagenet", 0): [0.1],
}


def test_the_mean_goes_as_far_as_every_fold() -> None:
    found = frame_of(FOLDS)
    curve = mean_curve(found.loc[(found["approach"] == "scratch")], "training_loss")
    assert dict(curve) == pytest.approx({1: 0.8, 2: 0.65}, abs=1e-15)


def test_thin_lines_are_the_folds_and_thick_ones_their_mean() -> None:
    (illustration,) = learning_figures(frame_of(FOLDS), CONTEXT)
    assert illustration.name == "learning-q"
    loss_of_vgg, _, loss, accuracy = illustration.figure.axes
    assert [axes.get_title(loc="left") for axes in (loss_of_vgg, loss)] == ["VGG-16", "ViT-S/16"]
    expected = {
        ("scratch", 0.5): [[0.9, 0.8, 0.7, 0.6], [0.7, 0.5]],
        ("scratch", 1.8): [[0.8, 0.65]],
        ("imagenet", 0.5): [[0.4, 0.3, 0.2]],
        ("imagenet", 1.8): [[0.4, 0.3, 0.2]],
    }
    for axes, value in ((loss, lambda one: one), (accuracy, lambda one: 100 * (1 - one))):
        for (approach, width), curves in expected.items():
            colour = APPROACH_STYLES[approach].colour
            drawn = [each for each in axes.lines if (each.get_color(), each.get_linewidth()) == (colour, width)]
            for line, curve in zip(drawn, curves, strict=True):
                np.testing.assert_allclose(line.get_ydata(), value(np.array(curve)), rtol=1e-12)
                np.testing.assert_array_equal(line.get_xdata(), np.arange(len(curve)) + 1)


def test_a_long_fold_is_thinned_out_to_its_last_epoch_and_its_mean_is_not() -> None:
    losses = list(np.linspace(1, 0, 150))
    (illustration,) = learning_figures(frame_of({("G", "VGG-16", "scratch", 0): losses}), CONTEXT)
    thin, thick = illustration.figure.axes[0].lines
    assert 12 <= len(thin.get_xdata()) <= 15
    assert np.asarray(thin.get_xdata())[[0, -1]].tolist() == [1, 150]
    np.testing.assert_array_equal(thin.get_ydata(), np.array(losses)[np.asarray(thin.get_xdata(), dtype=int) - 1])
    np.testing.assert_array_equal(thick.get_ydata(), losses)
