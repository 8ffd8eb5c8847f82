"""Writing whole or not at all, and hashing by value."""

import hashlib
from pathlib import Path

import pytest

from bandbridge.errors import EnvironmentFault
from bandbridge.files import canonical_json, content_hash, file_stems, is_present, replacing, write_text


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and [entry.name for entry in Path(tmp_path).iterdir()] == ["a.txt"]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt"):
        with pytest.raises(EnvironmentFault, match="cannot write") as caught:
            write_text(path, "x")
        assert "file is in the place of a folder" in caught.value.remedy


def test_the_hash_follows_the_value_not_the_order_of_keys():
    assert content_hash({"b": 1, "a": [2, "ä"]}) == content_hash({"a": [2, "ä"], "b": 1})
    assert content_hash({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_what_may_not_be_looked_at_is_neither_there_nor_absent(tmp_path, monkeypatch):
    assert is_present(tmp_path) and not is_present(tmp_path / "a") and not is_present(tmp_path / ("a" * 300))

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(EnvironmentFault, match="Permission denied"):
        is_present(tmp_path / "a")


def test_names_that_come_out_alike_do_not_share_a_file():
    names = ["a/b", "a_b", "", "ä", "a_b", "a_b-2"]
    found = list(file_stems(names, "sheet"))
    assert found == ["a_b", "a_b-2", "sheet", "sheet-2", "a_b-3", "a_b-2-2"]
    assert len(set(found)) == len(names)
