"""``bandbridge review`` from the outside: a real server in a process of its own, and what it refuses to start with."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch
from tests.finished import begin_run

from bandbridge.karyotype import CLASSES
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.weights import save_model

COMMAND = (sys.executable, "-c", "from bandbridge.cli.main import run; run()", "review")


@pytest.fixture
def run(tmp_path):
    folder = begin_run(tmp_path, task="G")
    model = create_model(find_architecture("test_resnet"), 24, 64, torch.Generator().manual_seed(1))
    save_model(model.state_dict(), folder / "last.safetensors", {})
    config = {"architecture": "test_resnet", "classes": CLASSES, "preparation": {"size": 64}}
    (folder / "config.json").write_text(json.dumps({**config, "mean": [0.5] * 3, "std": [0.5] * 3}))
    return folder


def start(*arguments: object) -> tuple[subprocess.Popen, str]:
    """Start the command and return it with the address that it prints."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    ready, _, _ = select.select([process.stdout], [], [], 120)
    address = process.stdout.readline().strip() if ready else ""
    if not address:
        process.kill()
        raise AssertionError(process.communicate()[1])
    return process, address


class Page:
    """The page's requests, with the key's cookie."""

    def __init__(self, address: str) -> None:
        self.home, _, _ = address.partition("?")
        with self._patiently(address) as answer:
            self.cookie = answer.headers["set-cookie"].partition(";")[0]

    def _patiently(self, address: str):
        end = time.monotonic() + 30
        while True:
            try:
                return urllib.request.urlopen(address, timeout=30)
            except urllib.error.URLError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def ask(self, path: str, values: dict | None = None):
        data = None if values is None else json.dumps(values).encode()
        headers = {"cookie": self.cookie, "x-bandbridge": "review"}
        with urllib.request.urlopen(urllib.request.Request(self.home + path, data, headers), timeout=30) as answer:
            return json.load(answer)

    def sorted_cells(self) -> list[dict]:
        end = time.monotonic() + 60
        while True:
            state = self.ask("api/state")
            if not state["waiting"]:
                return state["cells"]
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_server_goes_on_with_every_correction(run, chromosome_set, tmp_path):
    arguments = (
        run,
        chromosome_set("G", 1),
        "--work",
        tmp_path / "work",
        "--port",
        0,
        "--no-browser",
        "--device",
        "cpu",
    )
    process, address = start(*arguments)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?key=[\w-]{32}", address)
    try:
        page = Page(address)
        (cell,) = page.sorted_cells()
        assert (cell["name"], cell["images"], cell["state"]) == ("synthetic-g0001", 46, "ready")
        one = page.ask(f"api/cells/{cell['id']}")["chromosomes"][7]["id"]
        values = {"chromosome": one, "label": "Y", "version": cell["version"]}
        moved = page.ask(f"api/cells/{cell['id']}/place", values)
        assert one in moved["order"]["Y"]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process, address_again = start(*arguments)
    try:
        again = Page(address_again)
        assert address_again.partition("=")[2] == address.partition("=")[2]
        assert again.sorted_cells()[0]["id"] == cell["id"] and len(again.sorted_cells()) == 1
        assert again.ask(f"api/cells/{cell['id']}")["order"] == moved["order"]
        mode = (tmp_path / "work" / "key").stat().st_mode
        assert os.name == "nt" or mode & 0o077 == 0
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_a_port_in_use_a_folder_that_is_no_run_and_no_cells(bandbridge, run, tmp_path):
    work = ("--work", tmp_path / "work", "--no-browser", "--device", "cpu")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = bandbridge("review", run, "--port", taken.getsockname()[1], *work)
    assert result.code == 1 and "cannot listen on 127.0.0.1" in result.err and "--port" in result.err
    result = bandbridge("review", tmp_path, *work)
    assert result.code == 2 and "not the folder of a run" in result.err
    (tmp_path / "empty").mkdir()
    result = bandbridge("review", run, tmp_path / "empty", *work)
    assert result.code == 2 and "holds no cell" in result.err


def test_without_the_extra_the_remedy_names_it(bandbridge, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = bandbridge("review", run)
    assert result.code == 2 and "uvicorn" in result.err and "pip install 'bandbridge[review]'" in result.err
