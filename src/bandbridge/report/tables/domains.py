"""The tables of domain similarity: the paper's Table 1, its corrected form, the bandwidths and the ablation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bandbridge.domains.distance import Bandwidth, DomainDistance, Resampling
from bandbridge.domains.embeddings import Embeddings
from bandbridge.domains.resampling import Measured
from bandbridge.report.rendering import Cell, Column, Row, Table

_CONVENTION_TITLES = {"sigma-median": "1 / (2 median²)", "gamma-median": "1 / median²"}
_POOL_TITLES = {"pair": "the two domains", "all": "all domains"}
_KINDS = ("published", "corrected")


def similarity_table(
    distances: Sequence[DomainDistance], domains: Sequence[Embeddings], resampling: Resampling, model: str
) -> Table:
    """Return Table 1: MMD² and CORAL of every pair of ``domains`` with 95% intervals and P, published and by cell.

    ``model``: what made the embeddings, for the sentence above the table.
    """
    units = "; ".join(
        f"{domain.name}: {len(domain.values):,} images"
        + (f", {domain.cells:,} cells" if domain.cells < len(domain.values) else ", cells unknown")
        for domain in domains
    )
    data, rows = [], []
    for distance in distances:
        cells = [Cell(f"{distance.first} – {distance.second}")]
        for measure, result in (("mmd2", distance.mmd), ("coral", distance.coral)):
            for kind in _KINDS:
                found: Measured = getattr(result, kind)
                cells += [Cell(_interval(found, measure)), Cell(p_text(found.p))]
                data.append(_record(distance, measure, kind, found))
        rows.append(Row(tuple(cells)))
    columns = [
        Column(title, f"{measure}, {kind}")
        for measure in ("MMD²", "CORAL × 10³")
        for kind in ("by image as published", "by cell, corrected")
        for title in ("value [95% interval]", "P")
    ]
    return Table(
        name="similarity",
        title="Table 1. Domain similarity (lower is more similar)",
        sentence=(
            f"Distances between embeddings of {model}, unbiased MMD² with a Gaussian kernel and CORAL, with percentile "
            f"intervals from {resampling.bootstraps:,} bootstraps and P from {resampling.permutations:,} permutations."
        ),
        columns=(Column("Pair", align="left"), *columns),
        rows=tuple(rows),
        data=pd.DataFrame(data),
        notes=(
            f"{units}.",
            f"gamma = {_CONVENTION_TITLES[resampling.convention]}, the median over {_POOL_TITLES[resampling.pool]}.",
            "As published: images are resampled and permuted one by one. An image drawn twice counts as a pair of "
            "distance zero, which shifts the interval upwards; chromosomes of one cell are taken for independent.",
            "Corrected: whole cells are resampled and permuted, and pairs from one cell are left out of the estimate "
            "and of every resample. Images without cells form random blocks of the size of the other domain's cells.",
        ),
    )


def bandwidth_table(distances: Sequence[DomainDistance]) -> Table:
    """Return the published MMD² under each usual bandwidth: two conventions, two pools."""
    data = [
        {"first": distance.first, "second": distance.second, **vars(choice)}
        for distance in distances
        for choice in distance.bandwidths
    ]
    order = sorted(distances[0].bandwidths, key=lambda choice: (choice.pool == "all", choice.convention))
    keys = [(choice.pool, choice.convention) for choice in order]
    rows = []
    for distance in distances:
        by_key = {(choice.pool, choice.convention): choice for choice in distance.bandwidths}
        texts = [f"{by_key[key].mmd2:.4f} (gamma {by_key[key].gamma:.3g})" for key in keys]
        rows.append(Row((Cell(f"{distance.first} – {distance.second}"), *map(Cell, texts))))
    return Table(
        name="bandwidths",
        title="MMD² under the usual bandwidths",
        sentence=(
            'Two conventions share the name "median heuristic", and the median can be that of the two domains compared '
            "or of all; the value of MMD² depends on both, and the order of the pairs may."
        ),
        columns=(Column("Pair", align="left"), *(Column(_bandwidth_title(choice)) for choice in order)),
        rows=tuple(rows),
        data=pd.DataFrame(data),
        notes=("Only values under one gamma are on one scale: compare pairs within the columns of all domains.",),
    )


def ablation_table(results: Sequence[tuple[str, DomainDistance]]) -> Table:
    """Return how each preparation changes the distances of one pair.

    ``results``: (title, distance), the published preparation first.
    """
    reference = results[0][1]
    data, rows = [], []
    for title, distance in results:
        cells = [Cell(title)]
        for measure in ("mmd", "coral"):
            found: Measured = getattr(distance, measure).corrected
            change = found.value / getattr(reference, measure).corrected.value - 1
            cells += [
                Cell(_interval(found, "mmd2" if measure == "mmd" else measure)),
                Cell(f"{100 * change:+.0f} %" if distance is not reference else ""),
            ]
            data += [
                {"variant": title, "change": change}
                | _record(distance, measure, kind, getattr(getattr(distance, measure), kind))
                for kind in _KINDS
            ]
        cells.append(Cell(f"{distance.mmd.published.value:.4f}"))
        rows.append(Row(tuple(cells)))
    pair = f"{reference.first} – {reference.second}"
    return Table(
        name="ablation",
        title=f"What preparation does to the distance ({pair})",
        sentence=(
            f"MMD² and CORAL between {pair} after each change of preparation, with whole cells as units; change is "
            "relative to the published preparation."
        ),
        columns=(
            Column("Preparation", align="left"),
            Column("MMD² [95% interval]"),
            Column("change"),
            Column("CORAL × 10³ [95% interval]"),
            Column("change"),
            Column("MMD² by image, as published"),
        ),
        rows=tuple(rows),
        data=pd.DataFrame(data),
        notes=("The bandwidth follows the median distance of each row's own embeddings.",),
    )


def p_text(p: float) -> str:
    """Return a P value as text: "0.001", "0.23", "n/a" for NaN."""
    if p != p:
        return "n/a"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _interval(found: Measured, measure: str) -> str:
    scale, decimals = (1.0, 4) if measure == "mmd2" else (1e3, 3)
    value, low, high = (f"{scale * number:.{decimals}f}" for number in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _bandwidth_title(choice: Bandwidth) -> str:
    return f"{_CONVENTION_TITLES[choice.convention]}, {_POOL_TITLES[choice.pool]}"


def _record(distance: DomainDistance, measure: str, kind: str, found: Measured) -> dict[str, Any]:
    return {
        "first": distance.first,
        "second": distance.second,
        "measure": measure,
        "kind": kind,
        **vars(found),
        "gamma": distance.mmd.gamma if measure.startswith("mmd") else float("nan"),
    }
