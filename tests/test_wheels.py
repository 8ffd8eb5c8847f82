"""What an installation takes on a system that is not this one; pip's answers are given, no index is asked."""

import pytest
from packaging.requirements import Requirement
from tests.scripts import load_script

WHEELS = load_script("docs/wheels.py")
WINDOWS, LINUX, MAC = (WHEELS.SYSTEMS[name] for name in ("windows", "linux", "macos-arm"))
METADATA = {
    "typer": ["click>=8", 'rich; extra == "all"'],
    "click": ['colorama; platform_system == "Windows"', 'importlib-metadata; python_version < "3.8"'],
    "colorama": [],
    "rich": ["click"],
    "torch": ['triton==3.9; sys_platform == "linux"', "numpy[fast]<2"],
    "triton": [],
    "numpy": ['wheelless; extra == "fast"'],
}
PINNED = {"typer": "1", "click": "8.5", "rich": "15", "torch": "2", "triton": "3.9", "numpy": "2.4", "wheelless": "1"}


@pytest.fixture
def index(monkeypatch):
    asked = []

    def ask(packages, system, python):
        asked.extend(packages)
        names = [one.partition("==")[0] for one in packages]
        return {name: METADATA[name] for name in names if name in METADATA}

    monkeypatch.setattr(WHEELS, "_ask", ask)
    return asked


def follow(asked: str, system, versions=PINNED):
    return WHEELS.follow([Requirement(asked)], system, "3.12", versions)


def test_what_windows_alone_takes_is_followed_and_has_to_be_pinned(index):
    assert follow("typer", LINUX).versions == {"typer": "1", "click": "8.5"}
    found = follow("typer", WINDOWS)
    assert found.problems == ["colorama is not in constraints.txt; click needs it"] and "colorama" in found.versions
    assert not follow("typer", WINDOWS, PINNED | {"colorama": "0.4.6"}).problems
    assert "colorama==0.4.6" in index


def test_a_condition_on_an_extra_holds_where_the_extra_is_asked_for(index):
    assert "rich" not in follow("typer", MAC).versions and "rich" in follow("typer[all]", MAC).versions


def test_a_pin_that_does_not_fit_and_a_version_without_a_wheel_are_named(index):
    assert follow("torch", MAC).problems == ["torch wants numpy[fast]<2, and 2.4 is pinned", "wheelless 1 has no wheel"]
    assert "triton" in follow("torch", LINUX).versions and "triton" not in follow("torch", MAC).versions


def test_it_asks_for_what_pyproject_names_and_constraints_pins():
    needed, pins = WHEELS.wanted([]), WHEELS.pins()
    assert {"numpy", "onnxruntime"} <= {one.name for one in needed} and "torch" not in {one.name for one in needed}
    assert all(WHEELS.canonicalize_name(one.name) in pins for one in WHEELS.wanted(["train", "formats"]))
    with pytest.raises(KeyError):
        WHEELS.wanted(["no such extra"])
