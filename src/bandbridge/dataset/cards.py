"""What is written beside a dataset's table for other readers: a dataset card and a Croissant description.

The card, ``README.md``, tells Hugging Face ``datasets`` which file is the table, that all rows are one split and every
column is text. The description, ``croissant.json``, says the same as JSON-LD
(https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bandbridge import __version__
from bandbridge.dataset.findings import counted
from bandbridge.dataset.metadata import METADATA
from bandbridge.errors import visible
from bandbridge.files import is_present, markdown_text, write_text
from bandbridge.karyotype import order_classes

CARD, CROISSANT = "README.md", "croissant.json"
_OURS = "Written by Bandbridge"
_TAGS = ("chromosome", "cytogenetics", "karyotyping", "bandbridge")
_COLUMN_MEANS = {
    "label": "the class of the chromosome, 1 to 22, X or Y",
    "cell": "the cell (metaphase) that it is of",
    "patient": "the patient that the cell is of",
    "copy": "which of the chromosomes of its class in the cell",
    "stain": "the staining, such as G or Q",
    "source": "where the image is from",
    "bits": "how many bits the values of the file use",
    "certainty": "how sure the class is: sure, fair, doubtful or by hand",
    "why": "what the class was read from",
    "box": "where the chromosome lies on its sheet: top, left, bottom and right in its pixels",
}
_MIME = {"jpg": "jpeg", "tif": "tiff"}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_cards(folder: Path, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], table: str) -> None:
    """Write both beside the table of the dataset in ``folder``; before it, whose presence says that a set is whole.

    name: of the set. columns: of the table, ``file_name`` first, then ``label``. rows: its texts. table: the very text
    of ``metadata.csv``. A card that somebody else wrote stays.
    """
    if not is_present(folder / CARD) or _OURS in (folder / CARD).read_text(encoding="utf-8", errors="replace"):
        write_text(folder / CARD, dataset_card(name, columns, rows, table))
    write_text(folder / CROISSANT, croissant(name, columns, rows, table))


def dataset_card(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], table: str) -> str:
    """Return the card, Markdown with the header that the Hugging Face hub and ``datasets`` read."""
    features = [{"name": "image", "dtype": "image"}, *({"name": one, "dtype": "string"} for one in columns[1:])]
    config = {
        "config_name": "default",
        # datasets keeps what it has read under the folder's name and this header: another table has to change it.
        "description": f"metadata.csv of SHA-256 {_digest(table)}",
        "data_files": [{"split": "train", "path": [METADATA, "images/**"]}],
        "features": features,
    }
    header = {
        "pretty_name": _in_one_line(name),
        "task_categories": ["image-classification"],
        "tags": list(_TAGS),
        "configs": [config],
    }
    classes = order_classes(row[1] for row in rows)
    text = ", ".join(json.dumps(one) for one in columns[1:])
    return f"""---
{yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=10_000).rstrip()}
---
# {markdown_text(name)}

{_counts(columns, rows)}. {_OURS} {__version__}; `{METADATA}` has a row for each image.

The images have an owner and a licence of their own: ask before passing them on.

## In Hugging Face datasets

```python
from datasets import Features, Image, Value, load_dataset

columns = [{text}]
cells = load_dataset(
    "imagefolder",
    data_files="THIS_FOLDER/{METADATA}",
    features=Features({{"image": Image(), **{{column: Value("string") for column in columns}}}}),
    split="train",
)
```

All rows are in it, with labels as text, whatever the folders are called. Of a zip, its own path stands in the place of
`THIS_FOLDER/{METADATA}`. The shorter `load_dataset("THIS_FOLDER", split="train")` reads the header of this card, and is
right on the hub; on a disk it takes a folder of the same name and the same table, read before, for this one, wherever
that lay.

For classes as numbers, in the order of their names here:

```python
from datasets import ClassLabel

cells = cells.cast_column("label", ClassLabel(names={json.dumps(list(classes), ensure_ascii=False)}))
```

## Elsewhere

`bandbridge data check` says what is wrong with the set. `{CROISSANT}` describes it for readers of Croissant. In a table
program, read every column as text: the cell 97002302.20 is not 97002302.2.
"""


def _in_one_line(name: str) -> str:
    return visible(" ".join(name.split()))


def _counts(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    facts = [counted(len(rows), "image")]
    for column in ("cell", "patient"):
        place = columns.index(column)
        known = len({row[place] for row in rows if row[place]})
        facts += [counted(known, column)] if known else []
    return ", ".join(facts)


def croissant(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], table: str) -> str:
    """Return the description, JSON-LD: the table, the images, and a record for each of either."""
    suffixes = sorted({Path(row[0]).suffix for row in rows})
    kinds = [_mime_type(suffix) for suffix in suffixes]
    whole: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": _in_one_line(name),
        "description": f"{_counts(columns, rows)}. Single chromosomes with their labels.",
        "keywords": list(_TAGS),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "table",
                "name": METADATA,
                "description": "A row for each image.",
                "contentUrl": METADATA,
                "contentSize": f"{len(table.encode())} B",
                "encodingFormat": "text/csv",
                "sha256": _digest(table),
            },
            {
                "@type": "cr:FileSet",
                "@id": "files",
                "name": "files",
                "description": "The images.",
                "encodingFormat": kinds[0] if len(set(kinds)) == 1 else sorted(set(kinds)),
                "includes": [f"images/**/*{suffix}" for suffix in suffixes],
            },
        ],
        "recordSet": [
            _records("chromosomes", "What is known of each image.", "file_name", [_column(one) for one in columns]),
            # Apart: mlcroissant 1.1.1 joins on no path of a file.
            _records("images", "The images; each path is the file_name of a chromosome.", "path", _OF_FILES),
        ],
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _records(name: str, description: str, key: str, fields: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "key": {"@id": f"{name}/{key}"},
        "field": list(fields),
    }


def _of_file(name: str, description: str, kind: str, part: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": {"fileSet": {"@id": "files"}, "extract": {"fileProperty": part}},
    }


_OF_FILES = (
    _of_file("path", "The file, relative to the table.", "sc:Text", "fullpath"),
    _of_file("image", "The image of the chromosome.", "sc:ImageObject", "content"),
)


def _column(column: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"chromosomes/{column}",
        "name": column,
        "description": _COLUMN_MEANS.get(column, "the file, relative to the table").capitalize() + ".",
        "dataType": "sc:Text",
        "source": {"fileObject": {"@id": "table"}, "extract": {"column": column}},
    }


def _mime_type(suffix: str) -> str:
    kind = suffix.lower().removeprefix(".")
    return f"image/{_MIME.get(kind, kind)}"


def _digest(table: str) -> str:
    return hashlib.sha256(table.encode()).hexdigest()
