#!/usr/bin/env bash
# datasets 5.1.0: of two folders of one name with one card, load_dataset(FOLDER) gives the rows of the first for both.
#
# Guessed: a README.md with configs and features makes loading a local folder more reliable, and what was read before is
# known again by its place and its files, as it is without a card: a changed table, or another folder, is read anew.
# Seen: with a card the cache goes by the folder's last name and the card alone. Another folder of that name, with more
# rows, gives the first one's rows and images; so does the same folder after its table has changed; once the first
# folder is gone, its paths are handed out all the same. Without the card, and by data_files, every load is right. A line
# in the card that changes with the table (description: its SHA-256) tells two tables apart, and two places not.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  datasets==5.1.0 pillow==13.0.0 pandas==3.1.0 pyarrow==26.0.0 2>/dev/null
cd "$place"
HF_HOME="$place/cache" HF_DATASETS_OFFLINE=1 HF_HUB_OFFLINE=1 "$place/venv/bin/python" - <<'PYTHON'
import sys
from pathlib import Path

import datasets
from PIL import Image

datasets.disable_progress_bars()
CARD = """---
configs:
- config_name: default
  {more}data_files:
  - {{split: train, path: [metadata.csv, "images/*"]}}
  features:
  - {{name: image, dtype: image}}
  - {{name: label, dtype: string}}
---
"""
FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})


def lay(folder, rows, card, more=""):
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for row in range(rows):
        Image.new("L", (4, 4), row).save(folder / "images" / f"{row}.png")
    lines = [f"images/{row}.png,{row}" for row in range(rows)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label", *lines]) + "\n")
    if card:
        (folder / "README.md").write_text(CARD.format(more=more))
    return folder


def rows(folder):
    return datasets.load_dataset(str(folder), split="train").num_rows


def of(folder):
    found = datasets.load_dataset(str(folder), split="train").cast_column("image", datasets.Image(decode=False))
    return Path(found[0]["image"]["path"]).is_relative_to(folder.resolve())


def table(folder):
    return datasets.load_dataset(
        "imagefolder", data_files=str(folder / "metadata.csv"), features=FEATURES, split="train"
    ).num_rows


expected = {}
found = {}
for kind, card in (("plain", False), ("card", True)):
    first, second = (lay(Path(kind) / parent / "set", number, card) for parent, number in (("a", 3), ("b", 5)))
    found[f"{kind}: rows of 3"] = (rows(first), 3)
    found[f"{kind}: rows of 5 in another folder"] = (rows(second), 3 if card else 5)
    found[f"{kind}: its images are its own"] = (of(second), not card)
    found[f"{kind}: rows of 7, the table changed"] = (rows(lay(first, 7, card)), 3 if card else 7)
    found[f"{kind}: by data_files"] = (table(first), 7)
    found[f"{kind}: by data_files, the other"] = (table(second), 5)
first, second = (lay(Path("told") / parent / "set", number, True, f"description: '{number}'\n  ") for parent, number in (("a", 3), ("b", 5)))
found["told apart by a description: 3"] = (rows(first), 3)
found["told apart by a description: 5"] = (rows(second), 5)
twin = lay(Path("told") / "c" / "set", 3, True, "description: '3'\n  ")
found["the same table elsewhere: its images are its own"] = (of(twin), False)
for what, (seen, wanted) in found.items():
    print(f"{what:50} {seen!s:6} {'as described' if seen == wanted else f'EXPECTED {wanted}'}")
sys.exit(any(seen != wanted for seen, wanted in found.values()))
PYTHON
