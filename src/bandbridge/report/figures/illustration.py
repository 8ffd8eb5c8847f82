"""A figure with its title and sentence, written as SVG, PDF and PNG with the same bytes for the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from bandbridge.files import replacing


@dataclass(frozen=True, eq=False)
class Illustration:
    """A figure with the stem of its files, its title and the sentences that say what it shows."""

    name: str
    title: str
    sentence: str
    figure: Figure


def save_illustration(illustration: Illustration, folder: Path) -> list[Path]:
    """Write ``<name>.svg``, ``.pdf`` and ``.png`` (200 dots an inch) into ``folder``; return the paths.

    The files name no date and no version: the same figure gives the same bytes.
    """
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Creator": None, "Title": illustration.title},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Title": illustration.title},
        "png": {"Software": None, "Title": illustration.title},
    }
    paths = []
    for kind, values in metadata.items():
        path = folder / f"{illustration.name}.{kind}"
        salt = illustration.name
        with matplotlib.rc_context({"svg.hashsalt": salt, "pdf.fonttype": 42}), replacing(path) as temporary:
            illustration.figure.savefig(temporary, format=kind, metadata=values, dpi=200)
        paths.append(path)
    return paths
