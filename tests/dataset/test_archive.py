"""What is an image: one rule, whether a folder, a zip or a tar holds it, and whoever takes it in."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bandbridge.dataset.archive import image_files, is_image, is_left_behind, read_images
from bandbridge.dataset.formats import import_distribution
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.domains.embeddings import open_natural
from bandbridge.errors import ManyErrors
from bandbridge.explain.images import gather_images
from bandbridge.predict.intake import hand_over
from bandbridge.review.intake import read_handed_in

IMAGES = ("1/c1-a.png", "1/c1-b.PNG", "2/c1-a.tif")
#: As macOS packs them, as a NAS, a notebook and Windows leave them.
LEFT = (
    "__MACOSX/._1",
    "__MACOSX/1/._c1-a.png",
    "__MACOSX/1/c1-a.png",
    "1/._c1-a.png",
    "1/.c1-a.png.swp.png",
    "1/@eaDir/c1-a.png/SYNOPHOTO_THUMB_M.jpg",
    "1/.ipynb_checkpoints/c1-a-checkpoint.png",
    ".thumbnails/1.png",
    "$RECYCLE.BIN/old.png",
    "Thumbs.db",
    "2/desktop.ini",
    "notes.txt",
)


def png() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(6, 5)).save(data, "PNG")
    return data.getvalue()


def as_folder(path: Path) -> Path:
    for name in (*IMAGES, *LEFT):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(png() if name in IMAGES else b"\0\5\26\7 no image")
    (path / "1" / "folder.png").mkdir()
    return path


def as_zip(path: Path) -> Path:
    folder = as_folder(path)
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path.with_suffix(".zip")


def as_tar(path: Path) -> Path:
    folder = as_folder(path)
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        archive.add(folder, ".")
    return path.with_suffix(".tar")


def imported(place: Path) -> list[str]:
    made = place.with_name("imported")
    import_distribution("folder", place, made)
    return [name.removeprefix("images/") for name in open_dataset(made).samples["file_name"]]


def asked(place: Path) -> list[str]:
    found, problems, _ = gather_images([place], None, 100, 0)
    assert not problems
    return [Path(one.name).relative_to(place).as_posix() for one in found]


INTAKES: dict[str, Callable[[Path], list[str]]] = {
    "archive": lambda place: [name for name, _ in read_images(place)],
    "predict": lambda place: [one.name for one in hand_over(place)],
    "import": imported,
    "review": lambda place: [one.name for one in read_handed_in(place)],
    "explain": asked,
    "similarity": lambda place: open_natural(place).samples["file_name"].tolist(),
}


@pytest.mark.parametrize("intake", INTAKES)
@pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])
def test_every_intake_takes_the_images_and_nothing_else(
    tmp_path: Path, pack: Callable[[Path], Path], intake: str
) -> None:
    if pack is not as_folder and intake in ("explain", "similarity"):
        pytest.skip("takes archives of datasets only")
    assert sorted(INTAKES[intake](pack(tmp_path / "in"))) == sorted(IMAGES)


def test_the_other_images_of_a_cell_are_images(tmp_path: Path) -> None:
    place = as_folder(tmp_path / "in")
    for name in IMAGES:
        if name.endswith(".tif"):
            (place / name).write_bytes(png())
    # Where a program has kept a copy of its own, that is no second chromosome.
    (place / "1" / ".c1-a.png.swp.png").write_bytes(png())
    found, _, _ = gather_images([place], None, 100, 0)
    assert [len(one.mates(None)) for one in found] == [1, 1, 0]


def test_names_of_images() -> None:
    assert [name for name in (*IMAGES, *LEFT) if is_image(name)] == list(IMAGES)
    assert [name for name in (*IMAGES, *LEFT) if not is_left_behind(name)] == [*IMAGES, "notes.txt"]
    # Only what lies below the place counts: a person may keep a set in a hidden folder. Nor is every dot one in front.
    assert is_image("../x/1.5.png") and is_image("a.b/1.png") and not is_image(".png") and not is_image("1")


def test_a_set_in_a_hidden_folder(tmp_path: Path) -> None:
    assert image_files(as_folder(tmp_path / ".cache" / "in")) == sorted(IMAGES)


def test_a_set_packed_by_macos_is_the_set(tmp_path: Path) -> None:
    place = tmp_path / "set.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("set/metadata.csv", "file_name,label\n1/a.png,1\n")
        archive.writestr("set/1/a.png", png())
        for name in ("__MACOSX/._set", "__MACOSX/set/._metadata.csv", "__MACOSX/set/1/._a.png", "set/.DS_Store"):
            archive.writestr(name, b"\0\5\26\7")
    assert open_dataset(place).samples["file_name"].tolist() == ["1/a.png"]
    assert [one.name for one in hand_over(place)] == ["1/a.png"]


def test_names_with_backslashes_are_folders_and_lead_out_no_more_than_others(tmp_path):
    """As programs of Windows before 2015 wrote them."""
    place = tmp_path / "cells.zip"
    with zipfile.ZipFile(place, "w") as archive:
        for name in ("c1\\1a.png", "c1\\deep\\2a.png", "c1\\", "c2/3a.png"):
            archive.writestr(name, b"x")
    assert [name for name, _ in read_images(place)] == ["c1/1a.png", "c1/deep/2a.png", "c2/3a.png"]
    for name in ("..\\out.png", "C:\\out.png", "c1\\..\\..\\out.png", "\\out.png"):
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr(name, b"x")
        with pytest.raises(ManyErrors, match="leads out of the archive"):
            list(read_images(place))
