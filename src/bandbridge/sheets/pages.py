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
#: The tag that says what a page of a TIFF is, of which these bits mean a reduced copy or a mask; a page of a smaller
#: share of the largest one's pixels is a copy, too, though nothing says so. Most pages that are looked at.
_KIND, _REDUCED_OR_MASK, _COPY, _MOST_PAGES = 254, 0b101, 0.3, 2000
#: Most pixels of a scan; larger ones than ``MAX_PIXELS`` are read reduced to at most that.
MAX_SCAN = 150_000_000


@dataclass(frozen=True)
class Page:
    """One sheet as it is kept. name: of its file, relative to what was handed in, and of its page. page: from 0, of a
    PDF or of a TIFF of several."""

    name: str
    data: bytes
    page: int | None = None

    @property
    def stem(self) -> str:
        """Its name without folder and ending."""
        stem = PurePosixPath(self._file).stem
        return stem if self.page is None else f"{stem}-p{self.page + 1}"

    @property
    def is_pdf(self) -> bool:
        """Whether it is a page of a PDF."""
        return _suffix(self._file) == ".pdf"

    @property
    def _file(self) -> str:
        return self.name if self.page is None else self.name.removesuffix(f" page {self.page + 1}")


def is_sheet(name: str) -> bool:
    """Whether a file may be a sheet by its name: an image, or a PDF."""
    return is_image(name) or (_suffix(name) == ".pdf" and not is_left_behind(name))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def read_pages(source: Path) -> Iterator[Page | UserError]:
    """Yield every sheet of a folder, zip, tar, image or PDF; an error in the place of a file that cannot be read.

    Each page of a PDF is a sheet, and of a TIFF each that is no smaller copy of another.
    """
    if source.is_file() and is_sheet(source.name):
        files: Iterator[tuple[str, bytes]] = iter([(source.name, read_bounded(source, MAX_IMAGE_BYTES))])
    else:
        files = read_images(source, wanted=is_sheet)
    for name, data in files:
        if _suffix(name) != ".pdf":
            several = _pages_of_tiff(data) if _suffix(name) in (".tif", ".tiff") else []
            pages = [Page(f"{name} page {page + 1}", data, page) for page in several]
            yield from pages or [Page(name, data)]
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
    if page.is_pdf:
        picture = _drawn(page)
        return np.asarray(picture.convert("L")), _colour_of(np.asarray(picture.convert("RGB")))
    if page.page is not None:
        page = Page(page.name, _alone(page))
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


def _pages_of_tiff(data: bytes) -> list[int]:
    """The pages of a TIFF that are sheets of their own, from 0; none where it has one, or cannot be read."""
    sizes: dict[int, int] = {}
    try:
        check_file(data)
        with quiet_pillow(), Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
            for page in range(min(image.n_frames, _MOST_PAGES)):  # type: ignore[attr-defined]
                image.seek(page)
                if not int(image.tag_v2.get(_KIND, 0)) & _REDUCED_OR_MASK:  # type: ignore[attr-defined]
                    sizes[page] = image.width * image.height
    except Exception:  # whatever is wrong with it, the usual way of reading says it
        return []
    found = [page for page, size in sizes.items() if size >= _COPY * max(sizes.values())]
    return found if len(found) > 1 else []


def _alone(page: Page) -> bytes:
    """One page of a TIFF as PNG."""
    stream = io.BytesIO()
    try:
        with quiet_pillow(), Image.open(io.BytesIO(page.data), formats=("TIFF",)) as image:
            image.seek(page.page or 0)
            picture = ImageOps.exif_transpose(image)
            picture = picture.convert("RGB") if picture.mode not in ("1", "L", "P", "RGB", "RGBA", "I;16") else picture
            picture.save(stream, format="PNG", compress_level=1)
    except Exception as fault:
        raise DecodeError(page.name, f"a page that cannot be read ({fault})", "Save it as PNG.") from fault
    return stream.getvalue()


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
