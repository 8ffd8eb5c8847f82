"""Several datasets as one, against the datasets themselves."""

from __future__ import annotations

import pytest

from bandbridge.dataset.contents import contents_of
from bandbridge.dataset.imagefolder import ChangedError, open_dataset
from bandbridge.dataset.joined import join
from bandbridge.dataset.prepare import BASES, Preparation
from bandbridge.dataset.splits import make_split
from bandbridge.dataset.store import build_store
from bandbridge.errors import ManyErrors, UserError


@pytest.fixture
def sets(chromosome_set):
    return {"here": open_dataset(chromosome_set("Q", 2)), "there": open_dataset(chromosome_set("G", 1))}


def test_every_file_is_read_from_its_own_set(sets):
    joined = join(sets)
    assert len(joined.samples) == 138 and joined.samples["file_name"].is_unique
    for name, dataset in sets.items():
        file = dataset.samples["file_name"].iloc[3]
        assert joined.read_bytes(f"{name}/{file}") == dataset.read_bytes(file)
        assert joined.only([f"{name}/{file}"]).read_bytes(f"{name}/{file}") == dataset.read_bytes(file)
    with pytest.raises(UserError, match="no image"):
        joined.read_bytes("elsewhere/1a.png")


def test_cells_and_patients_of_two_sets_are_not_taken_for_one(sets):
    twice = join({"a": sets["here"], "b": sets["here"]})
    for column in ("cell", "patient"):
        assert twice.samples[column].nunique() == 2 * sets["here"].samples[column].nunique()
    unknown = join({"a": open_dataset(sets["here"].path)}).samples.assign(cell="")
    assert set(unknown["cell"]) == {""}


def test_a_store_of_joined_sets_holds_what_the_stores_of_each_hold(sets, tmp_path):
    preparation = Preparation(size=32, **BASES["by-cell"])
    joined = build_store(join(sets), preparation, tmp_path / "joined")
    alone = [build_store(dataset, preparation, tmp_path / name).images for name, dataset in sets.items()]
    assert (joined.images[:92] == alone[0]).all() and (joined.images[92:] == alone[1]).all()
    assert contents_of(join(sets)).fingerprint == joined.fingerprint


def test_an_image_exchanged_in_one_of_the_sets_is_named(sets, tmp_path):
    joined, (first, second) = join(sets), sets["there"].samples["file_name"].iloc[:2]
    fingerprint = contents_of(joined).fingerprint
    place = sets["there"].path
    (place / first).write_bytes((place / second).read_bytes())
    for dataset in (joined, joined.only([f"there/{first}"])):
        with pytest.raises(ChangedError, match=f"{first} is not the file that it was"):
            dataset.read_bytes(f"there/{first}")
    with pytest.raises(ManyErrors) as caught:
        build_store(joined, Preparation(size=32), tmp_path / "stores", fingerprint)
    assert len(caught.value.problems) == 1 and str(first) in caught.value.problems[0]
    assert not list((tmp_path / "stores").rglob("store.json"))


def test_a_split_by_source_holds_one_out_at_a_time(sets):
    joined = join(sets)
    sources = sorted(set(joined.samples["source"]))
    split = make_split(joined.samples, "source", 2, 0)
    for fold, source in enumerate(sources):
        training, held_out = split.rows(fold)
        assert set(joined.samples["source"].iloc[held_out]) == {source}
        assert source not in set(joined.samples["source"].iloc[training])
    with pytest.raises(UserError) as refused:
        make_split(joined.samples, "source", 5, 0)
    assert "folds: 2" in refused.value.remedy and all(source in refused.value.message for source in sources)
    with pytest.raises(UserError, match="there is 1"):
        make_split(sets["here"].samples, "source", 2, 0)
