"""Names of files that every system can write, and that no two systems take for one another."""

import ntpath
import random
import re
import unicodedata
import warnings
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from bandbridge.dataset.metadata import fault_of_name, is_inside
from bandbridge.filenames import (
    LONGEST,
    MOST_BYTES,
    fault_of_file_name,
    file_stem,
    folded,
    in_letters,
    safe_name,
    safe_paths,
    short_name,
    slug,
)
from bandbridge.files import file_stems

DEVICES = ("CON", "prn", "Aux", "nul", "COM1", "com9", "LPT1", "lpt9", "com\u00b9", "CONIN$", "conout$")
SIGNS = '<>:"|?*\\/\0\n\t\x1f\x7f'


def is_reserved(name: str) -> bool:
    """What Python says of Windows."""
    if hasattr(ntpath, "isreserved"):
        return ntpath.isreserved(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return PureWindowsPath(name).is_reserved()


@pytest.mark.parametrize("name", [f"{device}{ending}" for device in DEVICES for ending in ("", ".png", ".tar.gz")])
def test_a_device_of_windows_is_no_name(name):
    assert is_reserved(name) and "device" in fault_of_file_name(name)
    assert safe_name(name) == f"_{name}" and not is_reserved(safe_name(name)) and not fault_of_file_name(f"_{name}")


@pytest.mark.parametrize("name", ["console", "com", "com10", "lpt", "nullified.png", "1.aux", "auxin", "c on"])
def test_what_only_looks_like_a_device_stays(name):
    assert not is_reserved(name) and not fault_of_file_name(name) and safe_name(name) == name


@pytest.mark.parametrize("name", ["cell 1.", "cell 1 ", ". ", "", "a" + "\u00e4" * 0 + ":b"])
def test_what_windows_would_drop_or_take_for_something_else_is_no_name(name):
    assert fault_of_file_name(name) and not fault_of_file_name(safe_name(name))


def test_names_that_all_systems_have_stay_and_others_come_out_distinct():
    """Random names of awkward signs: no two are one file on any system, and none holds what a system refuses."""
    draw = random.Random(1)
    signs = SIGNS.replace("/", "") + "aAbB.. -_\u00e4\u00c4\u0308"
    for _ in range(300):
        parts = [
            ["".join(draw.choices(signs, k=draw.randint(1, 3))) for _ in range(draw.randint(1, 2))] for _ in "123456"
        ]
        names = ["/".join(part) for part in parts]
        names += ["c/nul.png", "c/a?.png", "c/a*.png", "c/a_.png"]
        found = safe_paths(names)
        assert len({folded(name) for name in found}) == len(names), (names, found)
        assert all(not fault_of_file_name(part) for name in found for part in name.split("/")), (names, found)
        assert found == safe_paths(names)
        first: dict[str, str] = {}
        for name, made in zip(names, found, strict=True):
            if all(not fault_of_file_name(part) for part in name.split("/")) and folded(name) not in first:
                assert made == name, (names, found)
                first[folded(name)] = name


def test_a_stem_is_no_device_and_no_longer_than_leaves_room():
    long = "cell " * 60
    found = list(file_stems(["con", "CON", "nul.1", long, f"{long}2", "cell-1"], "sheet"))
    assert found[:3] == ["_con", "_CON-2", "_nul.1"] and found[5] == "cell-1"
    assert all(len(stem) <= LONGEST for stem in found) and found[3] != found[4]
    assert found[3] == next(file_stems([long], "sheet")), "one name, one file, whatever else there is"
    assert short_name("a" * LONGEST) == "a" * LONGEST and len(short_name("a" * (LONGEST + 1))) == LONGEST


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Mu\u0308ller/03", "M\u00fcller_03"),
        ("Łódź 1", "Łódź_1"),
        ("Αθήνα", "Αθήνα"),
        ("北京 7", "北京_7"),
        ("हिन्दी", "हिन्दी"),  # vowels and the joining sign are marks, not letters
        ("دکتر\u200cها", "دکتر_ها"),
        ("a\u202egnp", "a_gnp"),
        ("🙂", "field"),
        ("P1:*?", "P1"),
        ("a\u00a0b", "a_b"),
        ("nul", "_nul"),
        ("com²", "_com²"),
    ],
)
def test_letters_of_any_script_stay_composed_and_what_systems_refuse_does_not(name, stem):
    assert file_stem(name, "field") == stem == unicodedata.normalize("NFC", stem)
    assert not fault_of_file_name(stem) and stem.isprintable() and file_stem(stem, "") == stem


def test_names_in_ascii_come_out_as_they_always_did():
    """A folder that was cut into, or a dataset, is gone on with."""
    draw = random.Random(3)
    for _ in range(2000):
        name = "".join(chr(draw.randint(0, 127)) for _ in range(draw.randint(0, 9)))
        assert file_stem(name, "x") == safe_name(re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-") or "x"), name


def test_a_name_in_letters_of_many_bytes_leaves_room_too():
    first, second = (file_stem("漢" * 90 + end, "x") for end in "ab")
    assert first != second and len(first.encode()) <= MOST_BYTES and first.startswith("漢" * 50)
    assert file_stem("漢" * 60, "x") == "漢" * 60


def test_parts_of_paths_in_small_letters_tell_tasks_apart():
    assert slug("Müller") != slug("Möller") and slug("ViT-S/16") == "vit-s-16"
    assert in_letters("a.b/ç", "_-", "-") == "a-b-ç"


NAMES = [
    *("a/b.png", "a b/c.png", "..png", "a..b/c", ".hidden/x", "a/C:/b", "a:stream", "12:30/x.png"),
    *("..", "../a", "a/../../b", ".. /a", "a/.. /.. /b", "... /a", "a/...", " /a", "./a", "a/./b", "a//b", "."),
    *("..\\a", "a\\..\\..\\b", "C:\\a", "C:a", "c:/a", "/a", "//server/share/a", "\\\\server\\share\\a", "\\a"),
    *("\\\\?\\C:\\a", "\\\\.\\pipe\\a", "cell1\\img.png", "a\0b", ""),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_that_is_taken_leads_out_of_a_folder_of_windows_or_posix(name):
    taken = [name] if is_inside(name) else []
    if not fault_of_name(name):  # where a backslash is a table's way to write "/"
        taken.append(PurePosixPath(name.replace("\\", "/")).as_posix())
    for each in taken:
        for cut in (each, each.rstrip(". "), "/".join(part.rstrip(". ") for part in each.split("/") if part != ".")):
            inside = PureWindowsPath("D:/set") / cut
            assert ntpath.normpath(inside).startswith("D:\\set\\"), (name, cut)
    assert is_inside("a/b.png") and is_inside("12:30/x.png") and not fault_of_name("cell1\\img.png")
