"""Image files in an installation without imagecodecs: the common ones all the same, the others with the remedy."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

_DECODE = """
import json, sys

class Shut:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "imagecodecs":
            raise ModuleNotFoundError(name, name=name)

if sys.argv[1] == "shut":
    sys.meta_path.insert(0, Shut())
from pathlib import Path
from bandbridge.dataset.decode import DecodeError, decode_image
from bandbridge.dataset.planes import choose_plane

def told(work):
    try:
        return work()
    except DecodeError as error:
        return [error.message, error.remedy]

found = {}
for path in sorted(Path(sys.argv[2]).iterdir()):
    data = path.read_bytes()
    found[path.name] = told(lambda: decode_image(data, path.name).values.tolist())
    if path.name.startswith("plane"):
        found[f"{path.name}, a plane"] = told(lambda: choose_plane(data, path.name, 1, 1, None)[0].hex())
print(json.dumps(found))
"""


def decoded(folder: Path, how: str) -> dict[str, object]:
    command = [sys.executable, "-c", _DECODE, how, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_common_files_are_read_alike_and_of_the_others_the_extra_is_named(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 12, (40, 23)).astype(np.uint16)
    colours = np.stack([values] * 3, axis=2)
    read = {
        "gray 16.png": imagecodecs.png_encode(values),
        "plane gray 16.png": imagecodecs.png_encode(values),
        "8 bits.png": imagecodecs.png_encode(values.astype(np.uint8)),
    }
    for compression in ("none", "lzw", "zlib", "packbits"):
        for predictor in (False, True) if compression in ("lzw", "zlib") else (False,):
            stream = io.BytesIO()
            tifffile.imwrite(stream, values, compression=compression, predictor=predictor)
            read[f"16 bits {compression} {predictor}.tif"] = stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(colours.astype(np.uint8)).save(stream, "TIFF", compression="tiff_lzw")
    read["colour lzw.tif"] = stream.getvalue()
    asked = {"colour 16.png": imagecodecs.png_encode(colours)}
    for name, pixels, compression in (("colour 16 lzw", colours, "lzw"), ("gray zstd", values, "jpegxl")):
        stream = io.BytesIO()
        tifffile.imwrite(stream, pixels, compression=compression)
        asked[f"plane {name}.tif"] = stream.getvalue()
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, compression="zstd")
    asked["plane zstd.tif"] = stream.getvalue()  # of which tifffile believes that a later Python is there
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, bitspersample=12)
    asked["12 bits packed.tif"] = stream.getvalue()
    for name, data in (read | asked).items():
        (tmp_path / name).write_bytes(data)
    whole, without = (decoded(tmp_path, how) for how in ("open", "shut"))
    assert np.array_equal(whole["gray 16.png"], values) and np.array_equal(whole["16 bits lzw True.tif"], values)
    for name in whole:
        file = name.removesuffix(", a plane")
        if file in read:
            assert without[name] == whole[name], name
        else:
            assert isinstance(whole[name][0], list) or isinstance(whole[name], str), name
            message, remedy = without[name]
            told = "this needs imagecodecs, which is not installed here"
            command = 'install it with: pip install "bandbridge[formats]"'
            assert (message, remedy) == (f"{file}: {told}; {command}", "")
