"""The similarity of a study's own datasets: the numbers of a direct comparison, kept; one domain is said to be one."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from bandbridge.dataset.prepare import Preparation
from bandbridge.domains.distance import Resampling, compare_all
from bandbridge.domains.embeddings import embed, open_extractor
from bandbridge.model.architectures import find_architecture
from bandbridge.report.sections import domains as study_domains
from bandbridge.report.sections.blocks import Missing
from bandbridge.report.sections.domains import domain_blocks, study_datasets
from bandbridge.study.plan import open_study

RESAMPLING = Resampling(bootstraps=20, permutations=20)


@pytest.fixture(scope="module")
def extractor(small_study):
    return open_extractor(find_architecture("test_resnet"), 64, small_study.path.parent / "weights", "cpu")


class Measured(NamedTuple):
    """A root in which the domains have been measured, to be copied by who writes there, and the table."""

    root: Path
    data: pd.DataFrame


@pytest.fixture(scope="module")
def measured(small_study, extractor, tmp_path_factory) -> Measured:
    root = tmp_path_factory.mktemp("measured")
    return Measured(root, domain_blocks(open_study(small_study.path), root, extractor, 64, RESAMPLING)[0].data)


def test_the_numbers_are_those_of_a_direct_comparison(small_study, extractor, measured, tmp_path):
    study = open_study(small_study.path)
    domains = [
        embed(dataset, name, extractor, Preparation(size=64), tmp_path)
        for name, dataset in study_datasets(study).items()
    ]
    (expected,) = compare_all(domains, RESAMPLING, "cpu")
    data = measured.data
    row = data.loc[(data["measure"] == "mmd2") & (data["convention"] == "corrected")] if "convention" in data else data
    assert expected.mmd.corrected.value in row["value"].tolist()
    assert [domain.name for domain in domains] == ["q", "g"]


def test_they_are_measured_once(small_study, extractor, measured, monkeypatch):
    study = open_study(small_study.path)
    monkeypatch.setattr(study_domains, "compare_all", lambda *_: pytest.fail("measured again"))
    again = domain_blocks(study, measured.root, extractor, 64, RESAMPLING)
    assert again[0].data.equals(measured.data)


def test_damaged_numbers_are_measured_again(small_study, extractor, measured, tmp_path):
    study = open_study(small_study.path)
    shutil.copytree(measured.root, tmp_path, dirs_exist_ok=True)
    (kept,) = tmp_path.glob(".embeddings/distances-*.json")
    kept.write_text(kept.read_text()[:40])
    assert domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)[0].data.equals(measured.data)


def test_other_resampling_is_another_measurement(small_study, extractor, measured, tmp_path):
    study = open_study(small_study.path)
    shutil.copytree(measured.root, tmp_path, dirs_exist_ok=True)
    domain_blocks(study, tmp_path, extractor, 64, Resampling(**asdict(RESAMPLING) | {"seed": 1}))
    assert len(list(tmp_path.glob(".embeddings/distances-*.json"))) == 2


def test_one_domain_alone_is_said(small_study, extractor, tmp_path):
    study = open_study(small_study.path)
    object.__setattr__(study.tasks["G"], "dataset", None)
    (block,) = domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)
    assert isinstance(block, Missing) and "--natural" in block.reason
