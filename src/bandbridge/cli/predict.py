"""``bandbridge predict``: sort chromosomes with trained classifiers, and say which ones to check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.cli.explain import Checkpoint
from bandbridge.errors import ManyErrors, UserError
from bandbridge.progress import note

if TYPE_CHECKING:
    from bandbridge.predict.classify import Classified
    from bandbridge.predict.ensemble import Ensemble


Coverage = Annotated[
    float, typer.Option(min=0.5, max=0.999, help="Share of new chromosomes whose class is in their prediction set.")
]
WantedError = Annotated[
    float, typer.Option(min=0.0001, max=0.5, help="The most errors among what is not flagged for a person.")
]


def predict(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... IMAGES",
            help="Models (runs or exported models; several are averaged), then a folder, zip or dataset of images.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tables and karyograms.")] = Path("results/predict"),
    checkpoint: Annotated[Checkpoint, typer.Option(help="Which weights of a run.")] = Checkpoint.last,
    flips: Annotated[
        bool, typer.Option("--flips", help="Average over the four mirror images: slower, steadier.")
    ] = False,
    cells: Annotated[bool, typer.Option(help="Place the chromosomes of each cell together.")] = True,
    karyograms: Annotated[
        bool, typer.Option("--karyograms", help="Draw every cell's karyogram (PNG, PDF, HTML).")
    ] = False,
    coverage: Coverage = 0.95,
    wanted_error: WantedError = 0.01,
    as_json: Annotated[bool, typer.Option("--json", help="Print the predictions as JSON.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Classify every chromosome of a folder, zip or dataset, and say which ones a person should check.

    Images of one folder are one cell, unless metadata.csv names the cells.

    Writes predictions.csv, predictions.json and cells.csv. Research use only: this is no diagnosis.
    """
    from bandbridge.files import replacing, write_text
    from bandbridge.predict.classify import cell_table, classify, prediction_table
    from bandbridge.predict.confidence import Promise
    from bandbridge.predict.ensemble import is_run, open_models
    from bandbridge.predict.intake import hand_over

    if len(places) < 2:
        raise UserError("name a model and images", "For example: bandbridge predict MODEL IMAGES --out results/predict")
    *models, images = places
    handed = hand_over(images)
    promise = Promise(coverage, wanted_error)
    ensemble = open_models(models, checkpoint.value, device, promise)
    if ensemble.confidence is not None and not any(map(is_run, models)) and promise != Promise():
        note("an exported model keeps the promises it was exported with: give --coverage and --wanted-error there")
    _say(ensemble)
    if not flips:
        warn_of_upright_training(ensemble, "give --flips")
    result = classify(ensemble, handed, flips=flips, joint=cells, keep_images=karyograms)
    table, counts = prediction_table(result), cell_table(result)
    for name, frame in (("predictions.csv", table), ("cells.csv", counts)):
        with replacing(out / name) as temporary:
            frame.to_csv(temporary, index=False)
    # pandas writes what is not a number as null, which JSON has.
    text = table.to_json(orient="records", indent=2)
    write_text(out / "predictions.json", text)
    if karyograms:
        _draw(result, out / "karyograms")
    if as_json:
        typer.echo(text)
    else:
        _summarise(result, table, counts)
    note(f"written to {out}")
    if result.refused:
        lines = [f"{name}: {reason}" for name, reason in result.refused]
        raise ManyErrors(
            "images that could not be read:", lines, "The others are classified; mend these or leave them out."
        )


def _say(ensemble: Ensemble) -> None:
    confidence = ensemble.confidence
    if len(ensemble.members) > 1:
        note(f"{len(ensemble.members)} models; their probabilities are averaged")
    if confidence is None:
        note("no out-of-fold predictions come with these models: probabilities are not calibrated, nothing is flagged")
        return
    known = f"calibrated on {confidence.images:,} out-of-fold images (temperature {confidence.temperature:.2f})"
    below = ensemble.review_below
    if below is None or below > 1:
        note(f"{known}; every chromosome is flagged, because these models can promise no error rate")
    else:
        rest = f"so that at most {confidence.wanted_error:.0%} of the others are wrong"
        note(f"{known}; flagged are probabilities below {below:.2f}, {rest}")


def warn_of_upright_training(ensemble: Ensemble, remedy: str) -> None:
    """Say that a model knows little of chromosomes that lie upside down, and what helps where there may be some."""
    from bandbridge.report.caution import TRAINED_UPRIGHT

    share = ensemble.upside_down
    if share < 0.5:
        said = f"in training {share:.0%} of the images were upside down; {remedy} if any of yours may be"
        note(f"warning: {said} ({TRAINED_UPRIGHT.code})")


def _summarise(result: Classified, table: object, counts: object) -> None:
    import pandas as pd

    assert isinstance(table, pd.DataFrame) and isinstance(counts, pd.DataFrame)
    flagged = int((table["flag"] == "yes").sum()) if len(table) else 0
    typer.echo(f"{len(table):,} chromosomes, {flagged:,} for a person to check")
    if len(counts):
        unusual = counts.loc[counts["findings"] != ""]
        typer.echo(f"{len(counts):,} cells, {len(unusual):,} with unusual counts")
        for row in unusual.head(20).to_dict("records"):
            typer.echo(f"  {row['cell']}: {row['findings']}")
        if len(unusual) > 20:
            typer.echo(f"  ... and {len(unusual) - 20} more in cells.csv")
    if "label" in table and (table["label"] != "").any():
        known = table.loc[table["label"] != ""]
        agreed = (known["label"] == known["class"]).mean()
        alone = (known["label"] == known["by_itself"]).mean()
        typer.echo(f"labels agree with {agreed:.1%} ({alone:.1%} by each chromosome itself)")
        note("if the models were trained on these images, that agreement says little")


def _draw(result: Classified, folder: Path) -> None:
    from dataclasses import replace

    from bandbridge.files import file_stems
    from bandbridge.karyogram.drawing import write_karyogram
    from bandbridge.karyogram.orientation import upright
    from bandbridge.progress import track

    stems = file_stems((sheet.name for sheet in result.sheets), "sheet")
    for sheet, stem in zip(track(result.sheets, len(result.sheets), "drawing karyograms"), stems, strict=False):
        turned = upright(sheet.chromosomes, sheet.classes)
        write_karyogram(replace(sheet, chromosomes=tuple(turned)), folder, stem)
