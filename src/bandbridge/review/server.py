"""The review's web server: one page, its pictures, and the few requests it makes. No address of it is a path."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from bandbridge.errors import EnvironmentFault, UserError
from bandbridge.karyogram.sheet import Pose
from bandbridge.review.accepted import EXPORTS, Export, export_accepted
from bandbridge.review.actions import (
    ACTIONS,
    Review,
    absent,
    describe,
    read_pose,
    read_sheet,
    reader_name,
    show,
    show_patient,
)
from bandbridge.review.coded import coding
from bandbridge.review.database import Store
from bandbridge.review.guard import Door, Guard
from bandbridge.review.intake import MAX_FILES
from bandbridge.review.keeping import NotKeptError
from bandbridge.review.log import Reader
from bandbridge.review.metaphase import field_picture
from bandbridge.review.picture import close_up, encode_png, tile
from bandbridge.review.schema import StaleError
from bandbridge.review.uploads import Upload, take_in

_STATIC = {
    "review.css": "text/css; charset=utf-8",
    "review.js": "text/javascript; charset=utf-8",
    "metaphase.css": "text/css; charset=utf-8",
    "metaphase.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
#: No more digits than the database's numbers have.
_NUMBER = re.compile(r"[0-9]{1,18}")
_HASH = re.compile(r"[0-9a-f]{64}")
_EXPORT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z(-[0-9]+)?")


def make_app(review: Review, door: Door) -> Starlette:
    """Return the application; its start starts the worker, its end stops it."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        review.worker.start()
        yield
        await run_in_threadpool(review.worker.stop)

    routes = [
        Route("/", _page),
        Route("/static/{name}", _static),
        Route("/images/{image}/{kind}.png", _image),
        Route("/exports/{name}.zip", _archive),
        Route("/api/state", _state),
        Route("/api/cells", _add_cells, methods=["POST"]),
        Route("/api/cells/{cell}", _show),
        Route("/api/cells/{cell}/patient", _patient),
        Route("/api/cells/{cell}/{action}", _act, methods=["POST"]),
        Route("/api/fields/{cell}/{picture}.png", _field),
        Route("/api/chromosomes/{cell}/{chromosome}/{label}.png", _cam),
        Route("/api/export", _export, methods=["POST"]),
    ]
    handlers: dict[Any, Callable[..., Any]] = {
        HTTPException: _http_fault,
        UserError: _user_fault,
        OSError: _disk_fault,
        ClientDisconnect: _gone,
        Exception: _own_fault,
    }
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.state.review = review
    app.add_middleware(Guard, door=door)
    return app


def _review(request: Request) -> Review:
    review: Review = request.app.state.review
    return review


# Answers to what goes wrong


async def _http_fault(_: Request, fault: HTTPException) -> Response:
    return JSONResponse({"message": str(fault.detail), "remedy": ""}, fault.status_code)


async def _user_fault(_: Request, error: UserError) -> Response:
    status = 507 if isinstance(error, EnvironmentFault) else 409 if isinstance(error, StaleError) else 400
    return JSONResponse({"message": error.message, "remedy": error.remedy}, status)


async def _disk_fault(request: Request, fault: OSError) -> Response:
    where = f"{fault.filename}: " if fault.filename else ""
    message = f"nothing was saved: {where}{fault.strerror or type(fault).__name__}"
    return await _user_fault(request, NotKeptError(message, "Make room or check the disk, then repeat it."))


async def _gone(_: Request, __: ClientDisconnect) -> Response:
    """A client that left before it had said all: nobody hears the answer."""
    return Response(status_code=400)


async def _own_fault(_: Request, fault: Exception) -> Response:
    """A fault of this program, which the log shows whole; no change is made by halves."""
    message = f"nothing was saved: a fault in the program ({type(fault).__name__})"
    return JSONResponse({"message": message, "remedy": "What it printed says where; please report that."}, 500)


def _number(request: Request, name: str) -> int:
    """Return a number in the address, or raise the answer that there is nothing of it."""
    text = request.path_params[name]
    if not _NUMBER.fullmatch(text):
        raise absent(name)
    return int(text)


# The page and its pictures


async def _page(_: Request) -> Response:
    return Response(_static_file("review.html"), media_type="text/html")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise absent("file")
    return Response(_static_file(name), media_type=_STATIC[name])


def _static_file(name: str) -> bytes:
    return resources.files("bandbridge.review").joinpath("static", name).read_bytes()


async def _image(request: Request) -> Response:
    """A chromosome turned upright: ``tile`` trimmed for the sheet, ``large`` with what is around it, enlarged."""
    image, kind = request.path_params["image"], request.path_params["kind"]
    if not _HASH.fullmatch(image) or kind not in ("tile", "large"):
        raise absent("picture")
    store = _review(request).store
    if not store.image_path(image).is_file():
        raise absent("picture")
    data = await run_in_threadpool(_picture, store, image, kind, read_pose(request.query_params))
    # The name says all that the picture shows.
    return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=31536000, immutable"})


@lru_cache(maxsize=8192)
def _picture(store: Store, image: str, kind: str, pose: Pose) -> bytes:
    pixels = store.read_image(image)
    if kind == "tile":
        return encode_png(tile(pixels, pose))
    return encode_png(close_up(pixels, pose))


async def _field(request: Request) -> Response:
    """The part of its metaphase that shows a cell."""
    cell, store = _number(request, "cell"), _review(request).store
    field = await run_in_threadpool(store.field, cell)
    if field is None or field.picture != request.path_params["picture"]:
        raise absent("metaphase")
    data = await run_in_threadpool(field_picture, store, field)
    return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=31536000, immutable"})


async def _cam(request: Request) -> Response:
    """What in a chromosome speaks for a class, laid over it and turned as the chromosome is."""
    cell, number, label = _number(request, "cell"), _number(request, "chromosome"), request.path_params["label"]
    review = _review(request)
    data = await run_in_threadpool(_cam_picture, review, cell, number, label)
    return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=600"})


def _cam_picture(review: Review, cell: int, number: int, label: str) -> bytes:
    stored = read_sheet(review, cell)
    if number not in stored.ids or label not in review.worker.analyst.classes or stored.record.arm == "without":
        raise absent("chromosome or class")
    one = stored.sheet.chromosomes[stored.ids.index(number)]
    mates = [other.image for other in stored.sheet.chromosomes if other is not one]
    return encode_png(close_up(one.image, one.pose, review.worker.cam(one.image, label, mates)))


# What the page asks


async def _state(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(describe, _review(request)))


async def _show(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(show, _review(request), _number(request, "cell")))


async def _patient(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(show_patient, _review(request), _number(request, "cell")))


# What the page does


async def _act(request: Request) -> Response:
    values = await _read_json(request)
    action = ACTIONS.get(request.path_params["action"])
    if action is None:
        raise absent("action")
    return JSONResponse(await run_in_threadpool(action, _review(request), _number(request, "cell"), values))


async def _read_json(request: Request) -> dict[str, Any]:
    try:
        values = await request.json()
    except (ValueError, RecursionError):
        raise HTTPException(400, "the request is not JSON") from None
    if not isinstance(values, dict):
        raise absent("action")
    return values


# Cells in, datasets out


async def _add_cells(request: Request) -> Response:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "images come as files of a form")
    async with request.form(max_files=MAX_FILES, max_fields=10) as form:
        parts = [part for part in form.getlist("files") if isinstance(part, UploadFile)]
        files = [Upload(part.filename or "", part.file) for part in parts]
        if not files:
            raise HTTPException(400, "no file was handed in")
        by = Reader(reader_name(form.get("reader")))
        return JSONResponse(await run_in_threadpool(take_in, _review(request), files, by))


async def _export(request: Request) -> Response:
    values = await _read_json(request)
    made = await run_in_threadpool(_write_accepted, _review(request).store, bool(values.get("coded")))
    shown = {"name": made.name, "cells": made.cells, "images": made.images, "unplaced": made.unplaced}
    shown |= {"metaphases": made.metaphases.metaphases, "left_out": made.metaphases.left_out}
    return JSONResponse({**shown, "folder": str(made.folder), "address": f"/exports/{made.name}.zip"})


def _write_accepted(store: Store, under_codes: bool) -> Export:
    with coding(store, under_codes) as codes:
        return export_accepted(store, codes)


async def _archive(request: Request) -> Response:
    name = request.path_params["name"]
    path = _review(request).store.folder / EXPORTS / f"{name}.zip"
    if not _EXPORT.fullmatch(name) or not path.is_file():
        raise absent("export")
    return FileResponse(path, filename=f"bandbridge-review-{name}.zip", media_type="application/zip")
