"""A dataset, or where it lies: what every call takes that asks for one."""

from __future__ import annotations

from pathlib import Path

from bandbridge.dataset.imagefolder import ImageFolder, open_dataset

Place = str | Path | ImageFolder


def opened_dataset(place: Place) -> ImageFolder:
    """Return the dataset at ``place``, or ``place`` itself where it is one."""
    return place if isinstance(place, ImageFolder) else open_dataset(place)
