"""What ``config.json`` may say of a model: values that make no sense are damage, in a run and in an exported model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.finished import begin_run, seal

from bandbridge.errors import UserError
from bandbridge.karyotype import CLASSES
from bandbridge.model.config import read_config
from bandbridge.seal import AlteredError

CONFIG = {
    "architecture": "test_resnet",
    "classes": list(CLASSES),
    "preparation": {"size": 64},
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.1, 0.3],
}


def write(folder: Path, config: dict[str, Any], exported: bool) -> None:
    value = {"bandbridge": config} if exported else config
    (folder / "config.json").write_text(json.dumps(value))


@pytest.mark.parametrize("exported", [False, True])
def test_what_is_written_is_read(tmp_path: Path, exported: bool) -> None:
    write(tmp_path, CONFIG, exported)
    architecture, classes, preparation, mean, std = read_config(tmp_path)
    assert (architecture, classes, preparation.size) == ("test_resnet", CLASSES, 64)
    assert (mean, std) == ((0.5, 0.4, 0.3), (0.2, 0.1, 0.3))


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"std": [0.2, 0.0, 0.3]}, "std.1"),
        ({"std": [0.2, -0.1, 0.3]}, "std.1"),
        ({"std": [math.nan, 0.1, 0.3]}, "std.0"),
        ({"std": [math.inf, 0.1, 0.3]}, "std.0"),
        ({"std": [0.2, 0.1]}, "std"),
        ({"mean": [0.5, 0.4, math.nan]}, "mean.2"),
        ({"mean": [0.5, 0.4, math.inf]}, "mean.2"),
        ({"mean": [0.5, 0.4, 0.3, 0.2]}, "mean"),
        ({"mean": None}, "mean"),
        ({"classes": ["1", "2", "1"]}, "each class has a name of its own"),
        ({"classes": ["1", ""]}, "each class has a name of its own"),
        ({"classes": []}, "each class has a name of its own"),
        ({"classes": [1, 2]}, "classes.0"),
        ({"classes": "XY"}, "classes"),
        ({"architecture": 3}, "architecture"),
        ({"preparation": {"size": "large"}}, "preparation.size"),
    ],
)
def test_what_makes_no_sense_is_damage(tmp_path: Path, exported: bool, changes: dict[str, Any], place: str) -> None:
    write(tmp_path, {**CONFIG, **changes}, exported)
    with pytest.raises(UserError, match=r"config\.json is damaged") as caught:
        read_config(tmp_path)
    assert place in caught.value.message and "export the model again" in caught.value.remedy


def test_classes_in_another_order_are_refused_where_the_run_keeps_hashes(tmp_path: Path) -> None:
    """They make as much sense as before, and every answer would be wrong."""
    folder = begin_run(tmp_path)
    write(folder, CONFIG, False)
    seal(folder)
    assert read_config(folder)[1] == CLASSES
    write(folder, {**CONFIG, "classes": list(CLASSES[::-1])}, False)
    with pytest.raises(AlteredError, match=r"config\.json was altered"):
        read_config(folder)
