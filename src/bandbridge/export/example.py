"""Classify image files of single chromosomes with the model in this folder.

    python example.py IMAGE [IMAGE ...]

Needs numpy, Pillow and, for a model.onnx, onnxruntime; for a model.xml, openvino. Research use only: no medical device.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

HOME = Path(__file__).resolve().parent


def read_gray(path: str) -> np.ndarray:
    """Return the pixels of an image file of 8 bits, uint8 [H, W]; colour becomes luma (ITU-R 601).

    Raises SystemExit for what Pillow reads in another way than bandbridge does, or not at all.
    """
    data = Path(path).read_bytes()  # of a path, Pillow maps some TIFFs into memory and shears those that are turned
    try:
        with Image.open(io.BytesIO(data)) as image:
            if is_plain(image, data):
                image.load()
                upright = ImageOps.exif_transpose(image)
                if upright.mode not in ("P", "RGB"):
                    return np.array(upright.convert("L"))
                colours = upright.convert("RGB")
                pixels = np.asarray(colours)
                ranges = np.ptp(pixels.reshape(-1, 3), axis=0).astype(int)
                _, second, most = np.argsort(ranges)
                if ranges[second] <= ranges[most] / 16 and ranges[most]:  # a dye shown in one colour
                    return np.ascontiguousarray(pixels[:, :, most])
                return np.array(colours.convert("L"))
    except (OSError, ValueError, SyntaxError) as fault:
        raise SystemExit(f"{path}: cannot be read ({fault})") from fault
    raise SystemExit(f"{path}: save it as PNG of 8 bits, gray or RGB, one image without transparency")


def is_plain(image: Image.Image, data: bytes) -> bool:
    """Say whether it is one opaque image of 8 bits a sample or fewer, stored as every program reads it."""
    if image.mode not in ("1", "L", "P", "RGB") or image.has_transparency_data or getattr(image, "n_frames", 1) > 1:
        return False
    if image.format != "TIFF":
        return image.format != "PNG" or data[24] <= 8
    tags = image.tag_v2  # type: ignore[attr-defined]
    width, height = image.size
    bits, samples, photometric = tags.get(258, (1,)), tags.get(277, 1), tags.get(262, 1)
    counts, expected = tags.get(279, ()), (width * samples * bits[0] + 7) // 8 * height
    whole = tags.get(259, 1) != 1 or 322 in tags or (len(counts) == len(tags.get(273, ())) and sum(counts) >= expected)
    return (
        not {254, 255, 330} & set(tags)  # thumbnails, masks, further images
        and set(bits) <= {1, 8}
        and {0: 1, 1: 1, 2: 3, 6: 3}.get(photometric) == samples
        and set(np.ravel(tags.get(339, 1)).tolist()) == {1}
        and (samples == 1 or tags.get(284, 1) == 1)
        and tags.get(266, 1) == 1
        and whole
    )


def prepare(image: np.ndarray, preparation: dict[str, Any]) -> np.ndarray:
    """Return uint8 [size, size] from uint8 [H, W], as the images of the training were prepared."""
    if preparation["polarity"] == "inverted":
        image = 255 - image
    if preparation["crop"] == "foreground":
        image = crop_to_foreground(image)
    height, width = image.shape
    side = max(height, width)
    if preparation["scale"] == "common":
        side = max(side, preparation["extent"])
    square = np.full((side, side), ground(image) if preparation["padding"] == "background" else 0, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    size = preparation["size"]
    if side == size:
        return square
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR))


def ground(image: np.ndarray) -> int:
    """Return the gray value of the ground: the median of the border."""
    return int(np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])))


def crop_to_foreground(image: np.ndarray) -> np.ndarray:
    """Cut away the ground: keep what differs from it by half of Otsu's threshold, but for specks."""
    contrast = np.abs(image.astype(np.int16) - ground(image)).astype(np.uint8)
    if not contrast.any():
        return image
    pieces = number_pieces(contrast > otsu(contrast) // 2)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    kept = (areas >= 0.05 * areas.sum()) & (areas > 0)
    rows, columns = np.nonzero(kept[pieces])
    return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] if len(rows) else image


def otsu(values: np.ndarray) -> int:
    """Return the gray value that best separates two classes by between-class variance (Otsu 1979)."""
    histogram = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    weight, moment = np.cumsum(histogram), np.cumsum(histogram * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (moment[-1] * weight - weight[-1] * moment) ** 2 / (weight * (weight[-1] - weight))
    return int(np.argmax(np.where(np.isfinite(between), between, 0.0)))


def number_pieces(mask: np.ndarray) -> np.ndarray:
    """Return int [H, W]: 0 outside of ``mask``, one number for each 8-connected piece of it."""
    numbers = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        padded = np.pad(numbers, 1)
        around = [padded[i : i + mask.shape[0], j : j + mask.shape[1]] for i in range(3) for j in range(3)]
        spread = np.where(mask, np.max(around, axis=0), 0)
        if np.array_equal(spread, numbers):
            return numbers
        numbers = spread


def open_model(folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from prepared images, uint8 [N, size, size], to probabilities, float32 [N, classes]."""
    if (folder / "model.onnx").exists():
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it tells its maker of this machine
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        return lambda images: session.run(["probabilities"], {"images": images})[0]
    import openvino

    compiled = openvino.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: np.array(compiled({"images": images})["probabilities"])


def main(paths: Sequence[str]) -> None:
    """Print the three likeliest classes of each image, and whether a person should look."""
    facts = json.loads((HOME / "preparation.json").read_text(encoding="utf-8"))
    if "cell" in (facts["preparation"]["scale"], facts["preparation"].get("contrast")):
        print(f"this model judges whole cells; use: bandbridge predict {HOME} FOLDER", file=sys.stderr)
        raise SystemExit(2)
    images = np.stack([prepare(read_gray(path), facts["preparation"]) for path in paths])
    check_below = 1.0 if facts["review_below"] is None else facts["review_below"]
    for path, shares in zip(paths, open_model(HOME)(images), strict=True):
        best = np.argsort(-shares)[:3]
        named = "  ".join(f"{facts['classes'][index]} {shares[index]:.3f}" for index in best)
        print(f"{path}\t{named}{'' if shares[best[0]] >= check_below else '  check'}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
