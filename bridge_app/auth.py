"""Who may come in: the bearer token in front of everything but webhooks and health; without a token, the host's name.

In: a decoded URL path and the `Authorization` or `Host` header. Out: yes or no; the middleware answers no with a
problem document, 401 or 421. Open paths are an exact allow-list, so every unusual spelling of a path (`//`, `/./`,
`%2e`, other case) is guarded: a trick can only close a door. Never logs a token, never compares in variable time.
Webhooks are open here because senders sign instead. Source: RFC 6750.

Browsers cannot send a bearer token when somebody types an address. So the pages under `/schema`, and only they, take
the token as the password of HTTP Basic too (any user name), and a browser is asked for it. Nothing under them changes
anything, so a browser that sends the password by itself can be led to no harm. Source: RFC 7617.

Without a token the bridge listens on loopback only, and a browser there is still led by strangers' pages: a page of
`evil.example` may have that name point to 127.0.0.1 and then read what it asks (DNS rebinding). Its requests carry the
name in `Host`. So a name that is neither localhost nor the configured host is refused. An address, which no DNS server
can redirect, passes, and so does a request without the header, which no browser sends.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import re
from typing import TYPE_CHECKING, Final

from litestar.enums import ScopeType

from bridge_app.problems import MEDIA_TYPE, problem_document, problem_type_for_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from litestar.types import ASGIApp, Receive, Scope, Send

# One plain path segment after webhook/: no slash, no percent sign, not dots alone.
_OPEN: Final = re.compile(
    r"/health(?:/live|/ready)?/?|/api/(?:v1|latest)/webhook/(?!\.+/?\Z)[A-Za-z0-9._~-]{1,256}/?",
)
_HOST: Final = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
# What people open in a browser; the viewer's files are under it.
_PAGES: Final = re.compile(r"/schema(?:/[A-Za-z0-9._-]+)*/?")


def is_open(path: str) -> bool:
    """Whether the path needs no token. `path` is percent-decoded, as the router sees it."""
    return _OPEN.fullmatch(path) is not None


def is_allowed(path: str, *, authorization: bytes | None, token: str | None) -> bool:
    """Whether a request may pass. No token set (None or empty) means that everything may.

    >>> is_allowed("/api/v1/executions", authorization=b"Bearer s3cret", token="s3cret")
    True
    """
    if not token or is_open(path):
        return True
    scheme, _, credentials = (authorization or b"").partition(b" ")
    match scheme.lower():
        case b"bearer":
            given = credentials.strip()
        case b"basic" if _is_page(path):
            given = _password(credentials)
        case _:
            given = b""
    return hmac.compare_digest(given, token.encode())


def is_own_host(header: bytes, *, host: str) -> bool:
    """Whether a `Host` header names this machine by address, as localhost, or as `host`, with any port or none.

    >>> is_own_host(b"localhost:8001", host="127.0.0.1"), is_own_host(b"evil.example:8001", host="127.0.0.1")
    (True, False)
    """
    found = _HOST.fullmatch(header.strip())
    name = found[1].decode("latin-1").lower().removesuffix(".") if found else ""
    if name in {"localhost", host.lower()}:
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def guard(app: ASGIApp, *, token: str | None, host: str) -> ASGIApp:
    """The app behind its token; without one, behind the names of this machine. `host` is what the server binds."""
    return TokenMiddleware(app, token=token) if token else HostMiddleware(app, host=host)


def _is_page(path: str) -> bool:
    return _PAGES.fullmatch(path) is not None


def _password(credentials: bytes) -> bytes:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


class TokenMiddleware:
    """ASGI middleware that lets a request pass or answers 401; a websocket is closed with 1008."""

    def __init__(self, app: ASGIApp, *, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard one request."""
        if scope["type"] == "lifespan":  # type: ignore[comparison-overlap]
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        # Two Authorization headers are no credentials: what stands before us may have checked the other one.
        authorization = given[0] if len(given) == 1 else None
        if is_allowed(scope["path"], authorization=authorization, token=self._token):
            await self._app(scope, receive, send)
        elif scope["type"] == ScopeType.WEBSOCKET:
            await send({"type": "websocket.close", "code": 1008, "reason": "a bearer token is required"})
        else:
            await _refuse(send, ask_browser=_is_page(scope["path"]))


class HostMiddleware:
    """ASGI middleware that lets a request pass or answers 421; a websocket is closed with 1008."""

    def __init__(self, app: ASGIApp, *, host: str) -> None:
        self._app = app
        self._host = host

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Guard one request. No coroutine of its own: a webhook, which is open, pays for one look at its path."""
        if scope["type"] == "lifespan" or is_open(scope["path"]):  # type: ignore[comparison-overlap]
            return self._app(scope, receive, send)
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        foreign = next((value for value in hosts if not is_own_host(value, host=self._host)), None)
        if foreign is None:
            return self._app(scope, receive, send)
        if scope["type"] == ScopeType.WEBSOCKET:
            return send({"type": "websocket.close", "code": 1008, "reason": "this host name is not served here"})
        name = foreign[:200].decode("latin-1")
        detail = (
            f"Host is {name!r}: without auth.token only localhost, IP addresses and {self._host} are served, for under "
            "any other name a web page could read the history. Use http://localhost with the port, or set auth.token."
        )
        return _send_problem(send, 421, detail=detail)


async def _refuse(send: Send, *, ask_browser: bool) -> None:
    challenges = [(b"www-authenticate", b'Bearer realm="webhook-bridge"')]
    if ask_browser:
        challenges.append((b"www-authenticate", b'Basic realm="webhook-bridge", charset="UTF-8"'))
    detail = "The token is missing or wrong: send the header 'Authorization: Bearer <auth.token>'."
    await _send_problem(send, 401, detail=detail, headers=challenges)


async def _send_problem(send: Send, status: int, *, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = problem_document(problem_type_for_status(status), detail=detail)
    own = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
