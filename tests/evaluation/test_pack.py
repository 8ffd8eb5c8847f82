"""The file that holds a study's evidence: what goes in comes out, and nothing else is taken for one."""

import hashlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from scipy.special import softmax

from bandbridge.errors import UserError
from bandbridge.evaluation.pack import Pack, PackedRun, PackedTask, PackFacts, read_pack, to_halves, write_pack
from bandbridge.evaluation.predictions import FACTS

CLASSES = ("1", "2", "X")


@pytest.fixture
def pack():
    task = PackedTask(
        **{"name": "Q", "band": "Q-band", "dataset": "q.zip", "fingerprint": "f", "scheme": "cell", "split": "s"},
        split_folds=2,
        classes=CLASSES,
        images=("a.png", "b.png", "c.png"),
        cells=("k", "k", "l"),
        patients=("", "", ""),
        labels=(0, 2, 1),
        folds=(1, 0, 1),
    )
    common = {"task": "Q", "architecture": "r", "intermediate": "", "parent": None, "record": {"seed": 0}}
    common |= {"versions": {"torch": "2"}, "device": "cpu", "epochs": 2, "best_epoch": 1, "seconds": 3.5}
    runs = (
        PackedRun(id="0" * 12, approach="scratch", fold=1, checkpoints=("best", "last"), **common),
        PackedRun(id="1" * 12, approach="imagenet", fold=None, checkpoints=(), **common),
    )
    named = {"study": "s", "study_file": "name: s\n", "protocol": "strict", "seed": 0, "folds": (0, 1), "planned": 3}
    facts = PackFacts(tasks=(task,), runs=runs, **named)
    rng = np.random.default_rng(0)
    return Pack(facts, {name: to_halves(rng.normal(size=shape)) for name, shape in facts.shapes().items()})


def sealed(members, path):
    """Write a zip of ``members`` with a right hash at its end, as whoever wants to be believed would."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"0" * 64
    data = stream.getvalue()[:-64]
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def test_what_is_packed_comes_out(pack, tmp_path):
    size = write_pack(tmp_path / "s.zip", pack)
    assert size == (tmp_path / "s.zip").stat().st_size
    again = read_pack(tmp_path / "s.zip")
    assert again.facts == pack.facts and not again.facts.complete
    assert all(np.array_equal(again.logits[name], values) for name, values in pack.logits.items())
    (run,) = again.predictions()
    assert (run.task, run.band, run.architecture, run.approach, run.fold) == ("Q", "Q-band", "r", "scratch", 1)
    rows = run.predictions.loc[run.predictions["checkpoint"] == "last"]
    expected = [["a.png", "k", "", "1"], ["c.png", "l", "", "2"]]
    assert rows[list(FACTS)].to_numpy().tolist() == expected
    found = rows[[f"logit_{name}" for name in CLASSES]]
    assert set(found.dtypes) == {np.dtype(np.float32)}
    assert np.array_equal(found.to_numpy(), pack.logits[pack.facts.runs[0].member("last")])


def test_equal_packs_are_equal_files(pack, tmp_path):
    write_pack(tmp_path / "a.zip", pack)
    write_pack(tmp_path / "b.zip", Pack(pack.facts, dict(reversed(pack.logits.items()))))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    # Any tool opens it, and numpy its arrays.
    assert np.load(io.BytesIO(members_of(tmp_path / "a.zip")[pack.facts.runs[0].member("best")])).dtype == np.float16


def test_halves_keep_the_class_that_wins_and_each_distance_to_its_2048th():
    rng = np.random.default_rng(1)
    logits = (rng.normal(size=(2000, 24)) * 10 ** rng.uniform(-3, 2, size=(2000, 1))).astype(np.float32)
    # Pairs of neighbours among float32, of which the later class wins, and one exact tie, which the first class wins.
    logits[:500, 23] = np.nextafter(logits[:500].max(axis=1), np.float32(np.inf))
    logits[500, [3, 7]] = logits[500].max() + 1
    halves = to_halves(logits).astype(np.float64)
    assert np.array_equal(halves.argmax(axis=1), logits.argmax(axis=1)) and (halves.max(axis=1) == 0).all()
    # As they are, nearly all of these neighbours would become ties.
    assert (logits[:500].astype(np.float16).argmax(axis=1) != logits[:500].argmax(axis=1)).sum() > 400
    below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    change = np.abs(halves - below)
    assert (change <= np.maximum(2.0**-11 * np.abs(below), 2.0**-24)).all()
    assert np.abs(softmax(halves, axis=1) - softmax(logits.astype(np.float64), axis=1)).max() < 2e-3


def test_a_logit_that_no_half_holds_is_one_of_no_probability():
    assert to_halves(np.array([[1e30, 0.0, 1e30]])).tolist() == [[0, -65504, 0]]
    with pytest.raises(ValueError, match="not finite"):
        to_halves(np.array([[np.nan, 0.0]]))


def test_every_altered_byte_is_noticed(pack, tmp_path):
    path = tmp_path / "s.zip"
    write_pack(path, pack)
    data = path.read_bytes()
    for place in [*range(0, len(data), 37), len(data) - 1]:
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(UserError, match=r"was altered|is no pack"):
            read_pack(path)
    path.write_bytes(data)
    assert read_pack(path).facts == pack.facts


@pytest.mark.parametrize("kept", [0, 1, 63, 64, 200, -1, -64])
def test_a_pack_that_was_cut_short(pack, tmp_path, kept):
    path = tmp_path / "s.zip"
    write_pack(path, pack)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"is no pack|was altered") as caught:
        read_pack(path)
    assert "s.zip" in caught.value.message and "study pack" in caught.value.remedy


def test_what_is_no_pack(tmp_path, pack):
    with pytest.raises(UserError, match="there is no pack"):
        read_pack(tmp_path / "none.zip")
    with pytest.raises(UserError, match="no file, but a folder"):
        read_pack(tmp_path)
    (tmp_path / "text.zip").write_text("a text " * 20)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.png", b"0" * 300)
    for name in ("text.zip", "other.zip"):
        with pytest.raises(UserError, match="is no pack of a study"):
            read_pack(tmp_path / name)


def edited(change):
    """Return a function that edits ``pack.json`` of a pack's members."""

    def edit(members):
        value = json.loads(members["pack.json"])
        change(value)
        return members | {"pack.json": json.dumps(value)}

    return edit


LAST = f"logits/{'0' * 12}-last.npy"
FOREIGN = {
    "no pack.json": lambda members: {"a.txt": b"a"},
    "pack.json of another format": edited(lambda value: value.update(format="bandbridge pack 9")),
    "pack.json is no JSON": lambda members: members | {"pack.json": b"{"},
    "pack.json is nested deeply": lambda members: members | {"pack.json": b"[" * 20_000},
    "a setting that is not known": edited(lambda value: value.update(more=1)),
    "a label beyond the classes": edited(lambda value: value["tasks"][0].update(labels=[0, 3, 1])),
    "fewer cells than images": edited(lambda value: value["tasks"][0].update(cells=["k"])),
    "an approach that is none": edited(lambda value: value["runs"][0].update(approach="magic")),
    "an image twice": edited(lambda value: value["tasks"][0].update(images=["a", "a", "b"])),
    "a run without its logits": lambda members: {name: value for name, value in members.items() if name != LAST},
    "a file too many": lambda members: members | {"more.npy": npy(np.zeros(2, np.float16))},
    "logits of another shape": lambda members: members | {LAST: npy(np.zeros((3, 2), np.float16))},
    "logits in columns": lambda members: members | {LAST: npy(np.zeros((2, 3), np.float16, order="F"))},
    "floats of another kind": lambda members: members | {LAST: npy(np.zeros((2, 3), np.int16))},
    "fewer logits than stated": lambda members: members | {LAST: members[LAST][:-1]},
    "what is not a number": lambda members: members | {LAST: npy(np.full((2, 3), np.nan, np.float16))},
    "infinity": lambda members: members | {LAST: npy(np.array([[0, -np.inf, -1]] * 2, np.float16))},
    "no zero": lambda members: members | {LAST: npy(np.full((2, 3), -1, np.float16))},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_right_hash_makes_no_pack(pack, tmp_path, kind):
    path = tmp_path / "s.zip"
    write_pack(path, pack)
    sealed(members_of(path), path)
    assert read_pack(path).facts == pack.facts, "the helper seals as the writer does"
    sealed(FOREIGN[kind](members_of(path)), path)
    with pytest.raises(UserError, match=r"s\.zip is (no pack of a study|damaged)") as caught:
        read_pack(path)
    assert "study pack" in caught.value.remedy


class Marker:
    """What an obeyed pickle of it does: an empty folder is made."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_a_pickle_is_not_obeyed(pack, tmp_path):
    path, marker = tmp_path / "s.zip", Marker(tmp_path / "obeyed")
    write_pack(path, pack)
    members = members_of(path)
    array = np.empty(1, dtype=object)
    array[0] = marker
    for content in (npy(array, allow_pickle=True), pickle.dumps(marker)):
        sealed(members | {LAST: content}, path)
        with pytest.raises(UserError, match="is no pack of a study"):
            read_pack(path)
        sealed(members | {"pack.json": content}, path)
        with pytest.raises(UserError, match="is no pack of a study"):
            read_pack(path)
    assert not marker.place.exists()


def test_a_file_that_is_longer_than_it_can_be_is_not_unpacked(pack, tmp_path, monkeypatch):
    path, read = tmp_path / "s.zip", []
    write_pack(path, pack)
    sealed(members_of(path) | {LAST: bytes(2**20)}, path)
    whole = zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda self, entry, *more: read.append(entry.filename) or whole(self, entry, *more)
    )
    with pytest.raises(UserError, match="1048576 bytes, more than the 140"):
        read_pack(path)
    assert LAST not in read and "pack.json" in read
    monkeypatch.setattr("bandbridge.evaluation.pack._MAX_FACTS", 100)
    read.clear()
    with pytest.raises(UserError, match=r"pack\.json is of \d+ bytes, more than the 100"):
        read_pack(path)
    assert not read


def test_only_what_can_be_read_again_is_written(pack, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="not those of the runs"):
        write_pack(tmp_path / "s.zip", Pack(pack.facts, {}))
    monkeypatch.setattr("bandbridge.evaluation.pack.MAX_BYTES", 100)
    with pytest.raises(UserError, match="larger than any that is read"):
        write_pack(tmp_path / "s.zip", pack)
    assert not list(tmp_path.iterdir())
