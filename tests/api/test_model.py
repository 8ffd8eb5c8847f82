"""A model as a value: what it says equals what the command line writes, whatever the images come as."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.finished import unseal

import bandbridge as bb
from bandbridge.progress import Step
from bandbridge.seal import read_sealed


@pytest.fixture(scope="session")
def model(example_home: Path) -> bb.Model:
    return bb.load_model(example_home / "models" / "mine", device="cpu")


@pytest.fixture(scope="session")
def result(model: bb.Model, example_home: Path) -> bb.Predictions:
    return model.predict(str(example_home / "new-cells"))


def test_predictions_are_those_that_the_command_writes(
    result: bb.Predictions, example_home: Path, tmp_path: Path, bandbridge
) -> None:
    arguments = (example_home / "models" / "mine", example_home / "new-cells", "--out", tmp_path / "cli")
    done = bandbridge("predict", *arguments, "--karyograms", "--device", "cpu")
    assert done.code == 0
    result.save(tmp_path / "python", karyograms=True)
    written = sorted(path.relative_to(tmp_path / "cli") for path in (tmp_path / "cli").rglob("*.*"))
    assert len(written) == 3 + 2 * 3, "two tables, JSON, and three files for each of two cells"
    for name in written:
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "cli" / name).read_bytes(), name


def test_what_a_model_was_trained_on_is_read_once(example_home: Path, tmp_path: Path, bandbridge, monkeypatch) -> None:
    read: list[str] = []

    def counted(path: Path, *options: object) -> object:
        read.append(path.name)
        return read_sealed(path, *options)

    monkeypatch.setattr("bandbridge.predict.trained_on.read_sealed", counted)
    given = (example_home / "models" / "mine", example_home / "new-cells", "--out", tmp_path / "out")
    assert bandbridge("predict", *given, "--device", "cpu").code == 0
    assert read == ["training.json"]
    opened = bb.load_model(["box:Q", "box:G"])
    assert read == ["training.json"] * 3
    notes = opened.notes()
    assert "trained on drawn chromosomes alone" in notes[0] and "different stains, G and Q" in notes[1]
    assert opened.ensemble.remark == "Sorted by a model that has seen drawn chromosomes alone."
    assert read == ["training.json"] * 3


def test_tables_cells_and_flags_agree_with_each_other(result: bb.Predictions) -> None:
    table = result.table()
    assert len(result) == len(table) == 92 and result.cells()["chromosomes"].sum() == 92
    pd.testing.assert_frame_equal(result.flagged, table.loc[table["flag"] == "yes"].reset_index(drop=True))
    table["file"] = ""
    assert (result.table()["file"] != "").all(), "a table that is handed out is nobody else's"
    assert json.loads(result.as_json())[0]["file"] == result.table()["file"][0]


def test_a_model_without_a_known_error_says_that_its_probabilities_were_learned_from_none(model: bb.Model) -> None:
    assert not any("errors will come" in line for line in model.notes())
    flawless = model.ensemble.confidence.model_copy(update={"accuracy": 1.0})
    told = bb.Model(replace(model.ensemble, confidences=(flawless,)), model.folders).notes()
    assert f"none of these {flawless.images} images of {flawless.groups} patients was named wrongly" in told[-1]


def test_a_karyogram_is_asked_for_by_the_name_of_its_cell(result: bb.Predictions, model: bb.Model) -> None:
    assert result.karyogram("synthetic-q0002", width=560).size[0] == 560
    with pytest.raises(bb.UserError, match="no cell is called 'x'"):
        result.karyogram("x")
    with pytest.raises(bb.UserError, match="several cells"):
        result.karyogram()
    cells = bb.draw_cells("Q", 1, seed=4)
    assert model.predict(cells).karyogram(width=560).size[0] == 560
    with pytest.raises(bb.UserError, match="not kept"):
        model.predict(cells, keep_images=False).karyogram()


def test_images_in_memory_are_judged_as_their_files(
    model: bb.Model, result: bb.Predictions, example_home: Path
) -> None:
    folder = example_home / "new-cells" / "images" / "synthetic-q0001"
    files = sorted(folder.iterdir())
    arrays = [np.array(Image.open(file)) for file in files]
    probabilities = [f"p_{name}" for name in model.classes]
    expected = result.table().set_index("file").loc[[f"images/synthetic-q0001/{file.name}" for file in files]]
    whole = model.predict({"synthetic-q0001": arrays}).table()
    np.testing.assert_allclose(whole[probabilities], expected[probabilities], atol=2e-6)  # rounded to six places
    assert whole["class"].tolist() == expected["class"].tolist(), "placed together, as the folder's cell is"
    assert not whole["reason"].str.contains("without scale").any()
    named = model.predict(folder)
    np.testing.assert_allclose(named.table()[probabilities], expected[probabilities], atol=2e-6)
    assert named.table()["class"].tolist() == expected["class"].tolist()
    assert named.cells()["cell"].tolist() == ["synthetic-q0001"], "the folder of one cell is that cell"
    alone = model.predict(files).table()
    assert alone["reason"].str.contains("without scale").all(), "a heap of images is no cell"
    for given in (arrays, [Image.fromarray(array) for array in arrays]):
        np.testing.assert_allclose(model.predict(given).table()[probabilities], alone[probabilities], atol=2e-6)


def test_a_list_of_models_is_one(model: bb.Model, example_home: Path, result: bb.Predictions) -> None:
    run = next((example_home / "runs" / "q").glob("*/domain/fold0-*"))
    pair = bb.load_model([example_home / "models" / "mine", run], device="cpu")
    other = bb.load_model(str(run), device="cpu")
    columns = [f"p_{name}" for name in model.classes]
    frames = [each.predict(example_home / "new-cells").table()[columns].to_numpy() for each in (pair, model, other)]
    np.testing.assert_allclose(frames[0], (frames[1] + frames[2]) / 2, atol=2e-6)
    assert re.fullmatch(r"Model\(.*mine and 1 more: 24 classes, .*\)", repr(pair))
    with pytest.raises(bb.UserError, match="no model is named"):
        bb.load_model([])


def test_an_exported_graph_answers_as_the_model_it_came_from(
    model: bb.Model, result: bb.Predictions, example_home: Path, tmp_path: Path, bandbridge
) -> None:
    pytest.importorskip("onnxruntime")
    done = bandbridge("export", example_home / "models" / "mine", "--out", tmp_path / "graph")
    assert done.code == 0
    for place in (tmp_path / "graph" / "model.onnx", tmp_path / "graph"):
        graph = bb.load_model(place)
        assert graph.classes == model.classes and graph.notes() == model.notes()
        found, expected = graph.predict(example_home / "new-cells").table(), result.table()
        pd.testing.assert_frame_equal(
            found.select_dtypes("number"), expected.select_dtypes("number"), atol=1e-4, rtol=0
        )
        assert (
            found["class"].tolist() == expected["class"].tolist()
            and found["flag"].tolist() == expected["flag"].tolist()
        )
    (tmp_path / "graph" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(bb.UserError, match=r"model\.onnx was altered"):
        bb.load_model(tmp_path / "graph")
    unseal(tmp_path / "graph")
    with pytest.raises(bb.UserError, match="cannot be opened"):
        bb.load_model(tmp_path / "graph")
    with pytest.raises(bb.UserError, match="does not exist"):
        bb.load_model(tmp_path / "other.onnx")


def test_nothing_is_printed_unless_asked_and_a_function_hears_every_step(model: bb.Model, capfd) -> None:
    from bandbridge import progress

    heard: list[Step] = []
    before, progress._listener = progress._listener, False
    try:
        model.predict(np.zeros((40, 20), np.uint8))
        assert capfd.readouterr() == ("", "")
        model.predict([np.zeros((40, 20), np.uint8)] * 3, progress=heard.append)
        assert capfd.readouterr() == ("", "")
    finally:
        progress._listener = before
    assert heard == [Step("classifying", 1, 1)]


def test_a_notebook_shows_karyograms_and_escapes_names(model: bb.Model, result: bb.Predictions) -> None:
    page = result._repr_html_()
    assert page.count("<img ") == 2 and "92 chromosomes of 2 cells" in page
    (image,) = re.findall(r'base64,([^"]+)"', page)[:1]
    import base64

    assert Image.open(io.BytesIO(base64.b64decode(image))).size[0] == 1120
    hostile = model.predict({"<script>x</script>": [np.zeros((30, 12), np.uint8)] * 12})._repr_html_()
    assert "<script>" not in hostile
    assert "<script>" not in bb.load_model(model.folders[0])._repr_html_()


def test_what_cannot_be_read_is_listed_and_the_rest_is_judged(model: bb.Model, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((40, 20), np.uint8)).save(tmp_path / "good.png")
    found = model.predict(tmp_path)
    assert [name for name, _ in found.refused] == ["bad.png"] and len(found) == 1
    assert repr(found).endswith("1 could not be read)")
    empty = model.predict([tmp_path / "bad.png"])
    assert len(empty) == 0 and len(empty.flagged) == 0 and empty._repr_html_()


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (None, {}, "None names no model"),
        ([3], {}, "names no model"),
        ("nowhere", {}, "nowhere does not exist"),
        ("models/mine", {"coverage": 2}, "coverage is 2, expected a share"),
        ("models/mine", {"wanted_error": "a"}, "wanted_error is 'a', expected a share"),
    ],
)
def test_what_names_no_model_and_no_share_is_a_mistake(
    models, settings, message: str, example_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(example_home)
    with pytest.raises(bb.UserError, match=message) as error:
        bb.load_model(models, **settings)
    assert error.value.remedy and "removed" not in error.value.remedy
