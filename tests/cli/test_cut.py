"""``bandbridge cut``: what it says, its exit codes, and that predict reads what it wrote."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
from PIL import Image


def test_cut_and_predict(bandbridge, example_home, monkeypatch) -> None:
    monkeypatch.chdir(example_home)
    result = bandbridge("cut", "fields", "cut-cells", "--show-steps")
    assert result.code == 0, result.err
    assert "1 cell, " in result.out and "spread-g1: " in result.out and "written to cut-cells" in result.out
    again = bandbridge("cut", "fields", "cut-cells")
    assert again.code == 0 and again.out == result.out
    read = bandbridge("predict", "models/mine", "cut-cells/images", "--out", "results/cut")
    assert read.code == 0, read.err
    assert "1 cell, " in read.out


def test_fields_that_give_no_cell_are_listed_together(bandbridge, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((100, 100), 7, np.uint8)).save(tmp_path / "in" / "blank.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    result = bandbridge("cut", tmp_path / "in", tmp_path / "out")
    assert result.code == 2 and "fields that gave no cell:" in result.err
    assert "blank.png: nothing is on it" in result.err and "broken.png: not a PNG" in result.err
    told = pd.read_csv(tmp_path / "out" / "fields.csv").set_index("field")["problem"]
    assert told["blank.png"].startswith("nothing is on it") and told["broken.png"].startswith("not a PNG")
    (tmp_path / "in" / "sheets").mkdir()
    (tmp_path / "in" / "sheets" / "two.PDF").write_bytes(b"%PDF-1.4")
    again = bandbridge("cut", tmp_path / "in", tmp_path / "out")
    assert "1 PDF in" in again.err and "sheets/two.PDF" in again.err and "data import karyogram" in again.err
    only = bandbridge("cut", tmp_path / "in" / "sheets", tmp_path / "none")
    assert only.code == 2 and "holds no image" in only.err and "two.PDF" in only.err
    same = bandbridge("cut", tmp_path / "in", tmp_path / "in")
    assert same.code == 2 and "is read by this command" in same.err


def test_predict_takes_the_folder_that_was_cut_into_and_fields_themselves(
    bandbridge, example_home, monkeypatch
) -> None:
    monkeypatch.chdir(example_home)
    cut = bandbridge("cut", "fields", "cut-again")
    assert cut.code == 0, cut.err
    of_images = bandbridge("predict", "models/mine", "cut-again/images", "--out", "results/a")
    of_folder = bandbridge("predict", "models/mine", "cut-again", "--out", "results/b")
    direct = bandbridge("predict", "models/mine", "fields", "--out", "results/c", "--karyograms")
    assert of_folder.code == 0 and direct.code == 0, of_folder.err + direct.err
    assert of_folder.out == of_images.out == direct.out
    assert "holds fields of view" in direct.err and "holds fields of view" not in of_folder.err
    assert (example_home / "results/c/cut/pieces.csv").is_file()
    assert list((example_home / "results/c/karyograms").glob("*.png"))
    as_crops = bandbridge("predict", "models/mine", "fields", "--out", "results/d", "--no-metaphases")
    assert "1 chromosome," in as_crops.out


def test_fields_without_a_cell_are_said_by_predict_too(bandbridge, example_home, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(example_home)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((400, 400), 7, np.uint8)).save(tmp_path / "in" / "blank.png")
    result = bandbridge("predict", "models/mine", tmp_path / "in", "--metaphases", "--out", tmp_path / "out")
    assert result.code == 2 and "blank.png: nothing is on it" in result.err


def test_fields_in_a_folder_for_each_patient_are_judged_by_patient_and_under_codes_stay_apart(
    bandbridge, example_home, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(example_home)
    (field,) = (example_home / "fields").iterdir()
    for patient in ("Doe-Jane", "Müller-Jörg"):
        (tmp_path / "ward" / patient).mkdir(parents=True)
        shutil.copy(field, tmp_path / "ward" / patient / f"{patient}-1.png")
    out = tmp_path / "out"
    (tmp_path / "ward" / "Empty").mkdir()
    given = ("predict", "models/mine", tmp_path / "ward", "--patients", "--karyograms", "--out", out)
    result = bandbridge(*given, "--de-identify")
    assert result.code == 0, result.err
    assert "warning: no image in 1 folder of patients: Empty" in result.err
    assert "how often they are right is not known" in result.out
    table = pd.read_csv(out / "patients.csv", dtype=str, keep_default_na=False)
    assert len(table) == 2 and table["patient"].str.startswith("patient-").all() and (table["draft"] == "").all()
    assert not (out / "cut").exists() and (tmp_path / "out-codes" / "cut-out" / "pieces.csv").is_file()
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} >= {".csv", ".json", ".html", ".pdf", ".png"}
    for path in written:
        for part in ("Doe-Jane", "Müller", "Jörg", "ller", "rg-1"):
            assert part not in str(path.relative_to(out)), path
            assert path.suffix in (".pdf", ".png") or part.encode() not in path.read_bytes(), path
    plain = bandbridge(*given)
    assert plain.code == 0 and pd.read_csv(out / "patients.csv")["patient"].tolist() == ["Doe-Jane", "Müller-Jörg"]
    assert set(pd.read_csv(out / "cells.csv")["cell"]) == {"Doe-Jane_Doe-Jane-1", "Müller-Jörg_Müller-Jörg-1"}
    assert (out / "karyograms" / "Müller-Jörg_Müller-Jörg-1.html").is_file()
    beside = bandbridge(*given, "--de-identify")
    assert beside.code == 2 and "holds results with names" in beside.err
