"""The similarity of a study's own datasets: the numbers of a direct comparison, kept; one domain is said to be one."""

from __future__ import annotations

from dataclasses import asdict

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


@pytest.fixture
def extractor(small_study):
    return open_extractor(find_architecture("test_resnet"), 64, small_study.path.parent / "weights", "cpu")


def test_the_numbers_are_those_of_a_direct_comparison(small_study, extractor, tmp_path):
    study = open_study(small_study.path)
    blocks = domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)
    domains = [
        embed(dataset, name, extractor, Preparation(size=64), tmp_path)
        for name, dataset in study_datasets(study).items()
    ]
    (expected,) = compare_all(domains, RESAMPLING, "cpu")
    data = blocks[0].data
    row = data.loc[(data["measure"] == "mmd2") & (data["convention"] == "corrected")] if "convention" in data else data
    assert expected.mmd.corrected.value in row["value"].tolist()
    assert [domain.name for domain in domains] == ["q", "g"]


def test_they_are_measured_once(small_study, extractor, tmp_path, monkeypatch):
    study = open_study(small_study.path)
    first = domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)
    monkeypatch.setattr(study_domains, "compare_all", lambda *_: pytest.fail("measured again"))
    again = domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)
    assert again[0].data.equals(first[0].data)


def test_damaged_numbers_are_measured_again(small_study, extractor, tmp_path):
    study = open_study(small_study.path)
    first = domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)
    (kept,) = tmp_path.glob(".embeddings/distances-*.json")
    kept.write_text(kept.read_text()[:40])
    assert domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)[0].data.equals(first[0].data)


def test_other_resampling_is_another_measurement(small_study, extractor, tmp_path):
    study = open_study(small_study.path)
    for resampling in (RESAMPLING, Resampling(**asdict(RESAMPLING) | {"seed": 1})):
        domain_blocks(study, tmp_path, extractor, 64, resampling)
    assert len(list(tmp_path.glob(".embeddings/distances-*.json"))) == 2


def test_one_domain_alone_is_said(small_study, extractor, tmp_path):
    study = open_study(small_study.path)
    object.__setattr__(study.tasks["G"], "dataset", None)
    (block,) = domain_blocks(study, tmp_path, extractor, 64, RESAMPLING)
    assert isinstance(block, Missing) and "--natural" in block.reason
