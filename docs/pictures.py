"""Make docs/images/karyogram.png, review.png and review-metaphase.png: drawn cells, sorted by the model in the box.

    python docs/pictures.py

The page is shown by a Chromium of this machine. docs/images/report.png is the top of the report of ``make demo``.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT))
CELLS, SEED, SHOWN = 3, 5, 2
_WIDTH, _HEIGHT = 1280, 860
_READY = "typeof page !== 'undefined' && page.sheet !== null && document.querySelector('.one') !== null"


def bandbridge(*words: object) -> list[str]:
    """Return the command line of ``bandbridge`` with these arguments."""
    return [sys.executable, "-m", "bandbridge", *map(str, words)]


def small(picture: Image.Image, place: Path, width: int, colours: int) -> None:
    """Save a picture ``width`` pixels wide with few colours: these pages are read on telephones, too."""
    height = round(picture.height * width / picture.width)
    picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).quantize(colours).save(
        place, optimize=True
    )
    print(f"{place}: {place.stat().st_size} bytes")


def review_page(cells: Path, home: Path, *keys: str) -> Path:
    """Return a picture of the review page with a cell of ``cells`` open, after ``keys`` were pressed."""
    from tests.review.chromium import Chromium, find_chromium

    program = find_chromium()
    if program is None:
        raise SystemExit("docs/pictures.py needs a Chromium to show the review page")
    words = bandbridge(
        "review", "box:G", cells, "--no-browser", "--port", "0", "--work", home / "work", "--reader", "Anna"
    )
    served = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert served.stdout is not None
    browser = Chromium(program, home / "profile")
    try:
        tab = browser.open(served.stdout.readline().strip())
        tab.wait(_READY, 120)
        size = {"width": _WIDTH, "height": _HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.ask("Emulation.setDeviceMetricsOverride", tab._session, **size)
        tab.wait("[...document.images].every(one => one.complete)", 60)
        for key in keys:
            tab.press(key)
        tab.run("new Promise(done => setTimeout(done, 3000))")
        shot = browser.ask("Page.captureScreenshot", tab._session, format="png")["data"]
    finally:
        browser.close()
        served.terminate()
        served.wait(20)
        served.stdout.close()
    place = home / "review.png"
    place.write_bytes(base64.b64decode(shot))
    return place


def main() -> None:
    """Make the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        cells, sorted_cells = home / "cells", home / "sorted"
        drawing = ("--stain", "G", "--cells", CELLS, "--seed", SEED)
        subprocess.run(bandbridge("data", "synth", cells, *drawing), check=True, capture_output=True)
        sorting = ("box:G", cells, "--karyograms", "--out", sorted_cells)
        subprocess.run(bandbridge("predict", *sorting), check=True, capture_output=True)
        with Image.open(sorted_cells / "karyograms" / f"synthetic-g000{SHOWN}.png") as drawn:
            small(drawn, IMAGES / "karyogram.png", 1100, 32)
        with Image.open(review_page(cells, home)) as shown:
            small(shown, IMAGES / "review.png", 1100, 64)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        crowd = Crowd(share=0.2, crossing=0.2, touching=0.3, bend=2, nuclei=1, debris=6, width=12)
        Image.fromarray(draw_spread("G", 4, 2, crowd).gray).save(home / "drawn.png")
        with Image.open(review_page(home / "drawn.png", home, "c", "+", "+")) as shown:
            small(shown, IMAGES / "review-metaphase.png", 1100, 96)


if __name__ == "__main__":
    main()
