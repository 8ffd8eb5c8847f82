"""What the machine grants, read from made-up copies of what Linux shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bandbridge.machine import available_memory, let_threads_sleep, usable_cores

KB, MB = 1024, 1024**2


@pytest.fixture
def linux(tmp_path: Path):
    """Return a function that writes files below a folder and gives the folders of facts and of control groups."""

    def write(**files: str) -> tuple[Path, Path]:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "proc", tmp_path / "groups"

    return write


def test_without_a_group_it_is_what_the_system_calls_available(linux):
    assert available_memory(*linux(proc__meminfo="MemTotal: 900 kB\nMemFree: 5 kB\nMemAvailable: 700 kB\n")) == 700 * KB


def test_where_the_system_does_not_say_nothing_is_known(linux):
    assert available_memory(*linux()) is None
    assert available_memory(*linux(proc__meminfo="MemAvailable: plenty\n")) is None


@pytest.mark.parametrize(("outer", "granted"), [("max", 300 * MB), (f"{250 * MB}", 150 * MB)])
def test_a_group_of_the_unified_kind_and_those_around_it_set_limits(linux, outer, granted):
    proc, groups = linux(
        proc__meminfo="MemAvailable: 900000000 kB\n",
        proc__self__cgroup="0::/job.slice/step\n",
        **{
            "groups__job.slice__step__memory.max": f"{400 * MB}\n",
            "groups__job.slice__step__memory.current": f"{150 * MB}\n",
            "groups__job.slice__step__memory.stat": f"anon 1\ninactive_file {50 * MB}\n",
            "groups__job.slice__memory.max": f"{outer}\n",
            "groups__job.slice__memory.current": f"{150 * MB}\n",
            "groups__job.slice__memory.stat": f"inactive_file {50 * MB}\n",
        },
    )
    assert available_memory(proc, groups) == granted


def test_a_group_of_the_older_kind_sets_a_limit(linux):
    proc, groups = linux(
        proc__meminfo="MemAvailable: 900000000 kB\n",
        proc__self__cgroup="5:cpu:/a\n4:memory:/docker/x\n",
        **{
            "groups__memory__docker__x__memory.limit_in_bytes": f"{400 * MB}\n",
            "groups__memory__docker__x__memory.usage_in_bytes": f"{390 * MB}\n",
            "groups__memory__docker__x__memory.stat": f"total_inactive_file {90 * MB}\n",
        },
    )
    assert available_memory(proc, groups) == 100 * MB


def test_a_group_whose_files_are_not_shown_is_passed_over(linux):
    proc, groups = linux(proc__meminfo="MemAvailable: 700 kB\n", proc__self__cgroup="0::/elsewhere\n")
    assert available_memory(proc, groups) == 700 * KB


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs an affinity to set")
def test_cores_outside_the_affinity_do_not_count(monkeypatch):
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cores() <= len(before)


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({}, 16),
        ({"SLURM_CPUS_PER_TASK": "1"}, 1),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "8"}, 4),
        ({"SLURM_CPUS_ON_NODE": "3"}, 3),
        ({"SLURM_CPUS_PER_TASK": "64"}, 16),  # as a variable that a shell inherited may say
        ({"SLURM_CPUS_PER_TASK": "many"}, 16),
        ({"SLURM_CPUS_PER_TASK": "0"}, 1),
        ({"LOKY_MAX_CPU_COUNT": "2", "SLURM_CPUS_PER_TASK": "5"}, 2),
    ],
)
def test_slurm_and_loky_say_what_is_granted(monkeypatch, environment, cores):
    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    loky = int(environment.get("LOKY_MAX_CPU_COUNT", 16))
    monkeypatch.setattr("joblib.cpu_count", lambda: min(16, loky))
    assert usable_cores() == cores


def test_a_control_group_that_grants_one_core_counts(monkeypatch):
    """joblib reads the quota; here it is what is relied on."""
    from joblib.externals.loky.backend import context

    for name in ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(context, "_cpu_count_cgroup", lambda os_cpu_count: 1)
    assert usable_cores() == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_threads_that_wait_soon_sleep_unless_the_environment_says_otherwise(monkeypatch, before, after):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    let_threads_sleep()
    assert {name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ} == after


def test_the_command_line_lets_threads_sleep_before_torch_is_loaded():
    """And not later: the library that runs the threads reads it once."""
    program = (
        "import sys, os; sys.argv = ['bandbridge', '--help']\n"
        "from bandbridge.cli.main import run\n"
        "assert 'torch' not in sys.modules\n"
        "try: run()\nexcept SystemExit: print(os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split()[-1] == "1000"
