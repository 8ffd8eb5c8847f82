"""Runs trained by two processes on the CPU: as by one, and one clear error whatever happens to one of them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import read_json
from bandbridge.machine import usable_cores
from bandbridge.study.execute import Executor, Outcome
from bandbridge.study.ledger import Ledger
from bandbridge.study.parallel import ParallelExecutor, _Launch
from bandbridge.study.plan import open_study
from bandbridge.training.device import open_fabric

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")


@pytest.fixture(autouse=True)
def all_cores(monkeypatch):
    """Of this machine, where the other tests take one."""
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)


#: Without batch norm; 15 images a batch do not divide by two, nor do the held-out ones need to.
VIT = {
    "architectures": ["test_vit"],
    "approaches": ["scratch"],
    "run_folds": [0],
    "precision": "fp32",
    "tasks": {"Q": {"dataset": "q4-0"}},
    "recipe": {"base": "fast", "epochs": 3, "batch_size": 15, "averaging": 0.9},
}


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def quiet(_: str) -> None:
    pass


def parallel(path: Path, root: Path, show=quiet, **options) -> ParallelExecutor:
    return ParallelExecutor(open_study(path), root, "cpu", say=quiet, show=show, devices=2, **options)


def alive(group: int) -> list[str]:
    """The processes of a group that have not ended, by /proc: state and group are the fields behind the name."""
    facts = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    return [state for state, _, number, *_ in facts if int(number) == group and state != "Z"]


def ends(group: int, within: float) -> bool:
    """Whether all processes of a group have ended ``within`` so many seconds."""
    until = time.monotonic() + within
    while alive(group) and time.monotonic() < until:
        time.sleep(0.1)
    return not alive(group)


def started(path: Path, root: Path, on_ctrl_c: str) -> subprocess.Popen[str]:
    """``study run`` on two devices in a group of its own, with this handler of SIGINT."""
    program = f"from signal import *; signal(SIGINT, {on_ctrl_c}); from bandbridge.cli.main import run; run()"
    command = [sys.executable, "-c", program, "study", "run", str(path)]
    command += ["--runs", str(root), "--device", "cpu", "--devices-per-run", "2"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def logits(root: Path) -> np.ndarray:
    frame = pd.read_parquet(next(root.rglob("predictions.parquet")))
    return frame.filter(like="logit_").to_numpy()


def test_two_devices_predict_as_one_and_keep_the_id(study_file, tmp_path):
    path = study_file(**VIT)
    runs = open_study(path).runs
    seen: list[str] = []
    outcome = parallel(path, tmp_path / "two", seen.append).run(runs)
    assert outcome == Outcome(done=[runs[0].name], epochs=3) and len(seen) == 3
    Executor(open_study(path), tmp_path / "one", "cpu", say=quiet, show=quiet).run(runs)
    one, two = (next((tmp_path / root).rglob("done.json")).parent for root in ("one", "two"))
    assert one.name == two.name
    # Float32 sums in another order, over some twenty steps; the logits themselves are about 0.5.
    np.testing.assert_allclose(logits(one), logits(two), rtol=0, atol=1e-4)
    for field in ("training_loss", "training_accuracy", "held_out_loss", "held_out_accuracy"):
        first, second = (pd.read_json(folder / "history.json")[field] for folder in (one, two))
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-4)
    assert read_json(two / "environment.json")["devices"] == 2
    assert read_json(one / "environment.json")["devices"] == 1
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_after_a_killed_process_the_same_call_goes_on_to_the_same_predictions(study_file, tmp_path):
    """With batch norm, whose statistics the checkpoint must hold as all processes have them."""
    path = study_file(**VIT | {"architectures": ["test_resnet"]})
    runs = open_study(path).runs
    parallel(path, tmp_path / "whole").run(runs)

    def kill_one(line: str) -> None:
        if "epoch 2/3" in line:
            os.kill(multiprocessing.active_children()[-1].pid, signal.SIGKILL)
            time.sleep(1)

    root = tmp_path / "parts"
    killed = parallel(path, root, kill_one, checkpoint_interval=0)
    with pytest.raises(EnvironmentFault, match=r"the process of device . of 2 was lost \(SIGKILL\)"):
        killed.run(runs)
    assert not multiprocessing.active_children()
    assert Ledger(root).state(runs[0]).kind == "paused"
    assert parallel(path, root).run(runs).done == [runs[0].name]
    np.testing.assert_array_equal(logits(root), logits(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_ctrl_c_ends_all_without_a_traceback(study_file, tmp_path):
    path = study_file(**VIT | {"recipe": {"base": "fast", "epochs": 2000, "batch_size": 15}})
    root = tmp_path / "runs"
    # Whoever runs the tests in the background of a script has Ctrl-C ignored, which would be inherited.
    with started(path, root, "default_int_handler") as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "epoch 3/" in line:
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                break
        left = process.stderr.read()
    assert process.returncode == 130 and "Traceback" not in left, "".join(lines) + left
    assert ends(process.pid, within=5)  # multiprocessing's tracker ends a little later
    study, runs = open_study(path), Ledger(root)
    assert runs.state(study.runs[0]).kind in ("paused", "pending")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_in_the_background_it_ignores_ctrl_c_and_all_end_when_the_command_is_killed(study_file, tmp_path):
    path = study_file(**VIT | {"recipe": {"base": "fast", "epochs": 2000, "batch_size": 15}})
    with started(path, tmp_path / "runs", "SIG_IGN") as process:  # as a script does for what it starts with &
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "epoch 3/" in line:
                os.killpg(process.pid, signal.SIGINT)
            if "epoch 9/" in line:
                assert len(alive(process.pid)) >= 3
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, "".join(lines)
    assert ends(process.pid, within=10)


@pytest.mark.slow
def test_divergence_fails_the_run_with_its_own_message(study_file, tmp_path):
    path = study_file(**VIT | {"recipe": {"base": "fast", "epochs": 2, "batch_size": 15, "learning_rate": 1e30}})
    runs = open_study(path).runs
    outcome = parallel(path, tmp_path / "runs").run(runs)
    assert "training diverged in epoch 1" in outcome.failed[runs[0].name].message


@dataclass(frozen=True)
class Trouble:
    """An errand, and its own executor, that goes wrong in the second process while the first waits for it."""

    kind: str
    run: None = None

    def executor(self):
        return self

    def prepare(self, _):
        return None

    def train_on(self, fabric, *_):
        if fabric.global_rank == 1 and self.kind == "user":
            raise UserError("the second disk is odd", "Turn it round.")
        if fabric.global_rank == 1 and self.kind == "bug":
            raise ZeroDivisionError("a bug")
        if fabric.global_rank == 1 and self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        fabric.all_reduce(torch.zeros(1))
        return "never"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("user", UserError, "the second disk is odd\nTurn it round"),
        ("bug", RuntimeError, "(?s)device 2 failed.*ZeroDivisionError: a bug"),
        ("killed", EnvironmentFault, "device 2 of 2 was lost"),
    ],
)
def test_trouble_in_one_process_is_one_error(kind, error, message, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # the processes must find this module
    monkeypatch.setenv("MASTER_PORT", "1")  # of some other job: not for these processes
    mail = multiprocessing.get_context("spawn").SimpleQueue()
    launch = _Launch(open_fabric("cpu", "fp32", devices=2), 2, mail, lambda _: None)
    with pytest.raises(error, match=message):
        launch.carry_out(Trouble(kind))
    assert os.environ["MASTER_PORT"] == "1" and not multiprocessing.active_children()


def test_a_batch_too_small_for_the_devices_fails_before_a_process_starts(study_file, tmp_path):
    path = study_file(**VIT | {"recipe": {"base": "fast", "epochs": 2, "batch_size": 3}})
    runs = open_study(path).runs
    outcome = parallel(path, tmp_path / "runs").run(runs)
    assert "a batch of 3 images is too small for 2 devices" in outcome.failed[runs[0].name].message


def test_more_devices_than_there_are_is_refused(study_file, tmp_path):
    count = usable_cores()
    with pytest.raises(
        UserError, match=rf"on {count + 1} devices .* sees {count}\n.*--devices-per-run {count} or fewer"
    ):
        ParallelExecutor(open_study(study_file(**VIT)), tmp_path / "runs", "cpu", devices=count + 1)
