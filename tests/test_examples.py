"""The notebooks of examples/: every cell is run as it stands, in an empty folder, and no output was kept."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import bandbridge

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
#: For all of a notebook, in seconds: they take a tenth of it on two cores.
_LONGEST = 300


def test_there_are_six_and_none_keeps_what_a_run_left() -> None:
    assert len(NOTEBOOKS) == 6
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None, path.name
    assert (
        sorted(path.name for path in EXAMPLES.iterdir() if path.suffix != ".ipynb" and path.name[:5] != "work-")
        == [".ipynb_checkpoints"] * (EXAMPLES / ".ipynb_checkpoints").exists()
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs_and_no_output_names_this_machine(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs bandbridge[dev]")
    nbclient = pytest.importorskip("nbclient", reason="needs bandbridge[dev]")
    for variable in ("BANDBRIDGE_DATA", "BANDBRIDGE_WEIGHTS", "BANDBRIDGE_RUNS", "BANDBRIDGE_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    source = Path(bandbridge.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep))
    # A line with "!" takes the command from where this Python has it.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    home = tmp_path / "home"
    home.mkdir()
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    notebook.metadata.kernelspec.name = "this"
    client = nbclient.NotebookClient(
        notebook,
        timeout=_LONGEST,
        kernel_manager_class=_this_python(),
        resources={"metadata": {"path": str(home)}},
    )
    client.execute()
    said = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert said and not [one for one in said if one.output_type == "error"]
    texts = json.dumps(said)
    assert not [place for place in (str(tmp_path), str(source), str(Path.home())) if len(place) > 1 and place in texts]
    assert "Traceback" not in texts


def _this_python() -> Any:
    """Kernels of the Python that runs the tests, whatever kernels Jupyter may know besides."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            line = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=line, display_name="this", language="python")

    return Manager
