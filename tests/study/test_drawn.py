"""Studies on cells that are drawn for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from bandbridge.errors import UserError
from bandbridge.study.drawn import Drawn
from bandbridge.study.execute import Executor
from bandbridge.study.plan import open_study
from bandbridge.synthetic.sets import EndlessCells, open_drawn

TINY = "test_vit+depth=1+embed_dim=16+patch_size=8"


def study(tmp_path, dataset="synth:G:6", **changes):
    value = {
        "name": "drawn",
        "protocol": "strict",
        "tasks": {"G": {"dataset": dataset, "scheme": "cell"}},
        "architectures": [TINY],
        "approaches": ["scratch"],
        "split": {"folds": 3, "seed": 0},
        "run_folds": [0],
        "image_size": 16,
        "recipe": {"base": "fast", "epochs": 2},
        **changes,
    }
    path = tmp_path / "drawn.yaml"
    path.write_text(yaml.safe_dump(value))
    return open_study(path)


def test_every_epoch_has_cells_of_its_own_and_the_held_out_ones_stay(tmp_path, monkeypatch):
    plan = study(tmp_path)
    executor = Executor(plan, tmp_path / "runs", device="cpu")
    training = executor.prepare(plan.runs[0])
    job = training.job
    assert job.renewal is not None
    one, two = job.renewal.epoch(0), job.renewal.epoch(1, last=True)
    assert one[0].shape == two[0].shape == (len(job.training_rows), *job.images.shape[1:])
    assert not np.array_equal(one[0], two[0])
    truth = np.sort(job.targets[job.training_rows])
    assert np.abs(np.bincount(one[1], minlength=24)[:22] - np.bincount(truth, minlength=24)[:22]).max() == 0
    known = {image.tobytes() for image in job.images}
    assert not any(image.tobytes() in known for image in one[0][::7])


def test_stopped_and_resumed_it_ends_as_if_it_had_not_been(tmp_path):
    ends = []
    for stops in (False, True):
        plan = study(tmp_path, recipe={"base": "fast", "epochs": 3})
        runs = tmp_path / f"runs-{stops}"
        if stops:  # in the second epoch; the first is kept
            first = Executor(plan, runs, device="cpu", checkpoint_interval=0)
            told = []

            def stop(line, told=told):
                told.append(line)
                if len(told) == 2:
                    raise KeyboardInterrupt

            training = first.prepare(plan.runs[0])
            with pytest.raises(KeyboardInterrupt):
                first.train_here(plan.runs[0], training, stop)
        Executor(plan, runs, device="cpu").run(plan.runs)
        folder = plan.runs[0].folder(runs)
        ends.append(load_file(folder / "last.safetensors"))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_drawn_set_is_divided_by_whole_cells():
    drawn = open_drawn("synth:Q:4:9")
    assert (drawn.cells, drawn.seed, drawn.stain) == (4, 9, "Q")
    rows = np.flatnonzero(drawn.samples["cell"].isin(drawn.samples["cell"].unique()[[1, 3]]))
    assert drawn.cell_numbers(rows).tolist() == [1, 3]
    with pytest.raises(UserError, match="not by image"):
        drawn.cell_numbers(rows[:-1])
    assert isinstance(drawn, EndlessCells) and Drawn.of(None, rows, None, []) is None


@pytest.mark.parametrize(
    "name", ["synth:", "synth:R", "synth:G:", "synth:G:x", "synth:G:3:4:5", "synth:G:-3", "synth:G:0"]
)
def test_names_that_name_no_drawn_set(tmp_path, name):
    with pytest.raises(UserError, match=r"drawn\.yaml: task G: "):
        study(tmp_path, dataset=name)
