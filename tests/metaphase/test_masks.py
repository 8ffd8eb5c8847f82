"""Sheets and metaphases of the same cells: which belong together, and masks whose truth is where they were laid."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.sheets.drawn import Style, draw_sheet

from bandbridge.errors import ManyErrors, UserError
from bandbridge.metaphase import masks
from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.intake import FieldFile
from bandbridge.metaphase.masks import pair_up
from bandbridge.sheets.records import Record
from bandbridge.sheets.tables import read_pairs


def record(sheet: str, cell: str, state: str = "imported") -> Record:
    return Record(sheet=sheet, cell=cell, asked="", state=state)  # type: ignore[arg-type]


def test_pairs_are_found_by_name_or_by_a_table(tmp_path) -> None:
    sheets = [record("a/one.png", "a-one"), record("b.png", "b"), record("c.png", "c", "to check")]
    fields = [FieldFile(name, name.rpartition(".")[0], bytes) for name in ("one.tif", "c.tif", "x7.tif")]
    found = pair_up(sheets, fields)
    assert [(sheet.cell, field.name) for sheet, field in found] == [("a-one", "one.tif")]
    (tmp_path / "pairs.csv").write_text("sheet,metaphase\nb.png,x7.tif\nc.png,c.tif\n")
    told = pair_up(sheets, fields, read_pairs(tmp_path / "pairs.csv"))
    assert [(sheet.cell, field.name) for sheet, field in told] == [("b", "x7.tif")]
    with pytest.raises(UserError, match="belong together") as none:
        pair_up(sheets[1:2], fields)
    assert "--pairs" in none.value.remedy
    (tmp_path / "twice.csv").write_text("sheet,metaphase\nb.png,x7.tif\nc.png,x7.tif\n")
    with pytest.raises(ManyErrors) as twice:
        read_pairs(tmp_path / "twice.csv")
    assert list(twice.value.problems) == ["row 3: x7.tif is named already"]


def laid_out(style: Style) -> tuple[np.ndarray, np.ndarray, list[tuple[str, tuple[int, int]]]]:
    """A sheet, a field on which its chromosomes lie apart, turned anyhow, and the label and middle of each."""
    drawn, rng = draw_sheet(style), np.random.default_rng(2)
    side, across = 150, 8
    field = np.full((side * 6, side * across), 235, np.uint8)
    places = []
    for spot, (label, (top, left, bottom, right)) in zip(rng.permutation(48), drawn.truth, strict=False):
        picture = Image.fromarray(drawn.gray[top:bottom, left:right])
        size = (round(picture.width * 0.75), round(picture.height * 0.75))
        turned = picture.resize(size).rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC, expand=True, fillcolor=255)
        values = np.minimum(np.asarray(turned), 235)
        y, x = (spot // across) * side + 8, (spot % across) * side + 8
        field[y : y + values.shape[0], x : x + values.shape[1]] = values
        places.append((label, (y + values.shape[0] // 2, x + values.shape[1] // 2)))
    return drawn.picture, field, places


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_where_chromosomes_lie_far_apart_the_small_ones_are_found_too(seed) -> None:
    """Each of them in a piece of its own: a scale too small by three tenths leaves out a quarter to a half of them."""
    _, field, places = laid_out(Style(seed=seed))
    pieces = cut_field(field).masks()
    alone = [mask for mask in pieces if sum(bool(mask[spot]) for _, spot in places) == 1]
    assert len(alone) >= 42 and len(pieces) <= 47


def test_masks_lie_where_the_chromosomes_were_laid(bandbridge, tmp_path, monkeypatch) -> None:
    sheet, field, places = laid_out(Style())
    for folder, picture in (("sheets", sheet), ("fields", field)):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture).save(tmp_path / folder / "cell 1.png")
    command = ("data", "import", "karyogram", tmp_path / "sheets", tmp_path / "set")
    result = bandbridge(*command, "--metaphase", tmp_path / "fields")
    assert result.code == 0 and "chromosomes found again on cell 1.png" in result.err, result.err
    (cell,) = (tmp_path / "set" / "fields").iterdir()
    first = np.asarray(Image.open(cell / "mask.png"))
    table = pd.read_csv(cell / "classes.csv", dtype={"class": str})
    assert first.dtype == np.uint16 and set(table["number"]) == set(np.unique(first)) - {0}
    at = {(label, first[spot]) for label, spot in places if first[spot]}
    right = sum((row["class"], row["number"]) in at for row in table.to_dict("records"))
    assert len(table) >= 40 and right >= 0.9 * len(table)
    assert all((tmp_path / "set" / name).is_file() for name in table["file_name"])
    assert "cell 1.png" not in json.dumps((cell / "masks.json").read_text())
    monkeypatch.setattr(masks, "cut_field", lambda *_: pytest.fail("done again"))
    again = bandbridge(*command, "--metaphase", tmp_path / "fields")
    assert f"cell 1.png: {len(table)} of 46 chromosomes found again" in again.err
    Image.fromarray(np.full((300, 300), 255, np.uint8)).save(tmp_path / "fields" / "cell 1.png")
    monkeypatch.undo()
    blank = bandbridge(*command, "--metaphase", tmp_path / "fields")
    assert blank.code == 1 and "masks of an earlier metaphase of it stay in fields/cell_1" in blank.err
    assert (cell / "mask.png").is_file()
    (cell / "masks.json").write_text("{}")
    again = bandbridge(*command, "--metaphase", tmp_path / "fields")
    assert "stay in" not in again.err and not cell.exists(), "of crops that are known no more"
    checked = bandbridge("data", "check", tmp_path / "set")
    assert checked.code in (0, 1), checked.err


def test_a_table_of_pairs_without_metaphases_is_refused(bandbridge, tmp_path) -> None:
    wrong = bandbridge("data", "import", "karyogram", tmp_path, tmp_path / "set", "--pairs", tmp_path / "p.csv")
    assert wrong.code == 2 and "--metaphase" in wrong.err


def test_of_another_cells_metaphase_no_masks_are_written_and_what_is_left_over_is_told(bandbridge, tmp_path) -> None:
    sheet, _, _ = laid_out(Style())
    _, other, _ = laid_out(Style(seed=6))
    for folder, picture in (("sheets", sheet), ("fields", other)):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture).save(tmp_path / folder / "cell 1.png")
    Image.fromarray(other[::-1]).save(tmp_path / "fields" / "cell 2.png")
    command = ("data", "import", "karyogram", tmp_path / "sheets", tmp_path / "set", "--metaphase", tmp_path / "fields")
    table = tmp_path / "pairs.csv"
    table.write_text("sheet,metaphase\ncell 1.png,cell 9.png\n")
    refused = bandbridge(*command, "--pairs", table)
    assert refused.code == 2 and "cell 9.png" in refused.err and not (tmp_path / "set").exists()
    table.write_text("sheet,metaphase\ncell 7.png,cell 2.png\n")
    refused = bandbridge(*command, "--pairs", table)
    assert refused.code == 2 and "there is no sheet 'cell 7.png'" in refused.err and not (tmp_path / "set").exists()
    result = bandbridge(*command)
    assert result.code == 1 and "no masks on cell 1.png: it shows none of the chromosomes" in result.err, result.err
    assert "1 metaphase without a sheet that was imported: cell 2.png" in result.err
    assert not (tmp_path / "set" / "fields").exists() and "46 images of 1 sheet" in result.out
