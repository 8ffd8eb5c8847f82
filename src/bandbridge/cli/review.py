"""``bandbridge review``: a local page to check and correct karyograms on."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandbridge.cli.explain import BitDepth
from bandbridge.cli.predict import warn_of_upright_training
from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.progress import note
from bandbridge.terminal import say

if TYPE_CHECKING:
    from bandbridge.review.actions import Review

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_KEY_FILE = "key"


def review(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained run's folder, or an exported model's.")],
    cells: Annotated[
        Path | None, typer.Argument(metavar="[CELLS]", help="Images to begin with: a folder or zip, a folder a cell.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is; 0 takes a free one.")] = 7800,
    host: Annotated[str, typer.Option(help="The address to listen on; others than this machine's own open it.")] = (
        "127.0.0.1"
    ),
    work: Annotated[Path, typer.Option(help="Folder that keeps images, corrections and exports.")] = Path(
        "results/review"
    ),
    bit_depth: BitDepth = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Check and correct karyograms on a page in the browser, by keyboard and mouse.

    Nothing leaves this machine. Every correction is kept at once in the work folder; the same command goes on with it.

    Accepted cells are exported as a dataset that a study can train on. Not a medical device.
    """
    _require_extra()
    import uvicorn

    from bandbridge.review.guard import Door
    from bandbridge.review.server import make_app

    opened = _open(model, cells, work, device, bit_depth)
    try:
        listening = _listen(host, port)
        found = listening.getsockname()[1]
        names = _LOOPBACK if host in _LOOPBACK else _LOOPBACK | {host.lower(), socket.gethostname().lower()}
        door = Door(_key(work), names, host not in _LOOPBACK, f"bandbridge_review_{found}")
        shown = f"[{host}]" if ":" in host else host
        reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, shown)
        address = f"http://{reached}:{found}/?key={door.key}"
        if host not in _LOOPBACK:
            note(f"warning: anyone who can reach {host}:{found} and has this address sees and changes the cells.")
            note("The connection is not encrypted: use it in a network you trust, or a tunnel to 127.0.0.1.")
        note(f"work folder: {work}\nThe review is open at\n")
        say(address)
        note("\nCtrl-C ends it; every correction is kept.")
        if not no_browser:
            webbrowser.open(address)
        config = uvicorn.Config(make_app(opened, door), log_level="warning", server_header=False, access_log=False)
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        opened.store.close()


def _require_extra() -> None:
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as fault:
        raise UserError(
            f"the review page needs {fault.name}, which is not installed",
            "Install it with: pip install 'bandbridge[review]'",
        ) from fault


def _open(model: Path, cells: Path | None, work: Path, device: str, bit_depth: int | None) -> Review:
    """Open the model and the work folder, and hand in ``cells``."""
    from bandbridge.review.actions import Review
    from bandbridge.review.analyst import open_analyst
    from bandbridge.review.database import Store
    from bandbridge.review.intake import read_handed_in, sort_into_cells
    from bandbridge.review.uploads import add_cells
    from bandbridge.review.worker import Worker

    analyst, described = open_analyst([model], device)
    warn_of_upright_training(analyst.ensemble, "turn them first, or train with more flips,")
    store = Store(work)
    bits = analyst.ensemble.bits
    opened = Review(store, Worker(store, analyst, described), expected_bits=bits, bit_depth=bit_depth)
    if cells is not None:
        try:
            note(f"reading {cells}")
            found = sort_into_cells(read_handed_in(cells), store, expected=bits, bit_depth=bit_depth)
            if not found.cells:
                raise UserError(f"{cells} holds no cell", "Give a folder or zip with a folder of images for each cell.")
            for problem in found.problems:
                note(f"warning: {problem}")
            added = add_cells(opened, found)
            note(f"{len(added['cells'])} cells, {added['new']} of them new")
        except BaseException:
            store.close()
            raise
    return opened


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as fault:
        raise EnvironmentFault(
            f"cannot listen on {host}, port {port}: {fault.strerror or fault}", "Choose another with --port or --host."
        ) from fault


def _key(work: Path) -> str:
    """Return the key of this work folder, made on first use and readable by its owner only."""
    path = work / _KEY_FILE
    if path.is_file() and (known := path.read_text(encoding="ascii").strip()):
        return known
    key = secrets.token_urlsafe(24)
    path.touch(mode=0o600)
    path.write_text(key + "\n", encoding="ascii")
    return key
