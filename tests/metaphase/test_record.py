"""A folder that metaphases were cut into is known by its own record, and by nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bandbridge.errors import UserError
from bandbridge.metaphase.intake import shows_many
from bandbridge.metaphase.record import cells_in, is_cut, patients_in


def test_known_by_its_record_alone(tmp_path) -> None:
    (tmp_path / "fields" / "one").mkdir(parents=True)
    (tmp_path / "images").mkdir()
    assert not is_cut(tmp_path) and cells_in(tmp_path) == tmp_path
    record = tmp_path / "fields" / "one" / "cut.json"
    record.write_text("no json")
    assert not is_cut(tmp_path)
    record.write_text(json.dumps({"kind": "another program"}))
    assert not is_cut(tmp_path)
    record.write_text(json.dumps({"kind": "bandbridge cut"}))
    assert is_cut(tmp_path) and cells_in(tmp_path) == tmp_path / "images"
    (tmp_path / "images").rmdir()
    with pytest.raises(UserError, match="no cell was found"):
        cells_in(tmp_path)


def test_a_field_is_told_from_a_crop(clean_g, clean_q) -> None:
    assert shows_many(clean_g.gray) and shows_many(clean_q.gray)
    one = np.full((400, 400), 255, np.uint8)
    one[60:340, 150:250] = 70
    assert not shows_many(one)
    assert not shows_many(clean_g.gray[:250, :250])


def test_a_folder_of_fields_is_a_patient_where_there_are_several(tmp_path) -> None:
    def record(name: str, field: str, *cells: str) -> None:
        place = tmp_path / "fields" / name / "cut.json"
        place.parent.mkdir(parents=True)
        told = {"kind": "bandbridge cut", "field": field, "found": {"cells": dict.fromkeys(cells, 46)}}
        place.write_text(json.dumps(told))

    assert patients_in(tmp_path) == {}
    record("a", "ward/P1/a.png", "a", "a-2")
    assert patients_in(tmp_path) == {}  # of one patient alone nobody can tell the folder from any other
    record("b", "ward/P2/b.png", "b")
    record("c", "ward/P2/c.png")
    assert patients_in(tmp_path) == {"a": "P1", "a-2": "P1", "b": "P2"}
