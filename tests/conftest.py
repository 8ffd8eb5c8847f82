"""Where the real image sets and weights are, for the tests that want them; sets and a study made on the spot."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

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


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side on few cores: more threads each would only wait for one another."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """Notes and progress are printed, as the command prints them; the library by itself is silent."""
    from bandbridge.progress import listening

    with listening(True):
        yield


@pytest.fixture
def chromosome_set(tmp_path: Path):
    """Return a function that draws a small synthetic set and returns its folder."""
    from bandbridge.dataset.synthetic import write_synthetic_set

    def draw(stain: str = "G", cells: int = 4, seed: int = 0) -> Path:
        return write_synthetic_set(tmp_path / f"{stain.lower()}{cells}-{seed}", stain, cells, seed)

    return draw


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
def small_study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """Synthetic chromosomes, timm's tiny ResNet, three approaches, one of two folds; every run done."""
    import torch

    from bandbridge.dataset.synthetic import write_synthetic_set
    from bandbridge.model.architectures import create_model, find_architecture
    from bandbridge.model.weights import save_model
    from bandbridge.study.execute import Executor
    from bandbridge.study.plan import open_study

    home = tmp_path_factory.mktemp("small")
    write_synthetic_set(home / "q", "Q", 4, 0)
    write_synthetic_set(home / "g", "G", 2, 0)
    model = create_model(find_architecture("test_resnet"), 1000, 160, torch.Generator().manual_seed(7))
    save_model(model.state_dict(), home / "weights" / "test_resnet.safetensors", {})
    (home / "study.yaml").write_text(yaml.safe_dump(SMALL_STUDY, sort_keys=False))
    study = open_study(home / "study.yaml")
    executor = Executor(study, home / "runs", "cpu", home / "weights", say=lambda _: None, show=lambda _: None)
    assert len(executor.run(study.runs).done) == 4
    return SmallStudy(home / "study.yaml", home / "runs")


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
def example_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as documentation assumes it: sets, new cells, a finished study, a model, ImageNet weights (random)."""
    import torch

    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.dataset.synthetic import write_synthetic_set
    from bandbridge.export.folder import export_folder
    from bandbridge.model.architectures import create_model, find_architecture
    from bandbridge.model.weights import save_model
    from bandbridge.study.execute import Executor
    from bandbridge.study.plan import open_study

    home = tmp_path_factory.mktemp("example")
    write_synthetic_set(home / "sets" / "q", "Q", 4, 1)
    write_synthetic_set(home / "sets" / "g", "G", 4, 2)
    write_synthetic_set(home / "new-cells", "Q", 2, 9)
    (home / "mine.yaml").write_text(EXAMPLE_STUDY)
    model = create_model(find_architecture("test_resnet"), 1000, 160, torch.Generator().manual_seed(7))
    save_model(model.state_dict(), home / "weights" / "test_resnet.safetensors", {})
    study = open_study(home / "mine.yaml")
    executor = Executor(study, home / "runs", "cpu", say=lambda _: None, show=lambda _: None)
    assert len(executor.run(study.runs).done) == 6
    run = next((home / "runs" / "q").glob("*/scratch/fold0-*"))
    export_folder(run, home / "models" / "mine", images=open_dataset(home / "sets" / "q"))
    return home
