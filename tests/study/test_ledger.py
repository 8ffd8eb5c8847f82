"""The ledger reads the run folders alone, and says what it cannot read."""

import json
import os

import pytest

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import read_json
from bandbridge.study.ledger import Ledger, TrainingSpeed


def test_a_file_in_the_place_of_the_runs_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="not a folder"):
        Ledger(tmp_path / "runs")


def leave(folder, **files):
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def test_speeds_are_those_of_whole_records(tmp_path):
    root = tmp_path / "Q" / "x" / "scratch"
    facts = {"architecture": "its name in the study", "image_size": 32, "images_per_second": 7.5}
    ran = {"device": "cpu", "precision": "32-true", "threads": 2}
    leave(root / "fold0-a", progress=facts, config={"architecture": "x"}, environment=ran)
    leave(root / "fold1-b", progress={"images_per_second": 3.0})
    leave(root / "fold2-c", progress={})
    leave(root / "fold3-d", progress={**facts, "images_per_second": 0.0}, config={"architecture": "x"})
    assert Ledger(tmp_path).speeds() == [TrainingSpeed("x", 32, 7.5, False, None, **ran)]


def test_a_finished_run_tells_its_median_epoch_and_what_came_beside_them(tmp_path):
    folder = tmp_path / "Q" / "x" / "scratch" / "fold0-a"
    epochs = [{"images_per_second": rate, "seconds": 10.0} for rate in (1.0, 6.0, 5.0)]
    facts = {"architecture": "x", "image_size": 32, "images_per_second": 5.0}
    leave(folder, progress=facts, run={}, history=epochs, done={})
    for passed, overhead in ((33.5, 3.5), (29.0, None)):  # the second goes on with what an earlier process began
        os.utime(folder / "run.json", (1000, 1000))
        os.utime(folder / "done.json", (1000, 1000 + passed))
        [speed] = Ledger(tmp_path).speeds()
        assert (speed.images_per_second, speed.finished, speed.overhead) == (5, True, overhead)


def test_damaged_and_unreadable_are_told_apart(tmp_path):
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(UserError, match="damaged") as caught:
        read_json(tmp_path / "damaged.json")
    assert not isinstance(caught.value, EnvironmentFault)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot read"):
        read_json(tmp_path / "folder.json")
    with pytest.raises(UserError, match=r"damaged\.json is not a folder") as caught:
        read_json(tmp_path / "damaged.json" / "progress.json")
    assert not isinstance(caught.value, EnvironmentFault)
