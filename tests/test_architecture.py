"""The house keeps its floors: imports point down, the picture is true, and a finished model needs no torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.scripts import load_script

ARCHITECTURE = load_script("docs/architecture.py")

# Both lists only get shorter: a line whose import is gone has to go too.
#: Modules for finished models whose import loads torch today, and why.
LOADING_TORCH: dict[str, str] = {}
#: Imports inside functions of modules for finished models that lead to the training side, and why.
REACHING_FOR_TRAINING: dict[tuple[str, str], str] = {
    (
        "bandbridge.cli.predict",
        "bandbridge.report.caution",
    ): "a warning names the code of its page, without torch",
    ("bandbridge.predict.ensemble", "bandbridge.model.classifier"): "a run or a folder of PyTorch weights is opened",
    ("bandbridge.review.analyst", "bandbridge.explain.seen"): "a person asks what in an image speaks for a class",
    ("bandbridge.review.analyst", "bandbridge.model.classifier"): "only such a model can be asked that, a graph cannot",
}

_HEAVY = ("torch", "torchvision", "timm", "lightning_fabric")
# Imports the first modules one by one and says what each brought; then those of the second list with torch shut away.
_ONE_BY_ONE = """
import importlib, json, sys

class Shut:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            raise ImportError(f"{name} is shut away", name=name)

heavy, free, listed = json.loads(sys.argv[1])
brought, light = {}, []
for name in free:
    before = set(sys.modules)
    importlib.import_module(name)
    if new := [package for package in heavy if package in sys.modules and package not in before]:
        brought[name] = new
sys.meta_path.insert(0, Shut())
for name in listed:
    try:
        importlib.import_module(name)
    except ImportError as fault:
        if (fault.name or "").partition(".")[0] not in heavy:
            raise
    else:
        light.append(name)
print(json.dumps([brought, light]))
"""


def build(folder: Path, files: dict[str, str]) -> Path:
    """A house in ``folder`` with these files; returns the folder of its package."""
    root = folder / "src" / "bandbridge"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def modules() -> Any:
    return ARCHITECTURE.read_modules()


def test_every_import_points_down_and_none_runs_in_a_circle() -> None:
    assert ARCHITECTURE.problems() == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import math\nfrom bandbridge.predict.classify import classify\n", 2),
        ("from bandbridge.predict import classify\n", 1),
        ("import bandbridge.predict.classify\n", 1),
        ("from ..predict import classify\n", 1),
        ("def late():\n    from bandbridge.predict.classify import classify\n", 2),
        ("if TYPE_CHECKING:\n    from bandbridge.predict.classify import Classified\n", 2),
    ],
)
def test_an_import_that_points_up_is_named_with_its_line(text: str, line: int, tmp_path: Path) -> None:
    files = {"dataset/store.py": text, "predict/classify.py": ""}
    (found,) = ARCHITECTURE.problems(build(tmp_path / "up", files))
    where = f"src/bandbridge/dataset/store.py:{line}"
    assert found == f"{where}: dataset imports bandbridge.predict.classify, which is on a higher floor"
    down = {"dataset/classify.py": "", "study/run.py": text.replace("predict", "dataset")}
    assert ARCHITECTURE.problems(build(tmp_path / "down", down)) == []


def test_the_version_is_open_to_all_and_the_rest_of_the_face_is_not(tmp_path: Path) -> None:
    text = "from bandbridge import __version__\nfrom bandbridge import Model\n"
    (found,) = ARCHITECTURE.problems(build(tmp_path, {"__init__.py": "", "study/run.py": text}))
    assert found == "src/bandbridge/study/run.py:2: study imports bandbridge, which is on a higher floor"


def test_a_circle_is_named_with_every_step(tmp_path: Path) -> None:
    circle = {
        "study/plan.py": "from bandbridge.study.run import Run\n",
        "study/run.py": "\nfrom bandbridge.study import spec\n",
        "study/spec.py": "import math\nimport json\nfrom bandbridge.study.plan import Plan\n",
    }
    assert ARCHITECTURE.problems(build(tmp_path, circle)) == [
        "a circle: src/bandbridge/study/plan.py:1 imports bandbridge.study.run, "
        "src/bandbridge/study/run.py:2 imports bandbridge.study.spec, "
        "src/bandbridge/study/spec.py:3 imports bandbridge.study.plan"
    ]
    opened = circle | {"study/spec.py": "def late():\n    from bandbridge.study.plan import Plan\n"}
    assert ARCHITECTURE.problems(build(tmp_path, opened)) == []


def test_two_circles_are_both_named(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]
    files = {f"dataset/{name}.py": f"from bandbridge.dataset import {other}\n" for name, other in pairs}
    assert len(ARCHITECTURE.problems(build(tmp_path, files))) == 2


def test_a_room_without_a_floor_and_a_module_that_is_gone_are_named(tmp_path: Path) -> None:
    store = "from bandbridge.dataset.likeness import twins\n"
    root = build(tmp_path, {"attic/box.py": "", "cellar.py": "", "dataset/store.py": store})
    attic, cellar, gone = ARCHITECTURE.problems(root)
    assert attic.startswith("src/bandbridge/attic/box.py:1: the room attic has no floor")
    assert cellar.startswith("src/bandbridge/cellar.py:1: the room cellar has no floor")
    assert gone == "src/bandbridge/dataset/store.py:1: bandbridge.dataset.likeness is not there"


def test_the_command_exits_with_1_where_there_is_something_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crooked = build(tmp_path / "a", {"dataset/store.py": "from bandbridge.cli import main\n", "cli/main.py": ""})
    assert ARCHITECTURE.main(["--check"], crooked) == 1
    assert "store.py:1" in capsys.readouterr().out
    upright = build(tmp_path / "b", {"cli/main.py": "from bandbridge.dataset import store\n", "dataset/store.py": ""})
    assert ARCHITECTURE.main(["--check"], upright) == 0
    assert capsys.readouterr().out == "2 modules, 1 imports of one another: every one points down, no circles\n"
    assert ARCHITECTURE.main(["--check"], tmp_path / "nothing" / "here") == 1


def test_what_loads_torch_is_followed_through_imports_that_run_at_once(tmp_path: Path) -> None:
    files = {
        "model/weights.py": "from safetensors.torch import load_file\n",
        "predict/eager.py": "from bandbridge.model.weights import load\n",
        "predict/late.py": "def load():\n    from bandbridge.model import weights\n",
        "predict/typed.py": "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n",
        "review/page.py": "import bandbridge.predict.eager\n",
    }
    found = ARCHITECTURE.read_modules(build(tmp_path, files))
    loading = {"bandbridge.model.weights", "bandbridge.predict.eager", "bandbridge.review.page"}
    assert ARCHITECTURE.needing_torch(found) == loading
    assert ARCHITECTURE.crossing_inside(found) == {("bandbridge.predict.late", "bandbridge.model.weights"): 2}


def test_the_picture_shows_the_house_as_it_is() -> None:
    """Rooms, modules and arrows exactly; lines and numbers of imports to a fifth, or every commit would draw anew."""
    drawn, now = ARCHITECTURE.read_picture(), ARCHITECTURE.survey()
    assert _structure(drawn) == _structure(now), "stale: python docs/architecture.py draws the picture anew"
    for old, new in zip(_numbers(drawn), _numbers(now), strict=True):
        assert abs(old - new) <= max(5, 0.2 * new), "stale: python docs/architecture.py draws the picture anew"


def _structure(shown: dict[str, Any]) -> tuple[list[tuple[str, int, int]], dict[str, bool]]:
    at_once, inside = (shown["imports"][when] for when in ("at once", "inside"))
    floors = [(floor["name"], floor["modules"], floor["torch"]) for floor in shown["floors"]]
    return floors, {arrow: arrow in at_once for arrow in sorted(at_once | inside)}


def _numbers(shown: dict[str, Any]) -> list[int]:
    at_once, inside = (shown["imports"][when] for when in ("at once", "inside"))
    arrows = [at_once.get(arrow, 0) + inside.get(arrow, 0) for arrow in sorted(at_once | inside)]
    return [floor["lines"] for floor in shown["floors"]] + arrows


def test_equal_houses_give_equal_bytes_and_the_picture_tells_what_it_shows(tmp_path: Path) -> None:
    files = {"dataset/store.py": "", "predict/classify.py": "from bandbridge.dataset import store\n"}
    root = build(tmp_path, files)
    for name in ("a.svg", "b.svg"):
        ARCHITECTURE.write_picture(tmp_path / name, root)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert ARCHITECTURE.read_picture(tmp_path / "a.svg") == {
        "floors": [
            {"name": "dataset", "modules": 1, "torch": 0, "lines": 0},
            {"name": "predict", "modules": 1, "torch": 0, "lines": 1},
        ],
        "imports": {"at once": {"predict > dataset": 1}, "inside": {}},
    }


def test_every_file_that_the_page_names_is_there() -> None:
    page = Path(ARCHITECTURE.__file__).with_suffix(".md").read_text(encoding="utf-8")
    table = page.partition("## Where does a change go?")[2].partition("\n## ")[0]
    rows = [line.split("|")[2:4] for line in table.splitlines() if line.startswith("| ")]
    for folder, column in ((ARCHITECTURE.ROOT, 0), (Path(__file__).parent, 1)):
        named = {word for row in rows for word in re.findall(r"`([\w/]+(?:\.py|/))`", row[column])}
        named -= {"docs/architecture.py"}
        assert len(named) > 15 and [word for word in sorted(named) if not (folder / word).exists()] == []


def test_what_a_laboratory_needs_loads_no_torch(modules: Any) -> None:
    free = [name for name, module in modules.items() if not module.on_training_side and name not in LOADING_TORCH]
    order = json.dumps([_HEAVY, free, list(LOADING_TORCH)])
    done = subprocess.run([sys.executable, "-c", _ONE_BY_ONE, order], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    brought, light = json.loads(done.stdout)
    assert brought == {}, "the first of these brought torch with it; the next test names all that need it"
    assert light == [], "these load no torch any more: take them off LOADING_TORCH"


def test_the_list_of_what_loads_torch_is_complete_and_no_longer_than_that(modules: Any) -> None:
    loading = ARCHITECTURE.needing_torch(modules)
    assert {name for name in loading if not modules[name].on_training_side} == set(LOADING_TORCH)
    assert all(LOADING_TORCH.values())


def test_every_way_from_a_finished_model_to_training_has_its_reason(modules: Any) -> None:
    assert set(ARCHITECTURE.crossing_inside(modules)) == set(REACHING_FOR_TRAINING)
    assert all(REACHING_FOR_TRAINING.values())
