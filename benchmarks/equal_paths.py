"""Whether the graph that an export writes computes what PyTorch does, of every architecture, with weights that count.

    python benchmarks/equal_paths.py [--architecture NAME ...] [--image-size 224 256]

A fresh network would prove little: most of its branches begin at zero (tests/networks.py). Here every parameter and
every running statistic is moved first, with the statistics of drawn chromosomes. Of drawn chromosomes are the batches
too, of 1, 3 and 16. Printed are the largest difference of the logits as a share of their range, which may be
TOLERANCE, and that of the probabilities, which may be 1e-4; beside them, how far apart the logits lie and how far two
images of the batch of 16 lie apart, for agreement on a constant would be no news. The exit code is 1 where either is
more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.networks import moved_network

from bandbridge.dataset.prepare import Preparation, prepare_image
from bandbridge.export.graph import BATCHES, TOLERANCE, Difference, Exportable, ImageGraph, write_onnx
from bandbridge.karyotype import CLASSES
from bandbridge.model.architectures import ARCHITECTURES, find_architecture
from bandbridge.model.weights import normalisation
from bandbridge.predict.runtime import open_runtime
from bandbridge.synthetic.cells import draw_cell

#: Of the probabilities, which are what a person sees.
MOST = 1e-4


class Row(NamedTuple):
    """What one batch showed: ``logits`` and ``apart`` are shares of ``spread``, the range of PyTorch's logits."""

    architecture: str
    size: int
    batch: int
    spread: float
    apart: float
    logits: float
    probabilities: float
    within: bool

    def __str__(self) -> str:
        facts = f"{self.spread:.3g} | {self.apart:.2f} | {self.logits:.1e} | {self.probabilities:.1e}"
        return f"| {self.architecture} | {self.size} | {self.batch} | {facts} | {'yes' if self.within else 'NO'} |"


HEADER = """\
| architecture | px | images | range of logits | two images apart | logits differ | probabilities differ | equal |
|---|---|---|---|---|---|---|---|"""


def rows(name: str, size: int, images: np.ndarray) -> Iterator[Row]:
    """Yield, for each batch, what the graph of the architecture ``name`` differs by; images: uint8 [16, size, size]."""
    architecture = find_architecture(name)
    model = moved_network(name, len(CLASSES), size).eval()
    source = Exportable(model, *normalisation(architecture), Preparation(size=size), CLASSES, {}, temperature=1.3)
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(source, Path(folder) / "model.onnx")
        runtime = open_runtime(Path(folder) / "model.onnx", 1)
        graph = ImageGraph(source).eval()
        for batch in BATCHES:
            with torch.inference_mode():
                expected = [part.numpy() for part in graph(torch.from_numpy(images[:batch]))[:2]]
            found = runtime(images[:batch])[:2]
            logits, probabilities = (float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True))
            difference = Difference(batch, logits, float(np.ptp(expected[0])))
            spread = difference.logit_range
            apart = float(np.ptp(expected[0], axis=0).max()) / spread
            within = difference.within and probabilities <= MOST
            yield Row(name, size, batch, spread, apart, logits / spread, probabilities, within)


def main() -> int:
    """Print the table as it is counted; 1 where two ways differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", nargs="+", default=[row.name for row in ARCHITECTURES])
    parser.add_argument("--image-size", nargs="+", type=int, default=[224, 256])
    wish = parser.parse_args()
    torch.set_num_threads(1)
    print(f"Logits may differ by {TOLERANCE:g} of their range, probabilities by {MOST:g}.\n\n{HEADER}", flush=True)
    wrong = 0
    for size in wish.image_size:
        drawn = draw_cell("G", 0, 0)[: max(BATCHES)]
        images = np.stack([prepare_image(one.image, Preparation(size=size)) for one in drawn])
        for name in wish.architecture:
            for row in rows(name, size, images):
                print(row, flush=True)
                wrong += not row.within
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
