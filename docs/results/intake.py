"""What Bandbridge makes of metaphases and karyogram sheets, measured with truth: docs/results/intake.md.

    python docs/results/intake.py sheets --spreads FOLDER

FOLDER holds manifest.csv, boxes.csv, counts.csv and the pictures. What is measured is written between the marks of the
page; without --spreads nothing can be measured, for most sources state no licence and none of it is here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import intake_sheets
from marks import put_between

PAGE = Path(__file__).resolve().parent / "intake.md"
_BEGIN, _END = "<!-- sheets: python docs/results/intake.py sheets -->", "<!-- end of sheets -->"


def sheets(arguments: argparse.Namespace) -> None:
    """Measure the sheets."""
    chosen = [one for one in intake_sheets.find_sheets(arguments.spreads) if arguments.half in ("both", one.half)]
    rows = intake_sheets.measure(chosen, arguments.pictures)
    lines = intake_sheets.table(rows)
    if faults := intake_sheets.faults(rows):
        lines += ["", "Sheets of the reporting half that are wrong, or right and flagged:", "", *faults]
    if slips := intake_sheets.slips(rows):
        lines += ["", "Sheets of qs that add up and differ from their boxes' labels:", "", *slips]
    lines += ["", f"Most memory of a process: {intake_sheets.peak_memory()} GB."]
    print("\n".join(lines))
    if arguments.half == "both":
        put_between(PAGE, _BEGIN, _END, "\n".join(lines))


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    of_sheets = parts.add_parser("sheets", help="karyogram sheets to labelled crops")
    of_sheets.add_argument("--spreads", type=Path, required=True)
    of_sheets.add_argument("--half", choices=("tune", "report", "both"), default="both")
    of_sheets.add_argument(
        "--pictures", type=Path, help="where pictures of sheets that are wrong or flagged are written"
    )
    of_sheets.set_defaults(measure=sheets)
    arguments = parser.parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    main()
