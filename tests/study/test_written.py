"""Study files that unfold, nest or go on without end, and words that YAML takes for numbers."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from bandbridge.errors import UserError
from bandbridge.study.spec import read_study
from bandbridge.study.written import read_yaml

STUDY = """\
name: small
tasks: {Q: {dataset: q, intermediates: [G]}, G: {dataset: g, target: false}}
architectures: [test_resnet]
approaches: [scratch]
"""
#: Of ten levels: small beside what aliases can unfold to.
LAUGHS = "\n".join(["a0: &a0 [x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 4)}]" for n in range(1, 11)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(LAUGHS, "unfold", id="aliases"),
        pytest.param("a: " + "[" * 20_000, "levels", id="brackets"),
        pytest.param("a: " + "{b: " * 300 + "1" + "}" * 300, "levels", id="mappings"),
        pytest.param("- " * 60 + "x", "levels", id="dashes"),
        pytest.param("\n".join(f"k{n}: {n}" for n in range(12_000)), "more than 20000", id="keys"),
        pytest.param("#" * 300_000, "larger than", id="long"),
    ],
)
def test_a_study_without_end_is_refused_soon(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(UserError, match=said):
        read_study(path)
    assert time.process_time() - started < 5


def test_thousands_of_unknown_keys_are_told_soon(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY + "\n".join(f"key{n}: {n}" for n in range(5000)))
    started = time.process_time()
    with pytest.raises(UserError, match="5000 mistakes"):
        read_study(path)
    assert time.process_time() - started < 5


def test_an_alias_may_stand_for_what_is_written_once() -> None:
    assert read_yaml("a: &r {epochs: 3, rate: 1.5e-3}\nb: *r")[1]["b"] == {"epochs": 3, "rate": 0.0015}


@pytest.mark.parametrize(
    "word", ["12", "-3", "0x1F", "1_000", "1.5", "-.5", ".inf", "1e3", "true", "2001-01-01", "off"]
)
def test_numbers_are_what_they_were(word: str) -> None:
    assert read_yaml(f"a: {word}")[1] == yaml.safe_load(f"a: {word}")


def test_a_time_is_no_number() -> None:
    assert read_yaml("a: 12:30:45")[1] == {"a": "12:30:45"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("recipe: {epochs: yes}", "epochs: .*a number, and not yes"),
        ("recipe: {epochs: 12:30:45}", "epochs: .*integer"),
        ("recipe: {batch_size: on}", "batch_size: .*a number"),
        ("recipe: {learning_rate: 1e-320}", "learning_rate: .*greater than"),
        ("recipe: {learning_rate: 0.0000000000001}", "learning_rate: .*greater than"),
        ("recipe: {augmentation: {blur: yes}}", "blur: .*a number"),
        ("image_size: yes", "image_size: .*a number"),
        ("split: {folds: yes}", "folds: .*a number"),
        ("run_folds: [no]", "a number, and not no"),
        (f"preparation: {{scale: common, extent: {10**26}}}", "extent: "),
    ],
)
def test_what_is_no_number_is_none(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY + line)
    with pytest.raises(UserError, match=said):
        read_study(path)


def test_a_pipe_and_a_device_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(UserError, match="is no file, but a"):
            read_study(path)
