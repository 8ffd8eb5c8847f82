"""``bandbridge predict`` and ``models export`` from the outside."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pypdfium2
import pytest
import tifffile
from PIL import Image
from tests.finished import seal

from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import open_study


@pytest.fixture
def run(small_study):
    study, ledger = open_study(small_study.path), Ledger(small_study.runs)
    return next(ledger.folder(run) for run in study.runs if run.approach == "imagenet" and run.task == "Q")


def test_a_dataset_becomes_tables(bandbridge, small_study, run, tmp_path):
    images = small_study.path.parent / "q"
    result = bandbridge("predict", run, images, "--out", tmp_path, "--device", "cpu")
    assert result.code == 0 and "184 chromosomes" in result.out and "4 cells" in result.out
    table = pd.read_csv(tmp_path / "predictions.csv", dtype={"class": str}, keep_default_na=False)
    assert len(table) == 184 and list(table.columns[:4]) == ["file", "cell", "label", "class"]
    rows = json.loads((tmp_path / "predictions.json").read_text())
    assert [row["class"] for row in rows] == table["class"].tolist()
    assert len(pd.read_csv(tmp_path / "cells.csv")) == 4


def test_json_is_all_that_standard_output_holds(bandbridge, small_study, run, tmp_path):
    result = bandbridge("predict", run, small_study.path.parent / "q", "--out", tmp_path, "--json", "--no-cells")
    assert len(json.loads(result.out)) == 184


def test_an_unreadable_image_is_listed_and_the_rest_is_done(bandbridge, small_study, run, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(small_study.path.parent / "q" / "images", folder)
    (folder / "broken.png").write_bytes(b"nothing")
    result = bandbridge("predict", run, folder, "--out", tmp_path / "out", "--device", "cpu")
    assert result.code == 2 and "broken.png" in result.err and "The others are classified" in result.err
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 184


def test_deep_and_stacked_images_are_read_on_one_scale_and_said(bandbridge, small_study, run, tmp_path):
    images, deep = small_study.path.parent / "q" / "images", tmp_path / "deep"
    for path in sorted(images.rglob("*.png")):
        place = (deep / path.relative_to(images)).with_suffix(".tif")
        place.parent.mkdir(parents=True, exist_ok=True)
        gray = np.asarray(Image.open(path)).astype(np.uint16) << 4  # of a camera of 12 bits
        tifffile.imwrite(place, np.stack([gray, gray]) if place.stem == "1a" else gray, photometric="minisblack")
    results = [
        bandbridge("predict", run, folder, "--out", tmp_path / "out" / folder.name, "--device", "cpu")
        for folder in (images, deep)
    ]
    tables = [tmp_path / "out" / folder.name / "predictions.csv" for folder in (images, deep)]
    shown, exact = (pd.read_csv(path, dtype=str) for path in tables)
    assert exact.filter(like="p_").equals(shown.filter(like="p_"))
    assert "read as of 12" in results[1].err and "4 images of several pages or channels" in results[1].err
    assert "of several pages" not in results[0].err and "16 bits" not in results[0].err


def test_the_folder_of_one_cell_is_placed_as_a_whole_and_loose_images_beside_cells_are_told(
    bandbridge, small_study, run, tmp_path
):
    cells = small_study.path.parent / "q" / "images"
    first, second, *_ = sorted(place for place in cells.iterdir() if place.is_dir())
    result = bandbridge("predict", run, first, "--out", tmp_path / "one", "--device", "cpu", "--karyograms")
    assert result.code == 0 and "46 chromosomes" in result.out and "1 cell," in result.out
    assert pd.read_csv(tmp_path / "one" / "cells.csv")["cell"].tolist() == [first.name]
    assert "no known cell" not in result.err and list((tmp_path / "one").rglob(f"{first.name}*.png"))
    assert "earlier command" not in result.err
    result = bandbridge("predict", run, second, "--out", tmp_path / "one", "--device", "cpu", "--karyograms")
    told = " ".join(result.err.split())
    assert f"karyograms of an earlier command: {first.name};" in told, (
        "another cell's karyogram would be taken for this"
    )
    mixed = tmp_path / "mixed"
    shutil.copytree(second, mixed / second.name)
    for number, file in enumerate(sorted(first.iterdir())[:3]):
        shutil.copy(file, mixed / f"{number}.png")
    result = bandbridge("predict", run, mixed, "--out", tmp_path / "two", "--device", "cpu")
    assert pd.read_csv(tmp_path / "two" / "cells.csv")["cell"].tolist() == [second.name]
    told = " ".join(result.err.split())
    assert "3 of 49 are of no known cell" in told or "3 of 49 judged without scale" in told
    assert "into a folder of their own" in told or "a folder of its own" in told


def test_labels_that_the_model_does_not_know_are_named_and_not_counted_as_wrong(bandbridge, small_study, run, tmp_path):
    shutil.copytree(small_study.path.parent / "q", tmp_path / "set")
    table = pd.read_csv(tmp_path / "set" / "metadata.csv", dtype=str, keep_default_na=False)
    table["label"] = [f"{label}.0" if label.isdigit() else label for label in table["label"]]
    for name, labels in (("some", table["label"]), ("all", table["label"] + ".0")):
        table.assign(label=labels).to_csv(tmp_path / "set" / "metadata.csv", index=False)
        result = bandbridge("predict", run, tmp_path / "set", "--out", tmp_path / name, "--device", "cpu")
        assert result.code == 0 and "does not know" in result.err and "'1.0" in result.err
        assert ("labels agree" in result.out) == (name == "some")


def test_a_model_alone_is_a_mistake(bandbridge, run):
    result = bandbridge("predict", run)
    assert result.code == 2 and "name a model and images" in result.err


def test_what_is_no_model_is_said(bandbridge, small_study, tmp_path):
    result = bandbridge("predict", tmp_path, small_study.path.parent / "q", "--out", tmp_path / "out")
    assert result.code == 2 and str(tmp_path) in result.err and not (tmp_path / "out").exists()


def test_an_exported_model_predicts_like_its_run(bandbridge, small_study, run, tmp_path):
    model = tmp_path / "model"
    assert bandbridge("models", "export", run, "--out", model).code == 0
    images = small_study.path.parent / "g"
    for name, place in (("a", run), ("b", model)):
        assert bandbridge("predict", place, images, "--out", tmp_path / name, "--device", "cpu").code == 0
    first, second = (pd.read_csv(tmp_path / name / "predictions.csv") for name in "ab")
    pd.testing.assert_frame_equal(first, second, check_exact=False, rtol=0, atol=1e-4)


def test_models_lists_by_default_and_by_name(bandbridge):
    assert "test_resnet" in bandbridge("models", "test_resnet").out
    assert json.loads(bandbridge("models", "test_resnet", "--json").out)[0]["name"] == "test_resnet"
    assert "export" in bandbridge("models", "--help").out


def test_exporting_what_is_no_run_is_said(bandbridge, tmp_path):
    result = bandbridge("models", "export", tmp_path)
    assert result.code == 2 and "not the folder of a run" in result.err


def test_what_is_wanted_of_a_run_changes_what_is_flagged(bandbridge, small_study, run, tmp_path):
    images = small_study.path.parent / "q"
    for name, error in (("strict", 0.01), ("loose", 0.5)):
        options = ("--out", tmp_path / name, "--wanted-error", error, "--device", "cpu")
        assert bandbridge("predict", run, images, *options).code == 0
    flagged = {
        name: (pd.read_csv(tmp_path / name / "predictions.csv")["flag"] == "yes").sum() for name in ("strict", "loose")
    }
    assert flagged["loose"] <= flagged["strict"]
    model = tmp_path / "model"
    assert bandbridge("models", "export", run, "--out", model, "--coverage", 0.8).code == 0
    assert json.loads((model / "confidence.json").read_text())["coverage"] == 0.8
    kept = bandbridge("predict", model, images, "--out", tmp_path / "kept", "--coverage", 0.9)
    assert "keeps the promises it was exported with" in kept.err


def test_a_model_that_can_promise_nothing_says_so(bandbridge, small_study, run, tmp_path):
    model = tmp_path / "model"
    bandbridge("models", "export", run, "--out", model)
    facts = json.loads((model / "confidence.json").read_text()) | {"review_below": None}
    (model / "confidence.json").write_text(json.dumps(facts))
    seal(model)
    result = bandbridge("predict", model, small_study.path.parent / "q", "--out", tmp_path / "out")
    assert "every chromosome is flagged" in result.err and "inf" not in result.err.replace("information", "")


def test_a_model_that_saw_few_images_upside_down_says_so(bandbridge, small_study, run, tmp_path):
    images, model = small_study.path.parent / "q", tmp_path / "model"
    bandbridge("models", "export", run, "--out", model)
    assert "upside down" not in bandbridge("predict", model, images, "--out", tmp_path / "both").err
    path = next(path for path in model.glob("*.json") if '"flip_vertical": 0.5' in path.read_text())
    text = path.read_text().replace('"flip_vertical": 0.5', '"flip_vertical": 0.1')
    path.write_text(text)
    seal(model)
    assert "upside down" not in bandbridge("predict", model, images, "--out", tmp_path / "stood").err, (
        "both ways judged"
    )
    path.write_text(text.replace('"upright": true', '"upright": false'))
    (model / "model.onnx").unlink()  # which says that they are stood upright
    seal(model)
    warned = bandbridge("predict", model, images, "--out", tmp_path / "few")
    assert "10% of the images were upside down; give --flips" in " ".join(warned.err.split())
    assert "upside down" not in bandbridge("predict", model, images, "--out", tmp_path / "flips", "--flips").err


def test_explain_names_the_checkpoint_that_an_exported_model_holds(bandbridge, small_study, run, tmp_path):
    model, image = tmp_path / "model", next((small_study.path.parent / "q" / "images").rglob("*.png"))
    bandbridge("models", "export", run, "--out", model, "--checkpoint", "last")
    result = bandbridge("explain", model, image, "--out", tmp_path / "out", "--device", "cpu")
    assert result.code == 0 and "checkpoint last" in " ".join(result.out.split())


def test_results_do_not_go_where_models_or_cells_are_read(bandbridge, example_home, monkeypatch):
    monkeypatch.chdir(example_home)
    for command, read in (("predict", "new-cells"), ("evaluate", "new-cells"), ("predict", "models/mine")):
        found = bandbridge(command, "models/mine", "new-cells", "--out", read)
        assert found.code == 2 and "is read by this command" in found.err
        found = bandbridge(command, "models/mine", "new-cells", "--out", f"{read}/results")
        assert found.code == 2 and f"lies in {read}, which is read" in found.err
    found = bandbridge("review", "models/mine", "new-cells", "--work", "models/mine", "--no-browser")
    assert found.code == 2 and "is read by this command" in found.err


def test_a_model_without_hashes_and_an_unfinished_run_are_named(bandbridge, example_home, tmp_path, monkeypatch):
    monkeypatch.setattr("bandbridge.seal._named", set())
    model = shutil.copytree(example_home / "models" / "mine", tmp_path / "model")
    (model / "SHA256SUMS").unlink()
    found = bandbridge("predict", model, example_home / "new-cells", "--out", tmp_path / "out")
    assert found.code == 0 and "kept no hashes" in found.err
    run = next((example_home / "runs" / "q").glob("*/scratch/fold0-*"))
    run = shutil.copytree(run, tmp_path / "runs" / "q" / "test_resnet" / "scratch" / run.name)
    (run / "done.json").unlink()
    found = bandbridge("predict", run, example_home / "new-cells", "--out", tmp_path / "out")
    assert found.code == 0 and "is not finished, by its own account" in found.err


@pytest.fixture
def wards(small_study, tmp_path):
    """Two patients, a folder each, with two cells each."""
    cells = [one for one in sorted((small_study.path.parent / "q" / "images").iterdir()) if one.is_dir()]
    for place, cell in enumerate(cells):
        shutil.copytree(cell, tmp_path / "ward" / f"P{place // 2 + 1}" / cell.name)
    return tmp_path / "ward"


def test_a_folder_for_each_patient_gives_verdicts(bandbridge, wards, run, tmp_path):
    out = tmp_path / "out"
    for name in ("P3", "P4/letters", "P1/no cell"):
        (wards / name).mkdir(parents=True)
    result = bandbridge("predict", run, wards, "--patients", "--karyograms", "--out", out, "--device", "cpu")
    assert "warning: no image in 2 folders of patients: P3, P4" in result.err
    assert result.code == 0 and "2 patients" in result.out and "counts: " in result.out, result.err
    table = pd.read_csv(out / "patients.csv", keep_default_na=False)
    assert table["patient"].tolist() == ["P1", "P2"] and table["cells"].tolist() == [2, 2]
    page = (out / "patients.html").read_text(encoding="utf-8")
    cells = pd.read_csv(out / "cells.csv", keep_default_na=False)
    assert set(cells["offered"]) <= {"karyotype", "count"} and (cells["bands"] != "").all()
    for stem in (path.stem for path in (out / "karyograms").glob("*.html")):
        assert f'href="karyograms/{stem}.html"' in page
    assert "shown_by" in (out / "patient_findings.csv").read_text()


def test_a_table_says_whose_the_cells_are(bandbridge, small_study, run, tmp_path):
    images = small_study.path.parent / "q" / "images"
    cells = [one.name for one in sorted(images.iterdir()) if one.is_dir()]
    table = tmp_path / "patients.csv"
    table.write_text("cell,patient\n" + "".join(f"{cell},P9\n" for cell in cells[:3]))
    words = ("predict", run, images, "--patient-table", table, "--device", "cpu")
    result = bandbridge(*words, "--out", tmp_path / "out")
    assert result.code == 0 and "1 patient," in result.out, result.err
    assert pd.read_csv(tmp_path / "out" / "patients.csv")["cells"].tolist() == [3]
    table.write_text("cell,patient\nno such cell,P9\n")
    result = bandbridge(*words, "--out", tmp_path / "other")
    assert result.code == 2 and "no such cell" in result.err and not (tmp_path / "other").exists()


def test_where_nobody_says_whose_the_cells_are_it_asks(bandbridge, small_study, run, tmp_path, monkeypatch):
    images = small_study.path.parent / "q" / "images"
    monkeypatch.setattr("bandbridge.predict.ensemble.open_models", None)  # it is asked before any model is opened
    result = bandbridge("predict", run, images, "--patients", "--out", tmp_path / "out")
    assert result.code == 2 and "nothing says which cells are of one patient" in result.err
    result = bandbridge("predict", run, images, "--patients", "--no-cells", "--out", tmp_path / "out")
    assert result.code == 2 and "judged as wholes" in result.err


def test_results_under_codes_name_nobody(bandbridge, example_home, tmp_path, monkeypatch):
    monkeypatch.chdir(example_home)
    ward, out = tmp_path / "ward", tmp_path / "out"
    for place in sorted((example_home / "new-cells" / "images").iterdir()):
        for patient in ("Doe-Jane", "Roe-Jane"):
            shutil.copytree(place, ward / patient / f"slide-{place.name}")
    (ward / "Doe-Jane" / f"slide-{place.name}" / "torn.png").write_bytes(b"nothing")
    given = ("predict", "models/mine", ward, "--patients", "--karyograms", "--out", out)
    result = bandbridge(*given, "--de-identify")
    assert result.code == 2 and "torn.png" in result.err  # its owner is told by name what could not be read
    written = [path for path in out.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} >= {".csv", ".json", ".html", ".pdf", ".png"}
    for path in written:
        for name in ("Doe-Jane", "Roe-Jane", f"slide-{place.name}", place.name, "torn.png"):
            assert name not in str(path.relative_to(out)) and name.encode() not in path.read_bytes(), path
    assert "Doe" not in result.out and "patient-" in result.out
    kept = tmp_path / "out-codes"
    assert "Doe-Jane" in (kept / "codes.csv").read_text() and (kept / "codes.key").stat().st_mode & 0o077 == 0


def test_the_key_is_not_kept_with_what_is_passed_on(bandbridge, example_home, tmp_path, monkeypatch):
    monkeypatch.chdir(example_home)
    given = ("predict", "models/mine", "new-cells", "--out", tmp_path / "out")
    inside = bandbridge(*given, "--de-identify", "--codes", tmp_path / "out" / "keys")
    assert inside.code == 2 and "would be passed on" in inside.err and not (tmp_path / "out").exists()
    alone = bandbridge(*given, "--codes", tmp_path / "keys")
    assert alone.code == 2 and "--de-identify" in alone.err


def test_all_cells_may_be_of_one_patient_by_name(bandbridge, example_home, tmp_path, monkeypatch):
    monkeypatch.chdir(example_home)
    given = ("predict", "models/mine", "new-cells", "--out", tmp_path / "out")
    result = bandbridge(*given, "--patient", "P7")
    assert result.code == 0 and "1 patient," in result.out
    assert pd.read_csv(tmp_path / "out" / "patients.csv")[["patient", "cells"]].values.tolist() == [["P7", 2]]
    for wrong, said in ((("--patient", " "), "no name"), (("--patient", "P", "--patient-table", "x"), "Give one of")):
        refused = bandbridge(*given, *wrong)
        assert refused.code == 2 and said in refused.err


def test_what_a_model_of_drawn_cells_sorted_says_so_wherever_it_goes(bandbridge, example_home, tmp_path, monkeypatch):
    monkeypatch.chdir(example_home)
    said = "Sorted by a model that has seen drawn chromosomes alone."
    assert bandbridge("predict", "box:Q", "new-cells", "--out", tmp_path, "--karyograms").code == 0
    assert pd.read_csv(tmp_path / "cells.csv", keep_default_na=False)["remark"].tolist() == [said] * 2
    for page in (tmp_path / "karyograms").glob("*.html"):
        assert f"<b>Research use only. Not a medical device. {said}</b>" in page.read_text(encoding="utf-8")
        paper = pypdfium2.PdfDocument(page.with_suffix(".pdf").read_bytes())
        assert said in paper[0].get_textpage().get_text_bounded()


def test_who_is_judged_with_whom_is_said(bandbridge, example_home, tmp_path, monkeypatch):
    monkeypatch.chdir(example_home)
    first, second = sorted((example_home / "new-cells" / "images").iterdir())

    def predict(place, *options):
        return bandbridge("predict", "models/mine", tmp_path / place, "--out", tmp_path / "out", *options)

    def judged():
        return pd.read_csv(tmp_path / "out" / "patients.csv", dtype=str)[["patient", "cells"]].to_numpy().tolist()

    shutil.copytree(first, tmp_path / "one" / "P7" / "cell 1")
    shutil.copytree(second, tmp_path / "one" / "P7" / "cell 2")
    alone = predict("one", "--patients")
    assert alone.code == 0 and "of one patient, P7" in alone.err and judged() == [["P7", "2"]]
    shutil.copytree(first, tmp_path / "mixed" / "P1" / "cell 1")
    shutil.copytree(second, tmp_path / "mixed" / "lone")
    mixed = predict("mixed", "--patients")
    assert mixed.code == 0 and "in no verdict: 1 of the cells: lone" in mixed.err and judged() == [["P1", "1"]]
    table = pd.read_csv(tmp_path / "out" / "cells.csv", keep_default_na=False).set_index("cell")["patient"]
    assert table.to_dict() == {"P1/cell 1": "P1", "lone": ""}
    together = predict("mixed", "--patient", "Mu\u0308ller")
    assert "judged as those of M\u00fcller, and the images name P1" in together.err and judged() == [
        ["M\u00fcller", "2"]
    ]
    flat = predict("one/P7", "--patients")
    assert flat.code == 2 and "--patient NAME" in flat.err
    assert "--patients" in predict("one", "--acquired").err
    inside = predict("one", "--de-identify", "--codes", tmp_path / "one" / "keys")
    assert inside.code == 2 and "lies in" in inside.err and "which is read" in inside.err
