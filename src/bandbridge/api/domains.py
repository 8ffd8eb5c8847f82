"""How far domains are apart, and which one to try as the intermediate: before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bandbridge.api import DEFAULT_ARCHITECTURE, DEFAULT_RUNS, DEFAULT_SIZE
from bandbridge.api.places import Place, opened_dataset
from bandbridge.api.tables import NamedTables
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.prepare import Preparation
from bandbridge.errors import ManyErrors, UserError
from bandbridge.extras import asking
from bandbridge.progress import Listener, listening, note

if TYPE_CHECKING:
    from bandbridge.domains.distance import DomainDistance, Resampling
    from bandbridge.domains.embeddings import Embeddings, Extractor
    from bandbridge.report.rendering import Table
    from bandbridge.study.plan import Study


@dataclass(frozen=True, eq=False, repr=False)
class Similarity(NamedTables):
    """Distances between domains: the paper's Table 1, the bandwidths, and the ablation of preparation if asked for.

    distances: the same as values. domains: the embeddings that were compared.

    >>> near = similarity("sets/q", "sets/g", architecture="test_resnet", image_size=64, weights_dir="weights",
    ...                   bootstraps=0, permutations=0)
    >>> near["similarity"].equals(near.table()), near["similarity"]["measure"].unique().tolist()
    (True, ['mmd2', 'coral'])
    >>> sorted(path.suffix for path in near.save("results/near").glob("similarity.*"))
    ['.csv', '.md', '.tex']
    """

    distances: tuple[DomainDistance, ...]
    domains: tuple[Embeddings, ...]
    seed: int

    def save(self, folder: str | Path) -> Path:
        """Write tables (Markdown, CSV, LaTeX) and figures (SVG, PDF, PNG) into ``folder``; return it."""
        from bandbridge.files import write_json
        from bandbridge.report.figures.domains import distance_heatmap, embedding_map
        from bandbridge.report.figures.illustration import save_illustration
        from bandbridge.report.rendering import write_table

        folder = Path(folder)
        for table in self.tables:
            write_table(folder, table)
        write_json(folder / "domains.json", {domain.name: domain.facts for domain in self.domains})
        note("drawing the map of the embeddings")
        for illustration in (distance_heatmap(list(self.distances)), embedding_map(list(self.domains), self.seed)):
            save_illustration(illustration, folder)
        return folder


@dataclass(frozen=True, eq=False, repr=False)
class Advice(NamedTables):
    """Which intermediate domain to try, by every measure, with the ``conclusion`` in words.

    >>> advice = advise("sets/q", ["sets/g"], architecture="test_resnet", image_size=64, weights_dir="weights")
    >>> (advice.save("results/advice") / "conclusion.txt").read_text() == advice.conclusion + "\\n"
    True
    """

    conclusion: str

    def __str__(self) -> str:
        return "\n".join([super().__str__(), self.conclusion])

    def save(self, folder: str | Path) -> Path:
        """Write the tables and conclusion.txt into ``folder``; return it."""
        from bandbridge.files import write_text
        from bandbridge.report.rendering import write_table

        folder = Path(folder)
        for table in self.tables:
            write_table(folder, table)
        write_text(folder / "conclusion.txt", self.conclusion + "\n")
        return folder


@asking()
def similarity(
    *datasets: Place,
    natural: str | Path | None = None,
    architecture: str = DEFAULT_ARCHITECTURE,
    image_size: int = DEFAULT_SIZE,
    weights_dir: str | Path | None = None,
    bootstraps: int = 1000,
    permutations: int = 1000,
    bandwidth: Literal["pair", "all"] = "pair",
    ablation: bool = False,
    seed: int = 0,
    runs: str | Path = DEFAULT_RUNS,
    device: str = "auto",
    progress: Listener = False,
) -> Similarity:
    """Measure how far domains are apart as an ImageNet model sees them (the paper's Table 1).

    datasets: two or more, paths or opened; ``natural`` images may stand for one. Every image is embedded by
    ``architecture`` at ``image_size`` pixels, and the domains are compared by squared MMD and CORAL, each with
    intervals of so many ``bootstraps`` and a P value of so many ``permutations``: as published, image by image, and by
    whole cells. bandwidth: the kernel's from the median distance of the "pair", or of "all". ablation: also measure
    what preparation does to the first pair. runs: the folder that keeps embeddings.

    Raises :class:`UserError` for one domain alone, for two of one name and for ImageNet weights that cannot be had.

    >>> near = similarity("sets/q", draw_cells("G", 2, seed=1), architecture="test_resnet", image_size=64,
    ...                   weights_dir="weights", bootstraps=0, permutations=0)
    >>> near
    Similarity(similarity, bandwidths)
    >>> near.table()[["first", "second", "measure"]].iloc[0].tolist()
    ['q', 'drawn-g', 'mmd2']
    """
    from bandbridge.domains.distance import Resampling, compare_all
    from bandbridge.report.tables.domains import bandwidth_table, similarity_table

    with listening(progress):
        if len(datasets) + (natural is not None) < 2:
            raise UserError("there is only one domain", "Name two datasets or more, or one and --natural.")
        extractor = _extractor(architecture, image_size, weights_dir, device)
        root, whole = Path(runs), Preparation(size=image_size)
        domains = embed_domains(datasets, None if natural is None else Path(natural), extractor, whole, root)
        resampling = Resampling(bootstraps, permutations, seed, bandwidth)
        distances = compare_all(domains, resampling, device)
        model = f"{extractor.architecture.name} at {image_size} px"
        tables = [similarity_table(distances, domains, resampling, model), bandwidth_table(distances)]
        if ablation:
            tables.append(_ablation(datasets, extractor, image_size, resampling, root, device))
    return Similarity(tuple(tables), tuple(distances), tuple(domains), seed)


@asking()
def advise(
    target: Place,
    candidates: Place | Sequence[Place],
    *,
    study: str | Path | None = None,
    data_dir: str | Path | None = None,
    architecture: str = DEFAULT_ARCHITECTURE,
    image_size: int = DEFAULT_SIZE,
    weights_dir: str | Path | None = None,
    runs: str | Path = DEFAULT_RUNS,
    device: str = "auto",
    progress: Listener = False,
) -> Advice:
    """Rank candidate source domains for ``target`` before any training.

    study: a study file that has measured some of them; the ranking is then set beside the gains, and says where there
    is no evidence for it. The rest as for :func:`similarity`. Raises :class:`UserError` where a set is given twice or
    there is no candidate.

    >>> advice = advise("sets/q", [draw_cells("Q", 2, seed=5)], architecture="test_resnet", image_size=64,
    ...                 weights_dir="weights")
    >>> list(advice)
    ['advice', 'advice-classes']
    >>> print(advice.conclusion.split(".")[0])
    No study has measured a gain: the ranking is a prediction
    """
    from bandbridge.domains.advice import assess, check_target, common_gamma, imagenet_alone
    from bandbridge.domains.embeddings import embed
    from bandbridge.report.tables.advice import advice_tables, conclusion
    from bandbridge.report.tables.advice_evidence import study_evidence

    root, folder = Path(runs), None if data_dir is None else Path(data_dir)
    with listening(progress):
        several = [candidates] if isinstance(candidates, str | Path | ImageFolder) else candidates
        datasets, fingerprints = _open([target, *several], folder)
        name, *others = datasets
        check_target(name, datasets[name].samples["label"].to_numpy())
        measured = None if study is None else _open_study(Path(study), folder)
        evidence = None
        if measured is not None:
            sources_of = {other: fingerprints[other] for other in others}
            evidence = study_evidence(measured, root, fingerprints[name], sources_of)
        prepared = {other: _preparation(measured, fingerprints[other], image_size) for other in datasets}
        extractor = _extractor(architecture, image_size, weights_dir, device)
        own, *sources = (embed(dataset, key, extractor, prepared[key], root) for key, dataset in datasets.items())
        gamma = common_gamma([own, *sources])
        found = []
        for source in sources:
            note(f"measuring {source.name}")
            # Distances are computed in float64, which Apple's GPUs lack.
            found.append(assess(own, source, gamma, "cuda" if extractor.device.type == "cuda" else "cpu"))
        model = f"{extractor.architecture.name} at {image_size} px"
        tables = advice_tables(name, found, imagenet_alone(own), evidence, model)
        return Advice(tuple(tables), conclusion(name, found, evidence))


def embed_domains(
    datasets: Sequence[Place], natural: Path | None, extractor: Extractor, preparation: Preparation, runs: Path
) -> list[Embeddings]:
    """Open and embed every dataset; names are those of the files. All datasets are opened before any is embedded."""
    from bandbridge.domains.embeddings import embed, open_natural

    opened = [(domain_name(place), opened_dataset(place), False) for place in datasets]
    if natural is not None:
        opened.append((domain_name(natural), open_natural(natural), True))
    names = [name for name, _, _ in opened]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two domains are called {' and '.join(twice)}", "Rename one of the files.")
    return [
        embed(dataset, name, extractor, preparation, runs, natural=is_natural) for name, dataset, is_natural in opened
    ]


def domain_name(place: Place) -> str:
    """Return what a reader calls the dataset at ``place``: its file name without the ending."""
    resolved = (place.path if isinstance(place, ImageFolder) else Path(place)).resolve()
    return resolved.stem if resolved.is_file() else resolved.name


def _extractor(architecture: str, image_size: int, weights_dir: str | Path | None, device: str) -> Extractor:
    from bandbridge.domains.embeddings import open_extractor
    from bandbridge.model.architectures import find_architecture

    folder = None if weights_dir is None else Path(weights_dir)
    return open_extractor(find_architecture(architecture), image_size, folder, device)


def _ablation(
    datasets: Sequence[Place], extractor: Extractor, size: int, resampling: Resampling, runs: Path, device: str
) -> Table:
    from bandbridge.domains.distance import compare, variants
    from bandbridge.domains.embeddings import embed
    from bandbridge.report.tables.domains import ablation_table

    if len(datasets) < 2:
        raise UserError("--ablation compares two datasets of chromosomes", "Name two before --natural.")
    pair = [opened_dataset(place) for place in datasets[:2]]
    names = [domain_name(place) for place in datasets[:2]]
    results = []
    for variant in variants(size, (_is_bright(pair[0]), _is_bright(pair[1]))):
        note(f"preparation: {variant.title}")
        first, second = (
            embed(dataset, name, extractor, preparation, runs)
            for dataset, name, preparation in zip(pair, names, (variant.first, variant.second), strict=True)
        )
        results.append((variant.title, compare(first, second, resampling, device=device)))
    return ablation_table(results)


def _is_bright(dataset: ImageFolder) -> bool:
    from bandbridge.dataset.prepare import background_level

    names = dataset.samples["file_name"].iloc[:50]
    levels = [background_level(dataset.gray(name)) for name in names]
    return sorted(levels)[len(levels) // 2] >= 128


def _open(places: Sequence[Place], data_dir: Path | None) -> tuple[dict[str, ImageFolder], dict[str, str]]:
    """Return the datasets, the target first, and their fingerprints, by name; refuse one that is given twice."""
    from bandbridge.dataset.store import dataset_fingerprint

    if len(places) < 2:
        raise UserError("there is no candidate", "Name the candidates after the target: bandbridge advise TARGET A B.")
    found = [_in_folder(place, data_dir) for place in places]
    absent = [
        f"{place}" for place, path in zip(places, found, strict=True) if isinstance(path, Path) and not path.exists()
    ]
    if absent:
        raise ManyErrors("no such dataset:", absent, "Correct the path, or name the folder with --data-dir.")
    datasets: dict[str, ImageFolder] = {}
    fingerprints: dict[str, str] = {}
    problems = []
    for place in found:
        name, dataset = domain_name(place), opened_dataset(place)
        fingerprint = dataset_fingerprint(dataset)
        same = next((other for other, own in fingerprints.items() if own == fingerprint), None)
        if same is not None:
            target = ", the target" * (same == next(iter(datasets)))
            problems.append(f"{dataset.path} holds the same images as {same}{target}")
        elif name in datasets:
            problems.append(f"{dataset.path} has the name of another set, {name}: rename one of the files")
        datasets.setdefault(name, dataset)
        fingerprints.setdefault(name, fingerprint)
    if problems:
        raise ManyErrors("a domain is given twice:", problems, "Give the target once and each candidate once.")
    return datasets, fingerprints


def _in_folder(place: Place, data_dir: Path | None) -> Path | ImageFolder:
    if isinstance(place, ImageFolder):
        return place
    path = Path(place)
    return path if path.exists() or data_dir is None else data_dir / path


def _open_study(path: Path, data_dir: Path | None) -> Study:
    from bandbridge.study.plan import open_study

    study = open_study(path, data_dir, need_data=False)
    for dataset in study.missing_data:
        note(f"dataset {dataset} of the study is not here: its gains cannot be used")
    return study


def _preparation(study: Study | None, fingerprint: str, image_size: int) -> Preparation:
    """Return the study's preparation of a dataset, in the size asked for; the default where no task has it."""
    from bandbridge.report.tables.advice_evidence import tasks_of

    for task in tasks_of(study, fingerprint) if study is not None else ():
        return task.preparation.model_copy(update={"size": image_size})
    return Preparation(size=image_size)
