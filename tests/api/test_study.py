"""What a plan says before any training."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import bandbridge as bb
from bandbridge.api.study import time_limit

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


def test_whoever_calls_is_asked_before_a_changed_set_is_trained_on_anew(tmp_path, chromosome_set, capsys) -> None:
    image = sorted((chromosome_set("Q", 2) / "images").rglob("*.png"))[0]
    change = {"tasks": {"Q": {"dataset": "q2-0"}}, "architectures": ["test_resnet"], "approaches": ["scratch"]}
    recipe = {"image_size": 32, "recipe": {"base": "fast", "epochs": 1}, "run_folds": [0]}
    split = {"split": {"folds": 2, "scheme": "cell"}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SPEC | change | recipe | split))
    asked: list[str] = []

    def run(answer: bool | None) -> list[str]:
        study = bb.Study.read(tmp_path / "study.yaml", runs=tmp_path / "runs")
        confirm = None if answer is None else lambda text: asked.append(text) or answer
        return study.run(device="cpu", jobs=1, confirm=confirm).done

    assert len(run(False)) == 1 and asked == [], "of a set that is as it was nobody is asked"
    image.write_bytes(image.read_bytes() + b"\0")
    with pytest.raises(bb.UserError, match="nothing was trained") as caught:
        run(False)
    assert len(asked) == 1 and asked[0].startswith(
        "1 finished run belongs to another version of this set; q2-0: 1 image"
    )
    assert asked[0][1:] in caught.value.remedy and len(list((tmp_path / "runs").rglob("done.json"))) == 1
    assert len(run(True)) == 1 and len(asked) == 2
    image.write_bytes(image.read_bytes() + b"\0")
    capsys.readouterr()
    assert len(run(None)) == 1 and len(asked) == 2
    assert len(list((tmp_path / "runs").rglob("done.json"))) == 3


def test_a_time_limit_is_told_as_it_is():
    told = [line for limit in (3, 90, 540, 5400, 100.5) for line in time_limit(limit)]
    limits = [line.partition(" is ")[2].partition(":")[0] for line in told]
    assert limits == ["3 s", "90 s", "9 min", "1 h 30 min", "100.5 s"] and not time_limit(None)
