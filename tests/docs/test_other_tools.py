"""The page on other tools: its blocks of Python are run, and give what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bandbridge.api.model import load_model
from bandbridge.dataset.other_readers import TABLES_PAGE
from bandbridge.karyotype import CLASSES

PAGE = Path(__file__).parents[2] / TABLES_PAGE
#: Two cells that are one where a reader takes them for numbers, and one that pandas takes for a gap.
NAMES = ("97002302.20", "97002302.2", "NA")

pytestmark = [
    # datasets leaves the table open, and lets it go with the garbage
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def here(example_home, tmp_path, monkeypatch) -> Path:
    """A folder as the page assumes it."""
    home = Path(shutil.copytree(example_home, tmp_path / "home"))
    monkeypatch.chdir(home)
    return home


def run(block: str, **names: Any) -> dict[str, Any]:
    exec(block, names)
    return names


def test_the_page_has_the_blocks_that_are_run_here():
    assert [re.findall(r"^from (transformers|datasets) |^import (pandas)", one, re.M) for one in blocks()] == [
        [("transformers", "")],
        [("datasets", "")],
        [("datasets", "")],
        [("", "pandas")],
    ]


def test_the_network_of_transformers_judges_prepared_images(here):
    found = run(blocks()[0])["found"].table()
    expected = load_model("models/mine").predict("new-cells").table()
    assert found["class"].tolist() == expected["class"].tolist()


def test_a_dataset_is_loaded_with_labels_as_text_and_as_classes(here, monkeypatch):
    pytest.importorskip("datasets", reason="needs bandbridge[dev]")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", here / "cache")
    text = run(blocks()[1])["cells"]
    table = pd.read_csv("sets/q/metadata.csv", dtype=str, keep_default_na=False)
    assert text["label"][:] == table["label"].tolist() and text["cell"][:] == table["cell"].tolist()
    classes = run(blocks()[2], cells=text)["cells"]
    assert [CLASSES[place] for place in classes["label"]] == text["label"][:]


def test_predictions_are_read_as_text(here):
    images = sorted(Path("new-cells/images").iterdir())[0]
    for name in NAMES:
        shutil.copytree(images, Path("cells") / name)
    result = load_model("models/mine").predict("cells")
    result.save("results")
    table = run(blocks()[3])["table"]
    assert set(table["cell"]) == set(NAMES)
    np.testing.assert_allclose(table["probability"], result.table()["probability"].astype(float))
    assert set(pd.read_csv("results/predictions.csv")["cell"].dropna()) != set(NAMES), "what the page warns of"
