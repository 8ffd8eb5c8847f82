"""Words for whoever watches never end the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTES = """
import sys
from bandbridge.progress import listening, note, status, track
with listening(True):
    for item in track(range(3), 3, "counting"):
        note("x" * 70_000)
    with status("resting") as update:
        update("still")
    print("done", file=open(sys.argv[1], "w"))
"""


def test_a_pipe_that_nobody_reads_ends_the_words_and_not_the_work(tmp_path):
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", NOTES, str(tmp_path / "done")], stderr=writing, stdout=writing)
    os.close(writing)
    os.close(reading)
    assert process.wait(60) == 0 and (tmp_path / "done").read_text() == "done\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full disk to try")
def test_a_full_disk_under_a_log_neither(tmp_path):
    with Path("/dev/full").open("w") as full:
        code = subprocess.run(
            [sys.executable, "-c", NOTES, str(tmp_path / "done")], stderr=full, check=False
        ).returncode
    assert code == 0 and (tmp_path / "done").exists()
