"""The README of an exported graph: how to use it, how images are prepared, and what was checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bandbridge import __version__
from bandbridge.dataset.prepare import Preparation

if TYPE_CHECKING:
    from bandbridge.export.graph import Difference, Exportable
    from bandbridge.export.trial import Loss


def readme(source: Exportable, model: str, differences: tuple[Difference, ...], loss: Loss | None) -> str:
    """Return the README of an exported folder, Markdown."""
    run = source.facts
    name = " ".join(str(run[key]) for key in ("task", "architecture", "approach") if run.get(key)) or "A classifier"
    steps = preparation_steps(source.preparation)
    parts = [
        f"# {name}",
        f"Run `{run.get('id', 'not known')}`, exported by Bandbridge {__version__} as `{model}`. "
        "**Research use only. Not a medical device.** It names the likelier classes; a person decides.",
        "## Use",
        _use(source.preparation, model),
        f"Input `images`, uint8 [N, {', '.join(map(str, source.preparation.shape))}]: prepared images. Outputs "
        f"`logits` and `probabilities`, float32 [N, {len(source.classes)}], classes in the order "
        f"{', '.join(source.classes)}, and `features`, what the network's head reads. "
        f"The probabilities are softmax(logits / {source.temperature:.4g}). "
        "`check` marks what a person should look at; where `review_below` in `preparation.json` is null, that is every "
        "image.",
        "## Preparation",
        "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1)),
        "The rest is inside the model: division by 255, three equal channels, mean "
        f"{[round(value, 4) for value in source.mean]} subtracted, division by "
        f"{[round(value, 4) for value in source.std]}.",
        "## Checked against PyTorch",
        "Before any 8-bit conversion:" if loss else "",
        "\n".join(
            f"- {one.batch} image{'s' if one.batch > 1 else ''}: logits differ by at most {one.largest:.2g} of a range "
            f"of {one.logit_range:.3g}"
            for one in differences
        ),
        *(["## What 8 bits cost", loss.sentence()] if loss else []),
        "## Licence",
        f"The training began with weights of licence: {source.licence}. The training images bind by their own terms.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(preparation: Preparation, model: str) -> str:
    if preparation.by_cell:
        return (
            "    bandbridge predict THIS_FOLDER FOLDER\n\n"
            "FOLDER holds a folder of images for each cell, or the images of one. This model judges each chromosome "
            "beside the others of its cell: `example.py`, which is for single images, refuses it."
        )
    runtime = "onnxruntime" if model.endswith(".onnx") else "openvino"
    return f"    pip install numpy pillow {runtime}\n    python example.py IMAGE [IMAGE ...]"


def preparation_steps(preparation: Preparation) -> list[str]:
    """Return the preparation as sentences, in the order of the steps."""
    if preparation.contrast == "cell":
        return _steps_by_cell(preparation)
    ground = "black (0)" if preparation.padding == "black" else "the median of the image's border"
    common = f" or, if longer, {preparation.extent} px" if preparation.scale == "common" else ""
    return [
        "Read as 8-bit gray; colour becomes luma (ITU-R 601).",
        *(["Replace each gray value g by 255 - g."] if preparation.polarity == "inverted" else []),
        *(
            ["Cut away the ground around the chromosome (half of Otsu's threshold of the contrast to the ground)."]
            if preparation.crop == "foreground"
            else []
        ),
        f"Centre on a square of the longer side{common}, filled with {ground}; a spare pixel goes right or below.",
        f"Resize to {preparation.size} x {preparation.size} px by Pillow's bilinear filter, which averages when it "
        "shrinks; a square that already has this size stays as it is.",
    ]


def _steps_by_cell(preparation: Preparation) -> list[str]:
    views = {
        "close-up": "One view is the close-up: the longer side takes 62 of 64 parts of the square.",
        "to-scale": "One view is to scale: one factor for the cell brings the typical length of its chromosomes (along "
        "the axis, mean of the middle three fifths) to 27 of 64 parts of the square; it stays empty for fewer than ten."
        if preparation.scale == "cell"
        else f"One view is to scale: {preparation.extent} px of the image take the side of the square.",
    }
    return [
        "Read as 8-bit gray; colour becomes luma (ITU-R 601).",
        "Cut the chromosome from its ground: what is not the chromosome is 0.",
        "Replace the contrast of each pixel to its ground by the share of its cell's foreground with less (255: all).",
        *(["Stand the chromosome along its own axis; the end that is up stays up."] if preparation.upright else []),
        *(views[view] for view in preparation.shown),
        f"Resize to {preparation.size} x {preparation.size} px by Pillow's bilinear filter, centred on black.",
    ]
