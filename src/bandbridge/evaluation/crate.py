"""What a pack says of itself to programs that know nothing of this one: RO-Crate 1.1, https://w3id.org/ro/crate/1.1.

One JSON-LD file in the root of the zip names what lies in it, of what sets and trainings it came, and when. A pack is a
crate as it is; repositories and registries of workflows read this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandbridge.evaluation.pack import PackFacts

CRATE = "ro-crate-metadata.json"
_VERSION = "https://w3id.org/ro/crate/1.1"
_METHOD = "https://doi.org/10.1038/s41598-026-38662-w"
_HALVES = (
    "For each finished training and kept checkpoint the logits of the images that its fold holds out, as a NumPy file: "
    "float16 [N, C], the largest of an image 0, in the order in which pack.json lists the images of the task."
)
_FACTS = (
    "The study file, the images with their labels, cells, patients and folds, and of each finished training its "
    "record, versions, time and place in the study."
)
_REPORT = "The study's report, a page for a browser that needs no other file, without pictures of chromosomes."
_LICENCE = (
    "Not stated here. The logits and the names of images and cells come from images of the laboratories named as sets; "
    "what these allow is to be asked of them."
)


def crate_of(facts: PackFacts, sizes: Mapping[str, int], report: str, facts_file: str) -> dict[str, Any]:
    """Return the content of :data:`CRATE` for a pack.

    sizes: the bytes of each member of the zip. report, facts_file: what the members with the report, which may not be
    there, and with ``facts`` are called. Equal packs have equal crates: the date is that of the last training.
    """
    parts: list[dict[str, Any]] = [_file(facts_file, "Facts of the study", _FACTS, "application/json", sizes)]
    if any(name.startswith("logits/") for name in sizes):
        parts.append({"@id": "logits/", "@type": "Dataset", "name": "Predictions", "description": _HALVES})
    if report in sizes:
        parts.append(_file(report, "Report", _REPORT, "text/html", sizes))
    sets, trained = list(_sets(facts)), list(_training(facts, [part["@id"] for part in parts]))
    begun = sorted(run.started for run in facts.runs if run.started)
    runs = len(facts.run_ids)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Evidence of the study {facts.study}",
        "description": (
            f"What {runs} of {facts.planned} trainings of a cross-validated study of chromosome classifiers predict "
            f"for the images that they had not seen, protocol {facts.protocol}. Tables and intervals come of it."
        ),
        **({"datePublished": begun[-1][:10]} if begun else {}),
        "license": _to("#licence"),
        "keywords": "chromosome, karyotyping, image classification, cross-validation",
        "hasPart": [_to(part["@id"]) for part in parts],
        "citation": _to(_METHOD),
        "mentions": [_to(entity["@id"]) for entity in (*trained[:1], *sets)],
    }
    described = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "conformsTo": _to(_VERSION),
        "about": _to("./"),
    }
    licence = {"@id": "#licence", "@type": "CreativeWork", "name": "Licence of the images", "description": _LICENCE}
    method = {"@id": _METHOD, "@type": "ScholarlyArticle", "name": "Scientific Reports 16:7572 (2026)"}
    return {"@context": f"{_VERSION}/context", "@graph": [described, root, *parts, licence, method, *trained, *sets]}


def _to(identity: str) -> dict[str, str]:
    return {"@id": identity}


def _alone(values: list[dict[str, str]]) -> Any:
    """Return ``values``, a single one without its list, as the format has it."""
    return values[0] if len(values) == 1 else values


def _file(name: str, title: str, text: str, kind: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    size = str(sizes[name])
    return {
        **{"@id": name, "@type": "File", "name": title, "description": text},
        **{"encodingFormat": kind, "contentSize": size},
    }


def _sets(facts: PackFacts) -> Iterator[dict[str, Any]]:
    """Yield the sets of images, which are no part of a pack, each once."""
    seen = set()
    for task in facts.tasks:
        if task.fingerprint in seen:
            continue
        seen.add(task.fingerprint)
        yield {
            "@id": f"#set-{task.fingerprint[:16]}",
            "@type": "CreativeWork",
            "name": f"Image set {task.dataset}",
            "description": f"{len(task.images)} images of chromosomes, {task.band or 'stain not stated'}; not in here.",
            "identifier": f"sha256:{task.fingerprint}",
        }


def _training(facts: PackFacts, results: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the trainings as one action, and what carried them out."""
    runs = {run.id: run for run in facts.runs}
    begun = sorted(run.started for run in runs.values() if run.started)
    versions = sorted({run.versions["bandbridge"] for run in runs.values() if run.versions.get("bandbridge")})
    yield {
        "@id": "#training",
        "@type": "CreateAction",
        "name": f"{len(runs)} trainings of the study {facts.study}",
        "instrument": _to("#bandbridge"),
        "object": _alone([_to(one["@id"]) for one in _sets(facts)]),
        "result": _alone([_to(result) for result in results if result.endswith("/")] or [_to(results[0])]),
        **({"startTime": begun[0], "endTime": begun[-1]} if begun else {}),
    }
    yield {
        "@id": "#bandbridge",
        "@type": "SoftwareApplication",
        "name": "Bandbridge",
        "description": "Cross-validated classification of chromosomes",
        **({"softwareVersion": ", ".join(versions)} if versions else {}),
    }
