"""What a finished folder says of its own files; ``sha256sum`` is the oracle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bandbridge import seal
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import content_hash
from bandbridge.seal import (
    AlteredError,
    Done,
    file_hash,
    file_hash_remembered,
    hashes_of,
    read_done,
    read_run,
    read_sealed,
    require_unaltered,
    seal_of,
    verify_folder,
    write_sealed,
    write_sums,
)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run of two products."""
    record = {"dataset": "d", "init": {"kind": "scratch"}}
    identity = content_hash(record)[:12]
    folder = tmp_path / f"fold0-{identity}"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"id": identity, "record": record}))
    (folder / "last.safetensors").write_bytes(b"weights")
    done = Done(id=identity, epochs=1, best_epoch=1, files=hashes_of(folder, ("run.json", "last.safetensors", "none")))
    write_sealed(folder / "done.json", done.model_dump())
    return folder


def test_the_hash_of_a_file_is_its_sha_256_also_after_it_has_changed(tmp_path: Path):
    path = tmp_path / "a"
    for content in (b"", b"one", b"two"):
        path.write_bytes(content)
        assert file_hash(path) == hashlib.sha256(content).hexdigest()


def test_a_change_that_keeps_size_and_time_is_seen_by_the_inodes_own_time(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before, status = file_hash(path), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns and file_hash(path) != before


def test_a_file_that_cannot_be_read_is_the_machines_fault(tmp_path: Path):
    with pytest.raises(EnvironmentFault, match="cannot read"):
        file_hash(tmp_path / "none")


def test_a_sealed_value_comes_back_and_an_edited_one_is_refused(tmp_path: Path):
    path = tmp_path / "a.json"
    write_sealed(path, {"b": [1.5, None], "a": (1, 2)})
    assert read_sealed(path, "Do this.") == {"a": [1, 2], "b": [1.5, None]}
    path.write_text(path.read_text().replace("1.5", "2.5"))
    with pytest.raises(AlteredError, match=r"a\.json was altered") as caught:
        read_sealed(path, "Do this.")
    assert caught.value.remedy == "Do this."


def test_what_an_earlier_build_wrote_without_a_hash_is_read(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_sealed(tmp_path / "a.json", "") == {"a": 1}
    assert read_sealed(tmp_path / "none.json", "") == {}


def test_the_sums_of_a_model_folder_are_what_sha256sum_checks(tmp_path: Path):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / name).write_text(name)
    write_sums(tmp_path, ("model.safetensors", "config.json", "absent"))
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0 and checked.stdout.count(": OK") == 2
    found = seal_of(tmp_path)
    assert found is not None and set(found.files or ()) == {"model.safetensors", "config.json"}


def test_what_is_as_it_was_written_passes(run_folder: Path):
    require_unaltered(run_folder / "last.safetensors")
    require_unaltered(run_folder / "absent.json")
    assert read_run(run_folder)["id"] == run_folder.name[-12:]
    assert verify_folder(run_folder) == []


def test_an_altered_file_is_named_with_both_hashes_and_the_remedy(run_folder: Path):
    path = run_folder / "last.safetensors"
    path.write_bytes(b"other weights")
    with pytest.raises(AlteredError) as caught:
        require_unaltered(path)
    said = str(caught.value)
    assert str(path) in said and hashlib.sha256(b"other weights").hexdigest()[:12] in said
    assert hashlib.sha256(b"weights").hexdigest()[:12] in said and f"delete {run_folder}" in said
    assert verify_folder(run_folder) == [caught.value.message]


def test_a_file_that_was_put_there_later_is_refused(run_folder: Path):
    (run_folder / "predictions.parquet").write_bytes(b"")
    with pytest.raises(AlteredError, match="was put there later"):
        require_unaltered(run_folder / "predictions.parquet")


def test_a_folder_under_another_runs_name_is_refused(run_folder: Path):
    moved = run_folder.rename(run_folder.with_name("fold1-0123456789ab"))
    for read in (read_done, read_run):
        with pytest.raises(AlteredError, match="moved here from another folder"):
            read(moved)


def test_a_record_that_does_not_give_the_id_is_refused_also_where_no_hashes_are(run_folder: Path):
    (run_folder / "done.json").unlink()
    facts = json.loads((run_folder / "run.json").read_text())
    facts["record"]["dataset"] = "another"
    (run_folder / "run.json").write_text(json.dumps(facts))
    with pytest.raises(AlteredError, match="the id of its record"):
        read_run(run_folder)
    (run_folder / "run.json").write_text('{"id": 3}')
    with pytest.raises(UserError, match="holds no id and record"):
        read_run(run_folder)


@pytest.mark.parametrize("change", [{"id": "x"}, {"epochs": -1}, {"files": {"a": "short"}}, {"best_epoch": "many"}])
def test_a_done_file_that_makes_no_sense_is_damaged(run_folder: Path, change: dict[str, object]):
    value = json.loads((run_folder / "done.json").read_text())
    del value["sha256"]
    (run_folder / "done.json").write_text(json.dumps(value | change))
    with pytest.raises(UserError, match=r"done\.json is damaged") as caught:
        read_done(run_folder)
    assert "delete" in caught.value.remedy


def test_folders_without_hashes_are_taken_as_they_are_and_named_once(run_folder: Path, monkeypatch, capsys):
    monkeypatch.setattr(seal, "_named", set())
    (run_folder / "done.json").write_text(json.dumps({"id": run_folder.name[-12:], "epochs": 1, "best_epoch": 1}))
    for name in ("last.safetensors", "run.json"):
        require_unaltered(run_folder / name)
    assert " ".join(capsys.readouterr().err.split()).count("is of an earlier version, which kept no hashes") == 1
    assert verify_folder(run_folder) is None


def test_large_files_are_hashed_once_for_all_processes_until_they_change(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(seal, "_WORTH_MEMORY", 4)
    path = tmp_path / "large"
    path.write_bytes(b"weights")
    first = file_hash_remembered(path)
    monkeypatch.setattr(seal, "_hashes", {})  # as in another process
    monkeypatch.setattr(seal.hashlib, "file_digest", None)
    assert file_hash_remembered(path) == first
    monkeypatch.undo()
    monkeypatch.setattr(seal, "_WORTH_MEMORY", 4)
    path.write_bytes(b"changed")
    assert file_hash_remembered(path) == hashlib.sha256(b"changed").hexdigest()


def test_verifying_looks_nothing_up(run_folder: Path, monkeypatch):
    path = run_folder / "last.safetensors"
    monkeypatch.setitem(seal._hashes, seal._status(path), "0" * 64)
    with pytest.raises(AlteredError):
        require_unaltered(path)
    assert verify_folder(run_folder) == []


@pytest.mark.parametrize("text", ["", "nonsense\n", "0123  a\n"])
def test_damaged_sums_are_refused(tmp_path: Path, text: str):
    (tmp_path / "SHA256SUMS").write_text(text)
    with pytest.raises(UserError, match="SHA256SUMS"):
        seal_of(tmp_path)


def test_a_missing_product_is_a_problem_to_verify(run_folder: Path):
    (run_folder / "last.safetensors").unlink()
    assert verify_folder(run_folder) == [f"{run_folder / 'last.safetensors'} is missing"]


def test_a_missing_file_that_a_hash_speaks_of_is_named(tmp_path: Path):
    (tmp_path / "likeness.json").write_text("{}")
    write_sums(tmp_path, ("likeness.json",))
    (tmp_path / "likeness.json").unlink()
    with pytest.raises(AlteredError, match=r"likeness\.json is missing, and SHA256SUMS names it"):
        require_unaltered(tmp_path / "likeness.json")
    require_unaltered(tmp_path / "confidence.json")


def test_line_ends_that_version_control_changed_are_no_change_and_all_else_is(tmp_path: Path):
    for name in ("a.json", "b.bin"):
        (tmp_path / name).write_bytes(b"{\n}\n")
    write_sums(tmp_path, ("a.json", "b.bin"))
    for name in ("a.json", "b.bin"):
        (tmp_path / name).write_bytes(b"{\r\n}\r\n")
    require_unaltered(tmp_path / "a.json")
    with pytest.raises(AlteredError):
        require_unaltered(tmp_path / "b.bin")
    (tmp_path / "a.json").write_bytes(b"{\r\n }\r\n")
    with pytest.raises(AlteredError):
        require_unaltered(tmp_path / "a.json")


def test_sums_that_are_no_file_are_refused(tmp_path: Path):
    (tmp_path / "SHA256SUMS").mkdir()
    with pytest.raises(AlteredError, match="is no file"):
        seal_of(tmp_path)
