"""The runtimes as they are opened: nothing is told to anybody, and where no GPU is, none is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bandbridge.errors import UserError
from bandbridge.machine import require_device
from bandbridge.predict.runtime import knows_gpu, open_runtime

GRAPH = Path(__file__).parents[1] / "made_by_afe3cdb" / "onnx" / "model.onnx"


_OPEN = """
import sys
from pathlib import Path
from bandbridge.predict.runtime import open_runtime
open_runtime(Path(sys.argv[1]))
"""


def test_a_session_writes_nothing_about_this_machine_for_its_maker(tmp_path: Path) -> None:
    """ONNX Runtime 1.31 does, unless it is told before its import: findings/onnxruntime-tells-its-maker.sh."""
    told = ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    kept = {name: value for name, value in os.environ.items() if name not in told}
    home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    command = [sys.executable, "-B", "-c", _OPEN, str(GRAPH)]
    subprocess.run(command, env={**kept, **home}, check=True, cwd=tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_a_graph_of_an_earlier_build_gives_no_features_and_says_what_it_is() -> None:
    runtime = open_runtime(GRAPH, threads=1)
    assert not runtime.gives_features and {"run", "classes", "preparation"} <= set(runtime.stated)


def test_a_device_is_one_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no device 'gpu'"):
        require_device("gpu")
    monkeypatch.setattr("bandbridge.predict.runtime.sees_gpu", lambda: True)
    assert not knows_gpu()  # onnxruntime, as opposed to onnxruntime-gpu


def test_batches_of_any_number_give_the_same(example_home: Path) -> None:
    from bandbridge.predict.graph import open_graph

    graph = open_graph(example_home / "models" / "mine" / "model.onnx")
    images = np.random.default_rng(0).integers(0, 256, (70, *graph.preparation.shape)).astype(np.uint8)
    whole = graph.logits(images)
    alone = np.concatenate([graph.logits(images[place : place + 1]) for place in range(70)])
    assert np.abs(whole - alone).max() < 1e-5 * np.ptp(whole)
