"""The table of licences in SECURITY.md is that of the packages."""

import re
import tomllib

import pytest
from tests.scripts import load_script

LICENCES = load_script("docs/licences.py")


def test_every_pinned_package_has_a_row_and_no_other():
    kept = LICENCES.kept_rows()
    assert sorted(kept) == LICENCES.packages()
    assert all(row.licence not in ("", "?") and row.by for row in kept.values())


def test_what_is_installed_says_what_the_table_says():
    kept = LICENCES.kept_rows()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (LICENCES.ROOT / "constraints.txt").read_text(), re.M))
    compared = 0
    for name, version in pinned.items():
        name = LICENCES.normal(name)
        found = LICENCES.installed_version(name)
        if found == version:  # another one may say something else
            assert kept[name].licence == LICENCES.stated(name), name
            compared += 1
    if not compared:
        pytest.skip("none of the pinned versions is installed")


def test_what_is_asked_for_directly_stands_beside_what_asks_for_it():
    project = tomllib.loads((LICENCES.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    kept = LICENCES.kept_rows()
    for by, needs in {"core": project["dependencies"], **project["optional-dependencies"]}.items():
        for name in map(LICENCES.normal, (re.match(r"[\w.-]+", need)[0] for need in needs)):  # type: ignore[index]
            if name != "bandbridge":
                assert kept[name].by == "core" or by in kept[name].by.split(", "), (name, by)


def test_no_licence_asks_users_to_open_their_own_programs():
    assert not [row for row in LICENCES.kept_rows().values() if re.search(r"\bA?GPL|Affero|BUSL|Business", row.licence)]


def test_what_a_plain_installation_takes_on_windows_alone_is_pinned_too():
    project = tomllib.loads((LICENCES.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    taken = LICENCES.closure(project["dependencies"])
    assert "colorama" in taken, "typer's, or click's, on Windows"
    assert taken <= set(LICENCES.packages())
