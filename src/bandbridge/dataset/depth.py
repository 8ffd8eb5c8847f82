"""How many bits the images of a set use: one scale for all of them, as one camera took them.

A file of 16 bits a sample seldom says how many of them are used. An image by itself does not show it either: where its
brightest pixel lies is a matter of the exposure. What holds the brightest pixel of the whole set, does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock

import numpy as np

from bandbridge.dataset.decode import DEPTHS, Decoded, DecodeError, decode_image, depth_for
from bandbridge.dataset.findings import counted
from bandbridge.errors import UserError

#: Images that are decoded at a time to find the brightest pixel.
_BLOCK = 64
#: Images from which their usual depth is told, and bits that it may be short of the set's before that is strange.
_FEWEST, _FAR = 4, 4


class NeedsSetError(Exception):
    """Some images of a set cannot be brought to its scale without the others."""


class SetDepth:
    """The scale of the deep images of a set, found when the first of them is asked for.

    images: gives the name of every image of the set, and how to read its bytes; None: they are not at hand.
    stated: the bits of images by name, and given: those of all others, as a person says; largest: the brightest value
    of the images that nothing is said of, where it is known already.

    ``stacked`` and ``hidden`` collect, of the images read so far, those of several pages or channels, with their
    number, and those that were transparent all over.
    """

    def __init__(
        self,
        images: Callable[[], Iterable[tuple[str, Callable[[], bytes]]]] | None,
        stated: Mapping[str, int] | None = None,
        *,
        given: int | None = None,
        largest: int | None = None,
    ) -> None:
        self._images, self._stated, self._given = images, stated or {}, given
        self.largest = largest
        #: The brightest values of the images that nothing is said of, where the scale was found here.
        self.brightest: list[int] = []
        self.stacked: dict[str, int] = {}
        self.hidden: dict[str, None] = {}
        self._lock = Lock()

    def gray(self, data: bytes, name: str, expected: int | None = None) -> np.ndarray:
        """Decode the bytes of one image of the set to uint8 gray [H, W].

        expected: the bits of the images that a model was trained on, which these have too unless they exceed them.
        Raises :class:`DecodeError` for what cannot be read or has values beyond the bits it is said to have,
        :class:`NeedsSetError` where the rest of the set is needed and not at hand.
        """
        found = decode_image(data, name)
        if found.images > 1:
            self.stacked[name] = found.images
        if found.hidden:
            self.hidden[name] = None
        bits = self._said(found, name)
        if bits is None:
            self.settle()
            bits = max(self.bits(expected) or 0, depth_for(int(found.values.max())))
        elif found.values.dtype == np.uint16 and (largest := int(found.values.max())) >= 1 << bits:
            remedy = "Correct the column bits of metadata.csv, or --bit-depth."
            raise DecodeError(name, f"a value of {largest:,} is more than {bits} bits hold", remedy)
        return found.gray(bits)

    def bits(self, expected: int | None = None) -> int | None:
        """Return how many bits were decided on for the images that say nothing; None where no such image was seen."""
        return max(expected or 0, depth_for(self.largest)) if self.largest else None

    def settle(self) -> None:
        """Find the brightest value of the images that nothing is said of, once. Raises :class:`NeedsSetError`."""
        with self._lock:
            if self.largest is None and self._images is None:
                raise NeedsSetError
            if self.largest is None:
                images = iter(self._images() if self._images else ())
                with ThreadPoolExecutor() as pool:
                    blocks = iter(lambda: list(islice(images, _BLOCK)), [])
                    self.brightest = [most for block in blocks for most in pool.map(self._largest, block) if most]
                    self.largest = max(self.brightest, default=0)

    def remarks(self, expected: int | None = None) -> list[str]:
        """Return what to know of how the images read so far were taken, a sentence each."""
        said, bits = [], self.bits(expected)
        if bits:
            why = "as in training" if bits == expected else f"which hold the brightest pixel, {self.largest:,}"
            said.append(
                f"images of 16 bits are read as of {bits}, {why}; --bit-depth, or a column bits in metadata.csv, says "
                "otherwise"
            )
        if self.doubt():
            said.append(self.doubt())
        if self.stacked:
            several = f"{counted(len(self.stacked), 'image')} of several pages or channels"
            said.append(f"{several}, the first of which is read: {_some(self.stacked)}")
        if self.hidden:
            said.append(
                f"{counted(len(self.hidden), 'image')} transparent all over, shown all the same: {_some(self.hidden)}"
            )
        return said

    def doubt(self) -> str:
        """Say why the scale that was found may be wrong: one hot pixel, or two cameras; "" where nothing speaks for it.

        Half of the images then use so few of the bits that they are read nearly black.
        """
        if not self.largest or len(self.brightest) < _FEWEST:
            return ""
        usual = depth_for(int(np.median(self.brightest)))
        if self.bits() - usual < _FAR:  # type: ignore[operator]
            return ""
        count = sum(most < 1 << usual for most in self.brightest)
        return (
            f"{count:,} of {counted(len(self.brightest), 'image')} have no value above {(1 << usual) - 1:,}, yet one "
            f"has {self.largest:,}: a hot pixel, or two cameras? Read as of {self.bits()} bits, they are nearly black"
        )

    def _said(self, found: Decoded, name: str) -> int | None:
        if found.values.dtype == np.uint8:
            return 8
        return self._stated.get(name) or self._given or found.bits

    def _largest(self, image: tuple[str, Callable[[], bytes]]) -> int:
        name, read = image
        try:
            found = decode_image(read(), name)
        except UserError:
            return 0  # whoever asks for this image hears of it
        return int(found.values.max()) if self._said(found, name) is None else 0


def read_bits(text: str) -> int | None:
    """Return what a cell of the column bits says, None where nothing. Raises ValueError for what is no such number."""
    if not text:
        return None
    bits = int(text)
    if not DEPTHS[0] <= bits <= DEPTHS[-1]:
        raise ValueError(f"{bits} is none of 8 to 16 bits")
    return bits


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
