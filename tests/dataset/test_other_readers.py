"""Names and texts that other readers misread, against the readers themselves."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bandbridge.dataset.audit import audit_dataset
from bandbridge.dataset.findings import Finding
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.other_readers import changed_as_numbers, split_meant

#: Words of splits and words that only hold them, between signs that part them and signs that do not.
WORDS = ("test", "Test", "train", "val", "dev", "evaluation")
FRAMES = ("{}", "C2-{}", "{}.3", "1{}2", "la{}", "{}s", "x {} y", "a+{}", "{}ing")


@pytest.mark.parametrize("place", ["images/{}/1a.png", "images/C1/{}.png", "{}"])
def test_a_name_means_a_split_where_datasets_takes_it_for_one(tmp_path, place):
    data_files = pytest.importorskip("datasets.data_files", reason="needs bandbridge[dev]")
    meant = 0
    for number, (word, frame) in enumerate(itertools.product(WORDS, FRAMES)):
        name = place.format(frame.format(word))
        name += "" if name.endswith(".png") else ".png"
        home = tmp_path / str(number) / "set"
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(b"")
        (home / "metadata.csv").write_text("file_name,label\n")
        found = data_files.get_data_patterns(str(home))
        inferred = found != data_files.DEFAULT_PATTERNS_ALL
        assert bool(split_meant(name)) == inferred, (name, found)
        if inferred:
            assert split_meant(name) in found
            meant += 1
    assert 10 < meant < len(WORDS) * len(FRAMES)


@pytest.mark.parametrize(
    "texts",
    [
        ["97002302.20", "97002302.3"],
        ["01", "2"],
        ["1", "2"],
        ["1.5", "2.25"],
        ["1.0", "2.0"],
        ["", "7"],
        ["1e5", "2"],
        ["C1", "1.20"],
        ["+1", "2"],
        ["", ""],
    ],
)
def test_a_text_is_changed_where_pandas_changes_it(texts):
    read = pd.read_csv(io.StringIO("\n".join(["name", *(text or '""' for text in texts)])), skip_blank_lines=False)[
        "name"
    ]
    kept = [text for text in texts if text]
    became = [str(value) for value in read.dropna()]
    changed = {
        text
        for text, value in zip(kept, became, strict=True)
        if value != text and value != f"{text}.0"  # beside a gap whole numbers get a point, and are the same numbers
    }
    assert {case.split(" -> ")[0] for case in changed_as_numbers(texts)} == changed


def test_a_text_after_ten_thousand_numbers_is_told():
    assert changed_as_numbers([*["9700.1"] * 10_000, "9700TEST.6"]) == ["9700TEST.6 -> refused, after numbers"]
    assert changed_as_numbers([*["9700.1"] * 9_999, "9700TEST.6"]) == []


def lay(home: Path, cells: list[str]) -> Path:
    rows = []
    for cell, label in itertools.product(cells, ("1", "2", "22")):
        file = home / "images" / cell / f"{label}a.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shade = np.random.default_rng(len(rows)).integers(0, 255, (40, 20), dtype=np.uint8)
        Image.fromarray(shade).save(file)
        rows.append(f"images/{cell}/{label}a.png,{label},{cell}")
    (home / "metadata.csv").write_text("\n".join(["file_name,label,cell", *rows]) + "\n")
    return home


def findings(folder: Path) -> dict[str, Finding]:
    return {one.kind: one for one in audit_dataset(open_dataset(folder)).findings}


def test_data_check_finds_both_and_asks_for_no_decision(tmp_path):
    found = {
        one.kind: one for one in audit_dataset(open_dataset(lay(tmp_path / "a", ["C2-test", "val-2", "c"]))).findings
    }
    assert found["split-in-name"].examples == ("C2-test: test", "val-2: validation")
    assert found["split-in-name"].severity == "note" and "read-as-numbers" not in found
    found = findings(lay(tmp_path / "b", ["12.20", "12.2"]))
    assert found["read-as-numbers"].examples == ("cell: 12.20 -> 12.2",) and "split-in-name" not in found
