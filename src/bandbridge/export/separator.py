"""The separator from its drawing to the graph that the package holds, in one command.

    python -m bandbridge.export.separator FOLDER --spreads 2000 --minutes 80 --bfloat16

FOLDER keeps the examples and the state of the training: the same command goes on where it was stopped. With
``--reviewed EXPORT`` it learns from the metaphases of a review's export, too, or of ``data synth --spreads``; with
``--begin package`` it begins from the package's separator and not anew.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bandbridge.export.half import halve_graph
from bandbridge.files import replacing
from bandbridge.metaphase.lifted import SEPARATOR
from bandbridge.progress import listening, note
from bandbridge.training.reviewed import keep_reviewed
from bandbridge.training.separator import Separator, draw_examples, train


class _Said(nn.Module):
    def __init__(self, network: Separator) -> None:
        super().__init__()
        self.network = network

    def forward(self, contrast: Tensor) -> Tensor:
        return torch.sigmoid(self.network(contrast))


def write_graph(network: Separator, path: Path) -> None:
    """Write ``network`` as ONNX to ``path``, large weights as float16: contrast -> probabilities, sides of any size."""
    sized = {0: "fields", 2: "height", 3: "width"}
    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Said(network).eval(),
            (torch.zeros(1, 1, 64, 64),),
            str(temporary),
            input_names=["contrast"],
            output_names=["said"],
            dynamic_axes={"contrast": sized, "said": sized},
            opset_version=17,
            dynamo=False,
        )
        halve_graph(temporary)


def main(words: Sequence[str] | None = None) -> None:
    """Draw, train and write ``separator.onnx``."""
    parser = argparse.ArgumentParser(description="Train the separator of touching and crossing chromosomes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spreads", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--reviewed", type=Path, nargs="+", default=[], metavar="EXPORT")
    parser.add_argument("--seed", type=int, default=0, help="Of drawn spreads; joins are fitted to seed 5.")
    parser.add_argument(
        "--begin", metavar="GRAPH", help="A separator's ONNX file to begin from; package: that of the package."
    )
    parser.add_argument("--bfloat16", action="store_true", help="Faster where the processor multiplies it by itself.")
    arguments = parser.parse_args(words)
    with listening(True):
        if arguments.reviewed:
            kept = keep_reviewed(arguments.folder, arguments.reviewed)
            note(f"{kept} reviewed metaphases are learnt from as well")
        draw_examples(arguments.folder, arguments.spreads, arguments.seed)
        begin = SEPARATOR if arguments.begin == "package" else Path(arguments.begin) if arguments.begin else None
        network = train(arguments.folder, arguments.minutes, arguments.steps, bfloat16=arguments.bfloat16, begin=begin)
        write_graph(network, arguments.folder / "separator.onnx")


if __name__ == "__main__":
    main()
