"""A folder is held by one process at a time, with the system's locks and without them."""

import errno
import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from bandbridge import holding
from bandbridge.errors import EnvironmentFault
from bandbridge.holding import CLAIM, LOCK, claimed, held, holder, say_if_without_locks
from bandbridge.processes import this_process


@pytest.fixture
def no_locks(monkeypatch):
    """A disk without locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(holding, "_said_without_locks", False)


def leave(folder: Path, **changes) -> None:
    """Leave the exclusive file of another process in ``folder``."""
    folder.mkdir(exist_ok=True)
    facts = {"host": "other", **asdict(this_process()), **changes}
    (folder / CLAIM).write_text(json.dumps(facts))


DEAD = {"life": "00000000"}
FAR = {"machine": "00000000"}


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_another_holds_is_no_disk_without_locks(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path / "run") as claim:
        assert claim is None


def test_a_lock_names_its_process_and_is_free_after_it(tmp_path):
    with claimed(tmp_path) as claim, claimed(tmp_path) as second:
        assert claim is not None and claim.stands() and second is None
        assert holder(tmp_path) == f"process {os.getpid()}"
    with claimed(tmp_path) as claim:
        assert claim is not None and not (tmp_path / CLAIM).exists()


def test_without_locks_an_exclusive_file_holds_the_folder(tmp_path, no_locks):
    with claimed(tmp_path) as claim, claimed(tmp_path) as second:
        assert claim is not None and claim.stands() and second is None
        assert holder(tmp_path) == f"process {os.getpid()}"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [LOCK]


def test_a_machine_that_sees_locks_heeds_one_that_sees_none(tmp_path):
    leave(tmp_path)
    with claimed(tmp_path) as claim:
        assert claim is None
    leave(tmp_path, **DEAD)
    with claimed(tmp_path) as claim:
        assert claim is not None


def test_the_file_of_a_dead_process_is_taken_over_at_once(tmp_path, no_locks):
    leave(tmp_path, **DEAD)
    with claimed(tmp_path) as claim:
        assert claim is not None and claim.stands()
    assert not (tmp_path / CLAIM).exists() and not list(tmp_path.glob("*passes"))


def test_the_file_of_another_machine_is_taken_over_when_it_is_silent(tmp_path, no_locks):
    leave(tmp_path, **FAR)
    with claimed(tmp_path) as claim:
        assert claim is None and holder(tmp_path).endswith("on other")
    os.utime(tmp_path / CLAIM, (time.time() - holding.SILENT_S - 5,) * 2)
    with claimed(tmp_path) as claim:
        assert claim is not None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"machine": 1}', '{"machine": "a", "pid": "x", "life": ""}'])
def test_a_file_that_says_nothing_counts_as_held_until_it_is_silent(tmp_path, no_locks, content):
    (tmp_path / CLAIM).write_text(content)
    with claimed(tmp_path) as claim:
        assert claim is None
    os.utime(tmp_path / CLAIM, (time.time() - holding.SILENT_S - 5,) * 2)
    with claimed(tmp_path) as claim:
        assert claim is not None


def test_a_sign_of_life_is_given(tmp_path, no_locks, monkeypatch):
    monkeypatch.setattr(holding, "SIGN_OF_LIFE_S", 0.01)
    with claimed(tmp_path):
        os.utime(tmp_path / CLAIM, (1, 1))
        until = time.monotonic() + 10
        while (tmp_path / CLAIM).stat().st_mtime < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / CLAIM).stat().st_mtime > 2


def test_who_lost_the_folder_while_silent_learns_of_it_and_leaves_the_other_alone(tmp_path, no_locks):
    with claimed(tmp_path) as claim:
        assert claim is not None
        leave(tmp_path, **FAR)
        assert not claim.stands()
    assert "other" in (tmp_path / CLAIM).read_text()


def test_that_there_are_no_locks_is_said_once(tmp_path, no_locks, capsys):
    say_if_without_locks(tmp_path), say_if_without_locks(tmp_path / "a")
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("no file locks") == 1 and f"{tmp_path} has no file locks" in said and "120 s" in said


def test_a_full_disk_is_named_and_leaves_no_file(tmp_path, no_locks, file_size_limit):
    say_if_without_locks(tmp_path)
    with file_size_limit(0), pytest.raises(EnvironmentFault, match=r"\.claim"), claimed(tmp_path):
        pass
    assert not (tmp_path / CLAIM).exists()


def test_who_waits_is_told_once_for_whom_and_goes_on(tmp_path):
    told, free = [], threading.Event()

    def hold():
        with claimed(tmp_path):
            ready.set()
            free.wait(10)

    ready = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(10)

    def waiting(who: str) -> None:
        told.append(who)
        free.set()

    with held(tmp_path, waiting) as claim:
        assert claim.stands()
    thread.join()
    assert told == [f"process {os.getpid()}"]


def _count_alone(folder: Path, rounds: int) -> None:
    """Read and write a number without care, while ``folder`` is held."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl.flock = flock  # type: ignore[assignment]
    holding._POLL_S = 0.002
    number = folder / "number"
    for _ in range(rounds):
        with held(folder, lambda _: None):
            count = int(number.read_text())
            time.sleep(0.001)
            number.write_text(str(count + 1))


@pytest.mark.slow
def test_without_locks_eight_processes_never_hold_a_folder_together(tmp_path):
    """Taking over from a dead process, too: each round begins with the file of one."""
    context = multiprocessing.get_context("forkserver")
    for dead in (False, True):
        (tmp_path / "number").write_text("0")
        if dead:
            leave(tmp_path, **DEAD)
        children = [context.Process(target=_count_alone, args=(tmp_path, 25)) for _ in range(8)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * 8
        assert (tmp_path / "number").read_text() == "200"


def test_a_killed_process_holds_nothing(tmp_path, no_locks):
    code = (
        "import errno, fcntl, os, signal, sys\nfrom pathlib import Path\nfrom bandbridge.holding import claimed\n"
        "def flock(*_): raise OSError(errno.ENOLCK, 'no')\nfcntl.flock = flock\n"
        f"with claimed(Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (tmp_path / CLAIM).exists()
    with claimed(tmp_path) as claim:
        assert claim is not None
