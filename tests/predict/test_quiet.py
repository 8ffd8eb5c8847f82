"""What the libraries that decode images say for themselves names no file: it is not shown, the error that does is."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, features

from bandbridge.dataset.libtiff import quiet_libtiff
from bandbridge.karyotype import CLASSES
from bandbridge.predict.classify import classify
from bandbridge.predict.intake import Handed


def torn_tiff(compression: str) -> bytes:
    """A TIFF whose pixels are not what their compression says."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 40)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "TIFF", compression=compression)
    data = bytearray(stream.getvalue())
    for place in range(20, 1500, 37):
        data[place] ^= 0x5A
    return bytes(data)


@pytest.mark.skipif(not features.check("libtiff") or not quiet_libtiff(), reason="a libtiff that cannot be reached")
def test_libtiff_says_nothing_of_its_own_and_the_file_is_named(tmp_path):
    for compression in ("tiff_lzw", "tiff_adobe_deflate"):
        (tmp_path / f"{compression}.tif").write_bytes(torn_tiff(compression))
    script = (
        "import sys\nfrom pathlib import Path\nfrom bandbridge.dataset.decode import decode_gray\n"
        "from bandbridge.errors import UserError\n"
        "for path in map(Path, sys.argv[1:]):\n"
        "    try:\n        decode_gray(path.read_bytes(), path.name)\n"
        "    except UserError as error:\n        print(error.message)\n"
    )
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run([sys.executable, "-c", script, *files], capture_output=True, text=True, check=True)
    assert done.stderr == "" and [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        "tiff_adobe_deflate.tif",
        "tiff_lzw.tif",
    ]


class Guesser:
    """An ensemble for which all is a chromosome 1."""

    classes, confidence, review_below, bits, thresholds, rates = CLASSES, *[None] * 5
    drawn_stain = ""

    def prepare(self, images, cells):
        return {}


def test_pillow_warns_of_no_file_by_itself():
    def warning() -> bytes:
        warnings.warn_explicit("Possibly corrupt EXIF data", UserWarning, "x", 1, module="PIL.TiffImagePlugin")
        return b"no image"

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        result = classify(Guesser(), [Handed("1a.tif", "c", "", warning)])
    assert [name for name, _ in result.refused] == ["1a.tif"]
    assert heard == []
