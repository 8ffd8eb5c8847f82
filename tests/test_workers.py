"""Workers: a number that every system can wait for, ended with the command, and no script run twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from tests.ended import ends

from bandbridge import workers
from bandbridge.workers import Workers

STARTS = """
import os, sys, time
from bandbridge.workers import Workers
print("once", flush=True)
pool = Workers(2)
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(60)
"""


def test_no_more_processes_are_asked_for_than_windows_waits_for(monkeypatch):
    for system, most in (("win32", 61), ("linux", 128)):
        monkeypatch.setattr(workers, "sys", SimpleNamespace(platform=system))
        with Workers(128) as pool:
            assert pool._max_workers == most


@pytest.mark.skipif(os.name == "nt", reason="signals as on Unix")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_they_end_with_a_command_that_has_no_guard(tmp_path, end):
    """The script runs once: a process that ran it too would print again and start others."""
    script = tmp_path / "plain.py"
    script.write_text(STARTS)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout.readline() == "once\n"
        worker = int(command.stdout.readline())
        command.send_signal(end)
    assert ends(worker)


def test_each_prepares_itself_first():
    with Workers(1, _quiet) as pool:
        assert pool.submit(_warns).result() == 0
    with Workers(1) as pool:
        assert pool.submit(_warns).result() == 1


def _quiet() -> None:
    warnings.simplefilter("ignore", UserWarning)


def _warns() -> int:
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn("as an image library does", UserWarning, stacklevel=1)
    return len(seen)
