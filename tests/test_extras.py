"""What an absent package is to a user: the command that installs it, and no traceback."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bandbridge.errors import UserError
from bandbridge.extras import EXTRAS, is_installed, lacking, need

_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
_SHUT = """
import sys

class Shut:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Shut())
from bandbridge.cli.main import run
sys.argv = ["bandbridge", *{words!r}]
run()
"""


def test_a_package_that_is_there_is_imported() -> None:
    assert need("numpy").__name__ == "numpy" and need("onnxruntime.quantization").__name__ == "onnxruntime.quantization"
    assert is_installed("numpy") and not is_installed("no_such_package")


@pytest.mark.parametrize(("package", "extra"), list(EXTRAS.items()))
def test_one_that_is_not_names_its_extra(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as refused:
        need(f"{package}")
    assert "is not installed here" in refused.value.message
    assert refused.value.remedy == f'Install it with: pip install "bandbridge[{extra}]"'
    with pytest.raises(UserError, match=r"bandbridge\[formats\]"):
        need(package, "formats")


def test_one_that_is_broken_says_why_and_one_of_no_extra_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = lacking(ImportError("libc++.so: cannot open", name="torch"))
    assert broken is not None and "cannot be imported: libc++.so" in broken.message
    assert lacking(ImportError("cannot import name 'x'", name="bandbridge.files")) is None
    with pytest.raises(ModuleNotFoundError):
        need("no_such_package")


def test_every_extra_that_is_named_brings_its_package() -> None:
    project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
    named = {"lightning_fabric": "lightning-fabric", "sklearn": "scikit-learn"}
    named |= {"skimage": "scikit-image", "mlflow": "mlflow-skinny"}
    core = [need.partition(">")[0] for need in project["dependencies"]]
    for package, extra in EXTRAS.items():
        wanted = named.get(package, package)
        brought = [need.partition(">")[0] for need in project["optional-dependencies"][extra]]
        if package == "pyarrow":  # the tables of a study's predictions, and metadata.parquet
            assert "bandbridge[formats]" in brought
            brought = [need.partition(">")[0] for need in project["optional-dependencies"]["formats"]]
        assert wanted in brought and wanted not in core, (package, extra)


def test_a_command_that_needs_an_extra_says_so_in_one_line(tmp_path: Path) -> None:
    words = ["similarity", str(tmp_path), str(tmp_path)]
    code = _SHUT.format(absent=("torch", "timm"), words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    told = " ".join(done.stderr.split())
    assert "error: this needs PyTorch, which is not installed here" in told
    assert 'Install it with: pip install "bandbridge[train]"' in told


def test_the_same_from_python_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    calls = (
        "bb.similarity('a', 'b')",
        "bb.advise('a', ['b'])",
        "bb.fine_tune('m', 'd', out='o')",
        "bb.Study.read('s.yaml')",
        "bb.load_model('nope')",
    )
    code = _SHUT.format(absent=("torch", "timm", "safetensors", "sklearn", "lightning_fabric"), words=[])
    asked = "\n".join(f"told({call!r})" for call in calls)
    code = code.partition("from bandbridge.cli")[0] + (
        "import bandbridge as bb\n"
        "def told(call):\n"
        "    try:\n"
        "        eval(call)\n"
        "    except bb.UserError as error:\n"
        "        print(call, '|', error.message, '|', error.remedy)\n" + asked
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert len(lines) == len(calls), done.stderr
    assert all("bandbridge[train]" in line for line in lines[:3]) and "nope does not exist" in lines[-1]
