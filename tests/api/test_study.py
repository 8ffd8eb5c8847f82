"""What a plan says before any training."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import bandbridge as bb

SPEC = {
    "name": "sizes",
    "protocol": "strict",
    "tasks": {"Q": {"dataset": "q"}},
    "approaches": ["imagenet"],
    "split": {"folds": 2},
}


def plan(folder: Path, size: int, *architectures: str, approach: str = "imagenet") -> str:
    path = folder / "study.yaml"
    changed = {"image_size": size, "architectures": list(architectures), "approaches": [approach]}
    path.write_text(yaml.safe_dump(SPEC | changed))
    return bb.Study.read(path, runs=folder / "runs").plan().summary


@pytest.mark.parametrize(
    ("size", "architecture", "nearest"),
    [
        (225, "tf_efficientnet_lite0", 224),
        (65, "tf_mobilenetv3_small_100", 64),
        (240, "mobilenetv2_100+pad_type=same", 256),
    ],
)
def test_a_plan_names_the_nearest_good_size(tmp_path, size, architecture, nearest) -> None:
    assert f"{architecture} pads images as TensorFlow does" in (summary := plan(tmp_path, size, architecture))
    assert f"at {size} px" in summary and f"nearest good size is {nearest} " in summary


def test_only_architectures_that_pad_so_are_named(tmp_path) -> None:
    summary = plan(tmp_path, 225, "ResNet-50", "tf_mobilenetv3_small_100", "mobilenetv2_100")
    assert summary.count("pads images as TensorFlow does") == 1 and "tf_mobilenetv3_small_100 pads" in summary


@pytest.mark.parametrize("size", [64, 223, 224])
def test_a_good_size_is_not_spoken_of(tmp_path, size) -> None:
    assert "pads images" not in plan(tmp_path, size, "tf_mobilenetv3_small_100")


def test_what_no_weights_have_learned_is_not_spoken_of(tmp_path) -> None:
    assert "pads images" not in plan(tmp_path, 225, "tf_mobilenetv3_small_100", approach="scratch")
