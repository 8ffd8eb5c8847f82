"""The ``config.json`` of a model folder as timm writes it, made such that others read it right.

- transformers hands the number of classes to timm's ``create_model`` beside ``model_args``, and refuses a folder that
  has it there too, as timm writes it from 1.0.31 on. It stands in the root, where both look for it.
- The transforms that timm and transformers make of ``pretrained_cfg`` scale the shorter side to the model's and cut
  what is left of the longer (``crop_mode: center``): both ends of a long chromosome. ``border`` scales the longer side
  and fills up the shorter. It is still not how images were prepared in the training: they can do no such thing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bandbridge.files import write_text
from bandbridge.seal import read_product

FILE = "config.json"
#: That cuts nothing, with a ``crop_pct`` of 1.
CROP_MODE = "border"


def for_all_readers(config: dict[str, Any]) -> dict[str, Any]:
    """Return ``config``, that of a model folder, with the same model in it, as all can read it."""
    found = dict(config)
    arguments = {key: value for key, value in config.get("model_args", {}).items() if key != "num_classes"}
    found.pop("model_args", None)
    if arguments:
        found["model_args"] = arguments
    if "pretrained_cfg" in config:
        found["pretrained_cfg"] = {**config["pretrained_cfg"], "crop_mode": CROP_MODE, "crop_pct": 1.0}
    # In timm's order: what was right already stays as it is written, byte for byte.
    return {key: found[key] for key in config if key in found}


def needs_mending(folder: Path) -> bool:
    """Return whether the ``config.json`` of the model in ``folder`` is not one for all readers.

    Raises :class:`UserError` where it is damaged or was altered.
    """
    config = read_product(folder / FILE)
    return for_all_readers(config) != config


def mend_config(folder: Path) -> None:
    """Let the ``config.json`` of the model in ``folder`` be one for all readers. Raises as :func:`needs_mending`."""
    write_text(folder / FILE, json.dumps(for_all_readers(read_product(folder / FILE)), indent=2))
