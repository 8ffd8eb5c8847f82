"""Several datasets as one: the cells of several laboratories under one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bandbridge.dataset.depth import SetDepth
from bandbridge.dataset.imagefolder import ImageFolder
from bandbridge.errors import UserError


@dataclass(frozen=True, eq=False)
class JoinedFolder(ImageFolder):
    """Datasets by name. A file is named ``<dataset>/<file>``, and so are cells and patients, which others may share."""

    parts: Mapping[str, ImageFolder] = field(default_factory=dict, repr=False)

    def read_bytes(self, file_name: str) -> bytes:
        """Return the bytes of one image as stored. Raises as :meth:`ImageFolder.read_bytes` does."""
        part, file = self._find(file_name)
        return part.read_bytes(file)

    def gray(self, file_name: str, expected: int | None = None) -> np.ndarray:
        """Return one image as uint8 gray [H, W], on the scale of its own set. Raises as :meth:`ImageFolder.gray`."""
        part, file = self._find(file_name)
        return part.gray(file, expected)

    @property
    def depths(self) -> tuple[SetDepth, ...]:
        """Of each set, in their order."""
        return tuple(part.depth for part in self.parts.values())

    def settle(self) -> None:
        """Find the scale of each set."""
        for part in self.parts.values():
            part.settle()

    def decided_bits(self, expected: int | None = None) -> int | None:
        """Return the bits of the images that do not say it; None where there was none or the sets differ."""
        found = {part.decided_bits(expected) for part in self.parts.values()} - {None}
        return found.pop() if len(found) == 1 else None

    def _find(self, file_name: str) -> tuple[ImageFolder, str]:
        name, _, file = file_name.partition("/")
        if name not in self.parts:
            raise UserError(f"{self.path}: no image {file_name!r} in these sets", "Its table and its images differ.")
        return self.parts[name], file

    def content_hashes(self) -> list[str]:
        """Return what :meth:`ImageFolder.content_hashes` does, of the files of all sets."""
        known = {
            f"{name}/{file}": digest
            for name, part in self.parts.items()
            for file, digest in zip(part.samples["file_name"], part.content_hashes(), strict=True)
        }
        return [known[name] for name in self.samples["file_name"]]

    def only(self, names: list[str]) -> ImageFolder:
        """Return what it takes to read the files ``names``, and no table."""
        files: dict[str, list[str]] = {}
        for whole in names:
            name, _, file = whole.partition("/")
            files.setdefault(name, []).append(file)
        parts = {name: self.parts[name].only(here) for name, here in files.items() if name in self.parts}
        return JoinedFolder(self.path, self.samples.iloc[:0], parts=parts)


def join(sets: Mapping[str, ImageFolder]) -> JoinedFolder:
    """Return ``sets``, by name, as one dataset; an image that names no source has the name of its set for one."""
    frames = []
    for name, dataset in sets.items():
        frame = dataset.samples.copy()
        frame["file_name"] = name + "/" + frame["file_name"]
        for column in ("cell", "patient"):
            frame[column] = frame[column].where(frame[column] == "", name + "/" + frame[column])
        frame["source"] = frame["source"].where(frame["source"] != "", name)
        frames.append(frame)
    path = Path(" + ".join(str(dataset.path) for dataset in sets.values()))
    bits = {f"{name}/{file}": stated for name, dataset in sets.items() for file, stated in dataset.bits.items()}
    return JoinedFolder(path, pd.concat(frames, ignore_index=True), bits=bits, parts=dict(sets))
