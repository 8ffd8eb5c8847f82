"""libtiff without its own messages: it prints them to standard error, without the name of the file."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import lru_cache

from PIL import Image


@lru_cache(maxsize=1)
def quiet_libtiff() -> bool:
    """Let the libtiff that Pillow decodes with say nothing, and return whether it is known to.

    What it would say of a file that cannot be decoded, Pillow says by an exception, which is named and told. Found is
    it through Pillow's own library, whatever it is called there; where it is a part of that (Windows), it is not.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(Image.core.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)
        return True
    return False
