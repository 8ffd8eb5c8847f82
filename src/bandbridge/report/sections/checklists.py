"""The appendix that begins two reporting checklists from what the study's records say, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bandbridge import __version__
from bandbridge.dataset.findings import counted
from bandbridge.evaluation.predictions import BEGINNINGS
from bandbridge.report.caution import Caution
from bandbridge.report.context import APPROACH_TITLES
from bandbridge.report.sections.blocks import Missing, Section
from bandbridge.report.study import Material
from bandbridge.report.tables.checklists import CLAIM, TRIPOD_AI, checklist_table
from bandbridge.report.tables.provenance import dataset_table
from bandbridge.study.plan import Study
from bandbridge.study.resolve import TaskData

_LEVELS = {"image": "single images: cells and patients may be on both sides", "cell": "whole cells"}
_LEVELS |= {"patient": "whole patients", "source": "whole sources (laboratories)"}
_SENTENCE = (
    "Begun from what the records of this study say; a gap is what no record can say, or what this study did not do. "
    "In other words than the checklists' own: CLAIM 2024 (doi 10.1148/ryai.240300), TRIPOD+AI (doi "
    "10.1136/bmj-2023-078378)."
)


def checklists_section(
    study: Study,
    made: Material,
    environments: Sequence[dict[str, Any]],
    cautions: Sequence[Caution],
    others: Sequence[Section],
) -> Section:
    """Return the appendix; ``others`` are the sections that its items lead to."""
    facts = recorded_facts(study, made, environments, cautions, others)
    claim = "Checklist for artificial intelligence in medical imaging, update of 2024."
    tripod = "Reporting of prediction models, with regression or machine learning."
    tables = (
        checklist_table("claim-2024", "CLAIM 2024", claim, CLAIM, facts),
        checklist_table("tripod-ai", "TRIPOD+AI", tripod, TRIPOD_AI, facts),
    )
    return Section("checklists", "Reporting checklists", _SENTENCE, tables)


def recorded_facts(
    study: Study,
    made: Material,
    environments: Sequence[dict[str, Any]],
    cautions: Sequence[Caution],
    others: Sequence[Section] = (),
) -> dict[str, str]:
    """Return what the records say, by the name of the record; what they do not say is not there or ""."""
    targets = [task for task in study.tasks.values() if task.spec.target]
    shown = {section.name for section in others if any(not isinstance(block, Missing) for block in section.blocks)}
    facts = {
        **_of_design(study, targets),
        **_of_data(study, targets),
        **_of_models(study, made, environments),
        **_of_results(study, made, shown),
    }
    if cautions:
        codes = ", ".join(dict.fromkeys(one.code for one in cautions))
        facts["limitations"] = f'What the records know is under "Before you believe it": {codes}. Others: the authors.'
    return facts


def _of_design(study: Study, targets: Sequence[TaskData]) -> dict[str, str]:
    spec = study.spec
    approaches = ", ".join(APPROACH_TITLES[approach] for approach in spec.approaches)
    names = ", ".join(task.spec.band or task.name for task in targets)
    divided = [task for task in targets if task.split is not None]
    schemes = "; ".join(f"{task.name}: {_LEVELS[task.split.scheme]}" for task in divided if task.split)
    division = "; ".join(
        f"{task.name}: {task.split.folds} folds by {task.split.scheme}, seed {task.split.seed}, "
        f"hash {task.split.hash[:12]}"
        for task in divided
        if task.split
    )
    chosen = (
        "The epoch with the best accuracy on the reported fold itself, as published; that flatters every approach."
        if spec.protocol == "paper"
        else "The last epoch; no held-out image has a part in the choice."
    )
    subsets = [f"{task.name}: {task.spec.cells} labelled cells of each fold" for task in targets if task.spec.cells]
    shuffled = [f"{task.name}: labels shuffled, a control" for task in targets if task.spec.labels == "shuffled"]
    external = [task.name for task in divided if task.split and task.split.scheme == "source"]
    return {
        "objective": f"Development with internal validation: classifiers of {names}, begun in "
        f"{counted(len(spec.approaches), 'way')} ({approaches}) on the same folds.",
        "division": division,
        "level": schemes,
        "selection": chosen,
        "subsets": "; ".join([*subsets, *shuffled]),
        "external": f"{', '.join(external)}: each source is held out whole by models that have not seen it."
        if external
        else "",
        "protocol": f'Protocol {spec.protocol}, and the study file under "To repeat it". Whether it was written before '
        "the data were seen, no record says.",
    }


def _of_data(study: Study, targets: Sequence[TaskData]) -> dict[str, str]:
    table = dataset_table(study).data
    if table.empty or table["images"].isna().all():
        return {}
    counts, prints, missing, sources, outcome, ready = [], [], [], [], [], []
    for row in table.to_dict("records"):
        task = study.tasks[str(row["task"])]
        if task.dataset is None:
            continue
        samples = task.dataset.samples
        groups = [(row["cells"], "cell"), (row["patients"], "patient")]
        named = [counted(int(number), kind) for number, kind in groups if not pd.isna(number)]
        counts.append(f"{row['task']}: {', '.join([counted(int(row['images']), 'image'), *named])}")
        prints.append(f"{row['task']}: {row['dataset']}, SHA-256 {row['fingerprint'][:12]}")
        sources.append(f"{row['task']}: {row['dataset']}{_listed(samples, 'source')}{_listed(samples, 'stain')}")
        unknown = [f"{int((samples[key] == '').sum()):,} of no known {key}" for key in ("cell", "patient")]
        missing.append(f"{row['task']}: {', '.join(unknown)}")
        ready.append(f"{row['task']}: {row['preparation'] or 'as published'}")
        if task in targets:
            outcome.append(f"{row['task']}: {counted(len(task.classes), 'class')}, one for each image")
    centres = [f"{task.name}: {counted(number, 'source')} named" for task in targets if (number := _sources(task))]
    return {
        "data": "; ".join(sources) + ". Why these, and whom they stand for: the authors.",
        "counts": "; ".join(counts) + ". Who was left out before the sets were made: the authors.",
        "fingerprints": "; ".join(prints) + ". Where they can be had: the authors.",
        "missing": "; ".join(missing) + ". Nothing was imputed.",
        "preparation": "; ".join(ready) + f"; {study.spec.image_size} px.",
        "outcome": "; ".join(outcome) + ". How they were obtained: the authors.",
        "centres": "; ".join(centres),
        "predictors": "The grey values of the image of one cut-out chromosome, prepared as stated; by the cell, also "
        "the contrast and scale of its cell.",
    }


def _of_models(study: Study, made: Material, environments: Sequence[dict[str, Any]]) -> dict[str, str]:
    spec = study.spec
    sizes = ", ".join(f"{name} ({number / 1e6:.1f} M trainable parameters)" for name, number in made.parameters.items())
    begun = "; ".join(f"{APPROACH_TITLES[one]}: {BEGINNINGS[one]}" for one in spec.approaches)
    recipes = sorted({spec.recipe_spec(name, task).base for name in spec.architectures for task in spec.tasks})
    software = sorted(set(_software(environments)))
    return {
        "model": sizes,
        "specification": f'{sizes}; weights, preparation and classes of each run under its id ("To repeat it").',
        "initialisation": begun,
        "training": f"Recipe {', '.join(recipes)}, seed {spec.seed}; every setting is in the study file and in each "
        'run\'s record, its course under "Folds and training". No hyper-parameter was tuned by this program.',
        "ensembling": "None: every number is that of single models, one for each fold.",
        "software": "; ".join(software),
        "calculation": f"By Bandbridge {__version__}: softmax of the logits that each run keeps for every held-out "
        "image (predictions.parquet).",
        "output": "A probability for each class; the class is the likeliest, without a threshold.",
        "imbalance": "No class was weighted or resampled. Macro-F1 counts every class alike.",
        "availability": f"Program: Bandbridge {__version__}, Apache-2.0. Whether weights and data are shared: the "
        "authors.",
    }


def _of_results(study: Study, made: Material, shown: set[str]) -> dict[str, str]:
    if made.scores.empty:
        return {}
    level = {task.split.scheme for task in study.tasks.values() if task.spec.target and task.split is not None}
    units = "whole patients or cells" if level - {"image"} else "images"
    paper = study.spec.protocol == "paper"
    return {
        "metrics": "Macro-F1, accuracy and AUC of one class against the rest (Table 2), F1 by class, confusions, "
        'calibration ("Errors and confidence").',
        "uncertainty": "Percentile bootstrap of the differences of folds, as published."
        if paper
        else f"Bootstrap over {units} for new cells, corrected resampled t for new trainings, Holm over architectures.",
        "internal": f"Cross-validation of {study.spec.split.folds} folds; development and evaluation are parts of the "
        "same sets.",
        "performance": 'Under "Performance". Subgroups of people: the authors.',
        "failures": 'Confusions and F1 by class under "Errors and confidence".' if "errors" in shown else "",
        "explainability": 'Grad-CAM and where it lies, under "What the classifiers see".'
        if "attention" in shown
        else "",
        "robustness": "The same models judged on sources that they have not seen: table Laboratories."
        if made.context.laboratories
        else "",
        "heterogeneity": 'Each fold by itself under "Folds and training".' if "training" in shown else "",
    }


def _software(environments: Sequence[dict[str, Any]]) -> Iterator[str]:
    for one in filter(None, environments):
        packages = ", ".join(f"{name} {version}" for name, version in one.get("packages", {}).items())
        parts = (
            f"Bandbridge {one.get('bandbridge', '')}".strip(),
            f"Python {one['python']}" if one.get("python") else "",
        )
        yield ", ".join(part for part in (*parts, packages) if part)


def _sources(task: TaskData) -> int:
    if task.dataset is None:
        return 0
    named = task.dataset.samples["source"]
    return int(named[named != ""].nunique())


def _listed(samples: pd.DataFrame, column: str) -> str:
    """The first few values of a column, in brackets; "" where it names none."""
    if column not in samples:
        return ""
    values = sorted({str(value) for value in samples[column] if value})
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return f" ({column} {', '.join(values[:3])}{more})" if values else ""
