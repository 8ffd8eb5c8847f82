"""Where the real image sets and weights are, for the tests that want them; sets and a study made on the spot."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import yaml

try:
    import fcntl
except ImportError:  # Windows: each process makes its own
    fcntl = None

# Tests run side by side already: what a test trains goes run after run, unless the test is about that.
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

_SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable) or default)
    if not folder.is_dir():
        pytest.skip(f"needs real files: set {variable} to their folder")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real image sets (bioimlab.zip, gband65.zip, ...)."""
    return _folder("BANDBRIDGE_DATA", _SHARED / "data")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The folder of genuine ImageNet weights."""
    return _folder("BANDBRIDGE_WEIGHTS", _SHARED / "weights")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place that asks for the system, as to files, takes this one for Windows."""
    monkeypatch.setattr("bandbridge.disk.sys", SimpleNamespace(platform="win32"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side on few cores: more threads each would only wait for one another."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files are written as ever; no test cuts the power, so none waits until they are safe from that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _cells_assigned_once() -> Iterator[None]:
    """Remember how a cell's chromosomes were placed, for those who ask what they asked before.

    A model's confidence is fitted anew whenever it is opened, and many tests open the same few. The tests of the
    assignment itself import it from its own module, where it is as it is.
    """
    from bandbridge.evaluation import assignment, assignment_trial, crossfit
    from bandbridge.predict import classify, confidence

    def remembering(function: Callable[..., Any]) -> Callable[..., Any]:
        known: dict[bytes, bytes] = {}

        def assigned(*arguments: object) -> Any:
            asked = hashlib.sha256(pickle.dumps(arguments)).digest()
            if asked not in known:
                known[asked] = pickle.dumps(function(*arguments))
            return pickle.loads(known[asked])

        return assigned

    with pytest.MonkeyPatch.context() as patch:
        for name, modules in (
            ("assign_cell", (assignment_trial, crossfit, classify, confidence)),
            ("joint_classes", (assignment_trial,)),
        ):
            function = remembering(getattr(assignment, name))
            for module in modules:
                patch.setattr(module, name, function)
        yield


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Notes and progress are printed, as the command prints them; the library by itself is silent."""
    from bandbridge.progress import listening

    with listening(True):
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Return a function that has a folder filled once for all processes of a test run, whichever comes first.

    It returns the folder that all of them read; a test that may write takes a copy.
    """
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ and fcntl is not None:
        common = common.parent
    common /= "made-once"

    def folder(name: str, fill: Callable[[Path], object]) -> Path:
        made = common / name
        common.mkdir(exist_ok=True)
        with (common / f"{name}.lock").open("w") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)  # let go with the file
            if not made.exists():
                unfinished = common / f"{name}.{os.getpid()}"
                shutil.rmtree(unfinished, ignore_errors=True)  # of an earlier test that failed at it
                unfinished.mkdir()
                fill(unfinished)
                unfinished.rename(made)
        return made

    return folder


@pytest.fixture(scope="session")
def drawn_set(made_once) -> Callable[..., Path]:
    """Return a function that draws a small synthetic set, once in a test run; nobody may write in its folder."""
    from bandbridge.synthetic.sets import write_synthetic_set

    def drawn(stain: str = "G", cells: int = 4, seed: int = 0) -> Path:
        name = f"{stain.lower()}{cells}-{seed}"
        return made_once(name, lambda folder: write_synthetic_set(folder, stain, cells, seed))

    return drawn


@pytest.fixture
def chromosome_set(tmp_path: Path, drawn_set):
    """Return a function that lays a small synthetic set of the test's own in its folder and returns that set's."""

    def lay(stain: str = "G", cells: int = 4, seed: int = 0) -> Path:
        drawn = drawn_set(stain, cells, seed)
        return shutil.copytree(drawn, tmp_path / drawn.name, dirs_exist_ok=True)

    return lay


@pytest.fixture
def file_size_limit():
    """Return a context that fails writes beyond ``limit`` bytes, as a full disk would."""
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited(limit: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


class Result(NamedTuple):
    """Exit code, standard output, standard error with line breaks folded into spaces."""

    code: int
    out: str
    err: str


@pytest.fixture
def bandbridge(capsys, monkeypatch) -> Callable[..., Result]:
    """Return a function that runs ``bandbridge`` with its arguments."""
    for variable in ("BANDBRIDGE_DATA", "BANDBRIDGE_WEIGHTS", "BANDBRIDGE_RUNS", "BANDBRIDGE_DEBUG"):
        monkeypatch.delenv(variable, raising=False)

    from bandbridge.cli.main import run

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["bandbridge", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            run()
        printed = capsys.readouterr()
        code = stopped.value.code
        return Result(code if isinstance(code, int) else 1 if code else 0, printed.out, " ".join(printed.err.split()))

    return call


SMALL_STUDY = {
    "name": "small",
    "protocol": "strict",
    "tasks": {
        "Q": {"dataset": "q", "intermediates": ["G"]},
        "G": {"dataset": "g", "target": False},
    },
    "architectures": ["test_resnet"],
    "approaches": ["scratch", "imagenet", "two-step"],
    "split": {"folds": 2, "scheme": "cell"},
    "run_folds": [0],
    "image_size": 64,
    "recipe": {"base": "fast", "epochs": 3, "batch_size": 16, "learning_rate": 0.003},
}


class SmallStudy(NamedTuple):
    """A study's file and the folder of its runs."""

    path: Path
    runs: Path


@pytest.fixture(scope="session")
def small_study(made_once, drawn_set, tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """Synthetic chromosomes, timm's tiny ResNet, three approaches, one of two folds; every run done."""
    trained = made_once("small-study", lambda home: _train_small_study(home, drawn_set))
    home = shutil.copytree(trained, tmp_path_factory.mktemp("small") / "home")
    return SmallStudy(home / "study.yaml", home / "runs")


def _train_small_study(home: Path, drawn_set: Callable[..., Path]) -> None:
    from tests.networks import beginning_moved, write_moved

    from bandbridge.study.execute import Executor
    from bandbridge.study.plan import open_study

    shutil.copytree(drawn_set("Q", 4, 0), home / "q")
    shutil.copytree(drawn_set("G", 2, 0), home / "g")
    write_moved(home / "weights" / "test_resnet.safetensors", classes=1000, size=160, seed=7)
    (home / "study.yaml").write_text(yaml.safe_dump(SMALL_STUDY, sort_keys=False))
    study = open_study(home / "study.yaml")
    executor = Executor(study, home / "runs", "cpu", home / "weights", say=lambda _: None, show=lambda _: None)
    with beginning_moved():
        assert len(executor.run(study.runs).done) == 4


EXAMPLE_STUDY = """\
name: mine
protocol: strict
tasks:
  q: {dataset: sets/q, intermediates: [g]}
  g: {dataset: sets/g, target: false}
architectures: [test_resnet]
approaches: [scratch, domain]
split: {folds: 2}
image_size: 32
recipe: {base: fast, epochs: 1}
"""


@pytest.fixture(scope="session")
def example_home(made_once, drawn_set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as documentation assumes it: sets, new cells, a finished study, a model, ImageNet weights (random)."""
    made = made_once("example", lambda home: _fill_example_home(home, drawn_set))
    return shutil.copytree(made, tmp_path_factory.mktemp("example") / "home")


def _fill_example_home(home: Path, drawn_set: Callable[..., Path]) -> None:
    from tests.networks import beginning_moved, write_moved
    from tests.sheets.drawn import Style, write_sheets

    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.export.folder import export_folder
    from bandbridge.study.execute import Executor
    from bandbridge.study.plan import open_study
    from bandbridge.synthetic.spread_files import write_spreads

    for name, drawing in (("sets/q", ("Q", 4, 1)), ("sets/g", ("G", 4, 2)), ("new-cells", ("Q", 2, 9))):
        shutil.copytree(drawn_set(*drawing), home / name)
    write_sheets(home / "sheets", {"cell 1.png": Style(), "cell 2.png": Style(extra=("21",), cell=1)})
    drawn = write_spreads(home / "drawn", "G", 1, seed=3)
    (drawn / "fields").rename(home / "fields")
    shutil.rmtree(drawn)
    (home / "mine.yaml").write_text(EXAMPLE_STUDY)
    write_moved(home / "weights" / "test_resnet.safetensors", classes=1000, size=160, seed=7)
    study = open_study(home / "mine.yaml")
    executor = Executor(study, home / "runs", "cpu", say=lambda _: None, show=lambda _: None)
    with beginning_moved():
        assert len(executor.run(study.runs).done) == 6
    run = next((home / "runs" / "q").glob("*/scratch/fold0-*"))
    export_folder(run, home / "models" / "mine", images=open_dataset(home / "sets" / "q"))
