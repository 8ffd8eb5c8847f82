"""Work on many cells by all cores: in order, here where that is all there is; nothing is left when the command dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.ended import ends

from bandbridge.synthetic import cores
from bandbridge.synthetic.cores import all_cores


def square(value: int) -> tuple[int, int]:
    return value * value, os.getpid()


def test_results_come_in_order_from_other_processes(monkeypatch):
    monkeypatch.setattr(cores, "usable_cores", lambda: 2)
    with all_cores() as each:
        found = list(each(square, range(20)))
    assert [value for value, _ in found] == [value * value for value in range(20)]
    assert os.getpid() not in {process for _, process in found}


@pytest.mark.parametrize(("here", "worth"), [(1, True), (4, False)])
def test_one_core_and_small_work_stay_here(monkeypatch, here, worth):
    monkeypatch.setattr(cores, "usable_cores", lambda: here)
    with all_cores(worth) as each:
        assert {process for _, process in each(square, range(3))} == {os.getpid()}


AHEAD = """
import os, sys, time
from bandbridge.dataset.prepare import BASES, Preparation
from bandbridge.synthetic.ahead import DrawnAhead
if __name__ == "__main__":
    ahead = DrawnAhead("G", 0, list(range(4000)), 4000, Preparation(size=32, **BASES["by-cell"]), processes=1)
    ahead._begin(0)
    while not ahead._waiting[0][0].done():
        time.sleep(0.05)
    print(*ahead._pool._processes, flush=True)
    try:
        time.sleep(60)
    finally:
        ahead.close()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals as on Unix")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_draws_ends_with_the_command(tmp_path, end):
    script = tmp_path / "ahead.py"
    script.write_text(AHEAD)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as command:
        drawing = int(command.stdout.readline())
        command.send_signal(end)
    assert ends(drawing)


def test_a_script_needs_no_guard(tmp_path):
    script = tmp_path / "plain.py"
    script.write_text(
        "import bandbridge as bb\n"
        "from bandbridge.synthetic import cores, sets\n"
        "sets._WORTH_PROCESSES, cores.usable_cores = 2, lambda: 2\n"
        "print('once')\n"
        "print(bb.draw_cells('Q', 3, seed=1))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.stdout == "once\nDrawnCells(drawn-q: 138 images, 3 cells, 1 patient, stain Q)\n", done.stderr
