"""How often the intervals of domain distances hold the truth, by simulation: published and corrected side by side.

    python benchmarks/interval_coverage.py [--simulations 1000]

Cells are drawn from two Gaussians of known distance; the images of a cell share a part of their variance. The true
MMD^2 is a closed form: for x - y ~ N(d, 2I) in D dimensions, E k = (1 + 4g)^(-D/2) exp(-g d^2 / (1 + 4g)). P values
are simulated with equal domains and compared with the uniform law (Kolmogorov-Smirnov). Each row takes
seconds to a minute; 1,000 simulations have a standard error of 0.7 percentage points at 95%.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import kstest

from bandbridge.domains.mmd import MmdResult, pool, two_sample_mmd

DIMENSIONS, GAMMA = 5, 0.1


def simulate(
    cells: int, images: int, shared: float, shift: float, seed: int, bootstraps: int, permutations: int
) -> MmdResult:
    """Return the comparison of two simulated domains; ``shared``: part of the unit variance that a cell shares."""
    generator = np.random.default_rng(seed)
    of = np.repeat(np.arange(cells), images)

    def domain(centre: float) -> np.ndarray:
        common = np.sqrt(shared) * generator.normal(size=(cells, DIMENSIONS))[of]
        return centre + common + np.sqrt(1 - shared) * generator.normal(size=(cells * images, DIMENSIONS))

    return two_sample_mmd(pool(domain(0.0), domain(shift), of, of), GAMMA, bootstraps, permutations, seed)


def main() -> None:
    """Print coverage for several designs, then the uniformity of P."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    simulations = parser.parse_args().simulations
    torch.set_num_threads(1)
    print("cells  images  shared  shift   truth    published   corrected   (coverage of 95% intervals, %)")
    for cells, images, shared, shift in ((40, 8, 0.2, 0.4), (60, 5, 0.2, 0.4), (60, 5, 0.0, 0.4), (119, 5, 0.2, 0.3)):
        spread = 1 + 4 * GAMMA
        truth = 2 * spread ** (-DIMENSIONS / 2) * (1 - np.exp(-GAMMA * DIMENSIONS * shift**2 / spread))
        found = [simulate(cells, images, shared, shift, seed, 1000, 0) for seed in range(simulations)]
        published, corrected = (
            100 * np.mean([interval.low <= truth <= interval.high for interval in kind])
            for kind in ([each.published for each in found], [each.corrected for each in found])
        )
        print(
            f"{cells:5}  {images:6}  {shared:6}  {shift:5}  {truth:.4f}   {published:9.1f}   {corrected:9.1f}",
            flush=True,
        )
    print(
        "\nP under the null: 200 simulations of 40 cells of 4 images, 999 permutations, against the uniform law "
        "(Kolmogorov-Smirnov P)"
    )
    null = [simulate(40, 4, 0.2, 0.0, 10_000 + seed, 0, 999) for seed in range(200)]
    jitter = np.random.default_rng(0).uniform(0, 1 / 1000, size=len(null))
    for kind in ("published", "corrected"):
        values = np.array([getattr(each, kind).p for each in null])
        print(
            f"  {kind}: {kstest(values - jitter, 'uniform').pvalue:.3g}; share below 0.05: {np.mean(values < 0.05):.3f}"
        )


if __name__ == "__main__":
    main()
