"""The study file: every mistake is named with its line, its key and the nearest right one."""

from pathlib import Path

import pytest

from bandbridge.errors import UserError
from bandbridge.study.spec import read_study

GOOD = """\
name: tiny
tasks:
  Q: {dataset: q, intermediates: [G]}
  G:
    dataset: g
    intermediates: [Q]
architectures: [test_resnet]
recipe:
  base: fast
  epochs: 3
"""


def mistakes(tmp_path: Path, text: str) -> str:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_study(path)
    return str(caught.value)


def test_a_good_file_is_read_with_the_papers_defaults(tmp_path):
    (tmp_path / "study.yaml").write_text(GOOD)
    spec = read_study(tmp_path / "study.yaml")
    assert spec.protocol == "paper" and spec.image_size == 256 and spec.folds == (0, 1, 2, 3, 4)
    assert spec.approaches == ("scratch", "imagenet", "two-step") and spec.handed_on == "best"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("architectures:", "architecture:", "study.yaml:7: unknown key 'architecture'; did you mean 'architectures'?"),
        ("epochs: 3", "epoch: 3", "study.yaml:10: unknown key 'recipe.epoch'; did you mean 'epochs'?"),
        ("    dataset: g", "    dataset: g\n    polarity: x", "study.yaml:6: unknown key 'tasks.G.polarity'"),
        ("epochs: 3", "epochs: none", "study.yaml:10: recipe.epochs: "),
        ("base: fast", "base: quick", "study.yaml:9: recipe.base: "),
        ("name: tiny", "name: Nul.1", "study.yaml:1: name: 'Nul.1' is a device of Windows, and it names a folder"),
        ("name: tiny", "name: tiny.", "study.yaml:1: name: 'tiny.' ends in a dot or space"),
        ("  G:", "  con: {dataset: c}\n  G:", "study.yaml:4: tasks.con: 'con' is a device of Windows"),
        (
            "  G:",
            "  q: {dataset: c}\n  G:",
            "study.yaml:4: tasks.q: 'q' and 'Q' name one folder where case is not told",
        ),
        ("[Q]", "[R]", "study.yaml:6: tasks.G.intermediates: 'R' is not another task (there are: Q)"),
        ("[Q]", "[Q, Q]", "study.yaml:6: tasks.G.intermediates: 'Q' stands there twice"),
        (
            "[Q]",
            "[Q]\n    target: false\n    epochs: 3",
            "study.yaml:8: unknown key 'tasks.G.epochs'; did you mean 'recipe.epochs'?",
        ),
        ("[test_resnet]", "test_resnet", "study.yaml:7: architectures: should be a list"),
        (
            "[test_resnet]",
            "[test_resnet, vgg11, test_resnet]",
            "study.yaml:7: architectures: 'test_resnet' stands there twice",
        ),
        ("Q: {dataset: q, intermediates: [G]}", "Q: q", "study.yaml:3: tasks.Q: should hold keys and values"),
        ("name: tiny", "epochs: 3", "study.yaml:1: unknown key 'epochs'; did you mean 'recipe.epochs'?"),
        ("name: tiny", "approaches: []", "study.yaml:1: approaches: should not be empty"),
        ("name: tiny", "name: tiny\nrun_folds: []", "study.yaml:2: run_folds: should not be empty"),
        ("name: tiny", "name: tiny\nrun_folds: [0, 7]", "study.yaml:2: run_folds: 7 is not one of the folds 0 to 4"),
        ("name: tiny", "name: tiny\nsplit: {seed: -1}", "study.yaml:2: split.seed: "),
        ("  base: fast", "  base: fast\n  base: paper", "study.yaml:10: 'base' stands already in line 9"),
        ("epochs: 3", "learning_rate: .inf", "study.yaml:10: recipe.learning_rate: "),
        ("epochs: 3", "augmentation: {blur_sigma: [2, 1]}", "study.yaml:10: recipe.augmentation.blur_sigma: "),
        ("epochs: 3", "augmentation: {blur_sigma: [-1, 1]}", "study.yaml:10: recipe.augmentation.blur_sigma: "),
        ("epochs: 3", "augmentation: {blur_sigma: [0, .inf]}", "study.yaml:10: recipe.augmentation.blur_sigma"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, expected):
    assert expected in mistakes(tmp_path, GOOD.replace(old, new))


def test_several_mistakes_are_reported_together(tmp_path):
    text = mistakes(tmp_path, GOOD.replace("base:", "bas:").replace("name:", "nam:"))
    assert "'nam'" in text and "'recipe.bas'" in text and "3 mistakes" in text


def test_a_list_of_wrong_items_is_not_said_to_be_empty_besides(tmp_path):
    text = mistakes(tmp_path, GOOD.replace("name: tiny", "name: tiny\napproaches: [boxd]"))
    assert "1 mistake:" in text and "study.yaml:2: approaches.0: " in text and "empty" not in text


def test_a_two_step_task_without_an_intermediate_is_refused(tmp_path):
    text = mistakes(tmp_path, GOOD.replace("Q: {dataset: q, intermediates: [G]}", "Q: {dataset: q}"))
    assert "tasks.Q: two-step needs an intermediate" in text


def test_a_study_without_a_target_is_refused(tmp_path):
    text = mistakes(tmp_path, "name: x\narchitectures: [test_resnet]\ntasks:\n  Q: {dataset: q, target: false}\n")
    assert "study.yaml:3: tasks: none of them is a target" in text


def test_what_is_no_study_is_said_plainly(tmp_path):
    assert "not valid YAML" in mistakes(tmp_path, "name: [")
    assert "not a study" in mistakes(tmp_path, "- a\n- b\n")
    assert "not valid YAML: month must be in 1..12" in mistakes(tmp_path, "name: 2024-13-45\n")
    assert "mistake" in mistakes(tmp_path, "tasks: &all {Q: *all}\n")
    with pytest.raises(UserError, match="no study file"):
        read_study(tmp_path / "absent.yaml")
