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
        ("[Q]", "[R]", "tasks.G.intermediates: 'R' is not another task (there are: Q)"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, expected):
    assert expected in mistakes(tmp_path, GOOD.replace(old, new))


def test_several_mistakes_are_reported_together(tmp_path):
    text = mistakes(tmp_path, GOOD.replace("base:", "bas:").replace("name:", "nam:"))
    assert "'nam'" in text and "'recipe.bas'" in text and "3 mistakes" in text


def test_a_two_step_task_without_an_intermediate_is_refused(tmp_path):
    text = mistakes(tmp_path, GOOD.replace("Q: {dataset: q, intermediates: [G]}", "Q: {dataset: q}"))
    assert "tasks.Q: two-step need an intermediate" in text


def test_what_is_no_study_is_said_plainly(tmp_path):
    assert "not valid YAML" in mistakes(tmp_path, "name: [")
    assert "not a study" in mistakes(tmp_path, "- a\n- b\n")
    with pytest.raises(UserError, match="no study file"):
        read_study(tmp_path / "absent.yaml")
