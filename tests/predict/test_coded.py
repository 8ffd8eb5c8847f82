"""Predictions under codes: the same answers, and no name anywhere."""

from __future__ import annotations

import pandas as pd
import pytest

from bandbridge.api.model import load_model
from bandbridge.codes import KEY, TABLE, Codes, read_names
from bandbridge.errors import UserError


@pytest.fixture
def predictions(example_home, monkeypatch):
    monkeypatch.chdir(example_home)
    return load_model("models/mine").predict("new-cells")


def whole(predictions, column):
    """The names in a column of the table, each with the patient's before it."""
    table, whose = predictions.table(), predictions._classified.patients
    return [f"{whose[cell]}/{name}" for cell, name in zip(table["cell"], table[column], strict=True)]


def test_names_alone_are_changed_and_the_table_leads_back(predictions, tmp_path):
    coded = predictions.de_identified(tmp_path / "keys")
    names, plain, said = read_names(tmp_path / "keys" / TABLE), predictions.table(), coded.table()
    assert said["cell"].is_monotonic_increasing  # the order of the names would tell of them
    said = said.set_index(said["file"].map(names)).loc[whole(predictions, "file")].reset_index(drop=True)
    assert said["cell"].map(names).tolist() == whole(predictions, "cell")
    others = plain.columns.difference(["file", "cell"])
    pd.testing.assert_frame_equal(said[others], plain[others])
    assert set(coded.cells()["cell"].map(names)) == set(whole(predictions, "cell"))


def test_a_name_keeps_its_code_for_as_long_as_its_key_is_there(predictions, tmp_path):
    first = predictions.de_identified(tmp_path / "keys").table()["file"].tolist()
    assert predictions.de_identified(tmp_path / "keys").table()["file"].tolist() == first
    key = bytes.fromhex((tmp_path / "keys" / KEY).read_text().strip())
    assert set(first) == {Codes(key).code("file", name) for name in whole(predictions, "file")}
    assert predictions.de_identified(tmp_path / "others").table()["file"].tolist() != first


def test_a_key_that_is_gone_is_asked_for(predictions, tmp_path):
    predictions.de_identified(tmp_path)
    (tmp_path / KEY).unlink()
    with pytest.raises(UserError, match="is gone") as refused:
        predictions.de_identified(tmp_path)
    assert "copy" in refused.value.remedy and not (tmp_path / KEY).exists()


def test_patients_are_judged_alike_under_codes(predictions, tmp_path):
    cells = predictions.cells()["cell"].tolist()
    codes = predictions.de_identified(tmp_path).cells()["cell"].tolist()
    plain = predictions.patients(dict.fromkeys(cells, "Doe, Jane")).table()
    said = predictions.de_identified(tmp_path).patients(dict.fromkeys(codes, "P")).table()
    assert plain.drop(columns=["patient", "excluded"]).equals(said.drop(columns=["patient", "excluded"]))
