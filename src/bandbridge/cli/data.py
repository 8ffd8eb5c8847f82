"""``bandbridge data``: import a public distribution, check a dataset, draw a synthetic one."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bandbridge.cli.explain import BitDepth
from bandbridge.cli.outputs import given_file, given_folder
from bandbridge.files import write_text
from bandbridge.terminal import Console, say

if TYPE_CHECKING:
    from bandbridge.dataset.audit import Audit
    from bandbridge.dataset.findings import Finding

_SHOWN_EXAMPLES = 8

app = typer.Typer(
    help="Image sets: bring them in, look for what is wrong with them, draw synthetic ones.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


class LayoutName(StrEnum):
    """The distributions that ``data import`` reads."""

    bioimlab = "bioimlab"
    cir = "cir"
    pki3 = "pki3"
    folder = "folder"
    karyogram = "karyogram"


class Stain(StrEnum):
    """Band patterns that can be drawn."""

    G = "G"
    Q = "Q"


@app.command("import")
def import_(
    layout: LayoutName = typer.Argument(..., help="How the images are laid out; see above."),
    source: Path = typer.Argument(
        ..., help="Folder, zip, tar or tar.gz, as downloaded; of sheets also one image or PDF."
    ),
    destination: Path = typer.Argument(
        ..., metavar="DEST", help="A new folder, or one to go on with.", callback=given_folder
    ),
    stain: str = typer.Option("", help="Stain to write in metadata.csv, if the layout does not know it."),
    first_label: int | None = typer.Option(
        None, min=0, max=1, help="cir only: the number of chromosome 1 in the file names (published: 0)."
    ),
    bit_depth: int | None = typer.Option(
        None, min=8, max=16, help="How many bits the camera used, of files of 16 that do not say it."
    ),
    page: int | None = typer.Option(None, min=1, help="Which page or time point to take of files with several."),
    channel: int | None = typer.Option(None, min=1, help="Which channel to take of files with several."),
    arranged: Path | None = typer.Option(
        None, "--layout", metavar="CSV", help="karyogram only: how labels stand on the sheets, a line for each row."
    ),
    labels: Path | None = typer.Option(
        None, metavar="CSV", help="karyogram only: labels set by hand, in the labels.csv of an earlier run."
    ),
    karyotypes: Path | None = typer.Option(
        None, metavar="CSV", help="karyogram only: columns sheet and karyotype, such as 47,XX,+21."
    ),
    metaphase: Path | None = typer.Option(
        None, metavar="FIELDS", help="karyogram only: metaphases of the same cells, for masks with classes."
    ),
    pairs: Path | None = typer.Option(
        None, metavar="CSV", help="karyogram only: columns sheet and metaphase, where their names differ."
    ),
    de_identify: bool = typer.Option(
        False,
        "--de-identify",
        help="karyogram only: codes in place of the names of files; their key stays beside DEST.",
    ),
) -> None:
    """Turn a public image set into a folder with images/ and metadata.csv.

    Images are copied byte for byte, unless a page or channel is chosen.

    An import that was stopped goes on when the same command is given again.

    Layouts:

    [bold]bioimlab[/bold]  '<karyotype> <class><a|b>.bmp', one folder for each karyotype or all in one

    [bold]cir[/bold]       '<name>.<label>.<ext>', as in CIR-Net's origin.tar.gz

    [bold]pki3[/bold]      '<patient>.<cell>.tiff/clase<k>/...'

    [bold]folder[/bold]    one folder for each class, with or without a folder for each cell in it

    [bold]karyogram[/bold] arranged sheets, a picture or PDF page each; see DEST-review/overview.html
    """
    from bandbridge.dataset.findings import counted
    from bandbridge.dataset.formats import import_distribution
    from bandbridge.errors import UserError
    from bandbridge.progress import note

    if first_label is not None and layout is not LayoutName.cir:
        raise UserError("--first-label is for the layout cir", "Leave it out.")
    for_sheets = {
        "--layout": arranged,
        "--labels": labels,
        "--karyotypes": karyotypes,
        "--metaphase": metaphase,
        "--pairs": pairs,
        "--de-identify": de_identify,
    }
    if layout is LayoutName.karyogram:
        chosen = {"--page": page, "--channel": channel, "--bit-depth": bit_depth}
        if given := [name for name, value in chosen.items() if value is not None]:
            raise UserError(f"{' and '.join(given)} cannot be chosen for sheets", "Leave it out.")
        if pairs is not None and metaphase is None:
            raise UserError("--pairs says which metaphase is whose", "Give the metaphases with --metaphase.")
        tables = {"layout": arranged, "labels": labels, "karyotypes": karyotypes, "pairs": pairs}
        _import_sheets(source, destination, stain, tables, metaphase, de_identify=de_identify)
        return
    if given := [name for name, value in for_sheets.items() if value]:
        raise UserError(f"{' and '.join(given)} is for the layout karyogram", "Leave it out.")
    done = import_distribution(
        layout.value,
        source,
        destination,
        stain=stain,
        first_label=first_label,
        bit_depth=bit_depth,
        page=page,
        channel=channel,
    )
    for text in done.notes:
        note(f"note: {text}")
    cells = f" of {counted(done.cells, 'cell')}" if done.cells else ""
    say(f"{counted(done.images, 'image')}{cells} in {destination}")
    note(f"Next: bandbridge data check {destination}")


def _import_sheets(
    source: Path,
    destination: Path,
    stain: str,
    tables: dict[str, Path | None],
    metaphase: Path | None,
    *,
    de_identify: bool,
) -> None:
    from bandbridge.api.sheets import find_on_metaphases
    from bandbridge.dataset.findings import counted
    from bandbridge.metaphase.intake import fields_of
    from bandbridge.metaphase.masks import require_fields
    from bandbridge.progress import note
    from bandbridge.sheets.importing import import_karyograms
    from bandbridge.sheets.tables import read_pairs

    together = read_pairs(tables["pairs"]) if tables["pairs"] else None
    # Before the sheets: what is wrong with them is then said at once.
    fields = fields_of(metaphase) if metaphase else []
    require_fields(together or {}, fields)
    done = import_karyograms(source, destination, stain=stain, de_identify=de_identify, **tables)
    for text in done.notes:
        note(f"not read: {text}")
    for record in done.records:
        if record.state == "to check":
            note(f"to check: {record.sheet}: {'; '.join(record.doubts)}")
    masked = find_on_metaphases(done, fields, together) if fields else []
    for one in masked:
        note(one.told)
    images = sum(record.total for record in done.records if record.state == "imported")
    say(f"{counted(images, 'image')} of {counted(len(done.imported), 'sheet')} in {destination}")
    if done.to_check or done.notes:
        unread = f", {len(done.notes)} not read" * bool(done.notes)
        note(f"{counted(len(done.to_check), 'sheet')} to check{unread}: {done.review / 'overview.html'}")
    if done.to_check or done.notes or any(one.problem for one in masked):
        raise typer.Exit(1)
    note(f"Next: bandbridge data check {destination}")


@app.command()
def check(
    dataset: Path = typer.Argument(..., help="Folder or zip that holds metadata.csv."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead, with every case of every finding."),
) -> None:
    """Count classes, cells and patients, and find what is wrong with the images and labels.

    Images: unreadable, blank, repeated, oddly framed, of mixed grounds, one under two labels.

    Cells and labels: no normal karyotype, one metaphase taken twice, labels that are no chromosomes.

    Exit code: 0 nothing to decide, 1 something needs a decision, 2 the dataset cannot be opened.
    """
    from bandbridge.dataset.audit import audit_dataset
    from bandbridge.dataset.imagefolder import open_dataset

    audit = audit_dataset(open_dataset(dataset))
    if as_json:
        say(json.dumps(audit.as_json(), indent=2))
    else:
        _print_audit(audit)
    raise typer.Exit(1 if audit.needs_decision else 0)


@app.command()
def synth(
    destination: Path = typer.Argument(..., metavar="DEST", help="A new folder.", callback=given_folder),
    stain: Stain = typer.Option(Stain.G, help="G: dark bands on white; Q: bright bands on black."),
    cells: int = typer.Option(10, min=1, help="How many cells, of 46 chromosomes each."),
    seed: int = typer.Option(0, min=0, help="The same seed draws the same images."),
    look: Path | None = typer.Option(
        None, metavar="FILE", help="Draw cells that look like a laboratory's: what bandbridge data look wrote."
    ),
    spreads: bool = typer.Option(False, "--spreads", help="Whole metaphases with their masks, in place of crops."),
) -> None:
    """Draw chromosomes from the ideogram: as many as wanted, with labels that are right."""
    from bandbridge.progress import note

    if spreads:
        from bandbridge.errors import UserError
        from bandbridge.synthetic.spread_files import write_spreads

        if look is not None:
            raise UserError("metaphases are drawn in the usual look", "Leave --look or --spreads out.")
        say(str(write_spreads(destination, stain.value, cells, seed)))
        note(f"Next: bandbridge cut {destination / 'fields'} DEST")
        return
    from bandbridge.synthetic.look import read_look
    from bandbridge.synthetic.sets import write_synthetic_set

    chosen = read_look(look) if look is not None else None
    written = write_synthetic_set(destination, stain.value, cells, seed, look=chosen)
    say(str(written))
    note(f"Next: bandbridge data check {written}")


@app.command("look")
def look_(
    images: Path = typer.Argument(
        ..., metavar="IMAGES", help="Cells: a dataset, or a folder or zip with a folder for each cell."
    ),
    out: Path = typer.Argument(..., metavar="FILE", help="Where the look is written, as JSON.", callback=given_file),
    stain: Stain = typer.Option(Stain.G, help="G: dark bands on white; Q: bright bands on black."),
    bit_depth: BitDepth = None,
) -> None:
    """Measure how a laboratory's chromosomes look, so that data synth --look draws others like them.

    Labels are not looked at, and need not be there. Takes some minutes.
    """
    from bandbridge.dataset.by_cell import group_by_cell
    from bandbridge.predict.intake import hand_over
    from bandbridge.progress import note
    from bandbridge.synthetic.fitting import fit_look

    handed = hand_over(images, bit_depth)
    groups = group_by_cell([one.cell for one in handed])
    fitted = fit_look([[handed[place].gray() for place in group] for group in groups], stain.value, images.name)
    write_text(out, fitted.look.model_dump_json(indent=1) + "\n")
    note(f"misfit {fitted.before:.1f} of the usual look, {fitted.after:.1f} of this one")
    say(str(out))
    note(f"Next: bandbridge data synth DEST --stain {stain.value} --look {out}")


def _print_audit(audit: Audit) -> None:
    from rich.table import Table
    from rich.text import Text

    from bandbridge.dataset.findings import counted

    console = Console()
    facts = [
        counted(audit.images, "image"),
        counted(audit.cells, "cell") if audit.cells else "unknown cells",
        counted(audit.patients, "patient") if audit.patients else "unknown patients",
        f"{audit.ground} ground",
    ]
    console.print(f"{audit.dataset}: {', '.join(facts)}")
    for side, (least, median, most) in audit.sizes.items():
        console.print(f"  {side} {least} to {most} pixels, median {median}")
    widest = max(len(label) for label in audit.classes)
    columns = min(12 if widest <= 4 else 5, len(audit.classes))
    counts = Table(*[""] * columns, title="images of each class", show_header=False)
    items = list(audit.classes.items())
    for start in range(0, len(items), columns):
        row = items[start : start + columns]
        counts.add_row(*[Text.assemble((label, "bold"), f"\n{number}") for label, number in row])
    console.print(counts)
    for severity, title in (("decision", "needs a decision"), ("note", "good to know")):
        chosen = [finding for finding in audit.findings if finding.severity == severity]
        if chosen:
            console.print(_table_of(chosen, title))
    if not audit.findings:
        console.print("nothing found")


def _table_of(findings: list[Finding], title: str) -> object:
    from rich.table import Table

    table = Table("kind", "what", title=title, show_lines=True)
    for finding in findings:
        lines = [finding.sentence, *(f"  {example}" for example in finding.examples[:_SHOWN_EXAMPLES])]
        if len(finding.examples) > _SHOWN_EXAMPLES:
            lines.append(f"  ... and {len(finding.examples) - _SHOWN_EXAMPLES:,} more; --json lists all")
        table.add_row(finding.kind, "\n".join([*lines, f"-> {finding.remedy}"]))
    return table
