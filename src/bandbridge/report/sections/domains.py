"""The part of a report on its domains: how far the study's own datasets are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.prepare import Preparation
from bandbridge.domains.distance import DomainDistance, Resampling, compare_all
from bandbridge.domains.embeddings import Embeddings, Extractor, embed, open_natural
from bandbridge.errors import UserError
from bandbridge.files import content_hash, read_regular, write_text
from bandbridge.progress import note
from bandbridge.report.figures.domains import distance_heatmap, embedding_map
from bandbridge.report.sections.blocks import Block, Missing, Section, Wishes, reason_of
from bandbridge.report.tables.domains import bandwidth_table, similarity_table
from bandbridge.study.plan import Study

#: Raised when the same embeddings would give other distances.
_VERSION = 1


def domain_blocks(
    study: Study, root: Path, extractor: Extractor, image_size: int, resampling: Resampling, natural: Path | None = None
) -> list[Block]:
    """Return Table 1, the values under every bandwidth, the heat map and the map of the embeddings.

    The domains are the study's datasets, each once, and ``natural`` images beside them. Embeddings are kept under
    ``root`` and shared with ``bandbridge similarity``. With one domain alone there is nothing to compare: that is said.
    """
    found = [(name, dataset, False) for name, dataset in study_datasets(study).items()]
    if natural is not None:
        found.append((_domain_name(natural.name), open_natural(natural), True))
    if len(found) < 2:
        reason = "The study has a single dataset here. --natural adds natural images to compare it with."
        return [Missing("There is one domain only", reason)]
    preparation = Preparation(size=image_size)
    domains = [embed(dataset, name, extractor, preparation, root, natural=is_nat) for name, dataset, is_nat in found]
    distances = _distances(domains, resampling, root)
    model = f"{extractor.architecture.name} at {image_size} px"
    return [
        similarity_table(distances, domains, resampling, model),
        distance_heatmap(distances),
        embedding_map(domains, resampling.seed),
        bandwidth_table(distances),
    ]


def _distances(domains: Sequence[Embeddings], resampling: Resampling, root: Path) -> list[DomainDistance]:
    """The distances of ``domains``, measured once: a report is written many times while a study runs."""
    facts = [_VERSION, [[domain.name, domain.facts] for domain in domains], asdict(resampling)]
    kept = root / ".embeddings" / f"distances-{content_hash(facts)[:16]}.json"
    form = TypeAdapter(list[DomainDistance])
    try:
        return form.validate_json(read_regular(kept))
    except (OSError, ValidationError):
        found = compare_all(domains, resampling)
        write_text(kept, form.dump_json(found).decode("utf-8"))
        return found


def study_datasets(study: Study) -> dict[str, ImageFolder]:
    """Return the datasets of ``study`` that are here by name, each once however many tasks use it."""
    found: dict[str, tuple[str, ImageFolder]] = {}
    for task in study.tasks.values():
        if task.dataset is not None:
            found.setdefault(task.fingerprint, (_domain_name(task.spec.named), task.dataset))
    return dict(found.values())


def _domain_name(name: str) -> str:
    return Path(name).name.removesuffix(".zip")


def domains_section(wishes: Wishes) -> Section:
    sentence = "How far the domains are apart as an ImageNet model sees them, before any training."
    blocks: list[Block] = []
    if wishes.domains is not None:
        note("comparing the domains")
        try:
            blocks = wishes.domains()
        except UserError as error:
            blocks = [Missing("Similarity of the domains was not measured", reason_of(error))]
    return Section("domains", "The domains", sentence, tuple(blocks))
