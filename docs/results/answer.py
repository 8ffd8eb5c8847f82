"""The questions and their answers in docs/results/README.md, from the packs of finished studies and nothing else.

    python docs/results/answer.py           writes the answers between the marks of the page, and the figures
    python docs/results/answer.py --check   says whether the page is what the packs say

A pack is what ``bandbridge study pack`` writes of a study; those of docs/results/packs are read. Verdicts, intervals
and their words are those of ``bandbridge study report``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from answers.best import answer_best
from answers.detour import answer_detour
from answers.drawn import answer_flags, answer_unseen
from answers.evidence import FOLDER, Evidence, Question, read_packs
from answers.few_cells import answer_few_cells
from answers.setup import computing, trained
from answers.which import answer_which

from bandbridge.errors import UserError
from bandbridge.evaluation.pack import Pack
from bandbridge.files import replacing, write_text

_BEGIN, _END = "<!-- answers: python docs/results/answer.py -->", "<!-- end of answers -->"
QUESTIONS = (
    Question(
        1,
        "Does an intermediate domain help?",
        {"1a-by-cell": "images prepared by the cell", "1a-published": "images prepared as published"},
    ),
    Question(2, "What does a model make of real chromosomes that has seen drawn ones alone?", {}, "unseen"),
    Question(
        3,
        "What does the model in the box gain with few labelled cells?",
        {
            "3-curve-q": "BioImLab, Q-band",
            "3-curve-g": "65 cells, G-band",
            "3-curve-p": "Pki-3, G-band",
        },
        "few-cells",
    ),
    Question(
        4,
        "When does an intermediate domain help, and why?",
        {
            "4-why-q": "BioImLab (Q-band), 10 labelled cells",
            "4-why-g": "65 cells (G-band), 10 labelled cells",
            "4-why-p": "Pki-3 (G-band), 10 labelled cells",
            "4-form-q": "BioImLab as published, 10 labelled cells",
            "4-form-g": "65 cells as published, 10 labelled cells",
            "4-form-p": "Pki-3 as published, 10 labelled cells",
        },
        "which",
    ),
    Question(
        5,
        "How good can it get?",
        {
            "5-parts-q": "BioImLab, fold 0, on which parts were chosen",
            "5-best-q": "BioImLab, folds 1 to 4",
            "5-best-q-paper": "BioImLab, protocol paper (optimistic: cells on both sides, best epoch)",
            "5-best-g": "65 cells",
            "5-best-p": "Pki-3",
        },
        "best",
    ),
    Question(6, "Can the model in the box be used as it is?", {}, "flags"),
)

#: What answers a question from the packs of its studies, and what from models that saw none of these images.
_OF_STUDIES = {
    "few-cells": answer_few_cells,
    "which": answer_which,
    "detour": answer_detour,
    "best": answer_best,
}
_OF_MODELS = {"unseen": answer_unseen, "flags": answer_flags}


def answers(packs: Mapping[str, Pack]) -> tuple[str, dict[str, bytes]]:
    """Return what stands between the marks of the page, and the figures by name."""
    parts, figures = [], {}
    for question in QUESTIONS:
        there = [Evidence(packs[name], varied) for name, varied in question.studies.items() if name in packs]
        missing = [name for name in question.studies if name not in packs]
        parts.append(f"## {question.number}. {question.text}")
        if question.kind in _OF_MODELS:
            told, figures[question.figure] = _OF_MODELS[question.kind](question)
            parts += told
            continue
        if not there:
            parts.append(f"Not answered yet: no pack of {' or '.join(missing)} is there.")
            continue
        short = f"No pack of {' or '.join(missing)} is there yet." if missing else ""
        told, drawn = _OF_STUDIES[question.kind](there, question, short)
        parts += told
        parts.append(trained(there))
        if question.kind != "detour":  # its tables have a column of it
            parts.append(computing(there))
        if drawn:
            figures[question.figure] = drawn
    return "\n\n".join(parts) + "\n", figures


def with_answers(page: str, text: str) -> str:
    """Return the ``page`` with ``text`` between its marks. Raises :class:`UserError` where it has none."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise UserError(f"the page has no marks {_BEGIN} and {_END}", "Put them where the answers belong.")
    return f"{before}{_BEGIN}\n\n{text}\n{_END}{after}"


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """The command line; 1 if the check finds another page, 2 for a pack that cannot be read."""
    parser = argparse.ArgumentParser(description="Write the answers of docs/results/README.md from the packs.")
    parser.add_argument("--check", action="store_true", help="compare the page with the packs; write nothing")
    check = parser.parse_args(arguments).check
    page = folder / "README.md"
    try:
        packs = read_packs(folder / "packs")
        text, figures = answers(packs)
        old = page.read_text(encoding="utf-8")
        new = with_answers(old, text)
    except UserError as error:
        print(f"error: {error.message}\n  {error.remedy}", file=sys.stderr)
        return 2
    if check:
        print("the page is what the packs say" if old == new else f"{page} is not what the packs say: make results")
        return int(old != new)
    write_text(page, new)
    for name, drawn in figures.items():
        with replacing(folder / "images" / name) as temporary:
            temporary.write_bytes(drawn)
    print(f"{page}: from {len(packs)} pack{'s' * (len(packs) != 1)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
