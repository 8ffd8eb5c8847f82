"""A process comes back to the runs that others hold, whatever becomes of these."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bandbridge.holding import Claim, claimed
from bandbridge.leftovers import beside
from bandbridge.study import rounds
from bandbridge.study.execute import Clock, Executor, Outcome
from bandbridge.study.plan import open_study
from bandbridge.study.rounds import in_rounds
from bandbridge.study.run import PlannedRun

SHORT = {"base": "fast", "epochs": 1, "batch_size": 16}


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch):
    monkeypatch.setattr(rounds, "_POLL_S", 0.02)


class Told(list[str]):
    """Lines that an executor says, and a way to wait for one."""

    def wait_for(self, text: str, within: float = 60) -> None:
        until = time.monotonic() + within
        while not any(text in line for line in self):
            assert time.monotonic() < until, list(self)
            time.sleep(0.01)


@contextmanager
def another_process(folder: Path, told: Told, end: Callable[[], object]) -> Iterator[None]:
    """Hold ``folder`` until the executor has said that it waits, then ``end``."""
    holding = threading.Event()

    def hold() -> None:
        with claimed(folder):
            holding.set()
            told.wait_for("waiting for 1 run ")
            end()

    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(10)
    yield
    thread.join()


@pytest.fixture
def runner(study_file, tmp_path) -> Executor:
    path = study_file(run_folds=[0], approaches=["scratch", "domain"], recipe=SHORT)
    return Executor(open_study(path), tmp_path / "runs", "cpu", say=Told(), show=lambda _: None)


def run(runner: Executor) -> Outcome:
    return in_rounds(runner, runner.study.runs, runner.run)


def parent(runner: Executor) -> PlannedRun:
    return next(run.parent for run in runner.study.runs if run.parent)


@pytest.fixture(autouse=True)
def _say_is_a_list(runner):
    runner.told = runner.say
    runner.say = runner.told.append


def test_when_the_other_process_dies_its_run_and_what_waits_for_it_are_gone_on_with(runner):
    held = parent(runner)
    with another_process(runner.ledger.folder(held), runner.told, lambda: None):
        outcome = run(runner)
    assert len(outcome.done) == 4 and not (outcome.elsewhere or outcome.waiting or outcome.failed)
    [line] = [line for line in runner.told if line.startswith("waiting for")]
    assert held.name in line and "by process " in line and "Ctrl-C" in line


def test_a_run_that_the_other_process_finishes_is_not_trained_and_its_child_is(runner):
    held, child = parent(runner), next(run for run in runner.study.runs if run.parent is parent(runner))
    other = Executor(runner.study, runner.root, "cpu", say=lambda _: None, show=lambda _: None)

    def finish() -> None:
        # What the other process, which holds the claim, does with it.
        other._train(held, "", Clock([held], other.ledger), Outcome(), Claim(other.ledger.folder(held)))

    with another_process(runner.ledger.folder(held), runner.told, finish):
        outcome = run(runner)
    assert held.name not in outcome.done and child.name in outcome.done and len(outcome.done) == 3
    assert f"{held.name}: done by another process" in runner.told


def test_a_run_that_fails_in_the_other_process_is_not_tried_again(runner):
    held = parent(runner)
    folder = runner.ledger.folder(held)

    def fail() -> None:
        (folder / "failed.json").write_text(json.dumps({"message": "it diverged", "remedy": "Lower the rate."}))

    with another_process(folder, runner.told, fail):
        outcome = run(runner)
    assert list(outcome.failed) == [held.name] and outcome.failed[held.name].remedy == "Lower the rate."
    assert len(outcome.done) == 2 and len(outcome.waiting) == 1 and not (folder / "done.json").exists()


def test_at_the_time_limit_the_waiting_ends(runner, monkeypatch):
    def once(runs):
        outcome = runner.run(runs)
        runner.deadline = time.monotonic() + 0.1
        return outcome

    with claimed(runner.ledger.folder(parent(runner))):
        outcome = in_rounds(runner, runner.study.runs, once)
    assert outcome.out_of_time and outcome.elsewhere == [parent(runner).name] and len(outcome.waiting) == 1
    assert len(outcome.done) == 2


def test_what_a_killed_process_left_in_any_run_is_removed(runner):
    folder = runner.root / "Q" / "other" / "scratch" / "fold0-abc"
    folder.mkdir(parents=True)
    name = beside(folder / "checkpoint.pt").name
    pid = name.split("-")[1]
    (folder / name.replace(f"-{pid}-", "-999999999-")).write_text("half")
    again = Executor(runner.study, runner.root, "cpu", say=lambda _: None, show=lambda _: None)
    run(again)
    assert list(folder.iterdir()) == []
