"""Folders of runs, laid by hand, and what to do after a test has edited one in order to test something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bandbridge.files import content_hash
from bandbridge.seal import Done, hashes_of, write_sealed, write_sums
from bandbridge.study.execute import PRODUCTS


def begin_run(parent: Path, record: Mapping[str, Any] | None = None, **facts: Any) -> Path:
    """Make the folder of a run in ``parent``, with a ``run.json`` of ``facts`` whose id is that of its record."""
    record = dict(record or {"seed": 0})
    identity = content_hash(record)[:12]
    folder = parent / f"fold0-{identity}"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"id": identity, **facts, "record": record}))
    return folder


def seal(folder: Path, identity: str = "", epochs: int = 1) -> None:
    """Write the hashes of what ``folder`` holds by now: of a run in ``done.json``, else in ``SHA256SUMS``.

    identity: of the run, where it has no ``run.json`` to say it.
    """
    if not identity and not (folder / "run.json").exists():
        write_sums(folder, [line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()])
        return
    identity = identity or json.loads((folder / "run.json").read_text())["id"]
    done = Done(id=identity, epochs=epochs, best_epoch=1, files=hashes_of(folder, PRODUCTS))
    write_sealed(folder / "done.json", done.model_dump())


def unseal(folder: Path) -> None:
    """Leave ``folder`` as earlier builds did, which kept no hashes."""
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    for name in ("done.json", "store.json"):
        if (folder / name).exists():
            value = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({key: value[key] for key in value.keys() - {"files", "sha256"}}))


def with_record(folder: Path, facts: Mapping[str, Any]) -> Path:
    """Let the run in ``folder`` have these ``facts``, with the id of their record; returns its folder, renamed.

    A folder whose name ends in no id keeps its name.
    """
    identity = content_hash(facts["record"])[:12]
    (folder / "run.json").write_text(json.dumps({**facts, "id": identity}))
    fold, _, old = folder.name.rpartition("-")
    renamed = folder.rename(folder.with_name(f"{fold}-{identity}")) if len(old) == len(identity) else folder
    seal(renamed)
    return renamed
