"""Every fault is planted in a clean set and found there, alone; the clean set shows none."""

from __future__ import annotations

import csv
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from bandbridge.dataset.audit import Audit, audit_dataset
from bandbridge.dataset.census import take_census
from bandbridge.dataset.findings import Finding, counted
from bandbridge.dataset.framing import measure
from bandbridge.dataset.imagefolder import COLUMNS, open_dataset
from bandbridge.dataset.repeats import candidate_pairs, flip_correlation, is_near, signature, twin_cells
from bandbridge.karyotype import CLASSES

Row = tuple[str, str, str, str]  # file name, label, cell, patient


def chromosome(seed: int, length: int = 40, margin: int = 3) -> np.ndarray:
    """A bright, soft-edged body of random smooth bands on black."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(length, 14)), (2.5, 3))
    bands = 110 + 130 * (noise - noise.min()) / np.ptp(noise)
    body = np.pad(bands, margin)
    return ndimage.gaussian_filter(body, 0.8 if margin else 0).astype(np.uint8)


class Set:
    """A clean set of two cells (XX and XY) of two patients, to be spoiled."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.images: dict[str, np.ndarray | bytes] = {}
        for number, sex in enumerate(("XX", "XY")):
            for copy, label in enumerate([*CLASSES[:22], *CLASSES[:22], *sex]):
                length = 60 - CLASSES.index(label)
                self.add(f"images/c{number}/{label}_{copy}.png", label, f"c{number}", f"p{number}", length)

    def add(self, name: str, label: str, cell: str, patient: str, length: int = 40) -> None:
        self.rows.append((name, label, cell, patient))
        self.images[name] = chromosome(len(self.rows), length)

    def name(self, cell: str, label: str, nth: int = 0) -> str:
        return [row[0] for row in self.rows if row[1:3] == (label, cell)][nth]

    def array(self, name: str) -> np.ndarray:
        held = self.images[name]
        assert isinstance(held, np.ndarray)
        return held

    def relabel(self, name: str, label: str) -> None:
        self.rows = [(row[0], label, *row[2:]) if row[0] == name else row for row in self.rows]

    def audit(self, path: Path) -> Audit:
        for name, image in self.images.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(image, bytes):
                (path / name).write_bytes(image)
            else:
                Image.fromarray(image).save(path / name)
        with (path / "metadata.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("file_name", "label", "cell", "patient"))
            writer.writerows(self.rows)
        return audit_dataset(open_dataset(path))


@pytest.fixture
def clean() -> Set:
    return Set()


def only(audit: Audit, kind: str) -> Finding:
    """The finding of ``kind``, which must be the only one."""
    assert [finding.kind for finding in audit.findings] == [kind]
    return audit.findings[0]


def test_a_clean_set_has_no_findings(clean: Set, tmp_path: Path) -> None:
    audit = clean.audit(tmp_path)
    assert audit.findings == ()
    assert not audit.needs_decision
    assert (audit.images, audit.cells, audit.patients, audit.ground) == (92, 2, 2, "dark")
    assert list(audit.classes) == list(CLASSES)
    assert [audit.classes[label] for label in ("1", "22", "X", "Y")] == [4, 4, 3, 1]
    assert audit.sizes == {"height": (43, 55, 66), "width": (20, 20, 20)}


def test_unreadable(clean: Set, tmp_path: Path) -> None:
    clean.images["images/c0/3_2.png"] = b"not an image"
    clean.images["images/c1/4_3.png"] = b""
    finding = only(clean.audit(tmp_path), "unreadable")
    assert (finding.severity, finding.count) == ("decision", 2)
    assert [example.split(":")[0] for example in finding.examples] == ["images/c0/3_2.png", "images/c1/4_3.png"]


def test_what_pillow_warns_of_is_a_finding_and_no_noise(
    clean: Set, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    data = io.BytesIO()
    Image.new("L", (1, 1)).save(data, "PNG")
    header = struct.pack(">4s2I5B", b"IHDR", 10_000, 10_000, 8, 0, 0, 0, 0)
    bomb = bytearray(data.getvalue())
    bomb[12:33] = header + struct.pack(">I", zlib.crc32(header))
    clean.images["images/c0/3_2.png"] = bytes(bomb)
    assert "refused" in only(clean.audit(tmp_path), "unreadable").examples[0]
    assert not recwarn.list


@pytest.mark.parametrize("noise", [0, 3])
def test_blank(clean: Set, tmp_path: Path, noise: int) -> None:
    generator = np.random.default_rng(1)
    for name in ("images/c0/3_2.png", "images/c1/4_3.png"):
        clean.images[name] = generator.integers(0, noise + 1, (40, 30), dtype=np.uint8)
    finding = only(clean.audit(tmp_path), "blank")
    assert finding.examples == ("images/c0/3_2.png", "images/c1/4_3.png")


def test_identical_pixels_in_different_files(clean: Set, tmp_path: Path) -> None:
    source = clean.array(clean.name("c0", "7"))
    copy = io.BytesIO()
    Image.fromarray(source).save(copy, "BMP")
    target = clean.name("c1", "7", 1)
    clean.images[target] = copy.getvalue()
    finding = only(clean.audit(tmp_path), "identical")
    assert (finding.severity, finding.count) == ("decision", 1)
    assert finding.examples == (f"{target} = {clean.name('c0', '7')}",)


def jpeg(image: np.ndarray) -> np.ndarray:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=90)
    return np.asarray(Image.open(data))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image[::-1], id="upside down"),
        pytest.param(lambda image: image[:, ::-1], id="mirrored"),
        pytest.param(lambda image: image[::-1, ::-1], id="turned"),
        pytest.param(lambda image: image // 2, id="darker"),
        pytest.param(lambda image: np.pad(image, ((5, 1), (0, 9))), id="framed otherwise"),
        pytest.param(lambda image: np.kron(image, np.ones((2, 2), np.uint8)), id="enlarged"),
        pytest.param(jpeg, id="JPEG"),
    ],
)
def test_near_identical(clean: Set, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    first, second = clean.name("c0", "7"), clean.name("c1", "7", 1)
    clean.images[second] = np.ascontiguousarray(change(clean.array(first)))
    kinds = {finding.kind: finding for finding in clean.audit(tmp_path).findings}
    assert kinds["near-identical"].examples == (f"{first} ~ {second}",)
    assert not kinds.keys() & {"identical", "two-labels", "twin-cells"}


@pytest.mark.parametrize("flipped", [False, True])
def test_one_image_under_two_labels(clean: Set, tmp_path: Path, flipped: bool) -> None:
    first, second = clean.name("c0", "7"), clean.name("c1", "9")
    source = clean.array(first)
    clean.images[second] = np.ascontiguousarray(source[::-1]) if flipped else source
    found = clean.audit(tmp_path).findings
    assert [finding.kind for finding in found] == (["two-labels"] if flipped else ["two-labels", "identical"])
    assert found[0].severity == "decision"
    assert found[0].examples == (f"{first} (7) = {second} (9)",)


def test_twin_cells(clean: Set, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    for copy, label in enumerate([*CLASSES[:22], *CLASSES[:22], "X", "X"]):
        name = f"images/c2/{label}_{copy}.png"
        image = clean.array(f"images/c0/{label}_{copy}.png")[:: generator.choice([-1, 1])]
        blurred = ndimage.gaussian_filter(image.astype(float) * 0.8, 0.6)
        clean.rows.append((name, label, "c2", "p1"))
        clean.images[name] = blurred.astype(np.uint8)
    finding = only(clean.audit(tmp_path), "twin-cells")
    assert finding.severity == "decision"
    assert finding.examples == ("c0 and c2: 23 of 23 classes alike",)


def on_canvas(image: np.ndarray) -> np.ndarray:
    canvas = np.zeros((200, 100), np.uint8)
    canvas[60 : 60 + image.shape[0], 30 : 30 + image.shape[1]] = image
    return canvas


def test_canvases_among_crops(clean: Set, tmp_path: Path) -> None:
    for name in [row[0] for row in clean.rows if row[2] == "c1"]:
        clean.images[name] = on_canvas(clean.array(name))
    finding = only(clean.audit(tmp_path), "mixed-framing")
    assert (finding.severity, finding.count, finding.examples) == ("decision", 46, ("c1: 46 images",))
    assert "200 x 100" in finding.sentence


def test_canvases_throughout_are_no_fault(clean: Set, tmp_path: Path) -> None:
    for name in list(clean.images):
        clean.images[name] = on_canvas(clean.array(name))
    assert clean.audit(tmp_path).findings == ()


def test_mixed_ground(clean: Set, tmp_path: Path) -> None:
    chosen = ["images/c0/3_2.png", "images/c1/4_3.png"]
    for name in chosen:
        clean.images[name] = 255 - clean.array(name)
    audit = clean.audit(tmp_path)
    finding = only(audit, "mixed-ground")
    assert audit.ground == "mixed"
    assert (finding.severity, list(finding.examples)) == ("decision", chosen)
    assert "bright ground; the other 90" in finding.sentence


def test_bright_ground_throughout_is_no_fault(clean: Set, tmp_path: Path) -> None:
    for name in list(clean.images):
        clean.images[name] = 255 - clean.array(name)
    audit = clean.audit(tmp_path)
    assert (audit.findings, audit.ground) == ((), "bright")


def test_outlying_length(clean: Set, tmp_path: Path) -> None:
    for number in range(2, 6):
        for copy, label in enumerate([*CLASSES[:22], *CLASSES[:22], *("XY" if number == 2 else "XX")]):
            length = 60 - CLASSES.index(label)
            clean.add(f"images/c{number}/{label}_{copy}.png", label, f"c{number}", f"p{number}", length)
    clean.images["images/c3/2_1.png"] = np.pad(chromosome(999, 16, margin=0), 3)
    finding = only(clean.audit(tmp_path), "outlying-length")
    assert finding.examples == ("images/c3/2_1.png: 16 x 14 pixels",)


def test_chromosomes_at_the_border(clean: Set, tmp_path: Path) -> None:
    clean.images["images/c0/3_2.png"] = clean.array("images/c0/3_2.png")[3:]
    finding = only(clean.audit(tmp_path), "touches-border")
    assert (finding.severity, finding.examples) == ("note", ("images/c0/3_2.png",))
    assert "cut off" in finding.sentence


def test_tight_crops_throughout_are_said_once(clean: Set, tmp_path: Path) -> None:
    for name in list(clean.images):
        clean.images[name] = clean.array(name)[3:-3]
    finding = only(clean.audit(tmp_path), "touches-border")
    assert finding.count == 92
    assert "padding: background" in finding.remedy


def test_natural_images_get_no_findings_on_framing(tmp_path: Path) -> None:
    natural = Set()
    natural.rows = [(name, f"n{k % 3}", "", "") for k, (name, *_) in enumerate(natural.rows)]
    for k, name in enumerate(list(natural.images)):
        image = natural.array(name)[3:-3, 3:-3]
        natural.images[name] = 255 - image if k % 2 else image
    audit = natural.audit(tmp_path)
    assert {finding.kind for finding in audit.findings} == {
        "labels-not-chromosomes",
        "cell-unknown",
        "patient-unknown",
    }
    assert not audit.needs_decision


def test_json_is_plain(clean: Set, tmp_path: Path) -> None:
    clean.relabel("images/c0/3_2.png", "4")
    document = clean.audit(tmp_path).as_json()
    assert document["needs_decision"] is True
    assert document["findings"][0]["kind"] == "exchanged-homologues"
    assert document["classes"]["4"] == 5


# -- the table alone -------------------------------------------------------------------------------------------


def karyotype(cell: str = "c", sex: str = "XX", more: str = "", fewer: str = "") -> list[dict[str, str]]:
    labels = [*CLASSES[:22], *CLASSES[:22], *sex, *more.split()]
    for label in fewer.split():
        labels.remove(label)
    return [
        dict.fromkeys(COLUMNS, "") | {"file_name": f"{cell}{k}", "label": label, "cell": cell, "patient": cell}
        for k, label in enumerate(labels)
    ]


def census(*cells: list[dict[str, str]]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in take_census(pd.DataFrame([row for c in cells for row in c]))}


def test_normal_karyotypes_have_no_findings() -> None:
    assert census(karyotype("a", "XX"), karyotype("b", "XY")) == {}


@pytest.mark.parametrize(
    ("cell", "kind", "example"),
    [
        (karyotype(fewer="3 9 9"), "missing-homologues", "c: 3 x1, 9 x0"),
        (karyotype(more="21"), "extra-homologues", "c: 21 x3"),
        (karyotype(more="5", fewer="17"), "exchanged-homologues", "c: 5 x3, 17 x1"),
        (karyotype(sex="XXY", fewer="14"), "exchanged-homologues", "c: 14 x1, XXY"),
        (karyotype(sex="X", more="8"), "exchanged-homologues", "c: 8 x3, X"),
        (karyotype(sex="X"), "sex-chromosomes", "c: X"),
        (karyotype(sex="XXX"), "sex-chromosomes", "c: XXX"),
        (karyotype(sex="XYY"), "sex-chromosomes", "c: XYY"),
        (karyotype(sex="YY"), "sex-chromosomes", "c: YY"),
        (karyotype(sex=""), "sex-chromosomes", "c: no X or Y"),
    ],
)
def test_abnormal_karyotypes(cell: list[dict[str, str]], kind: str, example: str) -> None:
    found = census(cell, karyotype("normal", "XY"))
    assert list(found) == [kind]
    assert found[kind].examples == (example,)
    assert found[kind].severity == ("decision" if kind == "exchanged-homologues" else "note")


def test_labels_that_are_no_chromosomes_or_spelled_otherwise() -> None:
    rows = karyotype("a", "XY")
    rows[0]["label"], rows[1]["label"], rows[2]["label"] = "debris", "chr2", "23"
    found = census(rows, karyotype("b"))
    assert found["labels-not-chromosomes"].examples == ("'debris': 1 image",)
    assert found["label-spelling"].examples == ("'chr2': write '2'", "'23': write 'X'")
    assert {found[kind].severity for kind in ("labels-not-chromosomes", "label-spelling")} == {"decision"}


def test_unknown_cells_and_patients_and_shared_cell_names() -> None:
    first, second = karyotype("1", "XY"), karyotype("1", "XY")
    for row in second:
        row["patient"], row["file_name"] = "other", "other" + row["file_name"]
    found = census(first, second)
    assert found["cell-of-two-patients"].examples == ("1: 1, other",)
    for row in first:
        row["cell"] = row["patient"] = ""
    found = census(first, second)
    assert (found["cell-unknown"].count, found["patient-unknown"].count) == (46, 46)
    assert found["cell-unknown"].examples[0] == "10"
    for row in second:
        row["cell"] = ""
    assert census(first, second)["cell-unknown"].examples == ()


def test_absent_classes_and_several_stains() -> None:
    rows = karyotype("a", "XX")
    rows[0]["stain"] = "G"
    found = census(rows)
    assert found["absent-class"].examples == ("Y",)
    assert found["several-stains"].examples == ("G: 1 image", "unknown: 45 images")


# -- the measures ----------------------------------------------------------------------------------------------


def test_flip_correlation_is_the_highest_of_four_pearson_correlations() -> None:
    generator = np.random.default_rng(3)
    crops = [generator.integers(0, 256, (30, 20), dtype=np.uint8) for _ in range(9)]
    signatures = np.stack([signature(crop) for crop in crops])
    expected = np.zeros((9, 9))
    for i, one in enumerate(signatures):
        for j, two in enumerate(signatures):
            flips = (two, two[::-1], two[:, ::-1], two[::-1, ::-1])
            expected[i, j] = max(np.corrcoef(one.ravel(), flip.ravel())[0, 1] for flip in flips)
    np.testing.assert_allclose(flip_correlation(signatures, signatures), expected, atol=1e-5)


def test_candidate_pairs_are_found_across_blocks() -> None:
    generator = np.random.default_rng(4)
    signatures = np.stack([signature(crop) for crop in generator.integers(0, 256, (1200, 16, 8), dtype=np.uint8)])
    planted = [(0, 1), (3, 700), (511, 512), (600, 1199)]
    for first, second in planted:
        signatures[second] = signatures[first, ::-1]
    assert sorted(map(tuple, candidate_pairs(signatures).tolist())) == planted
    assert candidate_pairs(signatures[:0]).shape == (0, 2)


def test_signature_of_nothing_is_zero_and_like_nothing() -> None:
    nothing = np.zeros((9, 9), np.uint8)
    assert not signature(nothing).any()
    assert not is_near(nothing, nothing)


@pytest.mark.parametrize("shift", [(0, 0, 0, 0), (1, 0, 0, 3), (7, 2, 1, 0)])
def test_signature_does_not_depend_on_the_frame(shift: tuple[int, int, int, int]) -> None:
    image = chromosome(1)
    framed = np.pad(image, (shift[:2], shift[2:]))
    np.testing.assert_allclose(signature(framed), signature(image), atol=1e-5)
    np.testing.assert_allclose(signature(framed[::-1]), signature(image)[::-1], atol=1e-5)


def test_near_needs_the_same_shape() -> None:
    image = chromosome(1, margin=0)
    stretched = np.asarray(Image.fromarray(image).resize((image.shape[1], image.shape[0] * 5 // 4)))
    assert is_near(image, image[::-1])
    assert not is_near(image, stretched)
    assert not is_near(image, chromosome(2, margin=0))


def test_cells_of_images_too_alike_are_not_called_twins() -> None:
    labels = [*CLASSES[:22]] * 4
    cells = [f"c{number}" for number in range(4) for _ in range(22)]
    one = signature(chromosome(1))
    assert twin_cells(np.stack([one] * 88), labels, cells) == []


def test_measure_gives_box_ground_and_contact() -> None:
    image = np.full((50, 40), 230, np.uint8)
    image[0:30, 10:22] = 60
    frame, contrast = measure(image)
    assert (frame.box, frame.ground, frame.is_bright) == ((30, 12), 230, True)
    np.testing.assert_array_equal(contrast, np.full((30, 12), 170, np.uint8))
    assert frame.fill == pytest.approx(360 / 2000)
    assert frame.contact == pytest.approx(12 / (2 * 50 + 2 * 40 - 4))


def test_counted() -> None:
    assert counted(1, "pair of cells") == "1 pair of cells"
    assert counted(1204, "pair of cells") == "1,204 pairs of cells"
    assert counted(2, "class") == "2 classes"


# -- the real sets ---------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.slow
def test_real_bioimlab(real_data: Path) -> None:
    audit = audit_dataset(open_dataset(real_data / "bioimlab.zip"))
    assert [audit.classes[label] for label in CLASSES] == [238] * 22 + [193, 45]
    assert (audit.images, audit.cells, audit.patients, audit.ground) == (5474, 119, 0, "dark")
    found = {finding.kind: finding for finding in audit.findings}
    assert found["mixed-framing"].count == 1215
    cells = found["mixed-framing"].examples
    assert cells[0].startswith("27 cells") and len(cells) == 28
    assert sum(int(cell.split()[-2]) for cell in cells[1:]) == found["mixed-framing"].count == 1215
    assert found["two-labels"].examples == ("images/q008/21a.png (21) = images/q008/22b.png (22)",)
    assert found["twin-cells"].examples == ("q002 and q111: 23 of 23 classes alike",)
    assert found["near-identical"].count == 4
    assert not found.keys() & {"missing-homologues", "extra-homologues", "sex-chromosomes", "unreadable"}
