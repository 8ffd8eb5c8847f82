"""Where the attention of each approach lies, measured on a drawn sample of held-out images, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.read_prepared import read_prepared
from bandbridge.evaluation.comparison import Interval
from bandbridge.evaluation.pooled import grouping_unit
from bandbridge.explain.attention import (
    SHARES,
    Regions,
    chance_shares,
    find_regions,
    mean_over_cells,
    measure_shares,
)
from bandbridge.explain.cases import draw_images, judge
from bandbridge.explain.gradcam import has_evidence
from bandbridge.explain.perturbation import deletion_insertion, random_maps
from bandbridge.explain.runs import FoldRuns, comparable_runs
from bandbridge.explain.seen import SeeingClassifier, open_seeing
from bandbridge.files import content_hash, replacing
from bandbridge.model.config import read_config
from bandbridge.study.plan import Study

#: Every measure of the table, and what it is.
MEASURES = {
    **SHARES,
    "deletion": "area under the probability of the class while the image is deleted in the order of the map",
    "insertion": "area under the probability of the class while the image is inserted in the order of the map",
}
_PERTURBED = ["deletion", "insertion"]
#: The approach that the differences are to.
REFERENCE = "imagenet"
#: Raised when the same run and images would give other numbers.
_VERSION = 3
_KEYS = ["task", "architecture", "fold", "approach", "measure"]
_COLUMNS = [
    *_KEYS,
    *("target", "layer", "grid", "images", "empty", "measured", "cells", "unit", "mean", "low", "high", "chance"),
    *("over_chance", "over_chance_low", "over_chance_high", "difference", "difference_low", "difference_high"),
]


@dataclass(frozen=True, eq=False)
class _Sample:
    """The drawn images of one task: prepared uint8 [B, *shape], with their regions."""

    names: list[str]
    labels: list[str]
    cells: list[str]
    unit: str
    prepared: np.ndarray
    regions: list[Regions]


def attention_table(
    study: Study,
    root: Path,
    *,
    fold: int | None = None,
    seed: int = 0,
    limit: int = 48,
    steps: int = 0,
    target: Literal["truth", "predicted"] = "truth",
    architectures: Sequence[str] | None = None,
    layer: str | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """Return every measure of :data:`MEASURES` for each finished approach, on ``limit`` held-out images of one fold.

    The images are drawn by ``seed``, classes by turns, from those that all finished approaches predicted, and are the
    same for all. ``target`` is the class that the maps are about; maps are those of
    :meth:`SeeingClassifier.centred_maps`, read from ``layer`` of every model (default: each architecture's own).
    ``steps`` of deletion and insertion (20 are plenty); 0 leaves these two out, which take most of the time. What is
    measured of a run is kept under ``root`` and not measured again.

    Columns: task, architecture, fold, approach, measure; ``target``; the ``layer`` and ``grid`` of the maps ("4 x 4":
    places are that coarse); ``images`` measured and ``empty`` ones among them (no positive evidence: they count for no
    share); ``measured``, those that do count (for the arms: with a waist); ``cells``, the number of ``unit`` (patient,
    cell or image) that the bootstrap draws; ``mean`` over cells with ``low`` and ``high`` (95%, percentile bootstrap
    over cells); ``chance``, what evidence equal everywhere would give, for deletion and insertion a random map of the
    same grid; ``over_chance``, the measure minus chance; ``difference`` to :data:`REFERENCE` on the images where both
    have evidence. NaN where there is no such thing. Runs that are not finished give no row. Raises :class:`UserError`
    for a ``layer`` that a model does not have.
    """
    rows: list[dict[str, Any]] = []
    for runs in comparable_runs(study, root, fold):
        dataset = study.tasks[runs.task].dataset
        if dataset is None or (architectures is not None and runs.architecture not in architectures):
            continue
        judged = judge(runs.predictions(), study.spec.kept_checkpoint)
        sample: _Sample | None = None
        measured: dict[str, pd.DataFrame] = {}
        for approach, folder in runs.folders.items():
            sample = sample or _draw(judged, dataset, read_config(folder)[2], limit, seed)
            if not sample.names:
                break
            told = judged[judged["approach"] == approach].set_index("image").loc[sample.names]
            classes = told["label" if target == "truth" else "predicted"].tolist()
            facts = [_VERSION, folder.name, study.spec.kept_checkpoint, sample.names, classes, steps, seed, layer]
            kept = root / ".attention" / f"{content_hash(facts)[:16]}.parquet"
            measured[approach] = _read(kept)
            if measured[approach].empty:
                classifier = open_seeing(folder, study.spec.kept_checkpoint, device, layer)
                measured[approach] = _measure(classifier, sample, classes, steps, seed)
                with replacing(kept) as temporary:
                    measured[approach].to_parquet(temporary, index=False)
        if sample is not None:
            rows += [{**row, "target": target} for row in _summarise(runs, sample, measured, seed)]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _draw(judged: pd.DataFrame, dataset: ImageFolder, preparation: Preparation, limit: int, seed: int) -> _Sample:
    by_all = judged.groupby("image")["approach"].transform("nunique") == judged["approach"].nunique()
    images = judged[by_all].drop_duplicates("image")
    drawn = draw_images(images, limit, seed)
    unit = grouping_unit(images) if len(images) else "image"
    names = drawn["image"].tolist()
    sources = [dataset.gray(name, preparation.bits) for name in names]
    prepared = read_prepared(dataset, names, preparation)
    regions = [find_regions(source, preparation) for source in sources]
    return _Sample(names, drawn["label"].tolist(), drawn[unit].tolist(), unit, prepared, regions)


def _read(kept: Path) -> pd.DataFrame:
    """What was measured before; empty where it was not, or is damaged: it is then measured again."""
    try:
        return pd.read_parquet(kept)
    except (OSError, ValueError):
        return pd.DataFrame()


def _measure(classifier: SeeingClassifier, sample: _Sample, classes: list[str], steps: int, seed: int) -> pd.DataFrame:
    """Every measure of every image, a row each; what chance gives of deletion and insertion; layer and grid."""
    targets = np.array([classifier.classes.index(name) for name in classes])
    maps = classifier.centred_maps(sample.prepared, targets)
    rows, columns = classifier.evidence(sample.prepared[:1], targets[:1]).maps.shape[1:]
    frame = pd.DataFrame([measure_shares(one, found) for one, found in zip(maps, sample.regions, strict=True)])
    frame = frame.assign(empty=~has_evidence(maps), layer=classifier.layer, grid=f"{rows} x {columns}")
    # A random map has an order for an image whose own map is empty: there is nothing to compare it with.
    chance = random_maps(maps.shape, (rows, columns), seed) * has_evidence(maps)[:, None, None]
    for names, evidence in ((_PERTURBED, maps), ([f"{name}_chance" for name in _PERTURBED], chance)):
        frame[names] = np.nan
        if steps:
            frame[names] = deletion_insertion(
                classifier.probabilities, sample.prepared, evidence, targets, sample.regions, steps, seed
            )
    return frame


def _summarise(
    runs: FoldRuns, sample: _Sample, measured: Mapping[str, pd.DataFrame], seed: int
) -> list[dict[str, Any]]:
    even = pd.DataFrame([chance_shares(found) for found in sample.regions])
    reference = measured.get(REFERENCE)
    rows = []
    for approach, frame in measured.items():
        facts = {name: frame[name].iloc[0] for name in ("layer", "grid")}
        facts |= {"images": len(frame), "empty": int(frame["empty"].sum()), "cells": len(set(sample.cells))}
        for measure in MEASURES:
            values = frame[measure].to_numpy(dtype=np.float64)
            if measure in _PERTURBED and np.isnan(values).all():
                continue
            # Chance on the same images: those that have something to share.
            equal = even[measure] if measure in SHARES else frame[f"{measure}_chance"]
            chance = equal.where(~np.isnan(values)).to_numpy(dtype=np.float64)
            against = values * np.nan if reference is None or approach == REFERENCE else reference[measure].to_numpy()
            keys = dict(zip(_KEYS, (runs.task, runs.architecture, runs.fold, approach, measure), strict=True))
            numbers = _intervals(values, chance, against, sample.cells, seed)
            counted = int((~np.isnan(values)).sum())
            rows.append({**keys, **facts, "measured": counted, "unit": sample.unit, **numbers})
    return rows


def _intervals(
    values: np.ndarray, chance: np.ndarray, against: np.ndarray, cells: list[str], seed: int
) -> dict[str, float]:
    def over_cells(numbers: np.ndarray) -> Interval:
        # One generator for each: all approaches and measures are seen over the same resampled cells.
        return mean_over_cells(numbers, cells, np.random.default_rng(seed))

    share, over, difference = over_cells(values), over_cells(values - chance), over_cells(values - against)
    return {
        "mean": share.mean,
        "low": share.low,
        "high": share.high,
        "chance": over_cells(chance).mean,
        "over_chance": over.mean,
        "over_chance_low": over.low,
        "over_chance_high": over.high,
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }
