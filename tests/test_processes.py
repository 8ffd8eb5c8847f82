"""A process is known by machine, number and start."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bandbridge import processes
from bandbridge.processes import has_ended, this_process

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not list its processes")


@needs_proc
def test_one_that_lives_one_that_has_ended_and_one_of_another_machine_are_told_apart():
    here = this_process()
    assert here.pid == os.getpid() and has_ended(here) is False
    assert has_ended(replace(here, life="0" * 8)) is True  # an earlier one of the same number
    assert has_ended(replace(here, machine="0" * 8)) is None


@needs_proc
def test_one_that_is_dead_and_not_yet_taken_note_of_has_ended():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = replace(this_process(), pid=child.pid, life=processes._life(child.pid) or "")
    assert has_ended(owner) is False
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert has_ended(owner) is True
    child.communicate()
    assert has_ended(owner) is True


def test_where_the_system_tells_no_starts_a_number_in_use_says_nothing(monkeypatch):
    monkeypatch.setattr(processes, "_life", lambda pid: None)
    processes._owner.cache_clear()
    try:
        here = this_process()
        assert here.life == "" and has_ended(here) is None
    finally:
        processes._owner.cache_clear()
