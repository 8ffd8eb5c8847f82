"""What a finished folder says of its own files: the SHA-256 of each, compared whenever one of them is opened.

A run's folder has it in ``done.json``, a store in ``store.json``, an exported model in ``SHA256SUMS``, which
``sha256sum --check`` reads too. It is written after the files that it speaks of. A hash is remembered for as long as
the file's size, times and inode stay as they are; :func:`verify_folder` remembers nothing. Folders of builds that kept
no hashes are taken at their word, and the first of a process is named.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.files import content_hash, read_json, write_json, write_text
from bandbridge.progress import note

DONE, STORE, SUMS = "done.json", "store.json", "SHA256SUMS"
#: Beside large files, what their hashes were when they were last read.
MEMORY = ".hashes.json"
_WORTH_MEMORY = 2**26
#: What to do about a model folder that is not to be trusted.
#: The weights of a model folder, as timm and the Hugging Face hub name them.
EXPORTED_WEIGHTS = "model.safetensors"
COPY_AGAIN = "Copy the whole folder again, or export the model again."
#: The key under which a JSON file holds the hash of all its others.
OWN_HASH = "sha256"
_RUN_FOLDER = re.compile(r".*-([0-9a-f]{12})")
_SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Model = TypeVar("Model", bound=BaseModel)


class AlteredError(UserError):
    """A file is not what the folder that holds it says that it was written as. Exit code 2."""


class Done(BaseModel):
    """``done.json``: a run is finished.

    id: of the run. best_epoch: counted from 1. micro_batch: images that went through the model at a time, where they
    were fewer than a batch. files: the SHA-256 of every product, None where an earlier build kept none. start: that of
    the weights which the run began with, where those were another model's.
    """

    model_config = ConfigDict(frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    epochs: int = Field(ge=0)
    best_epoch: int = Field(ge=0)
    micro_batch: int | None = Field(default=None, ge=1)
    files: dict[str, Sha256] | None = None
    start: Sha256 | None = None


class _Open(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class _Augmentation(_Open):
    flip_vertical: float = Field(default=0.5, ge=0, le=1)


class _Recipe(_Open):
    augmentation: _Augmentation = _Augmentation()


class _Record(_Open):
    dataset: str = ""
    recipe: _Recipe = _Recipe()
    init: dict[str, Any] = Field(default_factory=dict)


class RunFacts(_Open):
    """What ``run.json`` says, and a model folder of the run that it was made of: what readers of it rely on."""

    id: str = ""
    task: str = ""
    architecture: str = ""
    approach: str = ""
    intermediate: str = ""
    fold: int | None = None
    parent: str | None = None
    record: _Record = _Record()


class _StoreFiles(BaseModel):
    key: str = ""
    files: dict[str, Sha256] | None = None


@dataclass(frozen=True)
class Seal:
    """The hashes of a folder: where they stand, by file name, and what to do where one differs.

    files: None in a folder of an earlier build.
    """

    path: Path
    files: Mapping[str, str] | None
    remedy: str


def file_hash(path: Path, *, anew: bool = False) -> str:
    """Return the SHA-256 of the file ``path``, 64 hexadecimal digits.

    It is kept in memory until the file's size, times or inode change; ``anew``: it is not looked up. Raises
    :class:`EnvironmentFault` when the file cannot be read.
    """
    try:
        key = _status(path)
        if anew or key not in _hashes:
            with path.open("rb") as stream:
                _hashes[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise EnvironmentFault(f"cannot read {path}: {fault.strerror or fault}", "Check its permissions.") from fault
    return _hashes[key]


_hashes: dict[tuple[str, int, int, int, int], str] = {}


def _status(path: Path) -> tuple[str, int, int, int, int]:
    found = path.stat()
    return str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of those of the files ``names`` that are in ``folder``, by name."""
    return {name: file_hash(folder / name) for name in names if (folder / name).is_file()}


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as JSON with a hash of its own under :data:`OWN_HASH`, whole or not at all."""
    plain = json.loads(json.dumps(dict(value)))
    write_json(path, {**plain, OWN_HASH: content_hash(plain)})


def read_sealed(path: Path, remedy: str) -> dict[str, Any]:
    """Return what :func:`write_sealed` wrote to ``path``, {} where there is no such file; an earlier build's unchecked.

    Raises :class:`UserError` with ``remedy`` when it is damaged, :class:`AlteredError` when it was edited.
    """
    value = read_json(path, remedy)
    stated = value.pop(OWN_HASH, None)
    if stated is not None and stated != _own_hash(value):
        raise AlteredError(f"{path} was altered after it was written: its own hash disagrees", remedy)
    return value


def _own_hash(value: dict[str, Any]) -> str:
    try:
        return content_hash(value)
    except ValueError:  # not a number: no file of ours has one
        return ""


def read_done(folder: Path) -> Done | None:
    """Return what ``done.json`` in the run's ``folder`` says; None where there is none: the run is not finished.

    Raises :class:`UserError` when it is damaged, :class:`AlteredError` when it was edited or is another run's.
    """
    path = folder / DONE
    if not path.is_file():
        return None
    return _read_done(path, *_status(path)[1:])


@lru_cache(maxsize=4096)
def _read_done(path: Path, *_: int) -> Done:
    remedy = remake(path.parent)
    done = parsed(Done, read_sealed(path, remedy), path, remedy)
    named = _RUN_FOLDER.fullmatch(path.absolute().parent.name)
    if named is not None and named[1] != done.id:
        raise AlteredError(f"{path} is that of the run {done.id}: it was moved here from another folder", remedy)
    return done


def remake(folder: Path) -> str:
    """Return what to do about a run whose products are not to be trusted."""
    return (
        f"Put back what was there, or delete {folder}: the same study command then makes that run again, and no other."
    )


def parsed(kind: type[Model], value: Any, path: Path, remedy: str) -> Model:
    """Return ``value``, read from the file ``path``, as ``kind``. Raises :class:`UserError` with the first problem."""
    try:
        return kind.model_validate(value)
    except ValidationError as fault:
        first = fault.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise UserError(f"{path} is damaged ({reason[:160]})", remedy) from fault


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write ``SHA256SUMS`` of those of the files ``names`` that are in ``folder``, whole or not at all."""
    lines = [f"{digest}  {name}\n" for name, digest in sorted(hashes_of(folder, names).items())]
    write_text(folder / SUMS, "".join(lines))


def seal_of(folder: Path) -> Seal | None:
    """Return the hashes that ``folder`` holds of its files; None where it has no place for them.

    Raises :class:`UserError` when they are damaged, and :class:`AlteredError` when they are another folder's.
    """
    done = read_done(folder)
    if done is not None:
        return Seal(folder / DONE, done.files, remake(folder))
    for name, read in ((STORE, _read_store_files), (SUMS, _read_sums)):
        path = folder / name
        if path.is_file():
            return read(path, *_status(path)[1:])
        if path.exists():
            raise AlteredError(f"{path} is no file", "Copy the whole folder again, or make it again.")
    return None


@lru_cache(maxsize=256)
def _read_store_files(path: Path, *_: int) -> Seal:
    remedy = f"Delete {path.parent}; it is rebuilt."
    found = parsed(_StoreFiles, read_sealed(path, remedy), path, remedy)
    if found.key and found.key != path.absolute().parent.name:
        raise AlteredError(f"{path} is that of the store {found.key}: it was moved here from another folder", remedy)
    return Seal(path, found.files, remedy)


@lru_cache(maxsize=256)
def _read_sums(path: Path, *_: int) -> Seal:
    remedy = COPY_AGAIN
    try:
        lines = [_SUMS_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{path} cannot be read ({fault})", remedy) from fault
    if not lines or None in lines:
        raise UserError(f"{path} is damaged: a line is not a SHA-256 and a file's name", remedy)
    return Seal(path, {line[2]: line[1] for line in lines if line}, remedy)


def require_unaltered(path: Path) -> None:
    """Raise :class:`AlteredError` when the folder of ``path`` holds hashes and the file's is another, or not there.

    A file that is not there, and that no hash speaks of, is its reader's to complain of.
    """
    seal = seal_of(path.parent)
    if seal is None:
        return
    if not path.is_file():
        if path.name in (seal.files or ()):
            raise AlteredError(f"{path} is missing, and {seal.path.name} names it", seal.remedy)
        return
    if seal.files is None:
        _name_once(seal)
    elif (problem := _difference(path, seal, file_hash_remembered(path))) is not None:
        raise AlteredError(problem, seal.remedy)


def _difference(path: Path, seal: Seal, found: str) -> str | None:
    """Return what is wrong with a file whose hash was ``found``; None where nothing is."""
    expected = (seal.files or {}).get(path.name)
    if expected is None:
        return f"{path} is not one of the files that {seal.path} names: it was put there later"
    if found != expected and _with_plain_ends(path) != expected:
        return f"{path} was altered: its SHA-256 begins with {found[:12]}, and {seal.path.name} says {expected[:12]}"
    return None


def _with_plain_ends(path: Path) -> str:
    """Return the hash of a JSON file with its line ends as they were written: version control may have changed them."""
    if path.suffix != ".json":
        return ""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


_named: set[str] = set()


def _name_once(seal: Seal) -> None:
    name_once(seal.path.parent, seal.path.name)


def name_once(folder: Path, kind: str) -> None:
    """Say of the first ``folder`` of its ``kind`` in a process that it has no hashes to be compared with."""
    if kind not in _named:
        _named.add(kind)
        note(f"{folder} is of an earlier version, which kept no hashes: it and its like are taken as they are")


def file_hash_remembered(path: Path) -> str:
    """Return :func:`file_hash`; that of a large file is looked up beside it, and kept there.

    Reading gigabytes takes seconds, and every process would.
    """
    key = _status(path)
    if key in _hashes or key[1] < _WORTH_MEMORY:
        return file_hash(path)
    memory = path.parent / MEMORY
    known: dict[str, Any] = {}
    with suppress(UserError):
        known = read_json(memory)
    if _is_of(known.get(path.name), key):
        _hashes[key] = known[path.name][-1]
    else:
        known[path.name] = [*key[1:], file_hash(path)]
        with suppress(UserError):  # a folder that is not ours to write
            write_json(memory, known)
    return _hashes[key]


def _is_of(entry: Any, key: tuple[str, int, int, int, int]) -> bool:
    whole = isinstance(entry, list) and len(entry) == 5 and isinstance(entry[-1], str) and len(entry[-1]) == 64
    return whole and entry[:-1] == list(key[1:])


def read_product(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``, {} where there is none, a product of its folder.

    Raises :class:`AlteredError` when it is not as it was written, :class:`UserError` when it is damaged.
    """
    require_unaltered(path)
    # A model folder and a graph are made by no study's command.
    return read_json(path, None if path.name == "run.json" or (path.parent / "run.json").exists() else COPY_AGAIN)


def read_run(folder: Path) -> dict[str, Any]:
    """Return ``run.json`` of the run in ``folder``, {} where there is none.

    Raises :class:`UserError` when it is damaged, and :class:`AlteredError` when it was edited or is another run's: the
    run's id is the hash of its record.
    """
    path = folder / "run.json"
    facts = read_product(path)
    if not facts:
        return facts
    identity, record = facts.get("id"), facts.get("record")
    if not isinstance(identity, str) or not isinstance(record, dict):
        raise UserError(f"{path} is damaged (it holds no id and record)", remake(folder))
    named = _RUN_FOLDER.fullmatch(folder.absolute().name)
    if named is not None and named[1] != identity:
        raise AlteredError(
            f"{path} is that of the run {identity}: it was moved here from another folder", remake(folder)
        )
    if _own_hash(record)[:12] != identity:
        raise AlteredError(f"{path} was altered: the id of its record is not {identity}", remake(folder))
    return run_facts(facts, path, remake(folder))


def run_facts(value: Any, path: Path, remedy: str) -> dict[str, Any]:
    """Return ``value``, what ``path`` says of a run, as it is. Raises :class:`UserError` where it makes no sense."""
    parsed(RunFacts, value, path, remedy)
    return dict(value)


def verify_folder(folder: Path) -> list[str] | None:
    """Hash every file anew that ``folder`` holds a hash of; returns what is wrong, None where it holds no hashes."""
    try:
        seal = seal_of(folder)
        if seal is None or seal.files is None:
            return None
        if seal.path.name == DONE:
            read_run(folder)
    except UserError as error:
        return [error.message]
    problems = []
    for name in seal.files:
        path = folder / name
        if Path(name).name != name or not path.is_file():
            problems.append(f"{path} is missing")
        elif (problem := _difference(path, seal, file_hash(path, anew=True))) is not None:
            problems.append(problem)
    return problems
