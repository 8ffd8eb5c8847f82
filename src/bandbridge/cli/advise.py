"""``bandbridge advise``: which intermediate domain to try, what speaks for it, and whether a study bears it out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.cli.similarity import (
    DEFAULT_ARCHITECTURE,
    DEFAULT_CACHE,
    DEFAULT_SIZE,
    ArchitectureName,
    CacheDir,
    Device,
    ImageSize,
    WeightsDir,
    domain_name,
)
from bandbridge.errors import ManyErrors, UserError
from bandbridge.progress import note

if TYPE_CHECKING:
    from bandbridge.dataset.imagefolder import ImageFolder
    from bandbridge.dataset.prepare import Preparation
    from bandbridge.study.plan import Study


def advise(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The set to be classified: folder or zip.")],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="CANDIDATES", help="Candidate source domains: folders or zips.")
    ] = None,
    candidates: Annotated[
        list[Path] | None, typer.Option(help="One candidate; may be given again, and others after the target.")
    ] = None,
    study_file: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.yaml", help="A study that has measured some of them.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the datasets, also of the study's.", envvar="BANDBRIDGE_DATA")
    ] = None,
    architecture: ArchitectureName = DEFAULT_ARCHITECTURE,
    weights_dir: WeightsDir = None,
    image_size: ImageSize = DEFAULT_SIZE,
    runs: CacheDir = DEFAULT_CACHE,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; default results/advice.")] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of tables.")] = False,
) -> None:
    """Rank candidate source domains for a target before any training, and check the ranking against a study.

    Measured are distances of the images, what the candidate's labels say of the target, and distances of classes.

    With --study the order is set beside the gains that were measured; it says "no evidence" where there is none.
    """
    from bandbridge.domains.advice import assess, check_target, common_gamma, imagenet_alone
    from bandbridge.domains.embeddings import embed, open_extractor
    from bandbridge.files import write_text
    from bandbridge.model.architectures import find_architecture
    from bandbridge.report.rendering import to_markdown, write_table
    from bandbridge.report.tables.advice import advice_tables, conclusion
    from bandbridge.report.tables.advice_evidence import study_evidence

    datasets, fingerprints = _open([target, *(candidates or []), *(more or [])], data_dir)
    name, *others = datasets
    check_target(name, datasets[name].samples["label"].to_numpy())
    study = _open_study(study_file, data_dir)
    evidence = None
    if study is not None:
        evidence = study_evidence(study, runs, fingerprints[name], {other: fingerprints[other] for other in others})
    prepared = {other: _preparation(study, fingerprints[other], image_size) for other in datasets}
    extractor = open_extractor(find_architecture(architecture), image_size, weights_dir, device)
    own, *sources = (embed(dataset, key, extractor, prepared[key], runs) for key, dataset in datasets.items())
    gamma = common_gamma([own, *sources])
    found = []
    for source in sources:
        note(f"measuring {source.name}")
        # Distances are computed in float64, which Apple's GPUs lack.
        found.append(assess(own, source, gamma, "cuda" if extractor.device.type == "cuda" else "cpu"))
    model = f"{extractor.architecture.name} at {image_size} px"
    tables = advice_tables(name, found, imagenet_alone(own), evidence, model)
    advice = conclusion(name, found, evidence)
    folder = out or Path("results") / "advice"
    for table in tables:
        write_table(folder, table)
    write_text(folder / "conclusion.txt", advice + "\n")
    if as_json:
        # pandas writes what is not a number as null, which JSON has.
        records = {table.name: json.loads(table.data.to_json(orient="records")) for table in tables}
        typer.echo(json.dumps({**records, "conclusion": advice}))
    else:
        typer.echo("\n".join([*(to_markdown(table) for table in tables), advice]))
    note(f"written to {folder}")


def _open(paths: list[Path], data_dir: Path | None) -> tuple[dict[str, ImageFolder], dict[str, str]]:
    """Return the datasets, the target first, and their fingerprints, by name; refuse one that is given twice."""
    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.dataset.store import dataset_fingerprint

    if len(paths) < 2:
        raise UserError("there is no candidate", "Name the candidates after the target: bandbridge advise TARGET A B.")
    places = [path if path.exists() or data_dir is None else data_dir / path for path in paths]
    absent = [f"{path}" for path, place in zip(paths, places, strict=True) if not place.exists()]
    if absent:
        raise ManyErrors("no such dataset:", absent, "Correct the path, or name the folder with --data-dir.")
    datasets: dict[str, ImageFolder] = {}
    fingerprints: dict[str, str] = {}
    problems = []
    for place in places:
        name = domain_name(place)
        dataset = open_dataset(place)
        fingerprint = dataset_fingerprint(dataset)
        same = next((other for other, own in fingerprints.items() if own == fingerprint), None)
        if same is not None:
            problems.append(
                f"{place} holds the same images as {same}" + ", the target" * (same == next(iter(datasets)))
            )
        elif name in datasets:
            problems.append(f"{place} has the name of another set, {name}: rename one of the files")
        datasets.setdefault(name, dataset)
        fingerprints.setdefault(name, fingerprint)
    if problems:
        raise ManyErrors("a domain is given twice:", problems, "Give the target once and each candidate once.")
    return datasets, fingerprints


def _open_study(path: Path | None, data_dir: Path | None) -> Study | None:
    from bandbridge.study.plan import open_study

    if path is None:
        return None
    study = open_study(path, data_dir, need_data=False)
    for dataset in study.missing_data:
        note(f"dataset {dataset} of the study is not here: its gains cannot be used")
    return study


def _preparation(study: Study | None, fingerprint: str, image_size: int) -> Preparation:
    """Return the study's preparation of a dataset, in the size asked for; the default where no task has it."""
    from bandbridge.dataset.prepare import Preparation
    from bandbridge.report.tables.advice_evidence import tasks_of

    for task in tasks_of(study, fingerprint) if study is not None else ():
        return task.preparation.model_copy(update={"size": image_size})
    return Preparation(size=image_size)
