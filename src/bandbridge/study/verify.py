"""Everything that a folder of runs holds, hashed anew and compared with what was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bandbridge.dataset.contents import FOLDER as DATASETS
from bandbridge.errors import UserError
from bandbridge.progress import track
from bandbridge.seal import DONE, STORE, read_done, read_run, read_sealed, verify_folder

_STORES, _EMBEDDINGS, _MODELS = ".stores", ".embeddings", ".models"


@dataclass(frozen=True)
class Verification:
    """What was found. folders: with hashes, all of whose files were read. unsealed: of earlier builds, without any.

    problems: a sentence each. notes: what is worth knowing of runs that are as they were written.
    """

    folders: int
    unsealed: tuple[Path, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def verify_runs(root: Path) -> Verification:
    """Hash every file of the finished runs, stores and embeddings under ``root`` anew, and compare.

    Raises :class:`UserError` when there is no such folder, or nothing of the kind in it. Nothing is changed or deleted.
    """
    if not root.is_dir():
        raise UserError(f"there is no folder of runs {root}", "Name it with --runs.")
    runs = sorted(folder for folder in root.glob("*/*/*/*-*") if (folder / DONE).is_file())
    stores = sorted(path.parent for path in root.glob(f"{_STORES}/*/{STORE}"))
    if not runs and not stores:
        raise UserError(f"{root} holds no finished run and no prepared images", "Name the folder of runs with --runs.")
    problems: list[str] = []
    unsealed: list[Path] = []
    for folder in track([*runs, *stores], len(runs) + len(stores), "reading what was written"):
        found = verify_folder(folder)
        problems += found or []
        unsealed += [folder] if found is None else []
    others = sorted([*root.glob(f"{DATASETS}/*.json"), *root.glob(f"{_MODELS}/*.json")])
    others += sorted(root.glob(f"{_EMBEDDINGS}/*/facts.json"))
    for path in others:
        try:
            read_sealed(path, "")
        except UserError as error:
            problems.append(error.message)
    sealed = len(runs) + len(stores) - len(unsealed)
    return Verification(sealed, tuple(unsealed), tuple(problems), tuple(_other_starts(runs)))


def _other_starts(runs: list[Path]) -> Iterator[str]:
    """Say which runs began with other weights than their parent holds now: it was trained again since, elsewhere."""
    by_id = {folder.name.rpartition("-")[2]: folder for folder in runs}
    for folder in runs:
        try:
            done, init = read_done(folder), read_run(folder).get("record", {}).get("init", {})
            parent = by_id.get(str(init.get("run")))
            held = read_done(parent) if parent is not None else None
        except UserError:
            continue  # said already
        name = f"{init.get('checkpoint')}.safetensors"
        if done and done.start and held and held.files and held.files.get(name) not in (None, done.start):
            yield f"{folder} began with other weights than {parent}/{name} holds now: that run was made again since"
