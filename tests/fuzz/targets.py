"""What is fuzzed: readers of what strangers hand in, each with whole inputs to begin with.

A target takes bytes and returns nothing. A :class:`bandbridge.errors.UserError` is an answer; any other exception is a
finding.
"""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from bandbridge.dataset.decode import decode_image
from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.metadata import fault_of_name
from bandbridge.dataset.names import is_unknown, near_spellings
from bandbridge.dataset.splits import make_split, strictest_scheme
from bandbridge.errors import UserError
from bandbridge.files import file_stems, guard_formula, unguard_formula
from bandbridge.karyotype import order_classes, parse_label
from bandbridge.study.spec import read_study


@dataclass(frozen=True)
class Target:
    """read: what is called. seeds: makes the inputs to begin with. words: what inputs of this kind are made of."""

    read: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[str, ...] = ()


@cache
def _place() -> Path:
    memory = Path("/dev/shm")  # hundreds of files a second
    return Path(tempfile.mkdtemp(prefix="bandbridge-fuzz-", dir=memory if memory.is_dir() else None))


def decoder(data: bytes) -> None:
    """One image file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decode_image(data, "a.png")


def metadata(data: bytes) -> None:
    """The table of an image set, and what is done first with its rows."""
    folder = _place() / "set"
    if not folder.exists():
        folder.mkdir()
        for name in ("a.png", "b.png"):
            (folder / name).write_bytes(image_seeds()[0])
    (folder / "metadata.csv").write_bytes(data)
    samples = open_dataset(folder).samples
    order_classes(samples["label"])
    make_split(samples, strictest_scheme(samples), 2, 0)


def study(data: bytes) -> None:
    """A study file."""
    path = _place() / "study.yaml"
    path.write_bytes(data)
    read_study(path)


def labels(data: bytes) -> None:
    """Labels and names, one a line."""
    texts = data.decode("utf-8", "surrogateescape").split("\n")
    for text in texts:
        with suppress(UserError):
            parse_label(text)
        is_unknown(text)
        fault_of_name(text)
        if unguard_formula(guard_formula(text)) != text:
            raise AssertionError(f"{text!r} does not come back")
    order_classes(texts)
    near_spellings(texts)
    stems = list(file_stems(texts, "name"))
    if len({stem.casefold() for stem in stems}) != len(texts):
        raise AssertionError("two names share a file")


@cache
def image_seeds() -> tuple[bytes, ...]:
    """Small images of every kind that is read."""
    gray = (np.arange(14 * 9).reshape(14, 9) % 251).astype(np.uint8)
    images = {
        "gray": Image.fromarray(gray),
        "colour": Image.fromarray(np.stack([gray] * 3, 2)),
        "alpha": Image.fromarray(np.stack([gray] * 4, 2)),
        "deep": Image.fromarray(gray.astype(np.uint16) * 257),
    }
    images["palette"] = images["colour"].quantize(16)
    images["bilevel"] = images["gray"].convert("1")
    found = []
    for kind, formats in (
        ("gray", ("PNG", "BMP", "JPEG", "TIFF")),
        ("colour", ("PNG", "BMP", "JPEG", "TIFF")),
        ("alpha", ("PNG", "TIFF")),
        ("deep", ("PNG", "TIFF")),
        ("palette", ("PNG", "BMP", "TIFF")),
        ("bilevel", ("PNG", "BMP", "TIFF")),
    ):
        for name in formats:
            stream = io.BytesIO()
            images[kind].save(stream, format=name)
            found.append(stream.getvalue())
    for options in ({"compression": "lzw"}, {"compression": "zlib", "tile": (16, 16)}, {"bigtiff": True}):
        stream = io.BytesIO()
        tifffile.imwrite(stream, gray.astype(np.uint16), **options)
        found.append(stream.getvalue())
    return tuple(found)


def table_seeds() -> list[bytes]:
    """Tables of an image set."""
    return [
        b"file_name,label,cell,patient,copy,stain,source\na.png,1,c1,p1,a,G,x\nb.png,X,c2,p2,b,G,x\n",
        b"\xef\xbb\xbffile_name;label;cell\r\na.png;21;c1\r\nb.png;Y;c2\r\n",
        b'file_name,label,cell\n"a.png",chr7,"c, 1"\n"b.png",8.0,"c ""2"""\n',
        'file_name,label,patient\na.png,1,"Ä 1"\nb.png,2,ä1\n'.encode("utf-16"),
    ]


def study_seeds() -> list[bytes]:
    """Study files."""
    return [
        (
            b"name: mine\nprotocol: strict\ntasks:\n  q: {dataset: q, intermediates: [g]}\n  g: {dataset: g, target: "
            b"false}\narchitectures: [test_resnet]\napproaches: [scratch, domain]\nsplit: {folds: 2}\nimage_size: 32\n"
            b"recipe: {base: fast, epochs: 1}\n"
        ),
        (
            b"name: paper\nprotocol: paper\ntasks:\n  Q: {dataset: q, intermediates: [G], preparation: by-cell}\n"
            b"  G:\n    dataset: g\n    intermediates: [Q]\narchitectures:\n- MobileNetV3-L\n"
            b"- vgg16_bn\n"
            b"approaches: [scratch, imagenet, two-step]\nsplit: {folds: 5, scheme: image, seed: 1}\nseed: 3\n"
            b"preparation: {base: published, padding: background}\nrecipe:\n  base: paper\n"
            b"  augmentation: {flip_vertical: 0.1}\n"
        ),
    ]


def label_seeds() -> list[bytes]:
    """Labels and names."""
    return [
        b"1\n22\nX\nY\nchr7\n8.0\nChrX\n",
        "P1\np 1\nP-01\n1.12\n112\n²\nⅫ\n".encode(),
        b"=1+1\n'=1\n-1\n@x\n",
        b"a/b\n../c\nCON\na\\b\n",
    ]


TARGETS = {
    "decoder": Target(decoder, lambda: list(image_seeds())),
    "metadata": Target(
        metadata,
        table_seeds,
        (
            "file_name",
            "label",
            "cell",
            "patient",
            "copy",
            "stain",
            "source",
            "a.png",
            "b.png",
            "NaN",
            '"',
            "\r\n",
            "\0",
        ),
    ),
    "study": Target(
        study,
        study_seeds,
        (
            *("name", "protocol", "strict", "paper", "tasks", "dataset", "intermediates", "target", "architectures"),
            *("approaches", "split", "folds", "scheme", "split_file", "image_size", "recipe", "preparation", "seed"),
            *(
                "run_folds",
                "epochs",
                "!!python/object",
                "&a",
                "*a",
                "<<",
                "{",
                "}",
                "[",
                "]",
                "- ",
                ": ",
                "1e999",
                ".nan",
            ),
        ),
    ),
    "labels": Target(labels, label_seeds, ("chr", "X", "Y", ".0", "=", "'", "\n", "P", "-0")),
}


def finds(target: Target, data: bytes) -> Exception | None:
    """Return what ``target`` lets through of ``data``; None where it reads or refuses it as it should."""
    try:
        target.read(data)
    except UserError:
        return None
    except Exception as fault:
        return fault
    return None
