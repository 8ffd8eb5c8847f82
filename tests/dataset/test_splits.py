"""Splits: no overlap, no divided group, classes in equal shares, and files that notice a change."""

import json

import numpy as np
import pandas as pd
import pytest

from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.splits import check_split, make_split, read_split, strictest_scheme, write_split
from bandbridge.errors import ManyErrors, UserError
from bandbridge.karyotype import CLASSES


def cells(count: int, per_patient: int = 2) -> pd.DataFrame:
    rows = [
        {
            "file_name": f"{cell:03}/{label}{copy}.png",
            "label": label,
            "cell": f"c{cell}",
            "patient": f"p{cell // per_patient}",
        }
        for cell in range(count)
        for label in CLASSES[:22]
        for copy in "ab"
    ]
    return pd.DataFrame(rows)


def test_image_folds_hold_equal_shares_of_every_class():
    samples = cells(25)
    split = make_split(samples, "image", 5, seed=0)
    counts = pd.crosstab(samples["label"], split.assignment)
    assert (counts == 10).all(axis=None)


@pytest.mark.parametrize("scheme", ["cell", "patient"])
def test_groups_stay_whole_and_folds_are_balanced(scheme):
    samples = cells(40)
    split = make_split(samples, scheme, 5, seed=3)
    assert pd.crosstab(samples[scheme], split.assignment).gt(0).sum(axis=1).eq(1).all()
    assert np.bincount(split.assignment).tolist() == [352] * 5
    for fold in range(5):
        training, held_out = split.rows(fold)
        assert not set(samples[scheme].iloc[training]) & set(samples[scheme].iloc[held_out])
        assert len(training) + len(held_out) == len(samples)


def test_training_on_all_rows_holds_nothing_out():
    training, held_out = make_split(cells(5), "image", 5, seed=0).rows(None)
    assert len(training) == 5 * 44 and len(held_out) == 0


def test_the_split_depends_on_the_seed_not_on_the_order_of_rows():
    samples = cells(10)
    split = make_split(samples, "image", 5, seed=0)
    shuffled = samples.sample(frac=1, random_state=0).reset_index(drop=True)
    again = make_split(shuffled, "image", 5, seed=0)
    assert again.hash == split.hash
    assert dict(zip(again.file_names, again.assignment, strict=True)) == dict(
        zip(split.file_names, split.assignment, strict=True)
    )
    assert make_split(samples, "image", 5, seed=1).hash != split.hash


def test_a_split_survives_its_file(tmp_path):
    samples = cells(10)
    split = make_split(samples, "cell", 5, seed=0)
    write_split(split, tmp_path / "split.json")
    back = read_split(tmp_path / "split.json", samples)
    assert back.hash == split.hash and (back.assignment == split.assignment).all()


def test_an_edited_split_file_is_refused(tmp_path):
    samples, path = cells(10), tmp_path / "split.json"
    write_split(make_split(samples, "image", 5, seed=0), path)
    value = json.loads(path.read_text())
    first = next(iter(value["assignment"]))
    value["assignment"][first] = (value["assignment"][first] + 1) % 5
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="hash"):
        read_split(path, samples)


def test_a_split_of_another_dataset_is_refused(tmp_path):
    path = tmp_path / "split.json"
    write_split(make_split(cells(10), "image", 5, seed=0), path)
    with pytest.raises(ManyErrors, match="not in the split"):
        read_split(path, cells(11))


def test_a_divided_group_is_found():
    samples = cells(10)
    split = make_split(samples, "image", 5, seed=0)
    with pytest.raises(ManyErrors, match="cell c0 is in 5 folds"):
        check_split(type(split)("cell", 5, 0, split.file_names, split.assignment), samples)


def test_unknown_groups_and_too_few_groups_are_refused():
    samples = cells(4)
    with pytest.raises(UserError, match="5 folds need at least 5 cells"):
        make_split(samples, "cell", 5, seed=0)
    samples.loc[0, "patient"] = ""
    with pytest.raises(UserError, match="patient of every image"):
        make_split(samples, "patient", 2, seed=0)
    assert strictest_scheme(samples) == "cell"
    assert strictest_scheme(cells(4)) == "patient"


@pytest.mark.real_data
def test_real_cells_are_never_divided(real_data):
    samples = open_dataset(real_data / "bioimlab.zip").samples
    split = make_split(samples, "cell", 5, seed=0)
    assert pd.crosstab(samples["cell"], split.assignment).gt(0).sum(axis=1).eq(1).all()
    sizes = np.bincount(split.assignment)
    assert sizes.min() > 0.9 * sizes.max()
