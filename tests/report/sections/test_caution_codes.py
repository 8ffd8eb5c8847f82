"""Every code is given by a study that deserves it and by no other, and a code stays what it is for ever."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.made_up import MACHINE, Image, images

from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.report import caution as registry
from bandbridge.report.caution import KINDS, kind_of
from bandbridge.report.sections import cautions as finders
from bandbridge.report.study import study_cautions
from bandbridge.study.plan import open_study

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = REPOSITORY / "docs" / "cautions"

#: What has been published. A line is never changed and never taken away; new ones are added at the end.
CODES = {
    "BB001": "the-study-is-not-finished",
    "BB002": "datasets-are-missing",
    "BB003": "training-and-held-out-images-share-patients",
    "BB004": "training-and-held-out-images-share-cells",
    "BB005": "cells-are-not-known",
    "BB006": "the-same-image-on-both-sides",
    "BB007": "the-intermediate-domain-holds-target-images",
    "BB008": "the-epoch-was-chosen-on-the-reported-fold",
    "BB009": "few-folds",
    "BB010": "runs-of-different-machines-or-versions",
    "BB011": "few-patients-or-cells",
    "BB012": "folds-lack-whole-classes",
    "BB013": "few-images-were-upside-down-in-training",
    "BB014": "only-the-laboratories-trained-on-were-measured",
    "BB015": "a-fold-holds-a-class-out-whole",
}


@pytest.fixture(autouse=True)
def another_laboratory(request, monkeypatch):
    """What is made up here has one source: that another was not measured is looked for where a test is about that."""
    if "measured" not in request.node.name:
        monkeypatch.setattr(finders, "_own_laboratory", lambda study: ())


def codes(made):
    return [caution.code for caution in study_cautions(made.study, made.runs)]


def quoted(code):
    """What a code's page says that the report says."""
    lines = (PAGES / f"{code}.md").read_text(encoding="utf-8").splitlines()
    return " ".join(line.removeprefix("> ") for line in lines if line.startswith("> "))


def but_for_numbers(text):
    """``text`` without its numbers, which are those of one study, and one for many."""
    return re.sub(r"[+-]?\d[\d.,]*(?<!\.)", "#", text)


def lone(**known):
    """32 cells of one patient each, in whose rows only ``known`` is known."""
    return [
        image._replace(**{"cell": "", "patient": ""} | {n: getattr(image, n) for n in known}) for image in images(32)
    ]


def with_content(members, *copies):
    """The images, of which those at ``copies`` have one and the same content."""
    return [image._replace(content=b"same") if number in copies else image for number, image in enumerate(members)]


#: A change of the study that deserves nothing, and the code that it earns.
DESERVED = {
    "BB001": {"unfinished": ["Q/test_resnet/domain/fold3"]},
    "BB002": {"sets": {"g": []}},
    "BB003": {"sets": {"q": images(32, cells_each=2)}, "split": {"folds": 4, "scheme": "cell"}},
    "BB004": {"sets": {"q": lone(cell=True)}, "split": {"folds": 4, "scheme": "image"}},
    "BB005": {"sets": {"q": lone()}, "split": {"folds": 4, "scheme": "image"}},
    # One file in every patient: wherever the folds are cut, it is on both sides.
    "BB006": {"sets": {"q": with_content(images(32), *range(0, 128, 4))}},
    "BB007": {"sets": {"q": with_content(images(32), 5), "g": with_content(images(4), 2)}},
    "BB008": {"protocol": "paper", "split": {"folds": 4, "scheme": "patient"}},
    "BB009": {"run_folds": [0, 1, 2]},
    "BB010": {"machines": [MACHINE, MACHINE | {"device": "cuda"}]},
    "BB011": {"sets": {"q": images(12)}},
    "BB012": {"sets": {"q": [*images(32), *(Image("ring", f"p{number}c0", f"p{number}") for number in (0, 2))]}},
    "BB013": {"preparation": "published", "recipe": {"base": "fast", "augmentation": {"flip_vertical": 0.1}}},
}


def test_a_study_that_does_everything_right_deserves_none(made_up):
    assert codes(made_up()) == []


@pytest.mark.parametrize("code", DESERVED)
def test_a_code_is_given_where_it_is_deserved(made_up, code):
    made = made_up(**DESERVED[code])
    (caution,) = study_cautions(made.study, made.runs)
    kind = kind_of(code)
    assert (caution.code, caution.gravity) == (code, kind.gravity)
    assert caution.title in (kind.title, f"Q: {kind.title[0].lower()}{kind.title[1:]}")
    assert str(caution) == f"{code} {kind.gravity}: {caution.title}. {caution.text}"
    assert caution.text.endswith(".") and caution.page == f"docs/cautions/{code}.md"
    assert quoted(code).startswith(code) and but_for_numbers(quoted(code)) == but_for_numbers(str(caution))


def test_every_code_is_deserved_by_some_study():
    assert [*DESERVED, "BB014", "BB015"] == [kind.code for kind in KINDS]


@pytest.mark.parametrize("scheme", ["patient", "cell"])
def test_a_class_that_one_fold_holds_out_whole_is_lacking_in_the_others_too(made_up, scheme):
    rings = [Image("ring", "p0c0", "p0")] * 3
    made = made_up({"q": [*images(32), *rings]}, split={"folds": 4, "scheme": scheme})
    found = {caution.code: caution for caution in study_cautions(made.study, made.runs)}
    assert list(found) == ["BB012", "BB015"]
    caution = found["BB015"]
    assert "class ring: all images of it fall into one fold" in caution.text
    assert caution.details == (f"ring: fold {made.study.tasks['Q'].split.assignment[-1]}",)
    assert but_for_numbers(quoted("BB015")) == but_for_numbers(str(caution))


def test_of_a_fold_that_is_not_run_no_class_is_missed(made_up):
    made = made_up({"q": [*images(32), Image("ring", "p0c0", "p0")]})
    fold = int(made.study.tasks["Q"].split.assignment[-1])
    assert "BB015" in codes(made)
    others = [number for number in made.study.spec.folds if number != fold]
    spec = made.study.spec.model_copy(update={"run_folds": tuple(others)})
    assert "BB015" not in [found.code for found in study_cautions(replace(made.study, spec=spec), made.runs)]


def test_that_another_laboratory_was_not_measured_is_said_until_one_is(made_up, tmp_path):
    made = made_up()
    (caution,) = study_cautions(made.study, made.runs)
    assert (caution.code, caution.gravity) == ("BB014", "note") and caution.title.startswith("Q: only the laboratories")
    assert but_for_numbers(quoted("BB014")) == but_for_numbers(str(caution))
    task = made.study.tasks["Q"]
    apart = replace(task, name="apart", split=replace(task.split, scheme="source"))
    made.study.tasks["apart"] = apart
    assert "BB014" not in codes(made)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"split": {"folds": 3}}, "BB009"),
        ({"split": {"folds": 2}}, "BB009"),
        ({"sets": {"g": images(5)}, "split": {"folds": 5}, "run_folds": [0, 1, 2, 3]}, "BB009"),
        ({"sets": {"q": images(19)}}, "BB011"),
    ],
)
def test_just_below_a_threshold(made_up, changes, code):
    assert codes(made_up(**changes)) == [code]


@pytest.mark.parametrize("changes", [{"split": {"folds": 4}}, {"sets": {"q": images(20)}}])
def test_at_a_threshold_there_is_nothing_to_say(made_up, changes):
    assert codes(made_up(**changes)) == []


def test_images_of_unknown_origin_are_counted_where_others_are_known(made_up):
    unknown = [image if number else image._replace(cell="", patient="") for number, image in enumerate(images(32))]
    made = made_up({"q": unknown}, split={"folds": 4, "scheme": "image"})
    found = {caution.code: caution for caution in study_cautions(made.study, made.runs)}
    assert list(found) == ["BB003", "BB005"]
    assert "neither cell nor patient of 1 image, so" in found["BB005"].text
    assert "of the held-out images with a known patient come from a patient" in found["BB003"].text


def test_shared_patients_say_how_many_share_even_the_cell(made_up):
    made = made_up({"q": images(32, cells_each=2)}, split={"folds": 4, "scheme": "image"})
    (caution,) = study_cautions(made.study, made.runs)
    assert re.search(r"100% of the held-out images come from a patient .*, \d+% even from such a cell\.", caution.text)


def test_an_intermediate_domain_that_no_approach_takes_leaks_nothing(made_up):
    sets = DESERVED["BB007"]["sets"]
    assert codes(made_up(sets, approaches=["scratch"])) == []


def test_serious_ones_come_first_then_the_order_of_the_codes(made_up):
    made = made_up(
        {"q": images(12, cells_each=2), "g": images(12, cells_each=2)},
        tasks={"Q": {"dataset": "q", "intermediates": ["G"]}, "G": {"dataset": "g", "intermediates": ["Q"]}},
        protocol="paper",
        run_folds=[0, 1],
    )
    assert codes(made) == ["BB003", "BB003", "BB008", "BB009", "BB011", "BB011"]


def test_opening_a_study_reads_a_set_once_and_its_cautions_read_no_image(made_up, monkeypatch):
    same = {"Q": {"dataset": "q", "intermediates": ["G"]}, "G": {"dataset": "q", "preparation": {"crop": "foreground"}}}
    made = made_up(tasks={**same, "G": {**same["G"], "target": False}})
    read = []
    whole = ImageFolder.read_bytes
    monkeypatch.setattr(ImageFolder, "read_bytes", lambda self, name: read.append(name) or whole(self, name))
    study = open_study(made.study.path)
    assert sorted(read) == sorted(study.tasks["Q"].dataset.samples["file_name"])
    found = [caution.code for caution in study_cautions(study, made.runs)]
    assert "BB007" in found and len(read) == len(study.tasks["Q"].dataset.samples)


def test_a_caution_stays_on_one_line_whatever_a_dataset_is_called():
    assert str(registry.UNKNOWN_CELLS.caution("of a\nb\r\nc.", task="Q")) == (
        "BB005 serious: Q: cells are not known. of a b c."
    )


def test_no_other_place_makes_cautions():
    for path in (REPOSITORY / "src").rglob("*.py"):
        if path.name != "caution.py":
            assert not re.search(r"\bCaution\(", path.read_text(encoding="utf-8")), path


def test_every_table_that_a_code_bears_upon_exists():
    sources = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "src/bandbridge/report").rglob("*.py"))
    names = set(re.findall(r'(?:name=|_table\(\s*)"([a-z0-9-]+)"', sources))
    assert {table for kind in KINDS for table in kind.tables} <= names


def test_every_code_has_a_page_and_every_page_a_code():
    assert {path.stem for path in PAGES.glob("BB*.md")} == {kind.code for kind in KINDS}
    assert {path.name for path in PAGES.iterdir()} == {f"{kind.code}.md" for kind in KINDS} | {"README.md"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_a_page_names_its_code_title_and_gravity_and_answers_the_same_questions(kind):
    lines = (PAGES / f"{kind.code}.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# {kind.code}: {kind.title}"
    assert lines[2].startswith(f"Gravity: {kind.gravity}.")
    assert [line for line in lines if line.startswith("## ")] == [
        *("## What triggers it", "## What the report says", "## Why it matters", "## What to do"),
        "## When it goes away",
    ]


def test_the_list_of_pages_agrees_with_the_registry():
    rows = [line for line in (PAGES / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| [BB")]
    assert [[cell.strip() for cell in row.split("|")[1:4]] for row in rows] == [
        [f"[{kind.code}]({kind.code}.md)", kind.title, kind.gravity] for kind in KINDS
    ]


def test_pages_state_the_thresholds_of_the_code():
    assert f"fewer than {finders.FEWEST_RESAMPLED}" in (PAGES / "BB011.md").read_text(encoding="utf-8")
    assert finders._ENOUGH_FOLDS == 4 and "fewer than four" in (PAGES / "BB009.md").read_text(encoding="utf-8")
    share = f"`flip_vertical` below {finders._PUBLISHED_FLIPS}"
    assert share in (PAGES / "BB013.md").read_text(encoding="utf-8")
