"""A figure with its title and sentence, written as SVG, PDF and PNG with the same bytes for the same numbers."""

from __future__ import annotations

import io
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
        drawn = io.BytesIO()  # a full disk would have the writer of PDFs raise an error of its own
        with matplotlib.rc_context({"svg.hashsalt": salt, "pdf.fonttype": 42}):
            illustration.figure.savefig(drawn, format=kind, metadata=values, dpi=200)
        with replacing(path) as temporary:
            temporary.write_bytes(drawn.getvalue())
        paths.append(path)
    return paths
