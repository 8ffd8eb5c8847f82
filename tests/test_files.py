"""Writing whole or not at all, and hashing by value."""

import csv
import errno
import hashlib
import io
import os
import re
from pathlib import Path

import pandas as pd
import pytest

import bandbridge
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import (
    canonical_json,
    content_hash,
    csv_lines,
    csv_text,
    file_stems,
    guard_formula,
    is_present,
    load_json,
    markdown_text,
    read_json,
    read_regular,
    replacing,
    unguard_formula,
    write_text,
)


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
    names = ["a/b", "a_b", "", "?", "a_b", "a_b-2", "A_B", "ä", "Ä", "a\u0308"]
    found = list(file_stems(names, "sheet"))
    assert found == ["a_b", "a_b-2", "sheet", "sheet-2", "a_b-3", "a_b-2-2", "A_B-4", "ä", "Ä-2", "ä-3"]
    assert len(set(found)) == len(names)


FORMULAS = (
    "=1+1",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    '=HYPERLINK("x")',
    " =1",
    "\t=1",
    "\uff1d1+1",
    "- 1 x",
    "=cmd|' /C x'!A0",
)
PLAIN = ("", "cell 7", "-", "+", "-1.5", "+3", "1e-3", "-inf", "a=b", "12-3", "'", "'a", "–", "'-1")


@pytest.mark.parametrize(
    "text", [*FORMULAS, *PLAIN, *(f"'{text}" for text in FORMULAS), *(f"''{text}" for text in FORMULAS)]
)
def test_a_name_that_a_spreadsheet_would_compute_is_guarded_and_comes_back(text):
    guarded = guard_formula(text)
    assert guarded == (text if text in PLAIN else f"'{text}") and unguard_formula(guarded) == text


def test_tables_are_written_guarded_in_texts_and_headers_and_numbers_as_they_are():
    names = ["=1+1", "-1", None, "x"]
    table = pd.DataFrame(
        {"cell": names, "@f": [-0.5, 1.0, float("nan"), 0.1 + 0.2], "kind": pd.Categorical(["+a", "b", "+a", "b"])}
    )
    table["cell"] = table["cell"].astype(object)
    lines = csv_text(table).splitlines()
    assert lines[0] == "cell,'@f,kind" and lines[1:] == [
        "'=1+1,-0.5,'+a",
        "-1,1.0,b",
        ",,'+a",
        "x,0.30000000000000004,b",
    ]
    assert csv_lines(("a", "=b"), [("@x", "1")]) == "a,'=b\n'@x,1\n"


def test_no_table_is_written_past_the_guard():
    root = Path(bandbridge.__file__).parent
    for path in root.rglob("*.py"):
        if path.relative_to(root) != Path("files.py"):
            assert not re.search(r"\.to_csv\(|csv\.(writer|DictWriter)", path.read_text(encoding="utf-8")), path


def test_file_and_folder_are_flushed_in_order(tmp_path, monkeypatch):
    """The file before it is renamed, its folder after that; new folders in theirs."""
    steps: list[tuple[str, str]] = []

    def flushed(descriptor: int) -> None:
        steps.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    rename = Path.replace

    def renamed(path: Path, target: Path) -> Path:
        steps.append(("rename", Path(target).name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "new" / "newer" / "a.txt", "x")
    new, newer, file, rename_, last = steps
    assert (new, newer) == (("flush", tmp_path.name), ("flush", "new"))
    assert file[0] == "flush" and file[1].startswith(".a.txt.") and rename_ == ("rename", "a.txt")
    assert last == ("flush", "newer")


def test_a_system_that_flushes_no_folders_is_no_fault_and_a_broken_disk_is(tmp_path, monkeypatch):
    def refusing(number: int):
        def fsync(descriptor: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
                raise OSError(number, "no")

        return fsync

    monkeypatch.setattr(os, "fsync", refusing(errno.EINVAL))
    write_text(tmp_path / "a.txt", "x")
    monkeypatch.setattr(os, "fsync", refusing(errno.EIO))
    with pytest.raises(EnvironmentFault, match=r"b\.txt"):
        write_text(tmp_path / "b.txt", "x")


@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "a\nb", 'a"b,c', " a", "\r"])
def test_a_carriage_return_in_a_text_comes_back(text: str) -> None:
    """Unquoted, it made a table that nothing could read."""
    table = csv_lines(("file_name", "label"), [(text, "1"), ("b", "2")])
    assert list(csv.reader(io.StringIO(table, newline=""), strict=True)) == [
        ["file_name", "label"],
        [text, "1"],
        ["b", "2"],
    ]


def test_results_show_signs_that_a_terminal_would_obey() -> None:
    frame = pd.DataFrame({"cell\x1b": ["a\x1b[2J\r", "b"], "n": [1.5, 2]})
    assert csv_text(frame) == "cell\\u001b,n\na\\u001b[2J\\u000d,1.5\nb,2.0\n"


def test_only_regular_files_within_bounds_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    assert read_regular(tmp_path / "a.json") == b"[1, 2]" and load_json(tmp_path / "a.json") == [1, 2]
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(UserError, match="is no file, but a"):
            load_json(path)
    with pytest.raises(UserError, match="larger than 3 bytes"):
        read_regular(tmp_path / "a.json", 3)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")
    monkeypatch.setattr(os, "open", _denied)
    with pytest.raises(EnvironmentFault, match=r"cannot read .*a\.json: Permission denied"):
        read_json(tmp_path / "a.json")


def _denied(*given: object) -> int:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_json_without_end_is_a_damaged_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json is damaged \(it is nested too deeply"):
        read_json(tmp_path / "config.json")


def test_markdown_takes_nothing_of_a_name_for_its_own() -> None:
    assert markdown_text("<b>[a](b)`c`\x1b_d_") == r"\<b>\[a](b)\`c\`\\u001b_d\_"
