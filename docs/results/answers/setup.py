"""How the models behind an answer were trained, and how long that took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from answers.evidence import FOLDER, Evidence
from bandbridge.evaluation.pack import PackedRun, PackedTask
from bandbridge.progress import format_duration

_STUDIES = FOLDER.parents[1] / "studies" / "answer"
_PREPARED = {"by-cell": "by the cell", "published": "as published"}


def trained(evidence: Sequence[Evidence]) -> str:
    """How the studies of a question were trained, from their packs: what all of them share, then what is of each."""
    ways = {one.varied: _way(one) for one in evidence}
    shared = [parts[0] for parts in zip(*ways.values(), strict=True) if len(set(parts)) == 1]
    own: dict[str, list[str]] = {}
    for study, way in ways.items():
        told = "; ".join(part for part in way if part and part not in (*shared, study))
        if told:
            own.setdefault(told, []).append(study)
    said = f"Trained: {'; '.join(filter(None, shared))}."
    return "\n".join([said, *[""] * bool(own), *(f"- *{'; '.join(studies)}:* {way}." for way, studies in own.items())])


def computing(evidence: Sequence[Evidence]) -> str:
    """How many trainings stand behind an answer, and how long they took; one that studies share counts once."""
    runs = {run.id: run.seconds for one in evidence for run in one.pack.facts.runs}
    known = [seconds for seconds in runs.values() if seconds is not None]
    some = "at least " if len(known) < len(runs) else ""
    return f"Computing: {len(runs)} trainings, {some}{format_duration(sum(known))}."


def trained_on_drawn(names: Sequence[str]) -> str:
    """The same of studies of drawn cells, which have no packs: from their files in studies/answer."""
    parts = []
    for name in names:
        spec = yaml.safe_load((_STUDIES / f"{name}.yaml").read_text(encoding="utf-8"))
        (drawn,) = {task["dataset"].split(":")[2] for task in spec["tasks"].values()}
        (network,), recipe = spec["architectures"], spec["recipe"]
        parts.append(
            f"{network} ({name}.yaml), from ImageNet's weights, {spec['image_size']} px, images prepared "
            f"{_PREPARED[spec['preparation']]}, recipe `{recipe['base']}` ({recipe['epochs']} epochs of {drawn} drawn "
            f"cells, of which one in {spec['split']['folds']} is held out), one training a stain"
        )
    return f"Trained: {'; '.join(parts)}."


def _way(one: Evidence) -> list[str]:
    """Network, images, recipes, folds, patients on both sides of them, and seeds; "" for what is not so."""
    facts = one.pack.facts
    told = [run for run in facts.runs if run.checkpoints]
    before = [run for run in facts.runs if not run.checkpoints]
    prepared = yaml.safe_load(facts.study_file).get(
        "preparation", "by-cell" if facts.protocol == "strict" else "published"
    )
    sizes = sorted({run.record["preparation"]["size"] for run in told})
    return [
        f"{' and '.join(one.context.architecture_names())}, {' and '.join(map(str, sizes))} px",
        f"images prepared {_PREPARED.get(str(prepared), 'as the study says')}",
        f"recipe {_recipes(told)}",
        f"trainings before it, on other images or without labels, {_recipes(before)}" if before else "",
        _folds(one),
        ", ".join(dict.fromkeys(filter(None, (_on_both_sides(task, facts.folds) for task in facts.tasks)))),
        _seeds(told, len(facts.folds)),
    ]


def _recipes(runs: Sequence[PackedRun]) -> str:
    return " or ".join(dict.fromkeys(_recipe(run.record["recipe"]) for run in runs))


def _recipe(recipe: Mapping[str, Any]) -> str:
    """A recipe in words: what differs among those of the studies."""

    def words() -> Iterator[str]:
        yield f"{sum(phase['epochs'] for phase in recipe['phases'])} epochs"
        if recipe.get("steps"):
            yield f"{recipe['steps']} steps each"
        yield f"{recipe['batch_size']} images a step"
        if recipe.get("objective", "classes") != "classes":
            yield "without labels"
        if recipe.get("averaging"):
            yield f"averaged weights {recipe['averaging']:g}"

    return f"`{recipe['name']}` ({', '.join(words())})"


def _folds(one: Evidence) -> str:
    """Which folds of how many answer, and what they divide."""
    facts = one.pack.facts
    of = " or ".join(map(str, sorted({task.split_folds for task in facts.tasks})))
    by = " or ".join(sorted({task.scheme for task in facts.tasks}))
    first, last = facts.folds[0], facts.folds[-1]
    return f"{f'fold {first}' if first == last else f'folds {first} to {last}'} of {of} by {by}"


def _on_both_sides(task: PackedTask, folds: Sequence[int]) -> str:
    """How many of the patients that ``folds`` hold out have cells that are not held out with them; "" for none."""
    of_patient: dict[str, set[int]] = {}
    for patient, fold in zip(task.patients, task.folds, strict=True):
        if patient:
            of_patient.setdefault(patient, set()).add(fold)
    held_out = [where for where in of_patient.values() if where & set(folds)]
    divided = sum(len(where) > 1 for where in held_out)
    return f"{divided} of {len(held_out)} patients of {task.dataset} have cells on both sides" if divided else ""


def _seeds(told: Sequence[PackedRun], folds: int) -> str:
    seeds = sorted({run.record["seed"] for run in told})
    shown = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    if len(seeds) > 1:
        return shown
    return f"{shown}: {'one fold and ' * (folds == 1)}one training a number{' and fold' * (folds > 1)}"
