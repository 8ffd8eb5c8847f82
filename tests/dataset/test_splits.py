"""Splits: no overlap, no divided group, classes in equal shares, and files that notice a change."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from bandbridge.dataset import splits
from bandbridge.dataset.fold_notes import fold_sentences, untrained_classes
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


def patients_of(sizes, label=lambda patient, image: CLASSES[image % 22]):
    """Patients with so many images each."""
    rows = [
        {"file_name": f"{patient}/{image}.png", "label": label(patient, image), "cell": "", "patient": f"p{patient}"}
        for patient, size in enumerate(sizes)
        for image in range(size)
    ]
    return pd.DataFrame(rows)


def counted(*counts):
    """Patients with so many images of each class."""
    images = [[CLASSES[place] for place, count in enumerate(row) for _ in range(count)] for row in counts]
    return patients_of([len(row) for row in images], lambda patient, image: images[patient][image])


#: Sets that exist as folds, of which scikit-learn leaves a fold empty or refuses the whole.
HARD = {
    "five patients with hardly a class in common": counted(
        (0, 0, 8, 0, 0), (1, 0, 0, 0, 0), (0, 0, 0, 0, 9), (11, 0, 0, 0, 0), (0, 0, 0, 7, 0)
    ),
    "six patients with few classes in common": counted(
        *((6, 7, 0, 0, 4, 0), (0, 0, 0, 0, 4, 0), (0, 0, 0, 0, 8, 0), (0, 3, 6, 1, 0, 0), (0, 0, 0, 0, 0, 7)),
        (0, 0, 0, 1, 0, 0),
    ),
    "five patients, four tiny": patients_of([400, 30, 4, 3, 2]),
    "one patient has one class alone": patients_of(
        [60, 60, 60, 60, 9], lambda p, i: "Y" if p == 4 else CLASSES[i % 22]
    ),
    "every class has fewer images than folds": patients_of([3] * 7, lambda p, i: CLASSES[(3 * p + i) % 22]),
    "every class is one patient's": patients_of([10] * 5, lambda p, i: CLASSES[p]),
    "one image each": patients_of([1] * 5, lambda p, i: CLASSES[p]),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("seed", range(8))
def test_no_fold_is_empty_where_there_are_as_many_patients_as_folds(name, seed):
    samples = HARD[name]
    split = make_split(samples, "patient", 5, seed)
    assert np.bincount(split.assignment, minlength=5).min() > 0
    assert pd.crosstab(samples["patient"], split.assignment).gt(0).sum(axis=1).eq(1).all()
    shuffled = samples.sample(frac=1, random_state=seed).reset_index(drop=True)
    assert make_split(shuffled, "patient", 5, seed).hash == split.hash


@pytest.mark.parametrize("seed", range(4))
def test_images_of_classes_with_fewer_members_than_folds_are_divided_too(seed):
    samples = HARD["every class has fewer images than folds"]
    with pytest.raises(ValueError, match="n_splits=5"):
        list(StratifiedKFold(5).split(samples, samples["label"]))
    split = make_split(samples, "image", 5, seed)
    assert sorted(np.bincount(split.assignment, minlength=5)) == [4, 4, 4, 4, 5]


def test_scikit_learn_leaves_folds_empty_and_refuses_sets_as_it_is_relied_on_here():
    empty, refused = set(), set()
    for name, samples in HARD.items():
        for seed in range(8):
            parts = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
            try:
                found = [held for _, held in parts.split(samples, samples["label"], samples["patient"])]
            except ValueError as refusal:
                assert "n_splits=5 cannot be greater than the number of members in each class" in str(refusal)
                refused.add(name)
            else:
                empty |= {name} if any(len(held) == 0 for held in found) else set()
    # Were this to fail, scikit-learn fills every fold now, and the division of our own has no use any more.
    assert empty == {"five patients with hardly a class in common", "six patients with few classes in common"}
    assert refused == {"every class has fewer images than folds", "one image each"}


@pytest.mark.parametrize("scheme", ["image", "cell", "patient"])
def test_where_scikit_learn_fills_all_folds_they_are_its_own(scheme):
    samples = cells(30).sort_values("file_name").reset_index(drop=True)
    divider = StratifiedKFold if scheme == "image" else StratifiedGroupKFold
    groups = None if scheme == "image" else samples[scheme]
    expected = np.empty(len(samples), int)
    parts = divider(5, shuffle=True, random_state=7).split(samples, samples["label"], groups)
    for fold, (_, held) in enumerate(parts):
        expected[held] = fold
    assert np.array_equal(make_split(samples, scheme, 5, seed=7).assignment, expected)


def test_a_division_of_our_own_is_as_even_as_the_best_of_all(monkeypatch):
    sizes = [9, 8, 7, 6, 5, 4]
    samples = patients_of(sizes, lambda p, i: "1")
    monkeypatch.setattr(
        splits, "_stratified", lambda labels, groups, folds, seed: assigned(labels, groups, folds, seed)
    )
    assigned = splits._assigned
    found = np.bincount(make_split(samples, "patient", 3, seed=0).assignment)
    every = [
        max(sum(size for size, fold in zip(sizes, folds, strict=True) if fold == each) for each in range(3))
        for folds in itertools.product(range(3), repeat=6)
    ]
    assert found.max() == min(every) == 13


def test_uneven_folds_and_classes_of_one_fold_are_told():
    samples = HARD["five patients, four tiny"]
    split = make_split(samples, "patient", 5, seed=0)
    told = list(fold_sentences(split, samples))
    assert "the 5 folds hold out 2 to 400 images: whole patients cannot be divided more evenly" in told
    even = cells(20)
    assert list(fold_sentences(make_split(even, "patient", 5, seed=0), even)) == []
    alone = cells(20)
    alone.loc[alone["patient"] == "p3", "label"] = alone["label"].replace({"22": "Y", "21": "X"})
    split = make_split(alone, "patient", 5, seed=0)
    fold = int(split.assignment[(alone["patient"] == "p3").to_numpy()][0])
    assert untrained_classes(split, alone) == {"X": fold, "Y": fold}
    training, _ = split.rows(fold)
    assert not set(alone["label"].iloc[training]) & {"X", "Y"}
    assert any("classes X, Y: all images of each fall into one fold" in text for text in fold_sentences(split, alone))


@pytest.mark.real_data
def test_real_cells_are_never_divided(real_data):
    samples = open_dataset(real_data / "bioimlab.zip").samples
    split = make_split(samples, "cell", 5, seed=0)
    assert pd.crosstab(samples["cell"], split.assignment).gt(0).sum(axis=1).eq(1).all()
    sizes = np.bincount(split.assignment)
    assert sizes.min() > 0.9 * sizes.max()


def test_a_split_file_that_is_a_device_or_nested_without_end_is_refused(tmp_path) -> None:
    samples = pd.DataFrame({"file_name": ["a"]})
    with pytest.raises(UserError, match="is no file, but a"):
        read_split(Path("/dev/zero"), samples)
    (tmp_path / "split.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not a split file"):
        read_split(tmp_path / "split.json", samples)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scheme", "row"),
        ("scheme", ["cell"]),
        ("folds", "5"),
        ("folds", 1),
        ("folds", 10**12),
        ("folds", float("nan")),
        ("folds", True),
        ("seed", None),
        ("seed", 1.5),
        ("hash", 7),
        ("assignment", []),
        ("assignment", {"a.png": 2**63}),
        ("assignment", {"a.png": 0.5}),
        ("assignment", {"a.png": -1}),
        ("assignment", {"a.png": None}),
        ("assignment", {"a.png": {"b": 1}}),
    ],
)
def test_strange_values_in_a_split_file_are_named(tmp_path, key, value):
    samples, path = cells(6), tmp_path / "split.json"
    write_split(make_split(samples, "cell", 3, seed=0), path)
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, key: value}))
    with pytest.raises(UserError, match="is not a split file") as refused:
        read_split(path, samples)
    assert key in refused.value.message and "bandbridge study split" in refused.value.remedy


@pytest.mark.parametrize("text", ["", "[", "[]", "7", "null", "{}", "[" * 5000 + "]" * 5000, '"\\ud800"'])
def test_what_is_no_split_file_at_all(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not a split file"):
        read_split(path, cells(6))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not a split file"):
        read_split(path, cells(6))


@pytest.mark.parametrize(
    ("number", "scheme", "folds", "remedy"),
    [
        (3, "cell", 5, "Use 3 folds or fewer."),
        (2, "cell", 5, "Use 2 folds, the fewest."),
        (1, "cell", 2, "scheme: image"),
        (1, "patient", 2, "scheme: cell"),
    ],
)
def test_fewer_folds_are_advised_where_there_are_fewer(number, scheme, folds, remedy):
    samples = cells(number)
    if scheme == "patient":
        samples["patient"] = "p1"
    with pytest.raises(UserError) as refused:
        make_split(samples, scheme, folds, seed=0)
    assert remedy in refused.value.remedy
