"""Figures of domain similarity: a heat map of the distances, and a flat map of the embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm

from bandbridge.domains.distance import DomainDistance
from bandbridge.domains.embeddings import Embeddings
from bandbridge.karyotype import CLASSES
from bandbridge.report.figures.illustration import Illustration
from bandbridge.report.figures.styles import PlainFigure, short_name

#: Okabe & Ito (2008): told apart by readers with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
#: Images of each domain on the map, at most: enough to see its shape, few enough to draw.
MAP_IMAGES = 800


def distance_heatmap(distances: Sequence[DomainDistance]) -> Illustration:
    """Draw the corrected MMD² of every pair, darker where domains are closer."""
    names = list(dict.fromkeys(name for distance in distances for name in (distance.first, distance.second)))
    grid = np.full((len(names), len(names)), np.nan)
    for distance in distances:
        row, column = names.index(distance.first), names.index(distance.second)
        grid[row, column] = grid[column, row] = distance.mmd.corrected.value
    side = 1.1 * len(names) + 1.6
    shown = [short_name(name) for name in names]
    figure = PlainFigure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.add_subplot()
    shades = colormaps["viridis"].with_extremes(bad="#f2f2f2")
    image = axes.imshow(np.ma.masked_invalid(grid), cmap=shades, vmin=0)
    axes.set_xticks(range(len(names)), shown, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), shown)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    middle = float(np.nanmax(grid)) / 2 if len(distances) else 0.0
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            shade = "white" if value < middle else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", color=shade)
    figure.colorbar(image, ax=axes, label="MMD², pairs from different cells", shrink=0.8)
    return Illustration(
        "similarity-heatmap",
        "Distance between domains",
        "Unbiased MMD² over pairs of images from different cells; lower is more similar.",
        figure,
    )


def embedding_map(domains: Sequence[Embeddings], seed: int = 0) -> Illustration:
    """Draw the embeddings in two dimensions by t-SNE, coloured by domain and by chromosome class.

    At most ``MAP_IMAGES`` images of each domain, drawn by ``seed``, are shown. Neighbourhoods mean something on such a
    map; distances between far groups do not.
    """
    chosen = [_sample(len(domain.values), seed) for domain in domains]
    places = _flatten(np.concatenate([d.values[rows] for d, rows in zip(domains, chosen, strict=True)]), seed)
    parts = np.split(places, np.cumsum([len(rows) for rows in chosen])[:-1])
    figure = PlainFigure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    clouds = []
    for number, part in enumerate(parts):
        colour = _COLOURS[number % len(_COLOURS)]
        x, y = part.T
        clouds.append(left.scatter(x, y, s=5, linewidths=0, color=colour, alpha=0.7, rasterized=True))
    # Named one by one: labels that begin with an underscore are left out of a legend that is gathered.
    left.legend(
        clouds, [short_name(domain.name) for domain in domains], markerscale=3, fontsize=8, frameon=False, loc="best"
    )
    left.set_title("By domain", fontsize=10)
    _by_class(right, domains, chosen, parts)
    figure.colorbar(
        _class_scale(), ax=right, ticks=range(len(CLASSES)), label="chromosome class", shrink=0.95, pad=0.02
    ).ax.set_yticklabels(CLASSES, fontsize=6)
    right.set_title("By class (grey: not a chromosome)", fontsize=10)
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#bbbbbb")
    return Illustration(
        "similarity-map",
        "Map of the embeddings",
        f"t-SNE of the embeddings, {MAP_IMAGES} images of each domain at most; by domain, and by chromosome class.",
        figure,
    )


def _by_class(
    axes: Axes, domains: Sequence[Embeddings], chosen: Sequence[np.ndarray], parts: Sequence[np.ndarray]
) -> None:
    rank = {name: position for position, name in enumerate(CLASSES)}
    for domain, rows, part in zip(domains, chosen, parts, strict=True):
        classes = np.array([rank.get(label, -1) for label in domain.labels[rows]])
        known = classes >= 0
        x, y = part.T
        axes.scatter(x[~known], y[~known], s=5, linewidths=0, color="#c8c8c8", rasterized=True)
        scale = _class_scale()
        axes.scatter(x[known], y[known], s=5, linewidths=0, c=scale.to_rgba(classes[known]), rasterized=True)


def _class_scale() -> ScalarMappable:
    edges = np.arange(len(CLASSES) + 1) - 0.5
    return ScalarMappable(BoundaryNorm(edges, 256), colormaps["turbo"])


def _sample(count: int, seed: int) -> np.ndarray:
    if count <= MAP_IMAGES:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MAP_IMAGES, replace=False))


def _flatten(values: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    reduced = PCA(min(50, *values.shape), random_state=seed).fit_transform(values)
    perplexity = min(30.0, (len(values) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced))
