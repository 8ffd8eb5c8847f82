"""What every request to the review must pass: the key, the host, the origin, the size.

The server speaks to one person on this machine. Other accounts of the machine can reach its port, so each request
carries a key, new at every start, which the printed address hands to the browser as a cookie. The browser itself is
started on a page of the work folder that only its owner can read (:func:`forwarding_page`): the arguments of every
program can be read by all accounts. Pages from elsewhere can send requests here through that browser: those that write
need a header that no foreign page can set, and an origin that is this one. A foreign name that is made to resolve here
(DNS rebinding) is told by the Host header.
"""

from __future__ import annotations

import html
import ipaddress
import json
import secrets
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "x-bandbridge"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_MAX_JSON_BYTES = 64 * 2**10
_READING = frozenset({"GET", "HEAD"})
#: Of a body's length, in digits; longer numbers are too large whatever they are.
_LONGEST_LENGTH = 18


@dataclass(frozen=True)
class Door:
    """Who is let in. names: host names and addresses to be called by. any_address: also by any numeric address."""

    key: str
    names: frozenset[str]
    any_address: bool = False
    cookie: str = "bandbridge_review"
    max_upload: int = 512 * 2**20


@dataclass(frozen=True)
class _Refusal(Exception):
    status: int
    message: str
    remedy: str = ""


def forwarding_page(address: str) -> str:
    """Return a page that sends a browser on to ``address``, which holds the key."""
    safe = html.escape(address)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<meta http-equiv="refresh" content="0; url={safe}">\n<title>Bandbridge review</title>\n</head>\n'
        f'<body><p><a href="{safe}">Open the review</a></p></body>\n</html>\n'
    )


class Guard:
    """ASGI middleware that refuses what :class:`Door` does not let in and adds the headers to every answer."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app = app
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        new_cookie = ""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = dict(HEADERS, **({"set-cookie": new_cookie} if new_cookie else {}))
                kept = [(name, value) for name, value in message.get("headers", []) if name.decode() not in added]
                if not any(name == b"cache-control" for name, _ in kept):
                    added["cache-control"] = "no-store"
                message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in added.items())]
            await send(message)

        try:
            _check_host(headers, self.door)
            if _check_key(scope, headers, self.door):
                new_cookie = f"{self.door.cookie}={self.door.key}; Path=/; HttpOnly; SameSite=Strict"
            if scope["method"] not in _READING:
                _check_writer(headers)
            limit = self._limit(scope)
            _check_length(headers, limit)
        except _Refusal as refusal:
            await _refuse(refusal, send_guarded)
            return
        await self.app(scope, _bounded(receive, limit), send_guarded)

    def _limit(self, scope: Scope) -> int:
        return self.door.max_upload if scope["path"] == "/api/cells" else _MAX_JSON_BYTES


def _check_host(headers: dict[str, str], door: Door) -> None:
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    except ValueError:
        name = ""
    if name in door.names or (door.any_address and _is_address(name)):
        return
    known = ", ".join(sorted(door.names))
    raise _Refusal(421, f"this server is not called {name!r}", f"Open it by one of its names: {known}.")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _check_key(scope: Scope, headers: dict[str, str], door: Door) -> bool:
    """Say whether the key came in the address and is to become a cookie; refuse a request without it."""
    if scope["path"] == "/" and scope["method"] in _READING:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("key", [""])[0]
        if _same(given, door.key):
            return True
    try:
        held = SimpleCookie(headers.get("cookie", "")).get(door.cookie)
    except CookieError:
        held = None
    if held is not None and _same(held.value, door.key):
        return False
    remedy = "Open the address that 'bandbridge review' printed when it started: each start has a key of its own."
    raise _Refusal(403, "the key of this review is missing", remedy)


def _same(given: str, key: str) -> bool:
    return secrets.compare_digest(given.encode(), key.encode())


def _check_writer(headers: dict[str, str]) -> None:
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    foreign = origin is not None and _place_of(origin) != headers.get("host", "").lower()
    if foreign or site not in ("same-origin", "none") or HEADER not in headers:
        raise _Refusal(403, "only the review's own page may change anything", "Use the page that this server shows.")


def _place_of(origin: str) -> str:
    """Return the host and port of ``origin``, "" where it names none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _check_length(headers: dict[str, str], limit: int) -> None:
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise _Refusal(400, "the request does not say how long it is")
    if len(length) > _LONGEST_LENGTH or int(length) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> _Refusal:
    return _Refusal(413, f"more than {_size(limit)} at once is refused", "Hand in fewer cells at a time.")


def _size(limit: int) -> str:
    return f"{limit / 2**20:.0f} MiB" if limit >= 2**20 else f"{limit / 2**10:.0f} KiB"


def _bounded(receive: Receive, limit: int) -> Receive:
    """Return ``receive`` that stops a body which turns out longer than ``limit``, whatever its header said."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            refusal = _too_large(limit)
            raise HTTPException(refusal.status, refusal.message)
        return message

    return bounded


async def _refuse(refusal: _Refusal, send: Send) -> None:
    body = json.dumps({"message": refusal.message, "remedy": refusal.remedy}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
