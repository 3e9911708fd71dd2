"""The ASGI server: uvicorn, bound by us, limited by us, stopped in our order.

In: an ASGI app and `ServerSettings`. Out: it serves until SIGTERM or SIGINT, then returns normally (exit code 0).
Stop order: `on_stop` at once (readiness goes 503, event streams end), requests in flight finish for up to
`shutdown_grace_seconds` while whoever still comes is told 503, the rest are cancelled and get 503, no new connections,
then the app's lifespan shutdown, always. A second signal cuts the grace; a third kills. Never configures logging,
writes no access log, names no server software.
Written against uvicorn 0.54.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import uvicorn

from bridge_app.limits import LimitedProtocol, ServerSettings
from bridge_app.problems import MEDIA_TYPE, problem_document, problem_type_for_status

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Server", "ServerBindError", "ServerSettings", "make_server", "serve"]

_logger = logging.getLogger(__name__)

ASGIApp = Callable[[Any, Any, Any], Any]
_LAST_WORDS_SECONDS = 1.0  # for a cancelled request to answer 503, and for that to be taken

_REASONS: Mapping[int, str] = {
    errno.EADDRINUSE: "another program listens there: stop it, or choose another port with server.port",
    errno.EACCES: "ports below 1024 need root: choose a higher server.port",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose another server.host, such as 127.0.0.1",
}


class ServerBindError(OSError):
    """The address cannot be listened on. The message says which, why, and what to do."""


def serve(
    app: ASGIApp,
    settings: ServerSettings,
    *,
    on_stop: Callable[[], None],
    on_bound: Callable[[str, int], None],
) -> None:
    """Bind, tell `on_bound` the real host and port, serve until a signal. Raises `ServerBindError`.

    Call it in the main thread; `on_stop` runs there, once, in the event loop. When the app's lifespan start-up fails,
    uvicorn raises `SystemExit(3)`.
    """
    listener = bind(settings.host, port=settings.port)
    try:
        host, port = listener.getsockname()[:2]
        on_bound(host, port)
        make_server(app, settings, on_stop=on_stop).run(sockets=[listener])
    finally:
        listener.close()


def make_server(app: ASGIApp, settings: ServerSettings, *, on_stop: Callable[[], None]) -> Server:
    """A server that is not bound yet; `serve` is what programs want."""
    protocol = type("BridgeProtocol", (LimitedProtocol,), {"settings": settings})
    config = uvicorn.Config(
        _answer_when_cancelled(app),
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]  # call_later takes a float
    )
    return Server(config, on_stop=on_stop, grace_seconds=settings.shutdown_grace_seconds)


def bind(host: str, *, port: int) -> socket.socket:
    """A listening-ready socket on the first address of `host`. Raises `ServerBindError`."""
    listener: socket.socket | None = None
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Two sockets may bind one port with SO_REUSEADDR as long as neither listens: listen now, so it fails now.
        listener.listen(2048)
    except (OSError, OverflowError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        reason = _REASONS.get(getattr(error, "errno", 0) or 0, "check server.host and server.port")
        raise ServerBindError(f"Cannot listen on {host}:{port} ({error}): {reason}.") from error
    listener.settimeout(0)
    return listener


class Server(uvicorn.Server):
    """uvicorn's server with our way to stop."""

    def __init__(self, config: uvicorn.Config, *, on_stop: Callable[[], None], grace_seconds: float) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._grace_seconds = grace_seconds
        self._grace_ends = 0.0
        self._signals = 0
        self._in_hurry = False
        self._running_loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until stopped."""
        self._running_loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: stop gracefully. Second: stop waiting. Third: die of it.

        The signal is not kept for uvicorn to raise again: a stop that was asked for ends with exit code 0.
        """
        del frame  # the signature is signal's
        self._signals += 1
        if self._signals > 2:
            signal.signal(sig, signal.SIG_DFL)
            os.kill(os.getpid(), sig)
        elif self._running_loop is not None:
            self._running_loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """Begin to stop, `on_stop` first; called again, it cuts the grace. In the event loop's thread only."""
        if self.should_exit:
            self._in_hurry = True
            return
        try:
            self._on_stop()
        except Exception:
            _logger.exception("the stop callback failed; stopping all the same")
        self.should_exit = True

    async def main_loop(self) -> None:
        """Serve until a stop, and go on listening until what was in flight is answered."""
        await super().main_loop()
        loop = asyncio.get_running_loop()
        self._grace_ends = loop.time() + self._grace_seconds
        # Only what was in flight: what comes now is refused at once, and may come without end.
        left = set(self.server_state.tasks)
        while left and not self._in_hurry and loop.time() < self._grace_ends:
            await asyncio.sleep(0.02)
            left = {task for task in left if not task.done()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_LAST_WORDS_SECONDS)

    async def _wait_tasks_to_complete(self) -> None:
        # Of connections that still take their answers. uvicorn's own version skips the lifespan shutdown on a second
        # signal, and with it the flush of the spool.
        loop = asyncio.get_running_loop()
        last_words_end = loop.time() + _LAST_WORDS_SECONDS
        while self.server_state.connections or self.server_state.tasks:
            if loop.time() >= (last_words_end if self._in_hurry else max(last_words_end, self._grace_ends)):
                return
            await asyncio.sleep(0.02)


def _answer_when_cancelled(app: ASGIApp) -> ASGIApp:
    """The app, answering 503 in place of uvicorn's bare 500 for a request that outlives the grace."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, _without_traceback(send) if scope["type"] == "lifespan" else send)
        except asyncio.CancelledError:
            if scope["type"] != "http":
                raise
            with contextlib.suppress(RuntimeError):  # its answer had begun: uvicorn closes the connection
                await _send_stopping(send)

    return guarded


def _without_traceback(send: Any) -> Any:
    """A failed start-up is told without Litestar's traceback: the app keeps the exception, its caller says it."""

    async def quieter(message: Any) -> None:
        failed = message["type"] == "lifespan.startup.failed"
        await send({"type": message["type"]} if failed else message)

    return quieter


async def _send_stopping(send: Any) -> None:
    body = problem_document(problem_type_for_status(503), detail="The server stopped before the answer was ready.")
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", b"5"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
