"""The laboratory's installation, as pip makes it from the wheel: what it is for works, and nothing of PyTorch is there.

``make lean`` makes it and names its interpreter in ``BANDBRIDGE_LEAN``; without that these tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.review.chromium import Chromium, find_chromium
from tests.scripts import load_script

import bandbridge as bb

PYTHON = os.environ.get("BANDBRIDGE_LEAN", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs an installation of its own: make lean")

INSTALLED = load_script("benchmarks/installed.py")
ARCHITECTURE = load_script("docs/architecture.py")
#: What training is made of, and what only rare files take.
_TRAINING = ("torch", "torchvision", "timm", "lightning_fabric", "safetensors", "sklearn", "onnx")
ABSENT = (*_TRAINING, "pyarrow", "imagecodecs")
_IMPORTS = """
import importlib, importlib.util, json, sys
names, absent = json.loads(sys.argv[1])
found = [name for name in absent if importlib.util.find_spec(name)]
failed = {}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as fault:
        failed[name] = str(fault)
print(json.dumps([found, failed]))
"""
#: Commands of the training side, each as far as it takes to ask for what it needs.
ASKING = (
    ("models", "list"),
    ("study", "run", "mine.yaml"),
    ("study", "tables", "mine.yaml"),
    ("similarity", "sets/q", "sets/g"),
    ("advise", "sets/q", "sets/g"),
    ("explain", "models/mine", "sets/q"),
    ("export", "models/mine"),
    ("models", "complete", "models/mine"),
    ("fine-tune", "models/mine", "new-cells", "--out", "tuned"),
)


def lean(home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run ``bandbridge`` of that installation in ``home``."""
    command = [PYTHON, "-m", "bandbridge", *map(str, words)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BANDBRIDGE", "PYTHONPATH"))}
    clean.pop("ORT_DISABLE_TELEMETRY", None)
    return subprocess.run(command, cwd=home, env=clean, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def home(example_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(example_home, tmp_path_factory.mktemp("lean") / "home")


def test_it_is_small_and_holds_nothing_of_training() -> None:
    found = INSTALLED.installed_bytes(PYTHON)
    assert sum(size for _, size in found.values()) < 600e6, INSTALLED.table(found)


def test_every_module_for_finished_models_is_imported() -> None:
    modules = ARCHITECTURE.read_modules()
    names = [name for name, module in modules.items() if not module.on_training_side and name != "bandbridge.__main__"]
    done = subprocess.run([PYTHON, "-c", _IMPORTS, json.dumps([names, ABSENT])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], {}]


def test_it_predicts_what_the_whole_installation_predicts(home: Path) -> None:
    done = lean(home, "predict", "models/mine", "new-cells", "--flips", "--karyograms", "--out", "lean")
    assert done.returncode == 0, done.stderr
    model = bb.load_model(home / "models" / "mine")
    weights = bb.Model(bb.api.model.open_models([home / "models" / "mine"], device="cpu", graphs=False), [home])
    texts = {"class": str, "reason": str}  # a model may name numbers alone
    found = pd.read_csv(home / "lean" / "predictions.csv", keep_default_na=False, dtype=texts)
    for other in (model, weights):
        expected = other.predict(home / "new-cells", flips=True).table()
        assert (found["class"] == expected["class"]).all() and (found["reason"] == expected["reason"]).all()
        columns = [name for name in found if name.startswith("p_")]
        assert len(columns) == 24
        assert np.abs(found[columns].to_numpy() - expected[columns].to_numpy()).max() < 1e-4
    assert len(list((home / "lean" / "karyograms").glob("*.pdf"))) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "models/mine", "new-cells", "--out", "score"),
        ("data", "check", "new-cells"),
        ("data", "synth", "drawn", "--stain", "G", "--cells", "1"),
        ("data", "import", "folder", "loose", "imported"),
        ("--help",),
        ("predict", "--help"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_a_laboratory_does_works(words: tuple[str, ...], home: Path) -> None:
    for number in range(3):
        place = home / "loose" / "cell" / "1"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 12), 40 + number, dtype=np.uint8)).save(place / f"{number}.png")
    done = lean(home, *words)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", ASKING, ids=lambda words: " ".join(words[:2]))
def test_a_command_of_training_says_in_one_line_what_brings_it(words: tuple[str, ...], home: Path) -> None:
    done = lean(home, *words)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"error: this needs [\w ]+, which is not\s+installed here", done.stderr), done.stderr
    assert 'pip install "bandbridge[train]"' in " ".join(done.stderr.split())


def test_a_run_and_a_model_of_an_earlier_version_say_what_opens_them(home: Path) -> None:
    run = next((home / "runs" / "q").glob("*/scratch/fold0-*"))
    told = " ".join(lean(home, "predict", run.relative_to(home), "new-cells").stderr.split())
    assert "is a training run" in told and "bandbridge models export" in told
    shutil.copytree(Path(__file__).parent / "made_by_afe3cdb" / "exported", home / "old")
    told = " ".join(lean(home, "predict", "old", "new-cells").stderr.split())
    assert "without the graph" in told and "bandbridge models complete old" in told


@pytest.fixture
def review(home: Path) -> Iterator[str]:
    """The address of a review page that this installation serves."""
    words = [PYTHON, "-m", "bandbridge", "review", "models/mine", "new-cells", "--no-browser", "--port", "0"]
    served = subprocess.Popen(words, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert served.stdout is not None
    yield served.stdout.readline().strip()
    served.terminate()
    served.wait(20)
    served.stdout.close()


def test_the_review_page_shows_cells_and_where_the_model_looks(review: str, tmp_path: Path) -> None:
    program = find_chromium()
    if program is None:
        with urlopen(review) as answer:
            assert answer.status == 200
        pytest.skip("there is no Chromium here; the page answers")
    browser = Chromium(program, tmp_path)
    try:
        tab = browser.open(review)
        tab.wait("typeof page !== 'undefined' && page.sheet !== null && document.querySelector('.one') !== null", 60)
        wanted = """(async () => {
            const one = page.sheet.chromosomes[0];
            const answer = await fetch(`/api/chromosomes/${page.sheet.id}/${one.id}/${one.label || '1'}.png`);
            return [answer.status, answer.headers.get('content-type'), (await answer.arrayBuffer()).byteLength];
        })()"""
        shown: Any = tab.run(wanted)
        assert shown[:2] == [200, "image/png"] and shown[2] > 500
    finally:
        browser.close()
