"""Checkpoints come back as they were and never run code."""

import pickle
from dataclasses import replace

import pytest
import torch

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.training.checkpoint import Snapshot, TrainingState, load_state, save_state


def state() -> TrainingState:
    best = Snapshot(2, 0.5, {"w": torch.arange(3.0)}, torch.rand(4, 2))
    return TrainingState(3, {"w": torch.ones(2)}, {"state": {0: {"step": torch.tensor(3.0)}}}, best, [{"loss": 1.0}], 8)


def test_a_state_survives_its_file(tmp_path):
    save_state(state(), tmp_path / "c.pt")
    back = load_state(tmp_path / "c.pt")
    assert back.epoch == 3 and back.history == [{"loss": 1.0}] and back.micro_batch == 8
    assert torch.equal(back.best.weights["w"], torch.arange(3.0)) and back.best.epoch == 2
    assert back.optimiser["state"][0]["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_a_full_disk_is_said_and_the_checkpoint_before_stays(tmp_path, file_size_limit):
    path = tmp_path / "c.pt"
    save_state(state(), path)
    before = path.read_bytes()
    with file_size_limit(2**16), pytest.raises(EnvironmentFault, match=r"c\.pt: File too large") as caught:
        save_state(TrainingState(4, {"w": torch.ones(2**16)}), path)
    assert "finished work is kept" in caught.value.remedy
    assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["c.pt"]


def test_no_file_is_no_state(tmp_path):
    assert load_state(tmp_path / "c.pt") is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_file_is_named_with_the_remedy(tmp_path, share):
    path = tmp_path / "c.pt"
    save_state(state(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"c\.pt is damaged") as caught:
        load_state(path)
    assert "Delete it" in caught.value.remedy


def test_any_changed_byte_of_the_content_is_damage(tmp_path):
    path = tmp_path / "c.pt"
    save_state(state(), path)
    whole = path.read_bytes()
    weights = whole.index(torch.arange(3.0).numpy().tobytes())
    pickled = whole.index(b"data.pkl") + 60  # after its name and the padding
    for place in (weights, weights + 7, *range(pickled, pickled + 100)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x52]) + whole[place + 1 :])
        with pytest.raises(UserError, match="damaged"):
            load_state(path)


def test_a_pickle_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "c.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(UserError, match="damaged"):
        load_state(tmp_path / "c.pt")
    torch.save({"epoch": Trap()}, tmp_path / "d.pt")
    with pytest.raises(UserError, match="damaged"):
        load_state(tmp_path / "d.pt")
    assert not (tmp_path / "ran").exists()


def test_the_checkpoint_of_another_run_is_refused_and_an_earlier_builds_is_taken(tmp_path):
    path = tmp_path / "c.pt"
    save_state(replace(state(), run="0123456789ab"), path)
    assert load_state(path).run == load_state(path, "0123456789ab").run == "0123456789ab"
    with pytest.raises(UserError, match="is that of another run, 0123456789ab") as caught:
        load_state(path, "ba9876543210")
    assert "Put it back there" in caught.value.remedy
    value = torch.load(path, weights_only=True)
    del value["run"]  # as an earlier build wrote it
    torch.save(value, path)
    assert load_state(path, "ba9876543210").epoch == 3
