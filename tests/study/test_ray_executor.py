"""Runs on a Ray cluster of two machines, both of them here: the same files as without it, whatever is lost."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bandbridge.errors import UserError
from bandbridge.holding import claimed
from bandbridge.study.apart import Errand
from bandbridge.study.execute import Executor
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study

ray = pytest.importorskip("ray", reason='needs Ray: pip install "bandbridge[ray]"')

from ray.cluster_utils import Cluster as TwoMachines  # noqa: E402

from bandbridge.study import ray_executor  # noqa: E402
from bandbridge.study.ray_executor import Cluster, run_on_ray  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds workers by their open files in /proc"),
]
#: A lost machine is missed after half a second instead of half a minute.
WATCHFUL = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 100, "health_check_failure_threshold": 5}
SIZE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def machines() -> Iterator[TwoMachines]:
    """A cluster of two machines with a core each, connected to."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setattr(ray_executor, "_POLL_S", 0.05)
    cluster = TwoMachines(
        initialize_head=True, head_node_args={**SIZE, "include_dashboard": False, "_system_config": WATCHFUL}
    )
    ray.init(cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    patch.undo()


@pytest.fixture
def second(machines):
    """The second of the two machines, there until it is lost."""
    node = machines.add_node(**SIZE)
    machines.wait_for_nodes()
    yield node
    if node in machines.list_all_nodes():
        machines.remove_node(node)


def executor(path: Path, root: Path, show: Callable[[str], None] = lambda _: None, **options) -> Executor:
    return Executor(open_study(path), root, "cpu", say=lambda _: None, show=show, checkpoint_interval=0, **options)


def workers(root: Path) -> dict[int, Path]:
    """The processes that hold the claim of a run's folder, and which."""
    found = {}
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = link.readlink()
        except OSError:
            continue
        if target.name == ".lock" and target.is_relative_to(root) and link.parts[2] != str(os.getpid()):
            found[int(link.parts[2])] = target.parent
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def predictions(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("predictions.parquet")}


def test_a_killed_worker_and_a_lost_machine_leave_byte_identical_predictions(machines, second, study_file, tmp_path):
    epochs = 4
    path, root = study_file(recipe={"base": "fast", "epochs": epochs, "batch_size": 16}), tmp_path / "ray"
    local = executor(path, tmp_path / "local")
    assert len(local.run(local.study.runs).done) == 8
    raylet = second.all_processes["raylet"][0].process.pid
    killed: list[str] = []
    lines: list[str] = []

    def sabotage(line: str) -> None:
        """Kill a worker of the first machine in the middle of a run, then the second machine in the middle of one."""
        lines.append(line)
        begun = {pid: folder.name for pid, folder in workers(root).items() if (folder / "checkpoint.pt").exists()}
        there = [pid for pid in begun if parent_of(pid) == raylet]
        here = [pid for pid in begun if pid not in there]
        if not killed and here:
            killed.append(begun[here[0]])
            os.kill(here[0], signal.SIGKILL)
        elif len(killed) == 1 and there:
            killed.append(begun[there[0]])
            machines.remove_node(second, allow_graceful=False)

    outcome = run_on_ray(executor(path, root, sabotage), local.study.runs, Cluster())
    assert len(killed) == 2 and killed[0] != killed[1]
    assert sorted(outcome.done) == sorted(run.name for run in local.study.runs)
    assert not (outcome.failed or outcome.waiting or outcome.elsewhere)
    assert outcome.epochs <= 8 * epochs - 2, "a run that was killed began anew, and not from its checkpoint"
    assert predictions(root) == predictions(tmp_path / "local") and not list(root.rglob("checkpoint.pt"))
    assert len({line.partition("]")[0] for line in lines}) > 1 and all("epoch" in line for line in lines)


def test_the_child_of_a_failed_parent_waits_and_the_others_are_done(machines, study_file, tmp_path):
    path, root = study_file(run_folds=[0]), tmp_path / "runs"
    runs = open_study(path).runs
    folder = runs[0].folder(root)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"PK damaged")
    outcome = run_on_ray(executor(path, root), runs, Cluster())
    assert list(outcome.failed) == [runs[0].name] and "checkpoint.pt is damaged" in str(outcome.failed[runs[0].name])
    assert (
        outcome.waiting == [run.name for run in runs if run.parent and run.parent.id == runs[0].id]
        and len(outcome.done) == 2
    )
    (folder / "checkpoint.pt").unlink()
    assert len(run_on_ray(executor(path, root), runs, Cluster()).done) == 2


def test_a_run_that_a_lost_worker_had_finished_counts_as_done(machines, study_file, tmp_path, monkeypatch):
    path, root = study_file(run_folds=[0], approaches=["scratch"]), tmp_path / "runs"
    runs = open_study(path).runs
    runner = executor(path, root)

    def finished_before_any_task(_: str) -> None:
        executor(path, root).run(runs)

    monkeypatch.setattr(runner, "store", finished_before_any_task)
    outcome = run_on_ray(runner, runs, Cluster())
    assert outcome.done == [run.name for run in runs] and outcome.epochs == 0


def test_a_time_limit_stops_and_the_same_call_goes_on(machines, study_file, tmp_path):
    path, root = study_file(run_folds=[0]), tmp_path / "runs"
    runs = open_study(path).runs
    outcome = run_on_ray(executor(path, root, deadline=time.monotonic() - 1), runs, Cluster())
    assert outcome.out_of_time and not (outcome.done or outcome.waiting) and outcome.epochs == 0
    assert len(run_on_ray(executor(path, root), runs, Cluster()).done) == 4


def test_a_claim_that_a_lost_machine_left_is_waited_for(machines, study_file, tmp_path):
    """The claim is let go while the task waits: it must take it up, and not leave the run to another."""
    path, root = study_file(run_folds=[0], approaches=["scratch"]), tmp_path / "runs"
    runs = open_study(path).runs
    with claimed(runs[0].folder(root)) as mine:
        assert mine
        errand = Errand.of(executor(path, root), "auto", 1)
        executor(path, root).store(runs[0].task)
        reference = ray.remote(ray_executor.carry_out).remote(errand, runs[0], "", None)
        ready, _ = ray.wait([reference], timeout=2)
        assert not ready and not (runs[0].folder(root) / "run.json").exists()
    assert ray.get(reference).outcome.done == [runs[0].name]


def test_a_machine_that_does_not_share_the_folder_is_named(machines, study_file, tmp_path):
    runs = open_study(study_file(run_folds=[0])).runs
    errand = Errand.of(
        executor(study_file(run_folds=[0]), tmp_path / "elsewhere"), Cluster().device, Cluster().cpus_per_run
    )
    report = ray.get(ray.remote(ray_executor.carry_out).remote(errand, runs[0], "", None))
    assert "there are no runs in" in report.fault.message and report.fault.exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_more_than_any_machine_has_is_refused(machines, study_file, tmp_path):
    path = study_file(run_folds=[0])
    for cluster in (Cluster(cpus_per_run=2), Cluster(device="cuda")):
        with pytest.raises(UserError, match="no machine of the Ray cluster has"):
            run_on_ray(executor(path, tmp_path / "runs"), open_study(path).runs, cluster)


def test_ctrl_c_ends_the_workers_and_the_same_call_goes_on(machines, study_file, tmp_path):
    path = study_file(run_folds=[0], approaches=["scratch"], recipe={"base": "fast", "epochs": 200, "batch_size": 16})
    root = tmp_path / "runs"

    def interrupt(_: str) -> None:
        if list(root.rglob("checkpoint.pt")):
            raise KeyboardInterrupt

    runs = open_study(path).runs[:1]
    with pytest.raises(KeyboardInterrupt):
        run_on_ray(executor(path, root, interrupt), runs, Cluster())
    until = time.monotonic() + 10
    while workers(root) and time.monotonic() < until:
        time.sleep(0.1)
    assert not workers(root) and Ledger(root).state(runs[0]).kind == "paused"


def test_an_address_where_nothing_answers_is_refused_at_once():
    with socket.socket() as taken:  # bound and not listening: whoever connects is refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="no Ray cluster at 127"):
            ray_executor.require_reachable(f"127.0.0.1:{taken.getsockname()[1]}")


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "bandbridge.study.ray_executor")
    with pytest.raises(UserError, match=r"bandbridge\[ray\]"):
        importlib.import_module("bandbridge.study.ray_executor")
