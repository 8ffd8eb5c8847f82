"""How an image is framed: its ground, where its chromosome lies, and whether the whole set is framed alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from bandbridge.dataset.prepare import background_level, foreground_mask

#: Gray levels between ground and chromosome below which there is nothing to see.
_LEAST_CONTRAST = 8
_CANVAS_LEAST_SHARE = 0.02
_CANVAS_LEAST_IMAGES = 10
_OUTLYING = 6.0


@dataclass(frozen=True)
class Frame:
    """Measures of one image: size in pixels, gray value of the ground, box (height, width) of the foreground.

    ``fill``: share of the image inside the box. ``contact``: share of border pixels that are foreground. A blank
    image has a box of (0, 0).
    """

    height: int
    width: int
    ground: int
    box: tuple[int, int]
    fill: float
    contact: float

    @property
    def is_blank(self) -> bool:
        """Nothing differs from the ground."""
        return self.box == (0, 0)

    @property
    def is_bright(self) -> bool:
        """The ground is nearer to white than to black."""
        return self.ground >= 128


def measure(image: np.ndarray) -> tuple[Frame, np.ndarray]:
    """Return the frame of uint8 ``image`` [H, W], and uint8 |image - ground| where it bounds the foreground.

    A blank image gives the whole of it, as zeros.
    """
    height, width = image.shape
    ground = background_level(image)
    contrast = np.abs(image.astype(np.int16) - ground)
    mask = foreground_mask(image) if contrast.max() >= _LEAST_CONTRAST else np.zeros_like(image, dtype=bool)
    found = ndimage.find_objects(mask.astype(np.int8))
    if not found:
        return Frame(height, width, ground, (0, 0), 0.0, 0.0), np.zeros_like(image)
    crop = contrast[found[0]].astype(np.uint8)
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    fill = crop.size / image.size
    return Frame(height, width, ground, (crop.shape[0], crop.shape[1]), fill, float(border.mean())), crop


def find_canvases(frames: list[Frame]) -> list[int]:
    """Return the positions of images on fixed canvases, if the others are crops; none if all are framed alike.

    A canvas is one exact size that many images share while the chromosome fills less than half of it, and a
    much smaller part than in the images of other sizes.
    """
    sizes = Counter((frame.height, frame.width) for frame in frames)
    least = max(_CANVAS_LEAST_IMAGES, _CANVAS_LEAST_SHARE * len(frames))
    canvases = set()
    for size, count in sizes.items():
        if count >= least:
            fill = np.median([frame.fill for frame in frames if (frame.height, frame.width) == size])
            if fill < 0.5:
                canvases.add(size)
    inside = [place for place, frame in enumerate(frames) if (frame.height, frame.width) in canvases]
    others = [frame.fill for frame in frames if (frame.height, frame.width) not in canvases]
    if not inside or len(others) < _CANVAS_LEAST_IMAGES:
        return []
    return inside if np.median(others) > 1.5 * np.median([frames[place].fill for place in inside]) else []


def find_outlying(frames: list[Frame], labels: list[str]) -> list[int]:
    """Return the positions of images whose chromosome is far longer or shorter than others of its class.

    Length is the longer side of the foreground's box, compared by logarithm; far is six robust standard
    deviations (1.4826 x median absolute deviation). Classes of fewer than ten images are left out.
    """
    length = np.log([max(*frame.box, 1) for frame in frames])
    classes = np.asarray(labels)
    outlying = []
    for label in sorted(set(labels)):
        rows = np.flatnonzero((classes == label) & np.array([not frame.is_blank for frame in frames]))
        if len(rows) < 10:
            continue
        distance = np.abs(length[rows] - np.median(length[rows]))
        # One pixel in a short chromosome is a few percent: a spread below that is no spread.
        spread = max(1.4826 * float(np.median(distance)), 0.05)
        outlying += rows[distance > _OUTLYING * spread].tolist()
    return sorted(outlying)
