"""The models in the box: found by name, whole, small, honest about themselves, and what trainings begin with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bandbridge.api.model import load_model
from bandbridge.boxes import STAINS, at_home, is_box
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.errors import UserError
from bandbridge.karyotype import CLASSES
from bandbridge.predict.ensemble import open_models
from bandbridge.predict.trained_on import read_trained_on
from bandbridge.seal import require_unaltered
from bandbridge.study.execute import Executor
from bandbridge.study.plan import open_study
from bandbridge.synthetic.sets import write_synthetic_set

#: What a study needs to begin with the model in the box.
BOXED = {"architectures": ["tf_efficientnet_lite0"], "image_size": 64, "run_folds": [0]}
_LARGEST = 8_000_000


def box(stain: str) -> Path:
    return at_home(Path(f"box:{stain}"))


@pytest.fixture(scope="module", params=sorted(STAINS))
def stain(request) -> str:
    return request.param


@pytest.mark.parametrize("name", ["box:X", "box:", "BOX:GQ", "box:G/more"])
def test_another_name_is_answered_with_those_that_there_are(name):
    with pytest.raises(UserError, match=r"there is no (box|BOX):") as caught:
        at_home(Path(name))
    assert all(f"box:{stain}" in caught.value.remedy for stain in STAINS)


def test_a_path_is_left_as_it_is(tmp_path):
    assert at_home(tmp_path) == tmp_path and not is_box(tmp_path) and not is_box(Path("boxes/G"))


def test_capital_letters_do_not_matter_and_a_folder_of_that_name_is_not_guessed_about(tmp_path, monkeypatch):
    assert at_home(Path("BOX:g")) == box("G")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "box:G").mkdir()
    with pytest.raises(UserError, match="and a folder that lies here") as caught:
        at_home(Path("box:G"))
    assert str(tmp_path / "box:G") in caught.value.remedy and at_home(tmp_path / "box:G") == tmp_path / "box:G"


def test_a_box_in_the_place_of_images_is_a_mistake(bandbridge):
    for command in ("predict", "evaluate"):
        done = bandbridge(command, "box:G", "box:Q")
        assert done.code == 2 and "box:Q is a model, and no images are named" in done.err


def test_an_installation_without_them_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("bandbridge.boxes.files", lambda _: tmp_path)
    with pytest.raises(UserError, match="box:G is missing"):
        at_home(Path("box:G"))


def test_each_is_whole_and_small(stain):
    folder = box(stain)
    for file in folder.iterdir():
        if file.name not in ("README.md", "SHA256SUMS"):  # the card is there to be edited
            require_unaltered(file)
        assert file.stat().st_size < _LARGEST
    assert {"model.safetensors", "model.onnx", "evidence.onnx", "README.md"} <= {file.name for file in folder.iterdir()}


def test_it_was_trained_on_drawn_cells_of_its_stain_and_says_so(stain):
    trained = read_trained_on(box(stain))
    assert trained.drawn_alone and {source.stain for source in trained.sources} == {stain}
    (first, *_) = load_model(f"box:{stain}").notes()
    assert first.startswith("trained on drawn chromosomes alone, no real one was seen")
    card = (box(stain) / "README.md").read_text()
    assert "No photograph is among its training images" in card and "On photographs" in card


def test_it_sorts_cells_that_it_has_not_seen(stain, tmp_path):
    """Drawn ones, whose labels are known: of chance about a 24th would be right."""
    write_synthetic_set(tmp_path / "cells", stain, 3, seed=4321)
    model = load_model(f"box:{stain}")
    assert model.classes == CLASSES
    told = model.predict(tmp_path / "cells")
    truth = open_dataset(tmp_path / "cells").samples.set_index("file_name")["label"]
    chromosomes = told.table()
    right = truth.loc[chromosomes["file"]].to_numpy() == chromosomes["class"].to_numpy()
    assert right.mean() > 0.85


def test_weights_and_graph_are_one_model(stain):
    folder = Path(f"box:{stain}")
    by_graph, by_weights = (open_models([folder], device="cpu", graphs=graphs).members[0] for graphs in (True, False))
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 64, 64)).astype(np.uint8)
    one, other = by_graph.logits(images), by_weights.logits(images)
    np.testing.assert_allclose(one, other, atol=1e-3 * np.ptp(other))


def test_it_needs_no_torch():
    code = (
        "import sys, bandbridge; bandbridge.load_model('box:G'); bandbridge.load_model('box:Q'); "
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_boxed_training_begins_with_the_weights_and_the_classes_of_the_box(boxed_study, tmp_path):
    study = open_study(boxed_study(approaches=["boxed", "boxed-two-step"]))
    assert [run.name for run in study.runs if run.task == "Q"] == [
        f"Q/tf_efficientnet_lite0/boxed-from-{_identity('Q')[:6]}/fold0",
        "Q/tf_efficientnet_lite0/boxed-two-step/fold0",
    ]
    runner = Executor(study, tmp_path / "runs", "cpu", say=lambda _: None, show=lambda _: None)
    for run in study.runs:
        if run.approach == "boxed":
            model = runner.prepare(run).model
            expected = open_models([box(run.task)], device="cpu", graphs=False).members[0].model
            assert all(torch.equal(one, other) for one, other in _pairs(model, expected))
        else:  # the parent is the other task's, from the box of its own stain
            assert run.parent is not None and run.parent.approach == "boxed" and run.parent.task != run.task


def test_a_study_whose_images_name_no_stain_says_which_box(boxed_study):
    tasks = {"M": {"dataset": ["q4-0", "g4-0"]}}
    path = boxed_study(approaches=["boxed"], tasks=tasks)
    with pytest.raises(UserError, match=r"task M: .*one stain") as caught:
        open_study(path)
    assert "box: G or box: Q" in caught.value.remedy
    (run,) = open_study(boxed_study(approaches=["boxed"], tasks={"M": {**tasks["M"], "box": "G"}})).runs
    assert run.given is not None and run.given.folder == box("G")


@pytest.mark.parametrize(
    ("change", "message", "remedy"),
    [
        (
            {"architectures": ["resnet18"]},
            "the box holds tf_efficientnet_lite0, and resnet18 cannot",
            "tf_efficientnet_lite0",
        ),
        ({"preparation": "published"}, "prepared otherwise", "Write preparation: by-cell"),
    ],
)
def test_what_does_not_fit_the_box_is_refused_with_what_would(boxed_study, change, message, remedy):
    with pytest.raises(UserError, match=message) as caught:
        open_study(boxed_study(approaches=["boxed"], **change))
    assert remedy in caught.value.remedy


def test_images_of_the_other_stain_are_named_where_their_set_says_so(chromosome_set, bandbridge):
    told = bandbridge("evaluate", "box:G", chromosome_set("Q"))
    assert told.code == 0 and "images are said to be of stain Q, and the model was trained on G" in told.out + told.err
    assert "trained on drawn chromosomes alone" in told.out + told.err
    told = bandbridge("evaluate", "box:G", chromosome_set("G"))
    assert told.code == 0 and "are said to be" not in told.out + told.err


def test_a_site_tunes_the_box_by_its_name(chromosome_set, bandbridge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = chromosome_set("G")
    done = bandbridge("fine-tune", "box:G", cells, "--epochs", 1, "--folds", 2, "--out", "mine", "--device", "cpu")
    assert done.code == 0, done.err
    trained = read_trained_on(tmp_path / "mine")
    assert [source.tuned_from for source in trained.sources] == ["", f"sha256:{_identity('G')}"]
    assert "(box:G) was trained further" in (tmp_path / "mine" / "README.md").read_text()


def _identity(stain: str) -> str:
    sums = (box(stain) / "SHA256SUMS").read_text()
    (line,) = (line for line in sums.splitlines() if line.endswith("model.safetensors"))
    return line.split()[0][:16]


def _pairs(one, other):
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    return [(states[0][name], states[1][name]) for name in states[0]]


@pytest.fixture
def boxed_study(study_file):
    """Return a function that writes a study that can begin with the box."""
    return lambda **changes: study_file(**{**BOXED, **changes})
