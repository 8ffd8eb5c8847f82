"""``bandbridge models``: its three forms agree with the counts and with each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import typer
from typer.testing import CliRunner

from bandbridge.cli.models import models
from bandbridge.errors import UserError
from bandbridge.model.architectures import ARCHITECTURES


@pytest.fixture(autouse=True)
def no_weights_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BANDBRIDGE_WEIGHTS", raising=False)


def printed(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(models)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_json_lists_the_eleven_rows() -> None:
    records = json.loads(printed("--json"))
    assert [record["name"] for record in records] == [row.name for row in ARCHITECTURES]
    assert records[0]["parameters"] == 134_367_320  # torchvision's vgg16_bn with 24 classes
    assert {record["weights_from"] for record in records} == {"hub"}


def test_named_models_and_local_weights(tmp_path: Path) -> None:
    (tmp_path / "test_resnet.safetensors").write_bytes(b"")
    arguments = ("test_resnet", "test_vit4", "--weights-dir", str(tmp_path))
    records = json.loads(printed(*arguments, "--json"))
    assert [record["weights_from"] for record in records] == ["folder", "none"]
    for record in records:
        size = {"img_size": 224} if "vit" in record["timm_name"] else {}
        model = timm.create_model(record["timm_name"], num_classes=24, **size)
        assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    lines = printed(*arguments, "--markdown").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert [row[0] for row in rows[2:]] == ["test_resnet", "test_vit4"]
    assert rows[2][4] == f"{records[0]['parameters'] / 1e6:.2f}"
    assert "multiply-accumulates" in lines[-1]
    table = printed(*arguments)
    assert "test_resnet.r160_in1k" in table
    assert "multiply-accumulates" in table


def test_unknown_names_and_two_forms_are_refused() -> None:
    with pytest.raises(UserError, match="resnet50"):
        printed("resnet5O")
    with pytest.raises(UserError, match="exclude"):
        printed("--json", "--markdown", "test_resnet")


def test_help_names_the_defaults() -> None:
    text = printed("--help")
    assert "eleven" in text and "BANDBRIDGE_WEIGHTS" in text
