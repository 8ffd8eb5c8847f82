"""Nothing that is read is unpickled: a pickle lies wherever a file is read, and what it would call is never called.

The pickle here is harmless: all that it does, where a reader obeys it, is to make an empty folder of a test.
"""

from __future__ import annotations

import ast
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import bandbridge
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.store import open_store
from bandbridge.domains.embeddings import _read as read_embeddings
from bandbridge.errors import UserError
from bandbridge.evaluation.predictions import read_predictions
from bandbridge.export.joins import read_seen
from bandbridge.files import write_json
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.classifier import open_classifier
from bandbridge.model.weights import find_imagenet_weights, load_imagenet_weights
from bandbridge.model.weights import load_state as load_weights
from bandbridge.predict.graph import FACTS, open_graph
from bandbridge.training.checkpoint import load_state as load_checkpoint
from bandbridge.training.separator import _STATE as STATE
from bandbridge.training.separator import read_examples, train


class _Marker:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.fixture
def marker(tmp_path: Path):
    """A value whose pickle makes a folder when it is read; none may be there at the end of the test."""
    place = tmp_path / "unpickled"
    pickle.loads(pickle.dumps(_Marker(place)))
    place.rmdir()  # it works: a reader that obeys it would be found out
    yield _Marker(place)
    assert not place.exists()


def _array(path: Path, marker: _Marker) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([[marker, marker]], dtype=object), allow_pickle=True)


@pytest.mark.parametrize("in_zip", [True, False])
def test_a_checkpoint(tmp_path: Path, marker: _Marker, in_zip: bool) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": marker, "best": None}, path, _use_new_zipfile_serialization=in_zip)
    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("as_torch", [True, False])
def test_weights_that_only_claim_to_be_safetensors(tmp_path: Path, marker: _Marker, as_torch: bool) -> None:
    path = tmp_path / "best.safetensors"
    if as_torch:
        torch.save({"fc.weight": marker}, path)
    else:
        path.write_bytes(pickle.dumps(marker))
    with pytest.raises(UserError, match="not a safetensors file"):
        load_weights(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl", ".ckpt", ".npz"])
def test_a_weights_folder_with_other_kinds_of_files(
    tmp_path: Path, marker: _Marker, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_architecture("test_resnet")
    for stem in (found.pinned_name, found.timm_name, "pytorch_model", "model"):
        torch.save({"fc.weight": marker}, tmp_path / f"{stem}{suffix}")
    monkeypatch.setattr("bandbridge.model.weights._from_hub", lambda *given: tmp_path / "none.safetensors")
    with pytest.raises((UserError, FileNotFoundError)):
        find_imagenet_weights(found, tmp_path)
    torch.save({"fc.weight": marker}, tmp_path / f"{found.timm_name}.safetensors")
    with pytest.raises(UserError, match="not a safetensors file"):
        load_imagenet_weights(create_model(found, 2, 32, torch.Generator()), found, tmp_path)


@pytest.mark.parametrize("name", ["best.safetensors", "pytorch_model.bin", "model.pt"])
def test_a_model_folder(tmp_path: Path, marker: _Marker, name: str) -> None:
    facts = {"classes": ["1", "2"], "preparation": {"size": 32}, "mean": [0.5] * 3, "std": [0.5] * 3}
    write_json(tmp_path / "config.json", facts | {"architecture": "test_resnet"})
    torch.save({"fc.weight": marker}, tmp_path / name)
    with pytest.raises(UserError, match=r"not a safetensors file|holds no best"):
        open_classifier(tmp_path)


def test_a_graph(tmp_path: Path, marker: _Marker) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(pickle.dumps(marker))
    write_json(tmp_path / FACTS, {"classes": ["1", "2"], "preparation": {"size": 32}, "temperature": 1.0})
    with pytest.raises(UserError, match="cannot be opened"):
        open_graph(path)


def test_a_store(tmp_path: Path, marker: _Marker) -> None:
    write_json(tmp_path / "store.json", {"fingerprint": "", "preparation": {"size": 32}})
    _array(tmp_path / "images.npy", marker)
    with pytest.raises(UserError, match="damaged"):
        open_store(tmp_path)


def test_kept_embeddings(tmp_path: Path, marker: _Marker) -> None:
    write_json(tmp_path / "facts.json", {})
    write_json(tmp_path / "files.json", ["a.png"])
    _array(tmp_path / "values.npy", marker)
    assert read_embeddings(tmp_path, {}, {"a.png"}) is None


def _table_with_pickles(path: Path, marker: _Marker, columns: tuple[str, ...]) -> None:
    """Pickles in the places of a table that readers have obeyed: an extension type, and what pandas keeps beside it."""
    text = pickle.dumps(marker)
    kind = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": text}
    fields = [pa.field(column, pa.string(), metadata=kind) for column in columns]
    schema = pa.schema(fields, metadata={b"pandas": text, b"PANDAS_ATTRS": text})
    pq.write_table(pa.table([pa.array(["1"])] * len(columns), schema=schema), path)


def test_tables(tmp_path: Path, marker: _Marker) -> None:
    _table_with_pickles(tmp_path / "predictions.parquet", marker, ("file_name", "label"))
    with pytest.raises(UserError):
        read_predictions(tmp_path / "predictions.parquet")
    _table_with_pickles(tmp_path / "metadata.parquet", marker, ("file_name", "label"))
    with pytest.raises(UserError):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "metadata.csv"])
def test_images_and_tables_of_a_set(tmp_path: Path, marker: _Marker, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(name, pickle.dumps(marker))
        if name != "metadata.csv":
            archive.writestr("metadata.csv", f"file_name,label\n{name},1\n")
    with pytest.raises(UserError):
        dataset = open_dataset(tmp_path / "set.zip")
        dataset.gray(name)


def test_drawn_metaphases_and_the_state_of_a_separator(tmp_path: Path, marker: _Marker) -> None:
    with (tmp_path / "spread-00000.npz").open("wb") as file:
        np.savez(file, contrast=np.array([marker], dtype=object), layers=np.zeros(1), axes=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_examples(tmp_path, {})
    torch.save({"network": marker}, tmp_path / STATE)
    with pytest.raises(pickle.UnpicklingError):
        train(tmp_path, minutes=1.0, steps=1)


def test_what_was_seen_between_ends_of_cores(tmp_path: Path, marker: _Marker) -> None:
    with (tmp_path / "seen.npz").open("wb") as file:
        np.savez(file, seen=np.array([marker], dtype=object), same=np.zeros(1, bool))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_seen([tmp_path / "seen.npz"])


#: Calls that obey a pickle, unless told not to.
_OBEYING = re.compile(r"(pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal)\.(loads?|open|Unpickler)|read_pickle")
_READERS = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}


def test_no_other_place_of_the_source_obeys_a_pickle() -> None:
    """Another reader makes this fail: it then gets a test above."""
    readers = []
    for path in Path(bandbridge.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, text = ast.unparse(node.func), ast.unparse(node)
            assert not _OBEYING.fullmatch(called) and not called.endswith("read_pickle"), f"{path}: {text}"
            if called in _READERS or re.fullmatch(r"(torch|np|numpy)\.(load|fromfile)", called):
                assert _READERS.get(called, "?") in text, f"{path}: {text}"
                readers.append((path.name, called))
    assert sorted(readers) == [
        ("checkpoint.py", "torch.load"),
        ("embeddings.py", "np.load"),
        ("joins.py", "np.load"),
        ("packages.py", "torch.load"),
        ("separator.py", "np.load"),
        ("separator.py", "torch.load"),
        ("store.py", "np.load"),
    ]
