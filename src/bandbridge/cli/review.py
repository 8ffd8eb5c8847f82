"""``bandbridge review``: a local page to check and correct karyograms on."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.cli.cut import cut_first
from bandbridge.cli.explain import BitDepth
from bandbridge.cli.outputs import given_folder, require_apart
from bandbridge.cli.predict import warn_of_empty_patients, warn_of_upright_training
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.progress import note
from bandbridge.terminal import say

if TYPE_CHECKING:
    from bandbridge.review.actions import Review

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
#: Sends the browser on to the address with the key; no other account can read it.
_FORWARDING = "open.html"
#: Where the builds before kept one key for ever.
_OLD_KEY = "key"


def review(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A run's folder, an exported model's, box:G or box:Q.")
    ],
    cells: Annotated[
        Path | None,
        typer.Argument(metavar="[CELLS]", help="What to begin with: images, a folder a cell, or metaphases; or a zip."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is; 0 takes a free one.")] = 7800,
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's own open it.")] = (
        "127.0.0.1"
    ),
    work: Annotated[
        Path, typer.Option(help="Folder that keeps images, corrections and exports.", callback=given_folder)
    ] = Path("results/review"),
    bit_depth: BitDepth = None,
    metaphases: Annotated[
        bool | None,
        typer.Option(
            "--metaphases/--no-metaphases",
            help="Whether CELLS are fields of view, to be cut first; found from them if not said.",
        ),
    ] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Go on from the newest backup where the review's database is damaged.")
    ] = False,
    reader: Annotated[str, typer.Option(help="Who reviews; else the page asks once.")] = "",
    reader_study: Annotated[
        int | None,
        typer.Option(metavar="SEED", min=0, help="Measure what proposals are worth: every other cell comes without."),
    ] = None,
    acquired: Annotated[
        bool, typer.Option("--acquired", help="Draft karyotypes as of a tissue (bone marrow), not of a person.")
    ] = False,
    other_half: Annotated[
        bool, typer.Option("--other-half", help="In a reader study: the cells that the same seed shows with proposals.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Check and correct karyograms on a page in the browser, by keyboard and mouse.

    Of cells that bandbridge cut made, the page shows the metaphase too: cut, join, erase and take pieces there.

    Metaphases are cut first, into the work folder.

    Nothing leaves this machine. Every correction is kept at once in the work folder; the same command goes on with it.

    The printed address holds a key, new at every start: whoever has it sees and changes the cells until the end.

    Accepted cells are exported as a dataset that a study can train on. Not a medical device.
    """
    import uvicorn

    from bandbridge.review.guard import Door
    from bandbridge.review.server import make_app

    if restore:
        _restore(work)
    require_apart(work, [model] if cells is None else [model, cells])
    if other_half and reader_study is None:
        raise UserError("--other-half is of a reader study", "Add --reader-study SEED, the seed of the first half.")
    if cells is not None:
        whole, cells = cells, _cut(cells, work, metaphases)
        warn_of_empty_patients(whole, fields=cells != whole)
    opened = replace(_open(model, cells, work, device, bit_depth, " ".join(reader.split())), acquired=acquired)
    if reader_study is not None:
        _begin_study(opened, reader_study, other_half)
    forwarding = work / _FORWARDING
    try:
        listening = _listen(host, port)
        found = listening.getsockname()[1]
        names = _LOOPBACK if host in _LOOPBACK else _LOOPBACK | {host.lower(), socket.gethostname().lower()}
        door = Door(secrets.token_urlsafe(24), names, host not in _LOOPBACK, f"bandbridge_review_{found}")
        shown = f"[{host}]" if ":" in host else host
        reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, shown)
        address = f"http://{reached}:{found}/?key={door.key}"
        if host not in _LOOPBACK:
            note(f"warning: anyone who can reach {host}:{found} and has this address sees and changes the cells.")
            note("The connection is not encrypted: use it in a network you trust, or a tunnel to 127.0.0.1.")
        note(f"work folder: {work}\nThe review is open at\n")
        say(address)
        note("\nCtrl-C ends it; every correction is kept.")
        (work / _OLD_KEY).unlink(missing_ok=True)
        if not no_browser:
            _show(address, forwarding)
        config = uvicorn.Config(make_app(opened, door), log_level="warning", server_header=False, access_log=False)
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        opened.store.close()
        with suppress(OSError):
            forwarding.unlink(missing_ok=True)


def _open(model: Path, cells: Path | None, work: Path, device: str, bit_depth: int | None, reader: str) -> Review:
    """Open the model and the work folder, and hand in ``cells``."""
    from bandbridge.predict.trained_on import notes_on_training
    from bandbridge.review.actions import Review
    from bandbridge.review.analyst import open_analyst
    from bandbridge.review.database import Store
    from bandbridge.review.field import with_fields
    from bandbridge.review.intake import read_handed_in, sort_into_cells
    from bandbridge.review.log import Reader
    from bandbridge.review.packed import opened as opened_cut
    from bandbridge.review.uploads import add_cells
    from bandbridge.review.worker import Worker

    analyst, described = open_analyst([model], device)
    for line in notes_on_training(analyst.ensemble.trained):
        note(line)
    warn_of_upright_training(analyst.ensemble, "turn them first, or train with more flips,")
    store = Store(work)
    bits = analyst.ensemble.bits
    opened = Review(store, Worker(store, analyst, described), expected_bits=bits, bit_depth=bit_depth, reader=reader)
    if cells is not None:
        try:
            note(f"reading {cells}")
            with store.taking_in(), opened_cut(cells, work) as place:
                handed = read_handed_in(place, cells.name)
                found = sort_into_cells(handed, store, expected=bits, bit_depth=bit_depth)
                found.cells, more = with_fields(place, found.cells, store)
                for problem in [*found.problems, *more]:
                    note(f"warning: {problem}")
                if not found.cells:
                    remedy = "Give a folder or zip with a folder of images for each cell."
                    raise UserError(f"{cells} holds no cell", remedy)
                added = add_cells(opened, found, Reader(reader))
            from bandbridge.dataset.findings import counted

            note(f"{counted(len(added['cells']), 'cell')}, {added['new']} of them new")
        except BaseException:
            store.close()
            raise
    return opened


def _cut(cells: Path, work: Path, wanted: bool | None) -> Path:
    """Return where the cells are: ``cells`` itself, or what was cut from the metaphases in it."""
    from bandbridge.review.keeping import private_folder
    from bandbridge.review.packed import holds_cut

    if not work.exists():
        private_folder(work)
    if holds_cut(cells):
        return cells
    cut = cut_first(cells, work / "cut", wanted, False)
    if cut is None:
        return cells
    private_folder(cut.folder)
    for name, reason in [*cut.refused, *cut.without_cell]:
        note(f"warning: {name}: {reason}")
    return cut.folder


def _begin_study(review: Review, seed: int, other_half: bool) -> None:
    """Let the cells that are not sorted yet be those of a reader study; one that has begun goes on as it is."""
    from bandbridge.dataset.findings import counted
    from bandbridge.review.reader_study import arms_of

    records = review.store.cells()
    fresh = sorted((one.name, one.id) for one in records if one.state == "waiting" and not one.arm)
    if not any(one.arm for one in records):
        review.store.begin_reader_study(arms_of([cell for _, cell in fresh], seed, other_half))
    elif fresh:
        note(f"warning: {counted(len(fresh), 'cell')} came after the reader study began and are not of it")
    known = review.store.cells()
    shown = sum(one.arm == "with" for one in known)
    note(f"reader study: {shown} cells with proposals, {sum(one.arm == 'without' for one in known)} without")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as fault:
        raise EnvironmentFault(
            f"cannot listen on {host}, port {port}: {fault.strerror or fault}", "Choose another with --port or --host."
        ) from fault


def _restore(work: Path) -> None:
    from bandbridge.review.keeping import restore

    note(f"the review goes on from its backup {restore(work)}; what was in its place is kept beside it")


def _show(address: str, forwarding: Path) -> None:
    """Open ``address`` in the browser, which is told of a page that forwards: arguments are for all to read."""
    from bandbridge.review.guard import forwarding_page
    from bandbridge.review.keeping import private_file

    try:
        forwarding.unlink(missing_ok=True)
        private_file(forwarding).write_text(forwarding_page(address), encoding="utf-8", newline="\n")
    except OSError as fault:
        note(f"no browser is opened: cannot write {forwarding}: {fault.strerror or fault}; open the address by hand")
        return
    webbrowser.open(forwarding.absolute().as_uri())
