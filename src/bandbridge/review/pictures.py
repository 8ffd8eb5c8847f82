"""The pictures of a work folder: PNG files named by the hash of their pixels, private, none half written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bandbridge.errors import EnvironmentFault
from bandbridge.files import replacing
from bandbridge.review.keeping import IMAGES, NotKeptError, private_file, private_folder
from bandbridge.review.picture import decode_png, encode_png, pixel_hash


class Pictures:
    """The folder ``images`` of a work folder; ``new`` are those written since it was emptied last."""

    def __init__(self, folder: Path) -> None:
        self._home = folder / IMAGES
        self.new: set[str] = set()

    def open(self) -> None:
        """Make the folder, closed to other accounts; raises OSError."""
        private_folder(self._home)

    def put(self, pixels: np.ndarray) -> str:
        """Keep uint8 ``pixels`` [H, W] and return the hash that names them, 64 hexadecimal digits."""
        name = pixel_hash(pixels)
        path = self.path(name)
        if not path.is_file():
            try:
                with replacing(path) as temporary:
                    private_file(temporary).write_bytes(encode_png(pixels))
            except EnvironmentFault as fault:
                remedy = "Make room or check the disk, then hand the images in again; all that was saved stays."
                raise NotKeptError(f"nothing was saved: {fault.message}", remedy) from fault
            self.new.add(name)
        return name

    def path(self, name: str) -> Path:
        """Return the file of the picture with that hash."""
        return self._home / f"{name}.png"

    def read(self, name: str) -> np.ndarray:
        """Return uint8 [H, W]; :class:`EnvironmentFault` when the picture's file is gone, damaged or another."""
        path = self.path(name)
        remedy = "Bring it back from a copy of the work folder, or hand in the cell's images again."
        try:
            pixels = decode_png(path.read_bytes())
        except (OSError, ValueError, SyntaxError) as fault:
            raise EnvironmentFault(f"cannot read {path}", remedy) from fault
        if pixel_hash(pixels) != name:
            raise EnvironmentFault(f"{path} is not the picture that was kept under this name", remedy)
        return pixels

    def drop_unused(self, used: set[str]) -> None:
        """Throw away what is new and not among ``used``."""
        for name in self.new - used:
            self.path(name).unlink(missing_ok=True)
        self.new.clear()
