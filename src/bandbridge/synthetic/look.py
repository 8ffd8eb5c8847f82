"""What drawn chromosomes look like: the knobs of the drawing, how they vary from cell to cell, and the user's own."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bandbridge.dataset.ideogram import Stain
from bandbridge.errors import ManyErrors, UserError
from bandbridge.files import load_json

_PROBABILITIES = ("neighbours", "inverted", "overlaps", "cut")
_LARGEST_KNOB = 10.0


@dataclass(frozen=True)
class Drawing:
    """How chromosomes are drawn. Every knob multiplies what real sets show: 1 as they are, 0 none of it.

    ``length`` and ``width`` of the chromosomes, ``contrast`` of the bands, ``blur``, ``grain`` (texture of
    the chromatin), ``noise`` (of the camera), ``bend`` of the axis, ``tilt`` against the vertical, and
    ``variation``: how much cells, patients and the two copies differ. Four are probabilities: ``neighbours``,
    that part of another chromosome reaches into the crop, ``inverted``, that the long arm is up, ``overlaps``, that
    another lies across, and ``cut``, that an end is missing. Raises :class:`ManyErrors` for knobs out of range.
    """

    length: float = 1.0
    width: float = 1.0
    contrast: float = 1.0
    blur: float = 1.0
    grain: float = 1.0
    noise: float = 1.0
    bend: float = 1.0
    tilt: float = 1.0
    variation: float = 1.0
    neighbours: float = 0.06
    inverted: float = 0.04
    overlaps: float = 0.02
    cut: float = 0.02

    def __post_init__(self) -> None:
        problems = []
        for field in fields(self):
            value = getattr(self, field.name)
            low = 0.1 if field.name in ("length", "width") else 0.0
            high = 1.0 if field.name in _PROBABILITIES else _LARGEST_KNOB
            if not low <= value <= high:
                problems.append(f"{field.name} is {value}, expected {low:g} to {high:g}")
        if problems:
            raise ManyErrors("these drawing knobs are out of range", problems)


#: The plain ideogram: straight, upright, alike in every cell, without grain, noise or neighbours.
NEUTRAL = Drawing(grain=0, noise=0, bend=0, tilt=0, variation=0, neighbours=0, inverted=0, overlaps=0, cut=0)

#: The knobs, in the order that their places in the cells are drawn in.
KNOBS = (
    *(
        "length",
        "slimness",
        "blur",
        "smear",
        "floor",
        "pale",
        "rich",
        "ends",
        "contrast",
        "strength",
        "slit",
        "grain",
        "speckle",
    ),
    *("lag", "noise", "sway", "kink", "tilt", "waist", "ripple", "margin", "stretch", "uneven"),
)
# Which of the user's knobs turns which of these.
_TURNED = {
    "length": "length",
    "blur": "blur",
    "smear": "blur",
    "contrast": "contrast",
    "grain": "grain",
    "speckle": "grain",
    "ripple": "grain",
    "noise": "noise",
    "sway": "bend",
    "kink": "bend",
    "tilt": "tilt",
    "lag": "variation",
    "stretch": "variation",
    "uneven": "variation",
}


class Look(BaseModel):
    """How the cells of a laboratory look: each knob's middle, and the SD of its logarithm from cell to cell.

    fitted_to: the images that this was fitted to, in words.

    length: of chromosome 1, pixels. slimness: its length over the width of a chromatid pair. blur: SD of the
    microscope's blur, smear: of the bands' own soft borders along the axis, both in hundredths of the width. floor: dye
    of a G-negative band, in hundredths of a full one's. pale: how much less of the dye a chromosome with a tenth more
    of G and C takes, in logarithms; rich: a band that is rich in them. ends: share that the ends lose. contrast: of the
    bands, a power. strength: gray level of bright chromatin in Q, optical density of dark chromatin in G.
    slit: how far the line between the chromatids pales. grain: unevenness of the dye along each chromatid, speckle:
    from pixel to pixel. lag: how far one chromatid's bands are behind the other's, in hundredths of the width. noise:
    of the camera, gray levels. sway, kink: bend of the axis all along and at the centromere, radians. tilt: lean,
    radians. waist: share of the width that is missing at the centromere. ripple: of the outline. margin: ground left
    round a crop, pixels. stretch: unevenness of length along the axis. uneven: of the staining from one chromosome to
    the next.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fitted_to: str = ""
    knobs: dict[str, tuple[Annotated[float, Field(gt=0, le=1e4)], Annotated[float, Field(ge=0, le=3)]]]

    @model_validator(mode="after")
    def _names_every_knob(self) -> Look:
        if set(self.knobs) != set(KNOBS):
            odd = sorted(set(self.knobs) ^ set(KNOBS))
            raise ValueError(f"the knobs are {', '.join(KNOBS)}; too many or missing: {', '.join(odd)}")
        return self


@cache
def usual_look(stain: Stain) -> Look:
    """Return the look of ``stain`` that comes with the package, fitted to unlabelled images of public sets."""
    text = files("bandbridge.synthetic").joinpath("looks.json").read_text(encoding="utf-8")
    return Look.model_validate(json.loads(text)[stain])


def read_look(path: Path) -> Look:
    """Return the look in the file ``path``. Raises :class:`UserError` where there is none."""
    remedy = "bandbridge data look IMAGES FILE writes one."
    if not path.is_file():
        raise UserError(f"{path} does not exist", remedy)
    try:
        return Look.model_validate(load_json(path))
    except ValueError as fault:
        raise UserError(f"{path} is no look of drawn cells: {fault}", remedy) from fault


@dataclass(frozen=True)
class Style:
    """What all chromosomes of one cell share: the value of each knob (see :class:`Look`), and its width, pixels."""

    length: float
    width: float
    blur: float
    smear: float
    floor: float
    pale: float
    rich: float
    ends: float
    contrast: float
    strength: float
    slit: float
    grain: float
    speckle: float
    lag: float
    noise: float
    sway: float
    kink: float
    tilt: float
    waist: float
    ripple: float
    margin: float
    stretch: float
    uneven: float


def draw_style(look: Look, drawing: Drawing, rng: np.random.Generator) -> Style:
    """Draw the style of one cell: condensation, focus, staining and exposure differ from cell to cell."""
    return style_at(look, rng.standard_normal(len(KNOBS)), drawing)


def style_at(look: Look, drawn: np.ndarray, drawing: Drawing) -> Style:
    """Return the style whose knobs are ``drawn`` [knobs] standard deviations from their middles, at most 2.5."""
    value = {}
    for name, at in zip(KNOBS, np.clip(drawn, -2.5, 2.5), strict=True):
        middle, spread = look.knobs[name]
        turned = getattr(drawing, _TURNED[name]) if name in _TURNED else 1.0
        value[name] = turned * middle * math.exp(drawing.variation * spread * float(at))
    width = drawing.width * value["length"] / max(drawing.length, 1e-9) / value.pop("slimness")
    for name in ("blur", "smear", "lag"):
        value[name] *= width / 100
    value["floor"] /= 100
    value["slit"] = min(0.8, value["slit"])
    value["waist"] = min(0.75, value["waist"])
    value["ends"] = min(0.9, value["ends"])
    return Style(width=width, **value)
