"""Synthetic cells: the same for the same arguments, shaped like the table says, labelled as they look."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bandbridge.dataset.ideogram import chromosome_length, load_ideogram
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.karyotype import AUTOSOMES, CLASSES
from bandbridge.synthetic import sets
from bandbridge.synthetic.cells import CELLS_PER_PATIENT, draw_cell, karyotype
from bandbridge.synthetic.look import NEUTRAL, Drawing, Look, usual_look
from bandbridge.synthetic.sets import write_synthetic_set


def tree_hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


# --- the pictures


@pytest.mark.parametrize("stain", ["Q", "G"])
def test_same_arguments_same_pixels_and_any_other_argument_others(stain: str) -> None:
    one, again = (draw_cell(stain, 3, 1) for _ in range(2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, again, strict=True))
    for other in (draw_cell(stain, 4, 1), draw_cell(stain, 3, 2), draw_cell(stain, 3, 1, Drawing(grain=0.5))):
        assert not any(np.array_equal(a.image, b.image) for a, b in zip(one[:44], other[:44], strict=True))


def test_a_cell_has_46_chromosomes_and_a_patient_one_sex() -> None:
    sexes = []
    for cell in range(8 * CELLS_PER_PATIENT):
        drawn = karyotype("G", 0, cell)
        assert len(drawn) == len(set(drawn)) == 46
        assert drawn[:44] == [(label, copy) for label in AUTOSOMES for copy in "ab"]
        sexes.append(tuple(drawn[44:]))
    assert set(sexes) == {(("X", "a"), ("X", "b")), (("X", "a"), ("Y", "a"))}
    assert all(len(set(sexes[k : k + CELLS_PER_PATIENT])) == 1 for k in range(0, len(sexes), CELLS_PER_PATIENT))


@pytest.mark.parametrize(("stain", "ground"), [("Q", 0), ("G", 255)])
def test_crops_look_like_crops(stain: str, ground: int) -> None:
    """The real sets' crops are 13 to 163 pixels a side; most of a crop's border is plain ground."""
    drawn = draw_cell(stain, 0, 0)
    for chromosome in drawn:
        image = chromosome.image
        assert image.dtype == np.uint8 and image.ndim == 2
        assert min(image.shape) > 10 and max(image.shape) < 200
        assert 0.1 < np.mean(np.abs(image.astype(int) - ground) > 25) < 0.95
    corners = np.concatenate([[c.image[0, 0], c.image[0, -1], c.image[-1, 0], c.image[-1, -1]] for c in drawn])
    assert np.median(corners) == ground


@pytest.mark.parametrize("stain", ["Q", "G"])
def test_longer_chromosomes_are_drawn_longer(stain: str) -> None:
    cells = [draw_cell(stain, 1, cell, Drawing(tilt=0, bend=0, neighbours=0)) for cell in range(6)]
    heights = {
        label: np.mean([c.image.shape[0] for cell in cells for c in cell if c.label == label]) for label in AUTOSOMES
    }
    lengths = [chromosome_length(label) for label in AUTOSOMES]
    assert np.corrcoef(lengths, [heights[label] for label in AUTOSOMES])[0, 1] > 0.98
    assert heights["1"] > heights["7"] > heights["13"] > heights["21"]


def axis_profile(image: np.ndarray, ground: int) -> np.ndarray:
    """Mean gray of the chromosome's central columns, its rows resampled to 200, the rounded ends left out."""
    rows = np.flatnonzero((np.abs(image.astype(int) - ground) > 15).any(axis=1))
    middle = image.shape[1] // 2
    gray = image[rows[0] : rows[-1] + 1, middle - 2 : middle + 3].mean(axis=1)
    return np.interp(np.linspace(0.06, 0.94, 200), np.linspace(0, 1, gray.size), gray)


def table_profile(label: str) -> np.ndarray:
    """Darkness in G along the axis straight from the table: 0 for gneg, density for gpos, NaN elsewhere."""
    bands = load_ideogram()[label]
    kinds = {"gneg": 0.0, "gpos25": 25.0, "gpos50": 50.0, "gpos75": 75.0, "gpos100": 100.0}
    at = np.linspace(0.06, 0.94, 200) * bands[-1].stop
    return np.array([next(kinds.get(b.stain, np.nan) for b in bands if b.start <= place <= b.stop) for place in at])


def test_bands_lie_where_the_table_says_and_q_is_gs_complement() -> None:
    straight = Drawing(**{**vars(NEUTRAL), "blur": 0.3, "length": 2.0})

    def plain(stain: str) -> Look:
        """The usual look where bands of one kind take the same everywhere."""
        even = {"pale": (1e-6, 0.0), "rich": (1e-6, 0.0), "ends": (1e-6, 0.0), "contrast": (1.0, 0.0)}
        return Look(knobs={**usual_look(stain).knobs, **even})

    q, g = (
        {c.label: axis_profile(c.image, ground) for c in draw_cell(stain, 0, 0, straight, plain(stain))}
        for stain, ground in (("Q", 0), ("G", 255))
    )
    complement, in_q, in_g = [], [], []
    for label in AUTOSOMES:
        table = table_profile(label)
        known = ~np.isnan(table)
        complement.append(np.corrcoef(q[label][known], g[label][known])[0, 1])
        in_q.append(np.corrcoef(table[known], q[label][known])[0, 1])
        in_g.append(np.corrcoef(table[known], g[label][known])[0, 1])
    assert max(complement) < -0.7 and np.median(complement) < -0.9
    assert min(in_q) > 0.7 and max(in_g) < -0.8


def test_neutral_knobs_draw_the_plain_ideogram() -> None:
    one, other = (draw_cell("G", seed, seed, NEUTRAL) for seed in (0, 5))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one[:44], other[:44], strict=True))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one[0:44:2], one[1:44:2], strict=True))
    chromosome = one[0].image.astype(int)
    assert np.abs(chromosome - chromosome[:, ::-1]).max() <= 1, "upright and symmetric"


def test_inverted_and_neighbours_are_probabilities() -> None:
    upright = draw_cell("G", 0, 0, NEUTRAL)
    inverted = draw_cell("G", 0, 0, Drawing(**{**vars(NEUTRAL), "inverted": 1.0}))
    worst = [np.abs(a.image.astype(int) - b.image[::-1, ::-1]).mean() for a, b in zip(upright, inverted, strict=True)]
    assert max(worst) < 3
    crowded = draw_cell("G", 0, 0, Drawing(**{**vars(NEUTRAL), "neighbours": 1.0}))
    sides = np.array([(c.image[:, [0, -1]] < 200).any() for c in crowded])
    assert not any((c.image[:, [0, -1]] < 200).any() for c in upright)
    assert sides.mean() > 0.9


@pytest.mark.parametrize("stain", ["Q", "G"])
def test_labels_match_the_pictures(stain: str) -> None:
    """Nearest mean image over other patients' cells, on crops squeezed to 32 x 12: chance is 1 in 24."""

    def features(cell: int) -> tuple[np.ndarray, list[str]]:
        drawn = draw_cell(stain, 7, cell, Drawing(tilt=0, bend=0.5, inverted=0))
        small = []
        for chromosome in drawn:
            gray = np.abs(chromosome.image.astype(np.float32) - (0 if stain == "Q" else 255))
            row = np.asarray(Image.fromarray(gray).resize((12, 32), Image.Resampling.BOX)).ravel()
            small.append(np.append((row - row.mean()) / row.std(), chromosome.image.shape[0] / 4))
        table = np.array(small)
        table[:, -1] *= 10 / table[:, -1].mean()
        return table, [c.label for c in drawn]

    seen = [features(cell) for cell in range(9)]
    x, y = np.concatenate([s[0] for s in seen]), np.array([label for s in seen for label in s[1]])
    present = [label for label in CLASSES if label in y]
    means = np.array([x[y == label].mean(axis=0) for label in present])
    held_out = [features(cell) for cell in range(9, 13)]
    x, y = np.concatenate([s[0] for s in held_out]), np.array([label for s in held_out for label in s[1]])
    nearest = ((x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    accuracy = np.mean(np.array(present)[nearest] == y)
    assert accuracy > 0.4


# --- the set


def test_a_set_is_an_imagefolder_whose_metadata_fits_its_images(tmp_path: Path) -> None:
    folder = write_synthetic_set(tmp_path / "set", "Q", 4, 2)
    rows = read_rows(folder)
    assert list(rows[0]) == ["file_name", "label", "cell", "patient", "copy", "stain", "source"]
    assert {row["file_name"] for row in rows} == {str(p.relative_to(folder)) for p in folder.rglob("*.png")}
    assert len(rows) == 4 * 46 and {row["stain"] for row in rows} == {"Q"}
    assert {row["source"] for row in rows} == {"Bandbridge synthetic Q-band"}
    patients = {row["cell"]: row["patient"] for row in rows}
    assert [list(patients.values()).count(patient) for patient in sorted(set(patients.values()))] == [3, 1]
    for cell, name in enumerate(patients):
        for drawn in draw_cell("Q", 2, cell):
            written = np.asarray(Image.open(folder / "images" / name / f"{drawn.label}{drawn.copy}.png"))
            assert written.dtype == np.uint8 and np.array_equal(written, drawn.image)
    assert all(row["file_name"] == f"images/{row['cell']}/{row['label']}{row['copy']}.png" for row in rows)


def test_a_longer_set_begins_with_the_shorter(tmp_path: Path) -> None:
    short, longer = (tree_hashes(write_synthetic_set(tmp_path / str(n), "G", n, 9) / "images") for n in (2, 5))
    assert len(short) == 92 and short.items() <= longer.items()
    assert read_rows(tmp_path / "2") == read_rows(tmp_path / "5")[:92]


def test_a_stopped_set_resumes_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tree_hashes(write_synthetic_set(tmp_path / "whole", "G", 3, 0))
    drawn: list[int] = []
    genuine = sets.draw_cell

    def stops_at_the_third(stain: str, seed: int, cell: int, drawing: Drawing, look: object) -> object:
        if cell == 2 and not drawn.count(2):
            drawn.append(cell)
            raise KeyboardInterrupt
        drawn.append(cell)
        return genuine(stain, seed, cell, drawing, look)

    monkeypatch.setattr(sets, "draw_cell", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic_set(tmp_path / "stopped", "G", 3, 0)
    assert not (tmp_path / "stopped" / "metadata.csv").exists()
    (tmp_path / "stopped" / "images" / "synthetic-g0002" / "7a.png").write_bytes(b"")
    write_synthetic_set(tmp_path / "stopped", "G", 3, 0)
    assert tree_hashes(tmp_path / "stopped") == whole
    assert drawn == [0, 1, 2, 1, 2], "whole cells are kept, damaged ones drawn again"
    write_synthetic_set(tmp_path / "stopped", "G", 3, 0)
    assert drawn == [0, 1, 2, 1, 2]


def test_a_destination_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    before = tree_hashes(tmp_path)
    with pytest.raises(UserError, match=r"is not empty and holds no synthetic\.json"):
        write_synthetic_set(tmp_path, "Q", 1, 0)
    with pytest.raises(UserError, match=r"notes\.txt is a file"):
        write_synthetic_set(tmp_path / "notes.txt", "Q", 1, 0)
    assert tree_hashes(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed is 0, not 1"),
        ({"cells": 2}, "cells is 1, not 2"),
        ({"stain": "G"}, "stain is Q, not G"),
        ({"drawing": Drawing(blur=2)}, "drawing is"),
    ],
)
def test_a_set_with_other_parameters_is_refused(tmp_path: Path, change: dict[str, object], named: str) -> None:
    arguments = {"stain": "Q", "cells": 1, "seed": 0}
    write_synthetic_set(tmp_path / "set", **arguments)
    before = tree_hashes(tmp_path)
    with pytest.raises(UserError, match=named):
        write_synthetic_set(tmp_path / "set", **(arguments | change))
    assert tree_hashes(tmp_path) == before


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"kind": "other"})])
def test_a_damaged_parameter_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "synthetic.json").write_text(content)
    with pytest.raises(UserError, match=r"synthetic\.json|differs"):
        write_synthetic_set(tmp_path, "Q", 1, 0)


def test_bad_arguments_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for stain, cells, seed, message in (
        ("R", 1, 0, "stain"),
        ("Q", 0, 0, "cells is 0"),
        ("Q", 1, -1, "seed is -1"),
    ):
        with pytest.raises(UserError, match=message):
            write_synthetic_set(tmp_path / "set", stain, cells, seed)
    with pytest.raises(UserError, match="cell is -2"):
        draw_cell("Q", 0, -2)
    with pytest.raises(UserError, match=r"(?s)blur is -1.*neighbours is 1\.5.*"):
        Drawing(blur=-1, neighbours=1.5)
    with pytest.raises(UserError, match="noise is nan"):
        Drawing(noise=float("nan"))
    assert not (tmp_path / "set").exists()


def test_a_failing_disk_is_an_environment_fault_naming_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(EnvironmentFault, match=r"synthetic-q0001: No space left"):
        write_synthetic_set(tmp_path / "set", "Q", 1, 0)
    assert {path.name for path in (tmp_path / "set").rglob("*")} == {"synthetic.json", "images"}
