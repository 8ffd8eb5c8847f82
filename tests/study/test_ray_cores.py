"""The cores of a Ray that the command starts, without starting any: what it is asked for."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from bandbridge import study
from bandbridge.errors import EnvironmentFault, UserError

EXISTING = "When connecting to an existing cluster, num_cpus and num_gpus must not be provided."


class Ray(ModuleType):
    """As much of Ray as is asked for here. running: the cores of each machine of a cluster that is there already."""

    def __init__(self, running=()):
        super().__init__("ray")
        self.running, self.asked, self.machines = running, [], []

    def is_initialized(self):
        return bool(self.machines)

    def init(self, address, num_cpus=None, **options):
        self.asked.append((address, num_cpus))
        joins = bool(self.running) and address != "local"
        if joins and num_cpus is not None:
            raise ValueError(EXISTING)
        if not joins and address not in (None, "local"):
            raise ConnectionError("nothing there")
        self.machines = list(self.running) if joins else [64 if num_cpus is None else num_cpus]

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": float(cores)}} for cores in self.machines]

    def shutdown(self):
        self.machines = []


@pytest.fixture
def started(monkeypatch):
    """Return a function that gives the executor's module on a made-up Ray, on which ``cores`` may be used."""
    before = sys.modules.get("bandbridge.study.ray_executor")

    def start(cores, running=()):
        ray = Ray(running)
        errors = ModuleType("ray.exceptions")
        errors.RayError, errors.RayTaskError = (
            type("RayError", (Exception,), {}),
            type("RayTaskError", (Exception,), {}),
        )
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray.exceptions", errors)
        sys.modules.pop("bandbridge.study.ray_executor", None)
        module = importlib.import_module("bandbridge.study.ray_executor")
        monkeypatch.setattr(module, "usable_cores", lambda: cores, raising=False)
        return SimpleNamespace(ray=ray, module=module)

    yield start
    sys.modules.pop("bandbridge.study.ray_executor", None)
    if before is not None:
        sys.modules["bandbridge.study.ray_executor"] = study.ray_executor = before


@pytest.mark.parametrize("address", ["auto", "local"])
@pytest.mark.parametrize(("cores", "cpus_per_run", "at_once"), [(1, 1, 1), (3, 1, 3), (5, 2, 2)])
def test_a_cluster_that_is_started_here_has_the_cores_that_may_be_used(started, address, cores, cpus_per_run, at_once):
    here = started(cores)
    with here.module._connected(address):
        cluster = here.module.Cluster(address, "cpu", cpus_per_run)
        assert here.module._resources(cluster) == ({"num_cpus": cpus_per_run}, at_once)
    assert here.ray.asked == [(None if address == "auto" else "local", cores)]


def test_a_run_of_more_cores_than_may_be_used_is_refused(started):
    here = started(1)
    with here.module._connected("local"), pytest.raises(UserError, match="no machine of the Ray cluster has the 2 CPU"):
        here.module._resources(here.module.Cluster("local", "cpu", 2))


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379"])
def test_a_cluster_that_is_there_has_the_cores_that_it_was_started_with(started, monkeypatch, address):
    here = started(1, running=(8, 4))
    monkeypatch.setattr(here.module, "require_reachable", lambda address: None)
    with here.module._connected(address):
        assert here.module._resources(here.module.Cluster(address, "cpu"))[1] == 12
    assert here.ray.asked[-1] == (None if address == "auto" else address, None)


def test_another_fault_of_ray_is_told(started, monkeypatch):
    here = started(2)

    def broken(*arguments, **options):
        raise ValueError("no room in /dev/shm")

    monkeypatch.setattr(here.ray, "init", broken)
    with pytest.raises(UserError, match="no room in /dev/shm"), here.module._connected("auto"):
        pass


def test_when_no_machine_is_left_the_waiting_ends_with_a_sentence(started, monkeypatch):
    """Ray itself would wait for the runs for ever. As it is met when the agent on the only machine is killed."""
    here = started(1)
    monkeypatch.setattr(here.module, "_LOOK_S", -1.0)
    task = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda *_: "reference"))
    monkeypatch.setattr(here.ray, "remote", lambda function: task, raising=False)
    monkeypatch.setattr(here.ray, "cancel", lambda reference, force: None, raising=False)
    monkeypatch.setattr(here.ray, "nodes", lambda: [{"Alive": False, "Resources": {}}])
    driver = object.__new__(here.module._Driver)
    driver.pending, driver.labels = [SimpleNamespace(id="a", name="a", parent=None)], {"a": "a"}
    with pytest.raises(EnvironmentFault, match="processes have ended"):
        driver.drive(None, {})
    monkeypatch.setattr(here.ray, "nodes", lambda: [{"Alive": False}, {"Alive": True}])
    here.module.require_machines()
