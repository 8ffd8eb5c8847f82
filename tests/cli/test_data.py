"""``bandbridge data`` from the outside."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bandbridge.dataset.imagefolder import open_dataset


def picture(seed):
    """A bright body of noise on black, as the bytes of a BMP."""
    pixels = np.zeros((40, 24), np.uint8)
    pixels[4:36, 6:18] = np.random.default_rng(seed).integers(100, 256, (32, 12))
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "BMP")
    return data.getvalue()


@pytest.fixture
def bioimlab(tmp_path):
    """One XY karyotype in BioImLab's layout."""
    labels = [f"{number}{copy}" for number in range(1, 23) for copy in "ab"] + ["23a", "24a"]
    folder = tmp_path / "raw" / "3"
    folder.mkdir(parents=True)
    for seed, label in enumerate(labels):
        (folder / f"3 {label}.bmp").write_bytes(picture(seed))
    return tmp_path / "raw"


def test_synth_then_check_finds_nothing_to_decide(bandbridge, tmp_path):
    made = bandbridge("data", "synth", tmp_path / "g", "--stain", "G", "--cells", 2, "--seed", 1)
    assert made.code == 0 and "data check" in made.err
    result = bandbridge("data", "check", tmp_path / "g", "--json")
    assert result.code == 0, result.out
    facts = json.loads(result.out)
    assert facts["images"] == 92 and not [f for f in facts["findings"] if f["severity"] == "decision"]


def test_check_exits_with_one_and_names_a_damaged_image(bandbridge, chromosome_set):
    folder = chromosome_set("G", cells=2)
    damaged = sorted((folder / "images").rglob("*.png"))[5]
    damaged.write_bytes(b"")
    result = bandbridge("data", "check", folder)
    assert result.code == 1 and damaged.name in result.out


def test_check_shows_some_cases_and_lists_all_as_json(bandbridge, chromosome_set):
    folder = chromosome_set("G", cells=1)
    broken = sorted((folder / "images").rglob("*.png"))[:11]
    for path in broken:
        path.write_bytes(b"")
    shown = bandbridge("data", "check", folder).out
    assert "11 images: cannot be read" in shown and "... and 3 more; --json lists all" in shown
    findings = json.loads(bandbridge("data", "check", folder, "--json").out)["findings"]
    unreadable = next(finding for finding in findings if finding["kind"] == "unreadable")
    assert len(unreadable["examples"]) == 11


def test_synth_refuses_to_mix_into_another_folder(bandbridge, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    result = bandbridge("data", "synth", tmp_path / "mine", "--cells", 1)
    assert result.code == 2 and "mine" in result.err


def test_import_of_a_folder_of_classes_can_be_checked(bandbridge, tmp_path):
    generator = np.random.default_rng(0)
    for label in ("1", "2", "X"):
        for number in range(3):
            path = tmp_path / "source" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (40, 20), dtype=np.uint8)).save(path)
    result = bandbridge("data", "import", "folder", tmp_path / "source", tmp_path / "out")
    assert result.code == 0 and "9 images" in result.out
    counts = json.loads(bandbridge("data", "check", tmp_path / "out", "--json").out)["classes"]
    assert {label: count for label, count in counts.items() if count} == {"1": 3, "2": 3, "X": 3}


def test_an_unknown_layout_lists_the_known_ones(bandbridge, tmp_path):
    result = bandbridge("data", "import", "dicom", tmp_path, tmp_path / "out")
    assert result.code == 2 and "bioimlab" in result.err


def test_import_of_bioimlab_is_copied_byte_for_byte_and_compared_with_the_publication(bandbridge, bioimlab, tmp_path):
    done = bandbridge("data", "import", "bioimlab", bioimlab, tmp_path / "set")
    assert done.code == 0 and "46 images of 1 cell in" in done.out
    assert "this copy holds 46 images; 5,474 were published" in done.err
    dataset = open_dataset(tmp_path / "set")
    assert dataset.read_bytes("images/3/3 24a.bmp") == (bioimlab / "3" / "3 24a.bmp").read_bytes()
    checked = bandbridge("data", "check", tmp_path / "set")
    assert checked.code == 0 and "46 images, 1 cell, unknown patients, dark ground" in checked.out
    assert "good to know" in checked.out and "needs a decision" not in checked.out


def test_check_exits_with_one_and_shows_one_chromosome_under_two_labels(bandbridge, bioimlab, tmp_path):
    (bioimlab / "3" / "3 5a.bmp").write_bytes(picture(0))
    bandbridge("data", "import", "bioimlab", bioimlab, tmp_path / "set")
    result = bandbridge("data", "check", tmp_path / "set")
    assert result.code == 1 and "3 1a.bmp (1) = images/3/3 5a.bmp (5)" in " ".join(result.out.split())


def test_file_names_with_brackets_are_printed_as_they_are(bandbridge, bioimlab, tmp_path):
    bandbridge("data", "import", "bioimlab", bioimlab, tmp_path / "set")
    (tmp_path / "set" / "images" / "[bold]odd.bmp").write_bytes(b"")
    with (tmp_path / "set" / "metadata.csv").open("a") as table:
        table.write("images/[bold]odd.bmp,1,3,,,Q,\n")
    assert "images/[bold]odd.bmp: the file is empty" in bandbridge("data", "check", tmp_path / "set").out


def test_import_of_cir_never_guesses_where_its_labels_begin(bandbridge, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "c1.12.bmp").write_bytes(picture(1))
    arguments = ("data", "import", "cir", tmp_path / "raw", tmp_path / "set")
    refused = bandbridge(*arguments)
    assert refused.code == 2 and "--first-label" in refused.err and not (tmp_path / "set").exists()
    assert bandbridge(*arguments, "--first-label", 0).code == 0
    assert open_dataset(tmp_path / "set").samples["label"].tolist() == ["13"]


def test_first_label_is_refused_for_other_layouts(bandbridge, bioimlab, tmp_path):
    result = bandbridge("data", "import", "bioimlab", bioimlab, tmp_path / "set", "--first-label", 0)
    assert result.code == 2 and "layout cir" in result.err


def test_check_of_nothing(bandbridge, tmp_path):
    result = bandbridge("data", "check", tmp_path / "none")
    assert result.code == 2 and "no such dataset" in result.err


def test_the_help_loads_nothing_heavy():
    program = (
        "import sys; import bandbridge.cli.data;"
        "print([name for name in ('numpy', 'pandas', 'PIL', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.real_data
def test_gband_needs_no_decision(bandbridge, real_data):
    result = bandbridge("data", "check", real_data / "gband65.zip", "--json")
    facts = json.loads(result.out)
    assert result.code == 0 and facts["ground"] == "bright"
    assert (facts["images"], facts["cells"], facts["patients"]) == (2806, 65, 16)
    kinds = {finding["kind"]: finding["count"] for finding in facts["findings"]}
    assert kinds["missing-homologues"] == 59


@pytest.mark.slow
@pytest.mark.real_data
def test_bioimlab_has_its_published_counts_and_its_known_faults(bandbridge, real_data):
    result = bandbridge("data", "check", real_data / "bioimlab.zip", "--json")
    facts = json.loads(result.out)
    assert facts["images"] == 5474 and facts["cells"] == 119
    expected = {str(number): 238 for number in range(1, 23)} | {"X": 193, "Y": 45}
    assert facts["classes"] == expected
    framing = next(finding for finding in facts["findings"] if finding["kind"] == "mixed-framing")
    assert framing["count"] == 1215 and result.code == 1


def test_a_refused_import_leaves_its_place_as_it_was(bandbridge, bioimlab, tmp_path):
    """Another choice must find it free; what a stopped import has begun stays, to be gone on with."""
    command = ("data", "import", "bioimlab", bioimlab, tmp_path / "set")
    refused = bandbridge(*command, "--page", 3)
    assert refused.code == 2 and not (tmp_path / "set").exists()
    assert bandbridge(*command).code == 0
    refused = bandbridge(*command, "--page", 3)
    assert refused.code == 2 and (tmp_path / "set" / "metadata.csv").exists()


def test_sheets_are_imported_and_what_is_to_check_is_said(bandbridge, tmp_path):
    from tests.sheets.drawn import Style, write_sheets

    write_sheets(tmp_path / "in", {"a.png": Style(), "b.png": Style(extra=("21",), seed=8)})
    result = bandbridge("data", "import", "karyogram", tmp_path / "in", tmp_path / "set")
    assert result.code == 1 and "46 images of 1 sheet" in result.out
    assert "to check: b.png: 47 chromosomes: 3 of 21" in result.err and "overview.html" in result.err
    alone = bandbridge("data", "import", "karyogram", tmp_path / "in" / "a.png", tmp_path / "one", "--stain", "G")
    assert alone.code == 0 and "Next: bandbridge data check" in alone.err
    assert len(open_dataset(tmp_path / "one").samples) == 46


def test_options_of_sheets_are_refused_elsewhere_and_those_of_images_for_sheets(bandbridge, bioimlab, tmp_path):
    wrong = bandbridge("data", "import", "bioimlab", bioimlab, tmp_path / "set", "--de-identify")
    assert wrong.code == 2 and "--de-identify is for the layout karyogram" in wrong.err
    other = bandbridge("data", "import", "karyogram", bioimlab, tmp_path / "set", "--page", 2)
    assert other.code == 2 and "--page cannot be chosen for sheets" in other.err
