"""What 1,000 bootstraps and 1,000 permutations of MMD^2 cost, against one kernel matrix and against hyppo.

    pip install -c constraints.txt '.[bench]'
    python benchmarks/similarity.py --data-dir DATA --weights-dir WEIGHTS

DATA holds bioimlab.zip and gband65.zip, WEIGHTS the ImageNet weights of --architecture; without them (--random) the
embeddings are random numbers of the same shape. Printed are:

* the floor: one pass over the kernel matrix of the pooled images, full square, blocks of 2,048, nothing kept;
* this package: the estimate in float64, intervals and P values of both kinds (images and cells);
* hyppo's MMD permutation test (Panda et al.), on the same embeddings and bandwidth: the time of one permutation, from
  the difference of two runs, times 1,000. With --full it runs all of them.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bandbridge.domains.kernel import BLOCK, median_distance
from bandbridge.domains.mmd import TwoSamples, pool, two_sample_mmd

RESAMPLES = 1000
SHAPES = ((5474, 46), (2806, 43), 1280)


def embeddings(arguments: argparse.Namespace) -> TwoSamples:
    """Return the two sets, real or random."""
    if arguments.random:
        generator = np.random.default_rng(0)
        sets = [generator.normal(size=(count, SHAPES[2])).astype(np.float32) for count, _ in SHAPES[:2]]
        units = [np.arange(count) // each for count, each in SHAPES[:2]]
        return pool(sets[0], sets[1] + 0.05, units[0], units[1])
    from bandbridge.dataset.imagefolder import open_dataset
    from bandbridge.dataset.prepare import Preparation
    from bandbridge.domains.embeddings import embed, open_extractor
    from bandbridge.model.architectures import find_architecture

    extractor = open_extractor(find_architecture(arguments.architecture), arguments.image_size, arguments.weights_dir)
    first, second = (
        embed(
            open_dataset(arguments.data_dir / name),
            name,
            extractor,
            Preparation(size=arguments.image_size),
            arguments.runs,
        )
        for name in ("bioimlab.zip", "gband65.zip")
    )
    return pool(first.values, second.values, first.units, second.units)


def kernel_pass(values: torch.Tensor, gamma: float) -> float:
    """Fill every block of the N x N kernel matrix once, as plainly as it can be done; return its sum."""
    norms = values.square().sum(1)
    total = 0.0
    for rows in range(0, len(values), BLOCK):
        for columns in range(0, len(values), BLOCK):
            left, right = slice(rows, rows + BLOCK), slice(columns, columns + BLOCK)
            inner = values[left] @ values[right].T
            squared = inner.mul_(-2).add_(norms[left, None]).add_(norms[None, right]).clamp_min_(0)
            total += float(squared.mul_(-gamma).exp_().sum())
    return total


def best_of(times: int, work: Callable[[], object]) -> float:
    """Return the least seconds of several runs."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def hyppo_seconds(samples: TwoSamples, gamma: float, permutations: int) -> float:
    """Return the seconds of hyppo's permutation test on all cores with that many permutations."""
    from hyppo.ksample import MMD

    values = samples.values.numpy()
    started = time.perf_counter()
    MMD(gamma=gamma).test(
        values[: samples.boundary], values[samples.boundary :], reps=permutations, workers=-1, auto=False
    )
    return time.perf_counter() - started


def peak_memory_gib() -> float:
    """Return the largest resident memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run and print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--random", action="store_true", help="random numbers in place of embeddings")
    parser.add_argument("--full", action="store_true", help="run all of hyppo's permutations")
    parser.add_argument("--no-peer", action="store_true", help="leave hyppo out")
    arguments = parser.parse_args()
    samples = embeddings(arguments)
    print(f"{len(samples.values):,} embeddings of {samples.values.shape[1]}, {torch.get_num_threads()} threads")
    before = peak_memory_gib()
    started = time.perf_counter()
    gamma = 0.5 / median_distance(samples.values) ** 2
    median = time.perf_counter() - started
    single = samples.values.float()
    floors = {"float32": best_of(3, lambda: kernel_pass(single, gamma))}
    floors["float64"] = best_of(3, lambda: kernel_pass(samples.values, gamma))
    ours = best_of(3, lambda: two_sample_mmd(samples, gamma, RESAMPLES, RESAMPLES))
    print(f"one kernel-matrix pass: {floors['float32']:.2f} s in float32, {floors['float64']:.2f} s in float64")
    print(f"median of all {len(samples.values) * (len(samples.values) - 1) // 2:,} distances: {median:.2f} s")
    print(f"estimate, {RESAMPLES:,} bootstraps and {RESAMPLES:,} permutations of images and of cells: {ours:.2f} s")
    for kind, floor in floors.items():
        print(f"  = {ours / floor:.2f} passes in {kind} ({(ours + median) / floor:.2f} with the median)")
    print(f"  peak memory {peak_memory_gib():.2f} GiB, {before:.2f} of them before it began")
    if arguments.no_peer:
        return
    if arguments.full:
        peer = hyppo_seconds(samples, gamma, RESAMPLES)
        print(f"hyppo, {RESAMPLES:,} permutations: {peer:.0f} s")
    else:
        few, more = hyppo_seconds(samples, gamma, 2), hyppo_seconds(samples, gamma, 10)
        peer = (more - few) / 8 * RESAMPLES
        print(f"hyppo: {few:.1f} s with 2 permutations, {more:.1f} s with 10; {RESAMPLES:,} would take {peer:.0f} s")
    alone = best_of(3, lambda: two_sample_mmd(samples, gamma, 0, RESAMPLES))
    print(f"our {RESAMPLES:,} permutations of images and of cells: {alone:.2f} s, {peer / alone:.0f} times faster")


if __name__ == "__main__":
    main()
