"""``bandbridge predict``: sort chromosomes with trained classifiers, and say which ones to check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.boxes import refuse_as_images
from bandbridge.cli.cut import cut_first, refuse_without_cell
from bandbridge.cli.explain import BitDepth, Checkpoint
from bandbridge.cli.outputs import codes_apart, given_folder, mark_codes, require_apart
from bandbridge.dataset.cell_folders import patient_name
from bandbridge.errors import ManyErrors, UserError, first_few, refuse_odd_names
from bandbridge.progress import note
from bandbridge.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bandbridge.api.patients import Patients
    from bandbridge.api.predictions import Predictions
    from bandbridge.predict.ensemble import Ensemble
    from bandbridge.predict.intake import Handed


#: Patients that are told of on the terminal, those with a clone first.
_PATIENTS_SHOWN = 20

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
            help="Models (runs, exported models, box:G or box:Q that come with the program; several are averaged), "
            "then a folder, zip or dataset of images, or of metaphases.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the tables and karyograms.", callback=given_folder)] = Path(
        "results/predict"
    ),
    checkpoint: Annotated[Checkpoint, typer.Option(help="Which weights of a run.")] = Checkpoint.last,
    flips: Annotated[
        bool, typer.Option("--flips", help="Average over the four mirror images: slower, steadier.")
    ] = False,
    cells: Annotated[bool, typer.Option(help="Place the chromosomes of each cell together.")] = True,
    karyograms: Annotated[
        bool, typer.Option("--karyograms", help="Draw every cell's karyogram (PNG, PDF, HTML).")
    ] = False,
    metaphases: Annotated[
        bool | None,
        typer.Option(
            "--metaphases/--no-metaphases",
            help="Whether the images are fields of view, to be cut first; found from them if not said.",
        ),
    ] = None,
    show_steps: Annotated[
        bool, typer.Option("--show-steps", help="Of metaphases, write a picture of each step of cutting.")
    ] = False,
    patients: Annotated[
        bool, typer.Option("--patients", help="Say what the cells of each patient show together, and grade the cells.")
    ] = False,
    patient_table: Annotated[
        Path | None,
        typer.Option(help="Whose each cell is: a CSV file with the columns cell and patient; with it --patients."),
    ] = None,
    patient: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose all the cells are; with it --patients.")
    ] = None,
    acquired: Annotated[
        bool, typer.Option("--acquired", help="Draft karyotypes as of a tissue (bone marrow), not of a person.")
    ] = False,
    de_identify: Annotated[
        bool,
        typer.Option("--de-identify", help="Write codes in the place of the names of patients, cells and files."),
    ] = False,
    codes: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the key of the codes, with --de-identify; OUT-codes if not given.", callback=given_folder
        ),
    ] = None,
    coverage: Coverage = 0.95,
    wanted_error: WantedError = 0.01,
    bit_depth: BitDepth = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the predictions as JSON.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Classify every chromosome of a folder, zip or dataset, and say which ones a person should check.

    Images of one folder are one cell, up to 150 of them, unless metadata.csv names the cells.

    A folder of images alone is one cell, too; loose images beside folders of cells are of no known cell.

    Metaphases are cut into single chromosomes first, into OUT/cut, as bandbridge cut does.

    Writes predictions.csv, predictions.json and cells.csv.

    With --patients also patients.csv, patient_findings.csv and patients.html.

    With --de-identify the results may be passed on, and the key of the codes stays in OUT-codes, or in --codes.

    Research use only: this is no diagnosis.
    """
    import bandbridge as bb
    from bandbridge.predict.confidence import Promise
    from bandbridge.predict.ensemble import is_run
    from bandbridge.predict.intake import hand_over

    if len(places) < 2:
        raise UserError("name a model and images", "For example: bandbridge predict box:G IMAGES --out results/predict")
    require_apart(out, places)
    refuse_as_images(places[-1])
    *models, images = places
    kept = codes_apart(out, de_identify, codes)
    if kept is not None:
        require_apart(kept, places)
    mark_codes(out, kept is not None)
    cut = cut_first(images, out / "cut" if kept is None else kept / f"cut-{out.name}", metaphases, show_steps)
    whole, images = images, images if cut is None else cut.images
    handed = hand_over(images, bit_depth)  # before the models: what is wrong with the images is then said at once
    if cut is not None:  # OUT may hold cuts of earlier fields
        handed = [one for one in handed if one.cell in cut.cells]
    patients = patients or patient_table is not None or patient is not None
    if acquired and not patients:
        raise UserError("--acquired is of drafts, which are written for patients", "Give --patients, too.")
    if patients:
        handed = _of_patients(handed, images, patient_table, patient, cells)
        warn_of_empty_patients(whole, fields=cut is not None)
    model = bb.load_model(
        models, checkpoint=checkpoint.value, device=device, coverage=coverage, wanted_error=wanted_error
    )
    asked = Promise(coverage, wanted_error)
    if model.ensemble.confidence is not None and not any(map(is_run, models)) and asked != Promise():
        note("an exported model keeps the promises it was exported with: give --coverage and --wanted-error there")
    for line in model.notes():
        note(line)
    if not flips:
        warn_of_upright_training(model.ensemble, "give --flips")
    result = model.predict(handed, flips=flips, cells=cells, keep_images=karyograms, grades=patients)
    for line in result.notes:
        note(line)
    refused = result.refused
    if kept is not None:
        result = result.de_identified(kept)
    result.save(out, karyograms=karyograms)
    judged = result.patients(acquired=acquired) if patients and len(result) else None
    if judged is not None:
        judged.save(out, karyograms=karyograms)
    _tell_of_earlier(out / "karyograms", result if karyograms else None)
    if as_json:
        say(result.as_json())
    else:
        _summarise(result, cells)
        if judged is not None:
            _tell_of_patients(judged)
    note(f"written to {out}")
    if kept is not None:
        note(f"what each code stands for is in {kept}: do not pass it on")
    if refused:
        lines = [f"{name}: {reason}" for name, reason in refused]
        others = "The others are classified; mend these or leave them out." if len(result) else "Mend these."
        raise ManyErrors("images that could not be read:", lines, others)
    if cut is not None:
        refuse_without_cell(cut)


def _of_patients(
    handed: Sequence[Handed], images: Path, table: Path | None, patient: str | None, cells: bool
) -> list[Handed]:
    """``handed`` with the patient of each cell, before any model works; raises :class:`UserError` where none is."""
    from dataclasses import replace

    if not cells:
        raise UserError("a patient's cells are judged as wholes", "Leave --no-cells out, or --patients.")
    known = _whose(handed, images, table, patient)
    nobodys = sorted({one.cell for one in handed if one.cell and not known.get(one.cell)})
    if nobodys:
        note(f"warning: of no patient, and in no verdict: {len(nobodys)} of the cells: {first_few(nobodys)}")
    return [replace(one, patient=known.get(one.cell, "")) for one in handed]


def _whose(handed: Sequence[Handed], images: Path, table: Path | None, patient: str | None) -> dict[str, str]:
    from bandbridge.patient.whose import read_patients, require_patients
    from bandbridge.predict.intake import lone_patient

    named = list(dict.fromkeys(one.cell for one in handed if one.cell))
    told = {one.cell: one.patient for one in handed if one.patient}
    if patient is None and table is not None:
        return require_patients(named, read_patients(table), str(table))
    if patient is None:
        alone = lone_patient(images, handed) if not told else ""
        if alone:
            note(f"all cells are taken as those of one patient, {alone}, for the folder around theirs")
        return require_patients(named, dict.fromkeys(named, alone) if alone else told)
    if table is not None:
        raise UserError("--patient and --patient-table both say whose the cells are", "Give one of them.")
    patient = patient_name(patient)
    if not patient:
        raise UserError("--patient has no name", 'For example --patient "P7".')
    refuse_odd_names([patient], "names of patients")
    others = sorted(set(told.values()) - {patient})
    if others:
        note(f"warning: all cells are judged as those of {patient}, and the images name {first_few(others)}")
    return require_patients(named, dict.fromkeys(named, patient))


def warn_of_empty_patients(place: Path, *, fields: bool) -> None:
    """Say which folders of patients in ``place`` hold no image: nobody else would miss them."""
    from bandbridge.dataset.findings import counted
    from bandbridge.predict.intake import empty_patients

    if found := empty_patients(place, fields=fields):
        note(f"warning: no image in {counted(len(found), 'folder')} of patients: {first_few(found)}")


def _tell_of_patients(judged: Patients) -> None:
    from bandbridge.dataset.findings import counted

    verdicts = judged.verdicts
    clones = sum(bool(one.clones) for one in verdicts)
    drafts = sum(bool(one.draft.text) for one in verdicts)
    say(f"{counted(len(verdicts), 'patient')}, {clones:,} with a clone, {drafts:,} with a draft for a person to sign")
    say(f"  counts: {judged.rates_in_words}")
    order = sorted(verdicts, key=lambda one: (not one.clones, not one.findings))
    for one in order[:_PATIENTS_SHOWN]:
        said = one.draft.text or f"no draft: {one.draft.why_none}"
        say(f"  {one.patient}: {len(one.usable)} of {counted(len(one.cells), 'cell')} counted; {said}")
        for found in one.findings:
            if found.kind in ("clone", "unclear"):
                say(f"    {found.text}")
        say(f"    {one.excluded}")
    if len(order) > _PATIENTS_SHOWN:
        say(f"  ... and {len(order) - _PATIENTS_SHOWN} more in patients.csv and patients.html")


def _tell_of_earlier(folder: Path, drawn: Predictions | None) -> None:
    """Say which karyograms in ``folder`` are not of this command: they would be taken for its own."""
    from bandbridge.files import file_stems

    made = set() if drawn is None else set(file_stems((sheet.name for sheet in drawn.sheets), "sheet"))
    there = {path.stem for path in folder.glob("*") if path.suffix in (".png", ".pdf", ".html")}
    if earlier := sorted(there - made):
        names = ", ".join(earlier[:5]) + (", ..." if len(earlier) > 5 else "")
        note(
            f"warning: {folder} also holds karyograms of an earlier command: {names}; remove them, or give another "
            "--out"
        )


def warn_of_upright_training(ensemble: Ensemble, remedy: str) -> None:
    """Say that a model knows little of chromosomes that lie upside down, and what helps where there may be some."""
    from bandbridge.report.caution import TRAINED_UPRIGHT

    share = ensemble.upside_down
    if share < 0.5:
        said = f"in training {share:.0%} of the images were upside down; {remedy} if any of yours may be"
        note(f"warning: {said} ({TRAINED_UPRIGHT.code})")


def _summarise(result: Predictions, cells: bool) -> None:
    from bandbridge.dataset.findings import counted
    from bandbridge.predict.classify import NO_CELL

    table, counts = result.table(), result.cells()
    reasons = table["reason"].tolist() if len(table) else []
    unscaled, homeless = (sum(part in reason for reason in reasons) for part in ("judged without scale", NO_CELL))
    if unscaled:
        remedy = "; put the images of each cell into a folder of their own and name the folder that holds those"
        note(
            f"{unscaled:,} of {len(table):,} judged without scale, for want of ten chromosomes of their cell; this "
            f"model judges by the cell{remedy if homeless else ''}"
        )
    nowhere = int((table["cell"] == "").sum()) if len(table) else 0
    if cells and nowhere > 1 and not homeless:
        note(
            f"{nowhere:,} of {len(table):,} are of no known cell and judged one by one; to have a cell's "
            "chromosomes placed together, give it a folder of its own"
        )
    say(f"{counted(len(table), 'chromosome')}, {len(result.flagged):,} for a person to check")
    if len(counts):
        unusual = counts.loc[counts["findings"] != ""]
        say(f"{counted(len(counts), 'cell')}, {len(unusual):,} with unusual counts")
        for row in unusual.head(20).to_dict("records"):
            say(f"  {row['cell']}: {_shortened(row['findings'])}")
        if len(unusual) > 20:
            say(f"  ... and {len(unusual) - 20} more in cells.csv")
        unknown = counts.loc[counts["unknown"] != ""]
        if len(unknown):
            names = ", ".join(unknown["cell"].head(5)) + (", ..." if len(unknown) > 5 else "")
            of = "whose counts are withheld"
            say(f"{counted(len(unknown), 'cell')} the model does not know, {of}: {names}")
            say(f"  {unknown['cell'].iloc[0]}: {unknown['unknown'].iloc[0]}")
    if "label" in table and (table["label"] != "").any():
        known = table.loc[table["label"].isin(result.classes)]
        foreign = sorted(set(table["label"]) - set(result.classes) - {""})
        if foreign:
            shown = ", ".join(map(repr, foreign[:5])) + (", ..." if len(foreign) > 5 else "")
            note(f"labels that the model does not know, and that are not compared: {shown}; see bandbridge data check")
        if known.empty:
            return
        agreed = (known["label"] == known["class"]).mean()
        alone = (known["label"] == known["by_itself"]).mean()
        say(f"labels agree with {agreed:.1%} ({alone:.1%} by each chromosome itself)")
        note(
            "if the models were trained on these images, that agreement says little; "
            "bandbridge evaluate leaves such images out"
        )


def _shortened(findings: str, most: int = 4) -> str:
    """The first of ``findings``: of a few chromosomes of a cell nearly every class is missing."""
    parts = findings.split("; ")
    rest = len(parts) - most
    return "; ".join(parts[:most]) + (f"; and {rest} more in cells.csv" if rest > 0 else "")
