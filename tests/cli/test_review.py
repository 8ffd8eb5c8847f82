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
from pathlib import Path

import pytest
from PIL import Image
from tests.finished import begin_run
from tests.networks import write_moved

from bandbridge.cli.review import _show
from bandbridge.karyotype import CLASSES
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread

COMMAND = (sys.executable, "-c", "from bandbridge.cli.main import run; run()", "review")


@pytest.fixture
def run(tmp_path):
    folder = begin_run(tmp_path, task="G")
    write_moved(folder / "last.safetensors")
    config = {"architecture": "test_resnet", "classes": CLASSES, "preparation": {"size": 64}}
    (folder / "config.json").write_text(json.dumps({**config, "mean": [0.5] * 3, "std": [0.5] * 3}))
    return folder


def start(*arguments: object, **variables: str) -> tuple[subprocess.Popen, str]:
    """Start the command and return it with the address that it prints."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
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
        data = None if values is None else json.dumps({**values, "reader": "Anna"}).encode()
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
        assert address_again.partition("=")[2] != address.partition("=")[2]
        assert again.sorted_cells()[0]["id"] == cell["id"] and len(again.sorted_cells()) == 1
        assert again.ask(f"api/cells/{cell['id']}")["order"] == moved["order"]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert "Traceback" not in errors
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_metaphases_are_cut_first_and_their_cells_open_with_them(run, tmp_path):
    spread = draw_spread("Q", 11, 1, Crowd(share=0.16, crossing=0, touching=0, bend=1, nuclei=0, debris=0))
    (tmp_path / "fields").mkdir()
    Image.fromarray(spread.gray).save(tmp_path / "fields" / "drawn.png")
    work = tmp_path / "work"
    places = (run, tmp_path / "fields", "--work", work)
    process, address = start(*places, "--port", 0, "--no-browser", "--device", "cpu")
    try:
        page = Page(address)
        (cell,) = page.sorted_cells()
        field = page.ask(f"api/cells/{cell['id']}")["field"]
        assert cell["name"] == "drawn" and 43 <= len(field["outlines"]) == cell["images"] <= 49
        assert (work / "cut" / "pieces.csv").is_file()
        assert work.stat().st_mode & 0o077 == 0 and (work / "cut").stat().st_mode & 0o077 == 0
    finally:
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.communicate(timeout=30)[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="arguments are read as Linux shows them")
def test_the_key_is_in_no_argument_and_in_a_file_for_its_owner_alone(run, chromosome_set, tmp_path):
    """A browser is told of a private page that forwards: what a program is started with, every account can read."""
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" >> {seen}\n')
    browser.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir(mode=0o755)
    (work / "key").write_text("of an earlier build, the same for ever")
    arguments = (run, chromosome_set("G", 1), "--work", work, "--port", 0, "--device", "cpu")
    before = os.umask(0o000)
    try:
        process, address = start(*arguments, BROWSER=str(browser))
    finally:
        os.umask(before)
    try:
        page = Page(address)
        assert len(page.sorted_cells()) == 1
        key = address.partition("=")[2]
        given = seen.read_text()
        assert key not in given and given.startswith("file://") and given.strip().endswith("open.html")
        assert address in (work / "open.html").read_text()
        assert key not in " ".join(Path(f"/proc/{process.pid}/cmdline").read_text().split("\0"))
        assert not (work / "key").exists()
        # The folder itself is the person's; what is in it is for no other account.
        assert work.stat().st_mode & 0o777 == 0o755
        for path in work.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path
        assert {path.name for path in work.iterdir()} >= {"review.sqlite", "images", "open.html"}
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert not (work / "open.html").exists()
        assert all(path.stat().st_mode & 0o077 == 0 for path in work.rglob("*"))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def test_the_browser_is_started_on_a_page_that_forwards(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    address, page = "http://127.0.0.1:7800/?key=k-1_2", tmp_path / "open.html"
    page.write_text("left by a killed program")
    page.chmod(0o644)
    _show(address, page)
    assert opened == [page.as_uri()] and f'content="0; url={address}"' in page.read_text()
    assert os.name == "nt" or page.stat().st_mode & 0o077 == 0
    _show(address, tmp_path / "gone" / "open.html")
    assert len(opened) == 1


def test_a_port_in_use_a_folder_that_is_no_run_and_no_cells(bandbridge, run, tmp_path):
    work = ("--work", tmp_path / "work", "--no-browser", "--device", "cpu")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = bandbridge("review", run, "--port", taken.getsockname()[1], *work)
    assert result.code == 1 and "cannot listen on 127.0.0.1" in result.err and "--port" in result.err
    (tmp_path / "no-run").mkdir()
    result = bandbridge("review", tmp_path / "no-run", *work)
    assert result.code == 2 and "not the folder of a run" in result.err
    (tmp_path / "empty").mkdir()
    result = bandbridge("review", run, tmp_path / "empty", *work)
    assert result.code == 2 and "holds no cell" in result.err


def test_patients_without_an_image_are_said_before_anything_is_opened(bandbridge, tmp_path):
    for number in range(3):
        (tmp_path / "ward" / f"P{number}" / "cell 1").mkdir(parents=True)
    Image.new("L", (20, 40), 255).save(tmp_path / "ward" / "P1" / "cell 1" / "a.png")
    result = bandbridge("review", tmp_path / "no-model", tmp_path / "ward", "--work", tmp_path / "work", "--no-browser")
    assert result.code == 2 and "warning: no image in 2 folders of patients: P0, P2" in result.err
