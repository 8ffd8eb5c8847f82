"""A dataset by content: digests against hashlib, kept once, damage named; the fingerprint as it ever was."""

from __future__ import annotations

import hashlib
import json

import pytest

from bandbridge.dataset.contents import contents_of, read_contents, write_contents
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.store import dataset_fingerprint
from bandbridge.errors import UserError
from bandbridge.files import content_hash
from bandbridge.seal import AlteredError


@pytest.fixture
def dataset(chromosome_set):
    return open_dataset(chromosome_set("G", cells=1))


def test_digests_and_fingerprint_follow_from_the_bytes(dataset):
    contents, rows = contents_of(dataset), []
    for row in dataset.samples.to_dict("records"):
        digest = hashlib.sha256((dataset.path / row["file_name"]).read_bytes()).hexdigest()
        assert contents.files[row["file_name"]] == digest[:16]
        rows.append([row["file_name"], row["label"], row["cell"], row["patient"], digest])
    assert contents.fingerprint == dataset_fingerprint(dataset) == content_hash(sorted(rows))


def test_every_file_is_read_once(dataset, monkeypatch):
    read = []
    original = type(dataset).read_bytes
    monkeypatch.setattr(type(dataset), "read_bytes", lambda self, name: read.append(name) or original(self, name))
    contents_of(dataset)
    assert sorted(read) == sorted(dataset.samples["file_name"])


def test_it_is_kept_once_and_read_back(dataset, tmp_path):
    contents = contents_of(dataset)
    assert read_contents(tmp_path, contents.fingerprint) is None
    write_contents(contents, tmp_path)
    (path,) = (tmp_path / ".datasets").iterdir()
    assert path.name == f"{contents.fingerprint[:16]}.json"
    plain = {"fingerprint": contents.fingerprint, "files": contents.files}
    assert json.loads(path.read_text()) == {**plain, "sha256": content_hash(plain)}
    written = path.stat()
    write_contents(contents, tmp_path)
    assert path.stat().st_ino == written.st_ino and path.stat().st_mtime_ns == written.st_mtime_ns
    assert read_contents(tmp_path, contents.fingerprint) == contents


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"fingerprint": "FP", "files": {"a": "xyz"}}', '{"fingerprint": "other", "files": {}}']
)
def test_damage_is_named_with_its_remedy(tmp_path, text):
    (tmp_path / ".datasets").mkdir()
    (tmp_path / ".datasets" / "FP.json").write_text(text)
    with pytest.raises(UserError, match=r"FP\.json is damaged") as caught:
        read_contents(tmp_path, "FP")
    assert "Delete it" in caught.value.remedy


def test_an_edited_digest_is_refused_and_what_an_earlier_build_wrote_is_read(dataset, tmp_path):
    contents = contents_of(dataset)
    write_contents(contents, tmp_path)
    (path,) = (tmp_path / ".datasets").iterdir()
    value = json.loads(path.read_text())
    first = next(iter(value["files"]))
    path.write_text(json.dumps({**value, "files": {**value["files"], first: "0" * 16}}))
    with pytest.raises(AlteredError, match="was altered") as caught:
        read_contents(tmp_path, contents.fingerprint)
    assert "Delete it" in caught.value.remedy
    path.write_text(json.dumps(contents.model_dump()))
    assert read_contents(tmp_path, contents.fingerprint) == contents
