"""How files become cells: by dataset, by folder, by the archive's name."""

from __future__ import annotations

import zipfile

import imagecodecs
import numpy as np
import pytest
from tests.review.conftest import png

from bandbridge.errors import UserError
from bandbridge.review.intake import HandedIn, clean, read_handed_in, sort_into_cells


def found(store, *names: str) -> list[tuple[str, list[str]]]:
    files = [HandedIn(name, png(seed)) for seed, name in enumerate(names)]
    return [(cell.name, [file for file, _ in cell.images]) for cell in sort_into_cells(files, store).cells]


def test_a_folder_is_a_cell_and_folders_called_alike_are_told_apart(store):
    assert found(store, "p1/c1/a.png", "p1/c2/a.png", "p1/c1/b.png") == [("c1", ["a.png", "b.png"]), ("c2", ["a.png"])]
    assert [name for name, _ in found(store, "p1/c1/a.png", "p2/c1/a.png")] == ["p1/c1", "p2/c1"]
    assert found(store, "a.png", "b.png") == [("cell", ["a.png", "b.png"])]


def test_folders_around_those_of_the_cells_are_patients(store, tmp_path):
    def whose(*names: str) -> dict[str, str]:
        files = [HandedIn(name, png(seed)) for seed, name in enumerate(names)]
        return {cell.name: cell.patient for cell in sort_into_cells(files, store).cells}

    assert whose("ward/P1/c1/a.png", "ward/P1/c2/a.png", "ward/P2/c3/a.png") == {"c1": "P1", "c2": "P1", "c3": "P2"}
    assert whose("today/c1/a.png", "today/c2/a.png") == {"c1": "", "c2": ""}  # one folder around all is no patient
    assert whose("P1/c1/a.png", "loose.png") == {"c1": "P1", "cell": ""}
    told = HandedIn("P1/c1/a.png", png(1), cell="c9"), HandedIn("P2/c2/a.png", png(2), cell="c8", patient="Roe")
    assert {cell.name: cell.patient for cell in sort_into_cells(told, store).cells} == {"c9": "", "c8": "Roe"}


def test_a_patients_folder_handed_in_alone_tells_as_much_as_beside_others_on_disk(store, tmp_path):
    """A browser gives the folder that was chosen, and what lies around it is not there to tell it from a ward's."""
    names = ("Mu\u0308ller/cell 1/a.png", "Mu\u0308ller/cell 2/a.png", "Roe/cell 1/a.png")
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(seed))
    on_disk = [cell.patient for cell in sort_into_cells(read_handed_in(tmp_path), store).cells]
    assert on_disk == ["M\u00fcller", "M\u00fcller", "Roe"]
    handed = [HandedIn(name, png(seed)) for seed, name in enumerate(names)]
    alone = [sort_into_cells(files, store, lone=True).cells for files in (handed[:2], handed[2:])]
    assert [cell.patient for cells in alone for cell in cells] == on_disk

    def whose(*files: str) -> list[str]:
        return [
            cell.patient for cell in sort_into_cells([HandedIn(name, png(1)) for name in files], store, lone=True).cells
        ]

    assert whose("ward/Roe/c1/a.png", "ward/Roe/c2/a.png") == ["Roe", "Roe"]
    assert whose("c1/a.png") == whose("a.png") == [""] and whose("c1/a.png", "c2/a.png") == ["", ""]
    assert whose("P1/c1/a.png", "loose.png") == ["P1", ""] and whose("P1/c1/a.png", "P2/c1/a.png") == ["P1", "P2"]


def test_two_files_of_one_name_are_both_kept(store):
    assert found(store, "c/a.png", "c/a.png", "c/a.png") == [("c", ["a.png", "a.png (2)", "a.png (3)"])]


@pytest.mark.parametrize(("options", "shift"), [({}, 4), ({"expected": 14}, 6), ({"bit_depth": 16}, 8)])
def test_deep_images_of_what_is_handed_in_have_one_scale(store, options, shift):
    generator = np.random.default_rng(2)
    deep = [generator.integers(0, most, (30, 12)).astype(np.uint16) for most in (900, 4096)]
    files = [HandedIn(f"c/{number}.png", imagecodecs.png_encode(image)) for number, image in enumerate(deep)]
    files.insert(1, HandedIn("c/8.png", png(1)))
    (cell,) = sort_into_cells(files, store, **options).cells
    assert [file for file, _ in cell.images] == ["0.png", "8.png", "1.png"]
    for image, kept in zip(deep, (cell.images[0], cell.images[2]), strict=True):
        np.testing.assert_array_equal(store.read_image(kept[1]), image >> shift)


def test_files_that_systems_leave_behind_are_no_problem(store):
    names = ("c/.DS_Store", "c/Thumbs.db", "c/desktop.ini", "c/._1a.png", "__MACOSX/c/1a.png", "c/@eaDir/1a.png/S.jpg")
    files = [HandedIn(name, b"junk") for name in names]
    assert sort_into_cells(files, store).problems == []


def test_a_dataset_names_cells_patients_and_stains(store, chromosome_set, tmp_path):
    folder = chromosome_set("G", 2)
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, f"top/{path.relative_to(folder)}")
    of_folder, of_zip = (sort_into_cells(read_handed_in(path), store).cells for path in (folder, packed))
    assert [(cell.name, cell.stain, len(cell.images)) for cell in of_folder] == [
        ("synthetic-g0001", "G", 46),
        ("synthetic-g0002", "G", 46),
    ]
    assert sorted(cell.images for cell in of_zip) == sorted(cell.images for cell in of_folder)
    assert {cell.stain for cell in of_zip} == {"G"}


def test_a_table_without_labels_leaves_cells_to_the_folders(store, tmp_path):
    (tmp_path / "c7").mkdir()
    (tmp_path / "c7" / "x.png").write_bytes(png(1))
    (tmp_path / "metadata.csv").write_text("file_name,label\nc7/x.png,\n")
    assert [cell.name for cell in sort_into_cells(read_handed_in(tmp_path), store).cells] == ["c7"]


def test_a_flat_archive_is_one_cell_of_its_name_and_errors_call_it_by_that(store, tmp_path):
    packed = tmp_path / ".incoming-17"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("1a.png", png(1))
    assert [cell.name for cell in sort_into_cells(read_handed_in(packed, "up/slide 3.zip"), store).cells] == ["slide 3"]
    packed.write_bytes(b"text")
    with pytest.raises(UserError) as refused:
        list(read_handed_in(packed, "slide 3.zip"))
    assert refused.value.message.startswith("slide 3.zip is not") and ".incoming" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (" =1+1 ", "=1+1"),
        ("a\nb\x00\u202ec", "a\N{REPLACEMENT CHARACTER}b" + "\N{REPLACEMENT CHARACTER}" * 2 + "c"),
        ("x" * 300, "x" * 200),
        ("Zelle 7 – äö", "Zelle 7 – äö"),
    ],
)
def test_names_are_made_fit_for_pages(given, kept):
    assert clean(given) == kept
