"""What docs/promises.md says, where no other test holds it."""

from __future__ import annotations

import pytest
from tests.conftest import SMALL_STUDY

import bandbridge
from bandbridge.study.plan import open_study


def test_an_id_holds_no_version(tmp_path, chromosome_set, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    for stain in ("Q", "G"):
        chromosome_set(stain, 2).rename(tmp_path / stain.lower())
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(SMALL_STUDY, sort_keys=False))

    def ids() -> list[str]:
        return [run.id for run in open_study(path).runs]

    before = ids()
    for module in ("bandbridge", "bandbridge.cli.main", "bandbridge.report.sections.repetition"):
        monkeypatch.setattr(f"{module}.__version__", "99.9.9", raising=False)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.9.9")
    assert bandbridge.__version__ == "99.9.9" and ids() == before and len(before) == 4
