"""What a dataset is by content: its fingerprint, and a short digest of every file, kept beside the runs.

A run names its dataset by the fingerprint. The digests tell later which images a model has seen, also where they lie in
another set under another name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.files import content_hash
from bandbridge.seal import AlteredError, parsed, read_sealed, write_sealed

#: Where the contents of datasets lie in a folder of runs.
FOLDER = ".datasets"
_DIGITS = 16

#: The first 16 hexadecimal digits of the SHA-256 of a file's bytes.
Digest = Annotated[str, StringConstraints(pattern=f"^[0-9a-f]{{{_DIGITS}}}$")]


class Contents(BaseModel):
    """A dataset by content. fingerprint: see :func:`contents_of`. files: the digest of each file, by its name."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    files: dict[str, Digest]


def contents_of(dataset: ImageFolder) -> Contents:
    """Read every image of ``dataset`` and return what the set is by content.

    The fingerprint, 64 hexadecimal digits, changes with any image's bytes, name, label, cell, patient or what is said
    of its depth; the order of the rows and where the dataset lies do not matter.
    """
    keyed = dataset.samples[["file_name", "label", "cell", "patient"]].to_numpy().tolist()
    hashes = dataset.content_hashes()
    stated = [[str(dataset.bits[row[0]])] if row[0] in dataset.bits else [] for row in keyed]
    whole = zip(keyed, hashes, stated, strict=True)
    fingerprint = content_hash(sorted([*row, digest, *bits] for row, digest, bits in whole))
    files = {row[0]: short_digest(digest) for row, digest in zip(keyed, hashes, strict=True)}
    return Contents(fingerprint=fingerprint, files=files)


def short_digest(sha256: str) -> str:
    """Return as much of a SHA-256, in hexadecimal digits, as is kept of it."""
    return sha256[:_DIGITS]


def write_contents(contents: Contents, runs: Path) -> None:
    """Keep ``contents`` in the folder ``runs``, whole or not at all; what is there already stays as it is."""
    path = _path(runs, contents.fingerprint)
    if not path.exists():
        write_sealed(path, contents.model_dump())


def read_contents(runs: Path, fingerprint: str) -> Contents | None:
    """Return the contents of the dataset with ``fingerprint`` that are kept in ``runs``; None where there are none.

    Raises :class:`UserError` when the file is damaged.
    """
    path = _path(runs, fingerprint)
    if not path.exists():
        return None
    remedy = "Delete it: the next training on that dataset writes it anew, and until then images are told by name."
    found = parsed(Contents, read_sealed(path, remedy), path, remedy)
    if found.fingerprint != fingerprint:
        raise AlteredError(f"{path} is damaged (it is of another dataset)", remedy)
    return found


def _path(runs: Path, fingerprint: str) -> Path:
    return runs / FOLDER / f"{fingerprint[:_DIGITS]}.json"
