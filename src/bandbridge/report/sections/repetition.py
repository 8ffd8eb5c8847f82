"""The section that says how to repeat a study: commands, data, machines, runs, the study file itself."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bandbridge import __version__
from bandbridge.report.sections.blocks import Block, Listing, Section, Wishes
from bandbridge.report.tables.provenance import provenance_tables
from bandbridge.study.ledger import Ledger
from bandbridge.study.plan import Study


def study_commands(study_file: Path, data_dir: Path | None, weights_dir: Path | None) -> tuple[str, ...]:
    """Return the commands that make the study and this report again, without the folders of this machine."""
    options = (" --data-dir DATA" if data_dir else "") + (" --weights-dir WEIGHTS" if weights_dir else "")
    name = shlex.quote(study_file.name)
    only_data = " --data-dir DATA" if data_dir else ""
    return (
        f"pip install bandbridge=={__version__}",
        f"bandbridge study run {name}{options}",
        f"bandbridge study report {name}{only_data}",
    )


def repetition_section(
    study: Study, ledger: Ledger, environments: Sequence[dict[str, object]], wishes: Wishes
) -> Section:
    commands = "\n".join(wishes.commands)
    blocks: list[Block] = [Listing("Commands", commands)] if commands else []
    blocks += [
        *provenance_tables(study, ledger, environments),
        Listing(f"Study file {study.path.name}", study.path.read_text(encoding="utf-8")),
    ]
    sentence = f"Everything that decides the numbers above. This page was made by Bandbridge {__version__}."
    return Section("repeat", "To repeat it", sentence, tuple(blocks))
