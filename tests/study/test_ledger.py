"""The ledger reads the run folders alone, and says what it cannot read."""

import errno
import fcntl
import json

import pytest

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.study.ledger import Ledger, claimed, read_json


def test_a_file_in_the_place_of_the_runs_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="not a folder"):
        Ledger(tmp_path / "runs")


def test_speeds_are_those_of_whole_records(tmp_path):
    for name, facts in {
        "fold0-a": {"architecture": "x", "image_size": 32, "images_per_second": 7.5},
        "fold1-b": {"images_per_second": 3.0},
        "fold2-c": {},
    }.items():
        folder = tmp_path / "Q" / "x" / "scratch" / name
        folder.mkdir(parents=True)
        (folder / "progress.json").write_text(json.dumps(facts))
    assert Ledger(tmp_path).rates() == {("x", 32): 7.5}


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


@pytest.mark.parametrize(("number", "mine"), [(errno.EWOULDBLOCK, False), (errno.ENOLCK, True)])
def test_a_disk_without_locks_is_not_another_process(tmp_path, monkeypatch, number, mine):
    def flock(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", flock)
    with claimed(tmp_path / "run") as held:
        assert held is mine
