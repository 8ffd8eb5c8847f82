"""Imports of every layout, from folders and archives; hostile archives; imports that were stopped."""

from __future__ import annotations

import gzip
import io
import ntpath
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from bandbridge.dataset import formats
from bandbridge.dataset.archive import Bounds, read_images
from bandbridge.dataset.decode import decode_gray
from bandbridge.dataset.formats import compare_with_published, import_distribution
from bandbridge.dataset.imagefolder import COLUMNS, open_dataset
from bandbridge.dataset.layouts import LAYOUTS, read_cir_names
from bandbridge.errors import EnvironmentFault, ManyErrors, UserError
from bandbridge.filenames import fault_of_file_name

Files = dict[str, bytes]


def image(seed: int, format_: str = "BMP") -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5), dtype=np.uint8)
    Image.fromarray(pixels).save(data, format_)
    return data.getvalue()


def as_folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_zip(path: Path, files: Files) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def as_tar_gz(path: Path, files: Files, mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_suffix(".tar.gz")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def as_tar(path: Path, files: Files) -> Path:
    return as_tar_gz(path, files, "w")


def rows_of(folder: Path) -> list[tuple[str, ...]]:
    samples = open_dataset(folder).samples
    return [tuple(row) for row in samples[["file_name", "label", "cell", "patient", "copy"]].to_numpy()]


def read_tree(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


BIOIMLAB = {
    f"BioImLab/{name}": image(k)
    for k, name in enumerate(["12/12 5a.bmp", "12/12 5b.bmp", "12/12 24a.bmp", "2/2 xa.bmp", "2/2 10b.bmp"])
}


@pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar_gz, as_tar])
def test_bioimlab(tmp_path: Path, pack: Callable[[Path, Files], Path]) -> None:
    litter = {"BioImLab/Thumbs.db": b"x", "__MACOSX/BioImLab/12/._12 5a.bmp": b"x", "BioImLab/read me.txt": b"x"}
    source = pack(tmp_path / "source" / "it", BIOIMLAB | litter)
    imported = import_distribution("bioimlab", source, tmp_path / "set")
    assert rows_of(tmp_path / "set") == [
        ("images/2/2 10b.bmp", "10", "2", "", "b"),
        ("images/2/2 xa.bmp", "X", "2", "", "a"),
        ("images/12/12 5a.bmp", "5", "12", "", "a"),
        ("images/12/12 5b.bmp", "5", "12", "", "b"),
        ("images/12/12 24a.bmp", "Y", "12", "", "a"),
    ]
    dataset = open_dataset(tmp_path / "set")
    assert (tmp_path / "set/metadata.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert set(dataset.samples["stain"]) == {"Q"}
    for name in dataset.samples["file_name"]:
        assert dataset.read_bytes(name) == BIOIMLAB["BioImLab/" + name.removeprefix("images/")]
    assert (imported.images, imported.cells) == (5, 2)
    assert "this copy holds 5 images; 5,474 were published" in imported.notes[0]


def test_bioimlab_all_in_one_folder(tmp_path: Path) -> None:
    as_folder(tmp_path / "source", {"7 1a.bmp": image(1), "7 Yb.BMP": image(2)})
    import_distribution("bioimlab", tmp_path / "source", tmp_path / "set")
    assert rows_of(tmp_path / "set") == [
        ("images/7 1a.bmp", "1", "7", "", "a"),
        ("images/7 Yb.BMP", "Y", "7", "", "b"),
    ]


def test_bad_names_are_reported_together_and_nothing_is_written(tmp_path: Path) -> None:
    bad = ["12/12 5a.bmp", "12/notes.bmp", "12/13 5b.bmp", "12/12 25a.bmp"]
    as_folder(tmp_path / "source", {name: image(1) for name in bad})
    with pytest.raises(ManyErrors) as caught:
        import_distribution("bioimlab", tmp_path / "source", tmp_path / "set")
    assert [problem.split(":")[0] for problem in caught.value.problems] == sorted(bad[1:])
    assert "25" in caught.value.message
    assert "folder 12 and names karyotype 13" in caught.value.message
    assert not (tmp_path / "set").exists()


def test_cir_as_published_counts_from_zero_and_does_not_tell_the_cell(tmp_path: Path) -> None:
    labels = {0: "1", 11: "12", 21: "22", 22: "X", 23: "Y"}
    files = {
        f"origin/{number}1562828258.{number}7.{label}.tiff": image(label, "TIFF")
        for number, label in enumerate(labels, 100)
    }
    imported = import_distribution("cir", as_tar_gz(tmp_path / "origin", files), tmp_path / "set")
    found = {int(Path(name).name.split(".")[2]): label for name, label, *_ in rows_of(tmp_path / "set")}
    assert found == labels
    assert imported.cells == 0
    assert "5 file names do not tell the cell" in imported.notes[-1]


@pytest.mark.parametrize(
    ("names", "first_label", "expected"),
    [
        (["c1.X.png", "c1.12.png", "c1.1.png"], None, ["X", "12", "1"]),
        (["a/c1.24.png", "a/c1.23.png", "a/c1.2.png"], None, ["Y", "X", "2"]),
        (["c1.0.png", "c1.23.png"], None, ["1", "Y"]),
        (["c1.12.png"], 1, ["12"]),
        (["c1.12.png"], 0, ["13"]),
    ],
)
def test_cir_numbering(names: list[str], first_label: int | None, expected: list[str]) -> None:
    specimens = read_cir_names(names, first_label)
    assert [specimen.label for specimen in specimens] == expected
    assert {specimen.cell for specimen in specimens} == {"c1"}


def test_cir_numbering_is_never_guessed() -> None:
    with pytest.raises(UserError, match="numbered from 0 or from 1") as caught:
        read_cir_names(["c1.12.png", "c1.5.png"])
    assert "--first-label" in caught.value.remedy
    with pytest.raises(UserError, match="occur together"):
        read_cir_names(["c1.0.png", "c1.24.png"])


def test_cir_names_without_label_are_reported() -> None:
    with pytest.raises(ManyErrors) as caught:
        read_cir_names(["c1.0.png", "c1.png", "c1.99.png"])
    assert len(caught.value.problems) == 2


def test_pki3(tmp_path: Path) -> None:
    files = {
        "out/97002023.12.tiff/clase1/0.png": image(1, "PNG"),
        "out/97002023.12.tiff/clase23/1.png": image(2, "PNG"),
        "out/97002023.8.tiff/clase24/0.png": image(3, "PNG"),
    }
    import_distribution("pki3", as_folder(tmp_path / "source", files), tmp_path / "set")
    assert rows_of(tmp_path / "set") == [
        ("images/97002023.8.tiff/clase24/0.png", "Y", "97002023.8", "97002023", "0"),
        ("images/97002023.12.tiff/clase1/0.png", "1", "97002023.12", "97002023", "0"),
        ("images/97002023.12.tiff/clase23/1.png", "X", "97002023.12", "97002023", "1"),
    ]


def test_pki3_of_one_cell_keeps_its_folder(tmp_path: Path) -> None:
    files = {"9.1.tiff/clase2/0.png": image(1), "9.1.tiff/clase3/0.png": image(2)}
    import_distribution("pki3", as_folder(tmp_path / "source", files), tmp_path / "set")
    assert {row[2] for row in rows_of(tmp_path / "set")} == {"9.1"}


def test_class_folders_with_and_without_cells(tmp_path: Path) -> None:
    files = {"top/chr2/a.png": image(1), "top/X/c9/b.png": image(2)}
    source = as_folder(tmp_path / "source", files)
    import_distribution("folder", source, tmp_path / "set", stain="R")
    assert rows_of(tmp_path / "set") == [
        ("images/chr2/a.png", "2", "", "", "a"),
        ("images/X/c9/b.png", "X", "c9", "", "b"),
    ]
    assert set(open_dataset(tmp_path / "set").samples["stain"]) == {"R"}


def test_cells_named_like_formulas_are_guarded_in_the_table_and_read_back(tmp_path: Path) -> None:
    source = as_folder(tmp_path / "source", {"2/=1+1/a.png": image(1), "X/@c9/=b.png": image(2)})
    import_distribution("folder", source, tmp_path / "set")
    assert "'=1+1" in (tmp_path / "set" / "metadata.csv").read_text()
    assert open_dataset(tmp_path / "set").samples["cell"].tolist() == ["=1+1", "@c9"]


def test_class_folders_of_other_things_keep_their_names(tmp_path: Path) -> None:
    source = as_folder(tmp_path / "source", {"cat/a.png": image(1), "dog/b.png": image(2)})
    import_distribution("folder", source, tmp_path / "set")
    assert [row[1] for row in rows_of(tmp_path / "set")] == ["cat", "dog"]


def test_class_folders_that_mix_chromosomes_with_others_are_refused(tmp_path: Path) -> None:
    source = as_folder(tmp_path / "source", {"1/a.png": image(1), "junk/b.png": image(2), "c.png": image(3)})
    with pytest.raises(ManyErrors) as caught:
        import_distribution("folder", source, tmp_path / "set")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["c.png", "junk/"]


@pytest.mark.parametrize("classes", [("10", "X"), ("chr1", "Chr. 2")])
def test_folders_of_cells_with_classes_inside_are_told_from_classes_with_cells(
    tmp_path: Path, classes: tuple[str, str]
) -> None:
    files = {f"{cell}/{label}/a.png": image(1) for cell in ("cellA", "cellB") for label in classes}
    source = as_folder(tmp_path / "source", files)
    with pytest.raises(ManyErrors, match=r"(?s)inner ones classes.*cellA/ holds"):
        import_distribution("folder", source, tmp_path / "set")


def test_published_counts() -> None:
    layout = LAYOUTS["bioimlab"]
    labels = [label for label, (count,) in layout.published.items() for _ in range(count)]
    assert len(labels) == 5474
    assert compare_with_published(labels, layout) == [
        "all 5,474 published images, each class with its published count."
    ]
    changed = ["2" if label == "Y" else label for label in labels]
    assert compare_with_published(changed, layout) == [
        "counts that differ from the published ones (in brackets): 2: 283 (238), Y: 0 (45)."
    ]
    assert sum(max(counts) for counts in LAYOUTS["cir"].published.values()) == 2990
    assert compare_with_published(["1"], LAYOUTS["folder"]) == []


def test_import_again_changes_nothing_and_heals_what_is_damaged(tmp_path: Path) -> None:
    source = as_zip(tmp_path / "source", BIOIMLAB)
    import_distribution("bioimlab", source, tmp_path / "set")
    first = read_tree(tmp_path / "set")
    untouched = (tmp_path / "set/images/12/12 5a.bmp").stat().st_mtime_ns
    (tmp_path / "set/images/12/12 5b.bmp").write_bytes(b"half")
    (tmp_path / "set/images/2/2 xa.bmp").unlink()
    import_distribution("bioimlab", source, tmp_path / "set")
    assert read_tree(tmp_path / "set") == first
    assert (tmp_path / "set/images/12/12 5a.bmp").stat().st_mtime_ns == untouched


def test_stopped_import_is_no_dataset_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = as_folder(tmp_path / "source", BIOIMLAB)
    whole = tmp_path / "whole"
    import_distribution("bioimlab", source, whole)
    put, written = formats._put, []

    def put_three(path: Path, data: bytes) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        put(path, data)

    monkeypatch.setattr(formats, "_put", put_three)
    with pytest.raises(KeyboardInterrupt):
        import_distribution("bioimlab", source, tmp_path / "set")
    with pytest.raises(UserError, match="holds no metadata"):
        open_dataset(tmp_path / "set")
    monkeypatch.undo()
    import_distribution("bioimlab", source, tmp_path / "set")
    assert read_tree(tmp_path / "set") == read_tree(whole)


def test_destination_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    source = as_zip(tmp_path / "source", BIOIMLAB)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/mine.txt").write_text("mine")
    with pytest.raises(UserError, match="files that no import made"):
        import_distribution("bioimlab", source, tmp_path / "set")
    assert read_tree(tmp_path / "set") == {"mine.txt": b"mine"}
    with pytest.raises(UserError, match="is a file"):
        import_distribution("bioimlab", source, tmp_path / "set/mine.txt")
    other = as_folder(tmp_path / "other", {"1/a.png": image(1)})
    import_distribution("folder", other, tmp_path / "made")
    with pytest.raises(UserError, match="another import"):
        import_distribution("bioimlab", source, tmp_path / "made")


def test_destination_inside_source_and_source_inside_destination(tmp_path: Path) -> None:
    source = as_folder(tmp_path / "source", BIOIMLAB)
    for destination in (source, source / "set", tmp_path):
        with pytest.raises(UserError, match="lie in one another"):
            import_distribution("bioimlab", source, destination)


def test_destination_that_cannot_be_written_is_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_folder(tmp_path / "source", BIOIMLAB)

    def no_space(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(EnvironmentFault, match=r"images.*No space left"):
        import_distribution("bioimlab", source, tmp_path / "set")


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder or archive"):
        import_distribution("folder", tmp_path / "none", tmp_path / "set")
    (tmp_path / "a.rar").write_bytes(b"Rar!" + bytes(600))
    with pytest.raises(UserError, match="not a folder, zip, tar"):
        import_distribution("folder", tmp_path / "a.rar", tmp_path / "set")
    with pytest.raises(UserError, match="holds no image"):
        import_distribution("folder", as_folder(tmp_path / "b", {"x.txt": b""}), tmp_path / "set")
    with pytest.raises(UserError, match="no such layout: cubes"):
        import_distribution("cubes", tmp_path, tmp_path / "set")


def test_names_that_differ_by_case_only_are_refused(tmp_path: Path) -> None:
    source = as_zip(tmp_path / "source", {"1/a.png": image(1), "1/A.png": image(2)})
    with pytest.raises(ManyErrors, match="upper and lower case"):
        import_distribution("folder", source, tmp_path / "set")


@pytest.mark.parametrize("name", ["../1/a.png", "/1/a.png", "1/../../a.png", "C:/1/a.png", "1\\..\\a.png"])
@pytest.mark.parametrize("pack", [as_zip, as_tar_gz])
def test_members_that_lead_out_are_refused(tmp_path: Path, pack: Callable[[Path, Files], Path], name: str) -> None:
    source = pack(tmp_path / "source", {"1/ok.png": image(1), name: image(2)})
    with pytest.raises(ManyErrors, match="leads out"):
        import_distribution("folder", source, tmp_path / "set")
    assert {path.name for path in tmp_path.iterdir()} == {source.name}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_tar_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("1/a.png")
        member.type = kind
        member.linkname = "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ManyErrors, match="a link or a device"):
        import_distribution("folder", tmp_path / "a.tar.gz", tmp_path / "set")


def test_sparse_members_of_a_tar_are_refused(tmp_path: Path) -> None:
    """A few bytes of header may stand for any number of zeros, which the bounds on what is read do not see."""
    header = bytearray(tarfile.TarInfo("1/a.png").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"%011o\0%011o\0" % (60 * 2**20, 0)  # one stretch of no bytes, at the end
    header[483:495] = b"%011o\0" % (60 * 2**20)  # the size when unpacked
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(2 * 512))
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getmembers()[0].size == 60 * 2**20
    with pytest.raises(ManyErrors, match="has holes"):
        import_distribution("folder", tmp_path / "a.tar", tmp_path / "set")


def test_zip_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("1/a.png")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(ManyErrors, match="is a link"):
        import_distribution("folder", tmp_path / "a.zip", tmp_path / "set")


@pytest.mark.parametrize("pack", [as_zip, as_tar_gz])
def test_bombs_are_refused(tmp_path: Path, pack: Callable[[Path, Files], Path]) -> None:
    source = pack(tmp_path / "source", {f"1/{k}.png": bytes(100_000) for k in range(10)})
    with pytest.raises(UserError, match="more than the 50000 allowed"):
        list(read_images(source, Bounds(member=50_000)))
    with pytest.raises(UserError, match="more than 300000 bytes; refused as a decompression bomb"):
        list(read_images(source, Bounds(total=300_000)))
    with pytest.raises(UserError, match="refused as a decompression bomb"):
        list(read_images(source, Bounds(ratio=2, free=0)))
    assert len(list(read_images(source, Bounds()))) == 10


def test_bomb_in_a_member_that_is_no_image_is_refused(tmp_path: Path) -> None:
    # A tar has to be read through: what is skipped is unpacked all the same.
    source = as_tar_gz(tmp_path / "source", {"notes.txt": bytes(10**6), "1/a.png": image(1)})
    with pytest.raises(UserError, match="refused as a decompression bomb"):
        list(read_images(source, Bounds(total=300_000)))


@pytest.mark.parametrize("pack", [as_zip, as_tar_gz])
def test_cut_archives_are_refused(tmp_path: Path, pack: Callable[[Path, Files], Path]) -> None:
    source = pack(tmp_path / "source", {f"1/{k}.png": image(k) * 200 for k in range(5)})
    source.write_bytes(source.read_bytes()[:-200])
    with pytest.raises(UserError, match="is damaged"):
        import_distribution("folder", source, tmp_path / "set")


def test_a_damaged_member_of_any_packing_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("1/a.png", image(1) * 50)
    data = bytearray(source.read_bytes())
    data[60:80] = bytes(20)
    source.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        import_distribution("folder", source, tmp_path / "set")


def test_names_that_are_not_utf_8_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = as_tar(tmp_path / "a", {"1/\udce9.png": image(1), "1/b.png": image(2)})
    with pytest.raises(ManyErrors, match=r"not UTF-8 text:\n  1/\\udce9\.png"):
        import_distribution("folder", source, tmp_path / "set")
    data = as_zip(tmp_path / "b.zip", {"1/é.png": image(1)}).read_bytes()
    (tmp_path / "b.zip").write_bytes(data.replace("é".encode(), b"\xe9\xff"))
    with pytest.raises(UserError, match="is damaged"):
        import_distribution("folder", tmp_path / "b.zip", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_gzip_that_holds_no_tar(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"no tar" * 200))
    with pytest.raises(UserError, match="is damaged"):
        import_distribution("folder", tmp_path / "a.tar.gz", tmp_path / "set")


@pytest.mark.real_data
def test_real_set_survives_a_trip_through_class_folders(real_data: Path, tmp_path: Path) -> None:
    dataset = open_dataset(real_data / "gband65.zip")
    chosen = dataset.samples.iloc[::140]
    files = {
        f"chr{row.label}/{row.cell}/{Path(row.file_name).name}": dataset.read_bytes(row.file_name)
        for row in chosen.itertuples()
    }
    import_distribution("folder", as_zip(tmp_path / "source", files), tmp_path / "set", stain="G")
    imported = open_dataset(tmp_path / "set")
    expected = {(row.label, row.cell, dataset.read_bytes(row.file_name)) for row in chosen.itertuples()}
    found = {(row.label, row.cell, imported.read_bytes(row.file_name)) for row in imported.samples.itertuples()}
    assert found == expected
    for name in imported.samples["file_name"]:
        assert decode_gray(imported.read_bytes(name), name).ndim == 2


@pytest.mark.parametrize("odd", ["1/a\rb.png", "1/a\x1b.png", "1/a\nb.png"])
def test_names_with_control_signs_are_refused_before_anything_is_written(tmp_path: Path, odd: str) -> None:
    """With a carriage return in one, metadata.csv was a table that nothing could read."""
    source = as_tar(tmp_path / "a", {odd: image(1), "1/b.png": image(2)})
    with pytest.raises(ManyErrors, match=r"names of files with control signs.*\n  1/a\\"):
        import_distribution("folder", source, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_names_that_a_system_refuses_are_written_as_all_can_and_the_table_tells_the_cells_as_they_were(tmp_path):
    """Below a common folder that is taken off, "C:" would be a drive of Windows."""
    odd = {"set/1/12:30/a?.png": "12:30", "set/1/aux/nul.png": "aux", "set/X/C:/a*.png": "C:", "set/X/c./b .png": "c."}
    files = {name: image(seed, "PNG") for seed, name in enumerate(odd)}
    files["set/X/plain cell/\u00e4.png"] = image(9, "PNG")
    done = import_distribution("folder", as_zip(tmp_path / "odd", files), tmp_path / "out")
    dataset = open_dataset(done.destination)
    names, cells = dataset.samples["file_name"].tolist(), dataset.samples["cell"].tolist()
    assert set(cells) == {*odd.values(), "plain cell"} and "images/X/plain cell/\u00e4.png" in names
    assert all(not fault_of_file_name(part) for name in names for part in name.split("/"))
    for name in names:
        inside = ntpath.normpath(PureWindowsPath("D:/out") / name)
        assert inside.startswith("D:\\out\\images\\"), name
    assert {dataset.read_bytes(name) for name in names} == set(files.values())


def test_two_names_that_differ_in_composed_letters_alone_are_refused_like_those_of_two_cases(tmp_path):
    files = {f"1/c/{name}.png": image(seed, "PNG") for seed, name in enumerate(("\u00e4", "a\u0308"))}
    with pytest.raises(ManyErrors, match="files of one name"):
        import_distribution("folder", as_zip(tmp_path / "odd", files), tmp_path / "out")
