"""A few images explained one by one: a picture of each, and what was measured on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from bandbridge.dataset.by_cell import lacks_scale, prepare_beside
from bandbridge.errors import UserError
from bandbridge.evaluation.metrics import class_probabilities
from bandbridge.explain.attention import find_regions, measure_shares
from bandbridge.explain.gradcam import NO_EVIDENCE
from bandbridge.explain.images import AskedImage
from bandbridge.explain.overlay import COLOUR_MAPS, display_factor, enlarge, overlay
from bandbridge.explain.seen import SeeingClassifier
from bandbridge.files import csv_text, file_stems, replacing, write_json, write_text

#: What the classes asked about are called, in the order of the picture.
ROLES = ("predicted", "true", "asked")
_HELD_OUT = {True: "yes", False: "no", None: ""}
_GAP, _LINE, _FONT = 8, 15, 12


@dataclass(frozen=True, eq=False)
class Answer:
    """What a classifier sees in one image.

    rows: one for each class asked about (the predicted, the true where known, the one named), with the keys image,
    label, held_out ("yes", "no", "" where that cannot be told), without_scale ("yes" where the cell's scale is wanted
    and not known), role (such as "predicted and true"), class, probability, logit, map_maximum, grid ("4 x 4") and the
    shares measured on :meth:`SeeingClassifier.centred_maps`,
    however the map is shown. picture: uint8 RGB [H, W, 3], the image and an overlay for each class, captioned.
    """

    rows: list[dict[str, Any]]
    picture: np.ndarray


@dataclass(frozen=True)
class Question:
    """What to show: ``asked`` is a class besides the predicted and the true one; ``centred`` as in
    :meth:`SeeingClassifier.shown_maps`."""

    asked: str | None = None
    colour_map: str = COLOUR_MAPS[0]
    centred: bool = False


def answer(classifier: SeeingClassifier, image: AskedImage, question: Question) -> Answer:
    """Explain one image. Raises :class:`UserError` when it cannot be read."""
    bits = classifier.preparation.bits
    gray = image.gray(bits)
    prepared = prepare_beside(gray, image.mates(bits), classifier.preparation)[None]
    alone = bool(lacks_scale(prepared, classifier.preparation)[0])
    regions = find_regions(gray, classifier.preparation)
    first = classifier.evidence(prepared, np.zeros(1, dtype=np.int64))
    logits, grid = first.logits, " x ".join(map(str, first.maps.shape[1:]))
    likely, classes, factor = class_probabilities(logits)[0], classifier.classes, display_factor(gray)
    named = zip(ROLES, (classes[int(logits[0].argmax())], image.label, question.asked), strict=True)
    roles = {role: name for role, name in named if name in classes}
    facts = {"image": image.name, "label": image.label, "held_out": _HELD_OUT[image.held_out]}
    facts["without_scale"] = "yes" if alone else ""
    tiles, rows = [(enlarge(gray, factor), "original")], []
    for name in dict.fromkeys(roles.values()):
        target = classes.index(name)
        role = " and ".join(role for role, value in roles.items() if value == name)
        values, maxima = classifier.shown_maps(prepared, np.array([target]), centred=question.centred)
        shares = measure_shares(classifier.centred_maps(prepared, np.array([target]))[0], regions)
        numbers = {"probability": float(likely[target]), "logit": float(logits[0, target])}
        rows.append(
            {**facts, "role": role, "class": name, **numbers, "map_maximum": float(maxima[0]), "grid": grid, **shares}
        )
        found = f"p {likely[target]:.2f}, max {maxima[0]:.3g}" if maxima[0] > 0 else NO_EVIDENCE
        picture = overlay(gray, values[0], regions.placement, factor, question.colour_map)
        tiles.append((picture, f"{role}: {name}\n{found}"))
    return Answer(rows, _beside(tiles))


def _beside(tiles: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
    """Pictures beside one another on white, each below its caption of up to two lines."""
    font = ImageFont.load_default(size=_FONT)
    widths = [
        max(tile.shape[1], *(int(font.getlength(line)) + 1 for line in caption.split("\n"))) for tile, caption in tiles
    ]
    height = max(tile.shape[0] for tile, _ in tiles) + 2 * _LINE
    sheet = Image.new("RGB", (sum(widths) + _GAP * (len(tiles) - 1), height), "white")
    draw, left = ImageDraw.Draw(sheet), 0
    for (tile, caption), width in zip(tiles, widths, strict=True):
        draw.multiline_text((left, 0), caption, fill="black", font=font, spacing=2)
        sheet.paste(Image.fromarray(tile), (left, 2 * _LINE))
        left += width + _GAP
    return np.asarray(sheet)


def explain_images(
    classifier: SeeingClassifier, images: Sequence[AskedImage], out: Path, question: Question
) -> tuple[pd.DataFrame, list[str]]:
    """Explain ``images``, write a picture of each and the tables into ``out``; return the table and what failed.

    Written are ``<name>.png``, ``explanations.csv`` (a row for each image and class) and ``explanations.json`` (the
    same with the run, the checkpoint and the layer). An image that cannot be read gives a line and does not stop the
    others; where none can be read, nothing is written. Raises :class:`UserError` when the class asked for is none of
    the classifier's.
    """
    if question.asked is not None and question.asked not in classifier.classes:
        raise UserError(
            f"the run knows no class {question.asked!r}.", f"Its classes are {', '.join(classifier.classes)}."
        )
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for image, path in zip(images, _paths(images, out), strict=True):
        try:
            found = answer(classifier, image, question)
        except UserError as error:
            problems.append(error.message)
            continue
        with replacing(path) as temporary:
            Image.fromarray(found.picture).save(temporary, format="PNG")
        rows += [{**row, "picture": path.name} for row in found.rows]
    table = pd.DataFrame(rows)
    if table.empty:
        return table, problems
    write_text(out / "explanations.csv", csv_text(table))
    write_json(out / "explanations.json", {**_describe(classifier), **asdict(question), "images": _plain(rows)})
    return table, problems


def _paths(images: Sequence[AskedImage], out: Path) -> Iterator[Path]:
    """A file for each image, named after the last two parts of its name; numbered where that is not enough."""
    names = ("-".join(Path(image.name).with_suffix("").parts[-2:]) for image in images)
    return (out / f"{stem}.png" for stem in file_stems(names, "image"))


def _describe(classifier: SeeingClassifier) -> dict[str, Any]:
    keys = ("id", "task", "architecture", "approach", "intermediate", "fold")
    run = {key: classifier.facts.get(key) for key in keys}
    return {"run": run, "checkpoint": classifier.checkpoint, "layer": classifier.layer}


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """NaN has no place in JSON."""
    return [{key: None if value != value else value for key, value in row.items()} for row in rows]
