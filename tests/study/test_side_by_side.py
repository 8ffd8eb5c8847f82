"""Runs side by side in processes of their own: the same files as one after another, whatever is lost on the way."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.files import read_json, write_json
from bandbridge.study import side_by_side
from bandbridge.study.execute import Clock, Executor
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study
from bandbridge.study.side_by_side import Sharing, run_side_by_side, share_out, starting_order

KILLS = int(os.environ.get("BANDBRIDGE_TEST_KILLS", "6"))
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds workers by their open files in /proc")


def quiet(_: str) -> None:
    pass


def executor(path: Path, root: Path, show=quiet, **options) -> Executor:
    return Executor(open_study(path), root, "cpu", **{"say": quiet, "checkpoint_interval": 0, **options}, show=show)


def work(path: Path, root: Path, jobs: int = 2, show=quiet, **options):
    runner = executor(path, root, show, **options)
    return run_side_by_side(runner, runner.study.runs, Sharing(jobs, 1))


def predictions(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("predictions.parquet")}


def workers(root: Path, group: int | None = None) -> dict[int, Path]:
    """The processes that hold the claim of a run's folder, and which; of one process group, where it is given."""
    found = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target, pid = link.readlink(), int(link.parts[2])
            mine = target.name == ".lock" and target.is_relative_to(root) and pid != os.getpid()
            if mine and group in (None, os.getpgid(pid)):
                found[pid] = target.parent
        except OSError:
            continue
    return found


def alive(group: int) -> list[str]:
    facts = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            facts.append(path.read_text().rpartition(")")[2].split())
        except OSError:
            continue
    return [state for state, _, number, *_ in facts if int(number) == group and state != "Z"]


def ends(group: int, within: float = 20) -> bool:
    until = time.monotonic() + within
    while alive(group) and time.monotonic() < until:
        time.sleep(0.05)
    return not alive(group)


def command(path: Path, root: Path, on_ctrl_c: str = "default_int_handler") -> subprocess.Popen[str]:
    """``study run --jobs 2`` in a process group of its own, with a checkpoint after every epoch."""
    program = (
        f"from signal import *; signal(SIGINT, {on_ctrl_c}); import bandbridge.training.loop as loop;"
        "loop.CHECKPOINT_INTERVAL_S = 0; from bandbridge.cli.main import run; run()"
    )
    arguments = ["study", "run", str(path), "--runs", str(root), "--device", "cpu", "--jobs", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--threads-per-run", "1"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory, module_study) -> dict[str, bytes]:
    """The predictions of the module's study, trained run after run."""
    root = tmp_path_factory.mktemp("alone")
    runner = executor(module_study, root)
    runner.threads = 1
    assert len(runner.run(runner.study.runs).done) == 8
    return predictions(root)


@pytest.fixture(scope="module")
def module_study(tmp_path_factory, drawn_set) -> Path:
    """Eight runs, four of which are parents."""
    folder = tmp_path_factory.mktemp("study")
    for stain in "QG":
        shutil.copytree(drawn_set(stain, 4, 0), folder / stain)
    study = {
        "name": "small",
        "protocol": "strict",
        "tasks": {"Q": {"dataset": "Q", "intermediates": ["G"]}, "G": {"dataset": "G", "intermediates": ["Q"]}},
        "architectures": ["test_resnet"],
        "approaches": ["scratch", "domain"],
        "split": {"folds": 2, "scheme": "cell"},
        "image_size": 32,
        "recipe": {"base": "fast", "epochs": 3, "batch_size": 16},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


@pytest.mark.parametrize("jobs", [2, 4])
def test_predictions_are_the_same_to_the_byte_however_many_go_at_once(jobs, module_study, alone, tmp_path):
    lines: list[str] = []
    outcome = work(module_study, tmp_path, jobs, say=lines.append)
    assert len(outcome.done) == 8 and outcome.epochs == 24
    assert not (outcome.failed or outcome.waiting or outcome.elsewhere or outcome.out_of_time)
    assert predictions(tmp_path) == alone and not list(tmp_path.rglob("checkpoint.pt"))
    assert {read_json(path)["threads"] for path in tmp_path.rglob("environment.json")} == {1}
    assert len(lines) == 8 and all("done; held-out accuracy" in line for line in lines)
    again = work(module_study, tmp_path, jobs)
    assert not again.done and again.epochs == 0


@needs_proc
def test_a_worker_that_is_killed_is_replaced_and_nothing_is_trained_twice(module_study, alone, tmp_path):
    killed: list[str] = []
    said: list[str] = []

    def kill(_: str) -> None:
        begun = {pid: folder for pid, folder in workers(tmp_path).items() if (folder / "checkpoint.pt").exists()}
        for pid, folder in begun.items():
            if folder.name not in killed and len(killed) < 2:
                killed.append(folder.name)
                os.kill(pid, signal.SIGKILL)

    outcome = work(module_study, tmp_path, show=kill, say=said.append)
    assert len(killed) == 2 and len(outcome.done) == 8
    assert sum("its process was lost; it goes on from its checkpoint" in line for line in said) == 2
    # Each went on from a checkpoint: the epochs before it belong to the process that was lost.
    assert outcome.epochs <= 24 - 2
    assert predictions(tmp_path) == alone


@pytest.mark.slow
@needs_proc
def test_a_run_whose_process_is_always_lost_fails_and_the_others_are_done(module_study, tmp_path, monkeypatch):
    study = open_study(module_study)
    victim, alongside = study.runs[0], {}

    def kill(_: str) -> None:
        mine = workers(tmp_path)
        for pid, folder in mine.items():
            if folder == victim.folder(tmp_path):
                alongside.setdefault(pid, len(mine) - 1)
                os.kill(pid, signal.SIGKILL)

    # Attended to before any epoch is over.
    monkeypatch.setattr(side_by_side.Watch, "show_epochs", lambda *_: kill(""))
    monkeypatch.setattr(side_by_side, "_POLL_S", 0.01)
    outcome = work(module_study, tmp_path)
    children = [run.name for run in study.runs if run.parent and run.parent.id == victim.id]
    assert list(outcome.failed) == [victim.name] and outcome.waiting == children
    assert len(outcome.done) == 8 - 1 - len(children) and len(alongside) == 3
    assert list(alongside.values())[-1] == 0, "the last time it should have had the machine for itself"
    state = Ledger(tmp_path).state(victim)
    assert state.kind == "failed" and "its process was lost 3 times" in state.message
    monkeypatch.undo()
    assert len(work(module_study, tmp_path).done) == 1 + len(children)


def test_a_run_that_fails_lets_its_children_wait_and_the_others_go_on(module_study, tmp_path):
    runs = open_study(module_study).runs
    folder = runs[0].folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"PK damaged")
    outcome = work(module_study, tmp_path)
    children = [run.name for run in runs if run.parent and run.parent.id == runs[0].id]
    assert list(outcome.failed) == [runs[0].name] and outcome.waiting == children
    assert "checkpoint.pt is damaged" in outcome.failed[runs[0].name].message and len(outcome.done) == 7 - len(children)


def test_a_set_that_cannot_be_prepared_stops_the_study_before_anything_is_trained(study_file, tmp_path):
    path = study_file(approaches=["scratch"])
    victim = next((tmp_path / "q4-0").rglob("*.png"))
    victim.write_bytes(b"no image")
    runs = open_study(path).runs
    with pytest.raises(ManyErrors, match=victim.name):
        work(path, tmp_path / "runs")
    assert {Ledger(tmp_path / "runs").state(run).kind for run in runs} == {"pending"} and ends_here()


def test_what_stops_all_runs_stops_all_processes(module_study, tmp_path):
    # Permissions say nothing to root, as which tests may run: a folder in the place of a file.
    victim = open_study(module_study).runs[0].folder(tmp_path)
    (victim / "run.json").mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match=r"run\.json"):
        work(module_study, tmp_path)
    assert ends_here()


def ends_here(within: float = 10) -> bool:
    until = time.monotonic() + within
    while multiprocessing.active_children() and time.monotonic() < until:
        time.sleep(0.05)
    return not multiprocessing.active_children()


def test_a_time_limit_stops_and_the_same_call_goes_on(module_study, alone, tmp_path):
    limited = work(module_study, tmp_path, deadline=time.monotonic() - 1)
    assert limited.out_of_time and not limited.done
    assert len(work(module_study, tmp_path).done) == 8 and predictions(tmp_path) == alone


@pytest.mark.slow
@needs_proc
def test_a_script_needs_no_main_guard(module_study, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import bandbridge as bb\nprint('once')\n"
        f"study = bb.Study.read({str(module_study)!r}, runs={str(tmp_path / 'runs')!r})\n"
        "print(len(study.run(jobs=2, threads_per_run=1).done))\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["once", "8"]


@needs_proc
@pytest.mark.slow
def test_ctrl_c_ends_all_without_a_traceback(study_file, tmp_path):
    path = study_file(recipe={"base": "fast", "epochs": 2000, "batch_size": 16})
    with command(path, tmp_path / "runs") as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "epoch " in line:
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                break
        left = process.stderr.read()
    assert process.returncode == 130 and "Traceback" not in left, "".join(lines) + left
    assert "the same command again" in left and ends(process.pid)


@pytest.mark.slow
def test_a_pipe_that_is_closed_does_not_end_the_training(study_file, tmp_path):
    """``study run STUDY 2>&1 | head -n 1``."""
    with command(study_file(), tmp_path / "runs") as process:
        assert process.stderr.readline()
        process.stderr.close()
        process.wait(120)
    assert process.returncode == 0 and len(list((tmp_path / "runs").rglob("done.json"))) == 8


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupted in the background, then killed", "killed"])
def test_when_the_command_is_killed_its_workers_end(study_file, tmp_path, how):
    path = study_file(recipe={"base": "fast", "epochs": 2000, "batch_size": 16})
    ignored, shown = how != "killed", 0
    with command(path, tmp_path / "runs", "SIG_IGN" if ignored else "SIG_DFL") as process:
        for line in process.stderr:
            shown += "epoch " in line
            if ignored and shown == 1:
                os.killpg(process.pid, signal.SIGINT)
            if shown == 3:
                assert len(workers(tmp_path / "runs", process.pid)) == 2
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL and ends(process.pid)


@needs_proc
@pytest.mark.slow
def test_killed_at_random_nothing_is_lost_and_nothing_trained_twice(module_study, alone, tmp_path):
    """The command, one worker, or all at once, in turn, after a random time of training side by side."""
    chance, root = random.Random(0), tmp_path
    kinds = ["command", "worker", "all"]
    done: dict[str, bytes] = {}
    hit, kill = 0, 0
    while hit < KILLS:
        kind = kinds[kill % 3]
        kill += 1
        assert kill < 20 * KILLS, "no kill hits any more"
        if len(done) == 8:  # begin a new study
            for path in sorted(root.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            done = {}
        with command(module_study, root) as process:
            until = time.monotonic() + 120
            while len(workers(root, process.pid)) < 2 and time.monotonic() < until and process.poll() is None:
                time.sleep(0.02)
            time.sleep(chance.random() * 0.8)
            busy = workers(root, process.pid)
            hit += bool(busy)
            if kind == "command":
                process.kill()
            elif kind == "all":
                os.killpg(process.pid, signal.SIGKILL)
            elif busy:
                os.kill(chance.choice(sorted(busy)), signal.SIGKILL)
            left = process.stderr.read()
        assert "Traceback" not in left, left
        assert process.returncode == (0 if kind == "worker" else -signal.SIGKILL), left
        assert ends(process.pid)
        finished = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("done.json")}
        times = {name: (root / name).stat().st_mtime_ns for name in finished}
        assert all(times[name] == before for name, before in done.items()), "a finished run was trained again"
        done = times
        assert all(alone[name] == content for name, content in predictions(root).items())
    assert len(work(module_study, root).done) == 8 - len(done) and predictions(root) == alone


class Gpu:
    type = "cuda"


@pytest.fixture(scope="module")
def runs(module_study):
    """Eight runs of which four are parents: eight leaves and parents among them, four can go at once."""
    return open_study(module_study).runs


@pytest.mark.parametrize(
    ("cores", "jobs", "threads", "expected"),
    [
        (1, None, None, (1, 1)),
        (2, None, None, (2, 1)),
        (4, None, None, (4, 1)),
        (9, None, None, (4, 2)),
        (16, None, None, (4, 4)),
        (2, 1, None, (1, 2)),
        (2, 4, None, (4, 1)),
        (8, None, 4, (2, 4)),
        (8, 2, None, (2, 4)),
        (8, 99, 1, (4, 1)),
    ],
)
def test_cores_are_shared_out_among_the_runs_that_can_go_at_once(runs, monkeypatch, cores, jobs, threads, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: cores)
    sharing = share_out(runs, "cpu", jobs, threads)
    assert (sharing.jobs, sharing.threads) == expected


@pytest.mark.parametrize(("jobs", "threads", "wanted"), [(None, 9, 9), (2, 5, 10)])
def test_more_threads_than_cores_are_refused(runs, monkeypatch, jobs, threads, wanted):
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 8)
    with pytest.raises(UserError, match=f"want {wanted} cores, and there are 8") as caught:
        share_out(runs, "cpu", jobs, threads)
    assert caught.value.exit_code == 2


def test_threads_that_the_environment_asks_for_count(runs, monkeypatch):
    monkeypatch.setattr(side_by_side, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert share_out(runs, "cpu") == Sharing(2, 4)
    assert share_out(runs, "cpu", threads=1) == Sharing(4, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert share_out(runs, "cpu") == Sharing(1, 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert share_out(runs, "cpu") == Sharing(4, 2)


def test_a_gpu_has_one_run_unless_told(runs, monkeypatch):
    monkeypatch.setattr(side_by_side, "find_device", lambda _: Gpu)
    assert share_out(runs) == Sharing(1, None, divides_cores=False)
    assert share_out(runs, jobs=3) == Sharing(3, None, divides_cores=False)


@pytest.mark.parametrize(
    ("sharing", "words"),
    [
        (Sharing(1, 2), "one run at a time, 2 threads each"),
        (Sharing(2, 1), "2 runs side by side, 1 thread each"),
        (Sharing(1, None), "one run at a time"),
    ],
)
def test_sharing_in_words(sharing, words):
    assert str(sharing) == words


def test_a_run_that_goes_on_keeps_the_threads_it_was_begun_with(study_file, tmp_path, monkeypatch):
    path, root = study_file(), tmp_path / "runs"
    runner = executor(path, root)
    first, second = runner.study.runs[:2]
    runner.threads = 3
    folder = first.folder(root)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"")
    write_json(folder / "progress.json", {"epoch": 1})
    write_json(folder / "environment.json", {"threads": 2})
    monkeypatch.setattr("bandbridge.study.execute.usable_cores", lambda: 2)
    assert (runner.threads_of(first), runner.threads_of(second)) == (2, 3)
    monkeypatch.setattr("bandbridge.study.execute.usable_cores", lambda: 1)
    assert runner.threads_of(first) == 3, "more threads than cores starve one another"
    runner.threads = None
    assert runner.threads_of(first) is None


@pytest.mark.slow
@pytest.mark.parametrize(("free", "most"), [(None, 4), (10_000, 4), (2_500, 2), (1_000, 1)])
def test_no_more_go_at_once_than_memory_holds(module_study, tmp_path, monkeypatch, free, most):
    """Each run asks for 1,000; a tenth of what is free is left alone."""
    running: list[int] = []
    start = side_by_side._Yard._start

    def noted(self, *arguments):
        running.append(len(self.places) + 1)
        return start(self, *arguments)

    monkeypatch.setattr(side_by_side, "_memory", lambda _: 1_000)
    monkeypatch.setattr(side_by_side, "_resident", lambda _: 0)
    monkeypatch.setattr(side_by_side, "available_memory", lambda: free)
    monkeypatch.setattr(side_by_side._Yard, "_start", noted)
    assert len(work(module_study, tmp_path, jobs=4).done) == 8
    assert max(running) == most


@pytest.mark.slow
def test_a_watcher_sees_all_runs_in_training_and_one_time_left(module_study, tmp_path):
    shown: list[str] = []
    work(module_study, tmp_path, live=shown.append)
    both = [text.splitlines() for text in shown if len(text.splitlines()) == 3]
    assert both and all("/8] " in line for text in both for line in text[:2])
    assert any("epoch" in text[0] and "epoch" in text[1] for text in both)
    assert all(" of 8 over, " in text[-1] and text[-1].endswith((" left", "left not known yet")) for text in both)
    assert any("; about " in text[-1] for text in both)


def test_no_time_is_named_before_one_is_known(runs, tmp_path):
    clock = Clock(runs, Ledger(tmp_path), at_once=2)
    assert clock.left() == "time left not known yet"
    clock.tick(runs[0], {"epoch": 1, "seconds": 10.0})
    assert clock.left().startswith("at least "), "the other task has not been timed"


def test_long_chains_of_a_fold_are_begun_first_and_folds_keep_their_order(study_file, tmp_path):
    path = study_file(approaches=["scratch", "domain"], architectures=["test_vit", "ResNet-34"])
    study = open_study(path)
    ranks = starting_order(study.runs, study)
    ordered = [run for _, run in sorted(zip(ranks, study.runs, strict=True), key=lambda pair: pair[0])]
    assert [run.fold for run in ordered] == sorted(run.fold for run in ordered)
    first = [run for run in ordered if run.fold == 0]
    # ResNet-34 is far more work than the tiny ViT; a parent is the longer chain than what comes after it.
    assert [run.architecture for run in first] == ["ResNet-34"] * 4 + ["test_vit"] * 4
    for run in first:
        assert run.parent is None or first.index(run.parent) < first.index(run)


@pytest.mark.parametrize("extra", [("--executor", "ray"), ("--devices-per-run", 2)])
def test_options_that_do_not_go_together_are_one_sentence(study_file, bandbridge, extra):
    code, _, err = bandbridge("study", "run", study_file(), "--jobs", 2, *extra)
    assert code == 2 and "--jobs and --threads-per-run go with --executor local and --devices-per-run 1" in err


def test_the_help_names_the_extra_whole(bandbridge, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = bandbridge("study", "run", "--help")
    assert code == 0 and "bandbridge[ray]" in out
