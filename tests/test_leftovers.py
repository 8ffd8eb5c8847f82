"""What killed processes leave is removed when the place is next used, and nothing else is."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bandbridge.files import replacing_folder, write_text
from bandbridge.leftovers import beside, clear_leftovers, clear_once

DYING = """
import os, signal, sys
from pathlib import Path
from bandbridge.files import folder_beside, replacing, replacing_folder
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
path = Path(sys.argv[2])
"""


def killed(how: str, path: Path) -> None:
    code = subprocess.run([sys.executable, "-c", DYING + how, "-", str(path)], check=False).returncode
    assert code == -9


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_half_written_file_goes_when_its_folder_is_next_written_in(tmp_path):
    path = tmp_path / "a.txt"
    killed("with replacing(path) as temporary: temporary.write_text('half'); die()", path)
    assert len(names(tmp_path)) == 1
    write_text(tmp_path / "b.txt", "x")
    assert names(tmp_path) == ["b.txt"]


def test_a_half_written_folder_goes_and_so_does_one_that_was_to_be_removed_in_the_end(tmp_path):
    for kind in ("replacing_folder", "folder_beside"):
        killed(f"with {kind}(path) as folder: (folder / 'b').write_text('half'); die()", tmp_path / "a")
        assert len(names(tmp_path)) == 1  # and none of the one before
    clear_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_put_aside_comes_back_if_the_new_one_never_came(tmp_path):
    with replacing_folder(tmp_path / "a") as folder:
        (folder / "b").write_text("old")
    dying = """
sys.addaudithook(lambda event, arguments: die() if event == "os.rename" and arguments[1] == str(path) else None)
with replacing_folder(path) as folder: (folder / 'b').write_text('new')
"""
    killed(dying, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    clear_leftovers(tmp_path)
    assert names(tmp_path) == ["a"] and (tmp_path / "a" / "b").read_text() == "old"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    for text in ("old", "new"):
        with replacing_folder(tmp_path / "a") as folder:
            (folder / text).write_text("")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "a") as folder:
        raise RuntimeError
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["new"]


def test_what_a_living_process_writes_and_what_others_made_stays(tmp_path):
    mine, others = beside(tmp_path / "a"), [".b.4711.tmp", ".b.tmp", "c.tmp"]
    for path in (mine, *(tmp_path / name for name in others)):
        path.write_text("")
    clear_leftovers(tmp_path)
    assert names(tmp_path) == sorted([mine.name, *others])
    clear_leftovers(tmp_path, claimed=True)  # what earlier builds left, in a folder that is ours
    assert names(tmp_path) == sorted([mine.name, "c.tmp"])


def test_of_another_machine_what_has_not_changed_for_a_day_is_left(tmp_path):
    ours = str(beside(tmp_path / "a").name)
    machine = ours.split(".")[2].partition("-")[0]
    old, new = (tmp_path / ours.replace(machine, "0" * 8).replace(".a.", f".{name}.") for name in ("old", "new"))
    old.write_text(""), new.write_text("")
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    clear_leftovers(tmp_path)
    assert names(tmp_path) == [new.name]


def test_a_folder_is_looked_through_once(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr("bandbridge.leftovers.clear_leftovers", looked.append)
    clear_once(tmp_path), clear_once(tmp_path)
    assert looked == [tmp_path]


def test_two_writers_of_one_file_do_not_share_a_temporary_and_long_names_fit(tmp_path):
    path = tmp_path / ("é" * 127)
    first, second = beside(path), beside(path)
    assert first != second and len(os.fsencode(first.name)) < 100
    write_text(path, "x")
    assert names(tmp_path) == [path.name]
