"""Every command that writes says that it cannot before it begins, not after hours of work."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer
from typer.core import TyperGroup
from typer.models import OptionInfo

from bandbridge.cli.main import app
from bandbridge.cli.outputs import output_folder, runs_folder
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import require_folder

#: Each command with what it needs before its place to write, which stands last: an option or an argument.
COMMANDS = {
    "predict": ("models/mine", "new-cells", "--out"),
    "evaluate": ("models/mine", "new-cells", "--out"),
    "explain": ("RUN", "sets/q", "--out"),
    "export": ("models/mine", "--out"),
    "fine-tune": ("models/mine", "new-cells", "--out"),
    "review": ("models/mine", "new-cells", "--no-browser", "--work"),
    "readers": ("new-cells", "--out"),
    "similarity": ("sets/q", "sets/g", "--weights-dir", "weights", "--out"),
    "advise": ("sets/q", "--candidates", "sets/g", "--out"),
    "models export": ("RUN", "--out"),
    "data import": ("folder", "sets/q"),
    "data synth": (),
    "cut": ("fields",),
    "study run": ("mine.yaml", "--runs"),
    "study status": ("mine.yaml", "--runs"),
    "study plan": ("mine.yaml", "--runs"),
    "study tables": ("mine.yaml", "--out"),
    "study cautions": ("mine.yaml", "--runs"),
    "study report": ("mine.yaml", "--out"),
    "study verify": ("--runs",),
    "study lab": ("mine.yaml", "--out"),
    "study attention": ("mine.yaml", "--out"),
    "study split": ("mine.yaml",),
    "study pack": ("mine.yaml", "--out", "mine.zip", "--runs"),
}
#: What a command may be told of that it does not write.
READ = {
    "metaphase",
    "pairs",
    "candidates",
    "data_dir",
    "weights_dir",
    "natural",
    "patient_table",
    "images",
    "look",
    "calibrate",
    "study_file",
    "model",
    "run",
    "dataset",
    "source",
    "work_folders",
    "arranged",
    "labels",
    "karyotypes",
}


@pytest.fixture
def home(example_home: Path, monkeypatch) -> Path:
    monkeypatch.chdir(example_home)
    return example_home


def filled(home: Path, command: str) -> list[str]:
    run = next((home / "runs" / "q").glob("*/scratch/fold0-*"))
    return [str(run) if word == "RUN" else word for word in COMMANDS[command]]


def no_work(*_: object, **__: object) -> None:
    raise AssertionError("the work was begun")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_in_the_place_of_the_folder_is_found_before_the_work(bandbridge, home, tmp_path, monkeypatch, command):
    for begun in (
        "bandbridge.dataset.store.build_store",
        "bandbridge.predict.ensemble.open_models",
        "bandbridge.study.execute.Executor.run",
        "bandbridge.dataset.archive.read_images",
        "bandbridge.synthetic.cells.draw_cell",
        "bandbridge.explain.seen.open_seeing",
        "bandbridge.report.content.gather",
        "bandbridge.report.study.study_predictions",
        "bandbridge.domains.embeddings.embed",
    ):
        module, _, _ = begun.rpartition(".")
        try:
            monkeypatch.setattr(begun, no_work)
        except (AttributeError, ImportError) as fault:  # renamed: the table would prove less in silence
            if "Executor" not in module:
                raise AssertionError(begun) from fault
    for place in (tmp_path / "a-file", tmp_path / "a-file" / "below"):
        (tmp_path / "a-file").write_text("kept")
        result = bandbridge(*command.split(), *filled(home, command), place)
        assert result.code == 2, result.err
        assert f"cannot write into {place}" in result.err and "is in the place of a folder" in result.err
        assert "move that file away" in result.err and (tmp_path / "a-file").read_text() == "kept"
    if os.name != "nt" and os.geteuid() != 0 and "--runs" not in COMMANDS[command]:
        (tmp_path / "closed").mkdir(mode=0o500)
        result = bandbridge(*command.split(), *filled(home, command), tmp_path / "closed")
        assert result.code == 1 and "is closed to you" in result.err


def test_what_is_in_the_way_of_a_file_is_found_before_the_work(bandbridge, home, tmp_path, monkeypatch):
    monkeypatch.setattr("bandbridge.study.plan.open_study", no_work)
    (tmp_path / "a-file").write_text("kept")
    below = bandbridge("study", "pack", "mine.yaml", "--out", tmp_path / "a-file" / "mine.zip")
    assert below.code == 2 and f"cannot write into {tmp_path / 'a-file'}: the file is in the place" in below.err
    folder = bandbridge("study", "pack", "mine.yaml", "--out", tmp_path)
    assert folder.code == 2 and f"cannot write {tmp_path}: a folder is in the place of the file" in folder.err


def test_every_place_that_a_command_writes_to_is_looked_at_and_in_this_table():
    """A new command, or a new folder of one, has to be put in the table above."""
    found = set(_commands(typer.main.get_command(app), ""))
    silent = {"data check", "models list", "models complete"}  # that one adds to the folders it is given
    of_files = {"data look"}  # in the test of its own
    assert found - silent - of_files == set(COMMANDS)
    for group in (app, *(one.typer_instance for one in app.registered_groups)):
        for command in group.registered_commands:
            hints = get_type_hints(command.callback, include_extras=True)
            for name, parameter in inspect.signature(command.callback).parameters.items():
                infos = [one for one in get_args(hints[name]) if isinstance(one, OptionInfo)]
                infos += [parameter.default] if isinstance(parameter.default, OptionInfo) else []
                if Path in (hints[name], *_flat(hints[name])) and infos and name not in READ:
                    assert all(one.callback is not None for one in infos), (command.name, name)


def _commands(group: object, above: str):
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}"


def _flat(hint: object):
    for one in get_args(hint):
        yield one
        yield from _flat(one)


@pytest.mark.skipif(os.name == "nt", reason="links as on Unix")
def test_a_link_to_nowhere_and_a_folder_not_yet_there(tmp_path):
    require_folder(tmp_path / "new" / "below")
    assert not (tmp_path / "new").exists()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(Exception, match="in the place of a folder"):
        require_folder(tmp_path / "link")


def test_on_windows_a_table_that_a_spreadsheet_has_open_is_found_before_the_work(windows, monkeypatch, tmp_path):
    opened = Path.open

    def refuse(path: Path, mode: str = "r", *how: object, **more: object) -> object:
        if path.name == "cells.csv" and mode == "r+b":
            raise PermissionError(13, "Permission denied")
        return opened(path, mode, *how, **more)

    for name in ("cells.csv", "predictions.csv", ".lock"):
        (tmp_path / name).write_text("old")
    assert output_folder(tmp_path) == tmp_path
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ManyErrors, match="open in another program") as caught:
        output_folder(tmp_path)
    assert caught.value.problems == ["cells.csv"]
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"] * 3


def test_on_windows_a_place_too_deep_for_the_paths_of_runs_is_found_before_the_work(windows, monkeypatch, tmp_path):
    monkeypatch.setattr("bandbridge.disk._long_paths_enabled", lambda: False)
    deep = tmp_path / ("x" * (259 - len(str(tmp_path)) - 1 - 121))
    assert runs_folder(deep) == deep
    with pytest.raises(UserError, match="more than the 259 that Windows allows") as caught:
        runs_folder(deep.with_name(f"{deep.name}x"))
    assert "LongPathsEnabled" in caught.value.remedy
