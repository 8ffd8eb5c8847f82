"""A module of PyTorch as an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bandbridge.errors import EnvironmentFault

#: The lowest that OpenVINO and ONNX Runtime of these years read, and that has LayerNormalization as one operation.
OPSET = 17


def write_graph(
    module: nn.Module, example: tuple[Tensor, ...], path: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Write ``module`` in evaluation mode, as it treats ``example``, to ``path``; the first axis stays open.

    This is torch's exporter by tracing. That by torch.export gave the same numbers for timm's tiny models, took 40
    seconds instead of one, and would need another package; what tracing gets wrong, whoever calls has to find by
    comparing. Raises :class:`EnvironmentFault` when torch cannot translate it.
    """
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module.eval(),
                example,
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={name: {0: "N"} for name in [*inputs, *outputs]},
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as fault:
            raise EnvironmentFault(
                f"this model cannot be written as ONNX: {' '.join(str(fault).split())[:300]}",
                "Another version of torch may know how.",
            ) from fault
