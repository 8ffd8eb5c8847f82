"""A classifier that knows what it is told, a work folder, and a browser that holds the key."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient
from tests.review.chromium import Chromium, find_chromium

from bandbridge.explain.overlay import display_factor
from bandbridge.karyogram.sheet import CellSheet, Chromosome, CountFinding
from bandbridge.karyotype import CLASSES
from bandbridge.review.actions import Review
from bandbridge.review.database import Store
from bandbridge.review.guard import Door
from bandbridge.review.server import make_app
from bandbridge.review.worker import Worker

KEY = "the-key"
#: What a browser sends with a request that the page itself makes.
OWN = {"x-bandbridge": "review", "origin": "http://127.0.0.1:7800"}


class NamedAnalyst:
    """Reads the class off the file name: ``21a.png`` is a 21, ``21a-unsure.png`` one for a person to look at."""

    classes = CLASSES

    def sheet(self, name: str, images: list[tuple[str, np.ndarray]]) -> CellSheet:
        if name == "broken":
            raise ValueError("no such banding")
        chromosomes = tuple(self.judge(file, image) for file, image in images)
        return CellSheet(name, CLASSES, chromosomes, (CountFinding("21", 3, 2, 4.5),))

    def judge(self, file: str, image: np.ndarray) -> Chromosome:
        label = file.split(".")[0].removesuffix("-unsure").rstrip("abc")
        sure = 0.6 if "unsure" in file else 0.97
        row = np.full(len(CLASSES), (1 - sure) / (len(CLASSES) - 1))
        row[CLASSES.index(label)] = sure
        return Chromosome(file, image, label, label, row, reasons=("unsure",) if sure < 0.8 else ())

    def cam(self, image: np.ndarray, label: str, mates: Sequence[np.ndarray] = ()) -> np.ndarray:
        factor = display_factor(image)
        return np.full((image.shape[0] * factor, image.shape[1] * factor, 3), CLASSES.index(label), np.uint8)


def picture(seed: int, height: int = 12, width: int = 6) -> np.ndarray:
    """Return a dark bar of noise on white, uint8 [height, width]."""
    pixels = np.full((height, width), 255, np.uint8)
    pixels[2:-2, 1:-1] = np.random.default_rng(seed).integers(0, 100, (height - 4, width - 2))
    return pixels


def png(seed: int, height: int = 12, width: int = 6) -> bytes:
    """Return :func:`picture` as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture(seed, height, width)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    opened = Store(tmp_path / "work")
    yield opened
    opened.close()


@pytest.fixture
def reader() -> str:
    """Who reviews, where the page is not told another name."""
    return "Anna"


@pytest.fixture
def review(store, reader) -> Review:
    return Review(store, Worker(store, NamedAnalyst(), "the model"), reader=reader)


@pytest.fixture
def browser(review) -> Iterator[TestClient]:
    """A client with the key, on a server that runs."""
    app = make_app(review, Door(KEY, frozenset({"127.0.0.1", "localhost"})))
    with TestClient(app, "http://127.0.0.1:7800", raise_server_exceptions=False) as client:
        assert client.get(f"/?key={KEY}").status_code == 200
        yield client


@pytest.fixture
def hand_in(browser, review):
    """Return a function that uploads files by name and waits until they are sorted; it returns the answer."""

    def send(files: dict[str, bytes], **headers: str):
        parts = [("files", (name, data)) for name, data in files.items()]
        answer = browser.post("/api/cells", files=parts, headers={**OWN, **headers})
        review.worker.wait()
        return answer

    return send


@pytest.fixture
def cell(hand_in):
    """A sorted cell of five chromosomes, one of them to check; its id."""
    names = ("21a", "21b", "21c-unsure", "Xa", "Ya")
    answer = hand_in({f"c1/{name}.png": png(seed) for seed, name in enumerate(names)})
    return answer.json()["cells"][0]


@pytest.fixture
def act(browser):
    """Return a function that asks for an action of a cell as it stands and returns the answer."""

    def ask(cell: int, action: str, **values: object):
        versions = {one["id"]: one["version"] for one in browser.get("/api/state").json()["cells"]}
        version = versions.get(cell, 0)
        return browser.post(
            f"/api/cells/{cell}/{action}", json={"version": version, "reader": "Anna", **values}, headers=OWN
        )

    return ask


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium here")
    browser = Chromium(program, tmp_path_factory.mktemp("profile"))
    try:
        browser.ask("Browser.getVersion")
        yield browser
    finally:
        browser.close()


@contextmanager
def served(review: Review) -> Iterator[str]:
    """The page of ``review`` on a server of its own; gives its address, with the key."""
    config = uvicorn.Config(make_app(review, Door(KEY, frozenset({"127.0.0.1"}))), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/?key={KEY}"
    server.should_exit = True
    thread.join()
