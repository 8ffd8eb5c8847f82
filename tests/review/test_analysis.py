"""The analyst that the command opens, as the page's worker uses it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.finished import begin_run
from tests.networks import write_moved

from bandbridge.errors import UserError
from bandbridge.explain.overlay import display_factor
from bandbridge.karyotype import CLASSES
from bandbridge.review.analyst import open_analyst
from bandbridge.review.schema import Incoming
from bandbridge.review.session import with_twins_flagged
from bandbridge.review.worker import Worker


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with random weights."""
    facts = {"task": "Q", "architecture": "test_resnet", "approach": "scratch", "fold": 0}
    folder = begin_run(tmp_path_factory.mktemp("run"), **facts)
    write_moved(folder / "last.safetensors")
    config = {
        "architecture": "test_resnet",
        "classes": CLASSES,
        "preparation": {"size": 64},
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def images() -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(f"{number}.png", rng.integers(0, 256, (30 + number, 12)).astype(np.uint8)) for number in range(3)]


def test_a_cell_is_kept_as_the_analyst_judges_it(run, store):
    analyst, called = open_analyst([run], "cpu")
    held = images()
    cell, _ = store.add_cell(Incoming("c", tuple((file, store.put_image(image)) for file, image in held)))
    worker = Worker(store, analyst, called)
    worker.start()
    worker.wait()
    worker.stop()
    kept = store.sheet(cell)
    judged = analyst.sheet("c", held)
    assert kept.record.model == called and kept.sheet.classes == CLASSES == analyst.classes
    for one, expected in zip(kept.sheet.chromosomes, judged.chromosomes, strict=True):
        np.testing.assert_array_equal(one.probabilities, expected.probabilities)
        assert (one.placed, one.pose, one.reasons) == (expected.placed, expected.pose, expected.reasons)
    twins = with_twins_flagged(judged, dict(store.images_of(cell)))
    assert [one.reasons for one in twins.chromosomes] == [one.reasons for one in judged.chromosomes]


def test_a_map_is_as_large_as_the_page_expects(run):
    analyst, _ = open_analyst([run], "cpu")
    _, image = images()[0]
    shown = analyst.cam(image, "Y")
    factor = display_factor(image)
    assert shown.shape == (image.shape[0] * factor, image.shape[1] * factor, 3) and shown.dtype == np.uint8


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="not the folder of a"):
        open_analyst([tmp_path], "cpu")
