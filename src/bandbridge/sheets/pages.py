"""Sheets as files: folders, zips and single files, of images and of PDF pages, each decoded to gray and colour."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from bandbridge.dataset.archive import is_image, is_left_behind, read_images
from bandbridge.dataset.claims import MAX_PIXELS, check_file
from bandbridge.dataset.decode import FORMATS, DecodeError, decode_gray, quiet_pillow
from bandbridge.dataset.imagefolder import MAX_IMAGE_BYTES, read_bounded
from bandbridge.errors import UserError
from bandbridge.extras import need

#: Dots per inch that a page of a PDF is drawn with, and most pixels of its longest side.
_DPI, _PAGE_SIDE = 200, 3000
#: Most pixels of a scan; larger ones than ``MAX_PIXELS`` are read reduced to at most that.
MAX_SCAN = 150_000_000


@dataclass(frozen=True)
class Page:
    """One sheet as it is kept. name: of its file, relative to what was handed in, and of its page. page: from 0, of a
    PDF."""

    name: str
    data: bytes
    page: int | None = None

    @property
    def stem(self) -> str:
        """Its name without folder and ending."""
        stem = PurePosixPath(self.name.partition(" page ")[0]).stem
        return stem if self.page is None else f"{stem}-p{self.page + 1}"


def is_sheet(name: str) -> bool:
    """Whether a file may be a sheet by its name: an image, or a PDF."""
    return is_image(name) or (PurePosixPath(name).suffix.lower() == ".pdf" and not is_left_behind(name))


def read_pages(source: Path) -> Iterator[Page | UserError]:
    """Yield every sheet of a folder, zip, tar, image or PDF; an error in the place of a file that cannot be read."""
    if source.is_file() and is_sheet(source.name):
        files: Iterator[tuple[str, bytes]] = iter([(source.name, read_bounded(source, MAX_IMAGE_BYTES))])
    else:
        files = read_images(source, wanted=is_sheet)
    for name, data in files:
        if PurePosixPath(name).suffix.lower() != ".pdf":
            yield Page(name, data)
            continue
        try:
            many = _pages_of(name, data)
        except UserError as fault:
            yield fault if name in fault.message else UserError(f"{name}: {fault.message}", fault.remedy)
            continue
        for page in range(many):
            yield Page(name if many == 1 else f"{name} page {page + 1}", data, page)


def decode_page(page: Page) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the gray of a sheet, uint8 [H, W], and how coloured its pixels are, uint8 [H, W], None where none is.

    Raises :class:`~bandbridge.dataset.decode.DecodeError` for what cannot be read.
    """
    if page.page is not None:
        picture = _drawn(page)
        return np.asarray(picture.convert("L")), _colour_of(np.asarray(picture.convert("RGB")))
    with quiet_pillow():
        large = _reduced(page)
        if large is not None:
            return np.asarray(large.convert("L")), _colour_of(np.asarray(large.convert("RGB")))
        gray = decode_gray(page.data, page.name)
        return gray, _colour_in_file(page.data, gray.shape)


def _reduced(page: Page) -> Image.Image | None:
    """A scan of more pixels than images of chromosomes may have, reduced; None for one of fewer."""
    try:
        check_file(page.data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(page.data), formats=FORMATS) as image:
                pixels = image.width * image.height
                if pixels <= MAX_PIXELS or image.mode not in ("1", "L", "P", "RGB", "RGBA"):
                    return None
                if pixels > MAX_SCAN:
                    problem = f"{image.width} x {image.height} pixels; a sheet of up to {MAX_SCAN:,} is read"
                    raise DecodeError(page.name, problem, "Scan it with fewer dots per inch.")
                factor = int(np.ceil(np.sqrt(pixels / MAX_PIXELS)))
                upright = ImageOps.exif_transpose(image)
                return (upright if upright.mode != "P" else upright.convert("RGB")).reduce(factor)
    except DecodeError:
        raise
    except Exception:  # whatever is wrong with it, the usual way of reading says it
        return None


def _colour_in_file(data: bytes, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.mode not in ("P", "RGB", "RGBA"):
                return None
            colour = _colour_of(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))
    except Exception:  # its gray was read in another way, and will do
        return None
    return colour if colour is None or colour.shape == shape else None


def _colour_of(pixels: np.ndarray) -> np.ndarray | None:
    colour = pixels.max(axis=2) - pixels.min(axis=2)
    return colour if colour.any() else None


def _pages_of(name: str, data: bytes) -> int:
    pdfium = need("pypdfium2")
    try:
        document = pdfium.PdfDocument(data)
    except Exception as fault:
        raise DecodeError(
            name, f"a PDF that cannot be opened ({fault})", "Print it again, without a password."
        ) from fault
    with document:
        return len(document)


def _drawn(page: Page) -> Image.Image:
    pdfium = need("pypdfium2")
    try:
        with pdfium.PdfDocument(page.data) as document:
            sheet = document[page.page]
            scale = min(_DPI / 72, _PAGE_SIDE / max(sheet.get_size()))
            picture: Image.Image = sheet.render(scale=scale).to_pil()
            return picture
    except Exception as fault:
        raise DecodeError(page.name, f"a page that cannot be drawn ({fault})", "Save it as PNG.") from fault
