"""The HTTP protocol with limits: what a sender may cost before a request reaches the app.

In: bytes of one connection. Out: ASGI calls, or a problem document and a closed connection: 431 for headers too large
or too many, 414 for a request line too long, 408 for a sender too slow, 400 for what is not HTTP, 503 beyond
`max_connections`. uvicorn's own protocol takes a 2 MB header and holds a slow sender for ever; this one adds the limits
and nothing else. Never answers a sender's fault with a 5xx, never waits without a deadline.

After a refusal the connection lingers: we stop writing and discard what still arrives, for at most
`LINGER_SECONDS`. Closing at once with unread input would reset the connection and destroy the answer on its way.
An app's own answer that goes out before the request's body is whole says `Connection: close`, and ends like a refusal.
Written against uvicorn 0.54 (`uvicorn.protocols.http.httptools_impl`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from bridge_app.problems import MEDIA_TYPE, problem_document, problem_type_for_status

if TYPE_CHECKING:
    from asyncio import TimerHandle, Transport

    from uvicorn._types import ASGISendEvent

LINGER_SECONDS: Final = 1.0
LINGER_MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen and what a sender may cost. Times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8001
    max_header_bytes: int = 32_768
    max_headers: int = 100
    header_timeout_seconds: float = 10.0
    body_timeout_seconds: float = 30.0
    keep_alive_seconds: float = 30.0
    max_connections: int = 1000
    shutdown_grace_seconds: float = 30.0


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    REFUSED = auto()


class _RefusedError(Exception):
    """Raised inside a parser callback to stop the parser; what to answer is noted on the protocol."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Subclassed with `settings` set, because uvicorn makes the instances."""

    settings: ClassVar[ServerSettings] = ServerSettings()

    _phase = _Phase.IDLE
    _head_bytes = 0
    _discarded_bytes = 0
    _last_byte_at = 0.0
    _timer: TimerHandle | None = None  # the deadline of the current phase
    _refusal: tuple[int, str] | None = None
    _said_close = False  # on an answer that the body did not wait for

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Count the connection; the first request's head is due from now."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            self.connections.discard(self)
            self._refuse(503, f"All {self.settings.max_connections} connections of this server are in use.")
            return
        self._timer = self.loop.call_later(self.settings.header_timeout_seconds, self._head_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines, however the connection ended."""
        self._cancel_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then set the deadline of whatever is still incomplete."""
        if self._phase is _Phase.REFUSED:
            self._discard(data)
            return
        self._unset_keepalive_if_required()
        if self._phase is _Phase.IDLE:
            self._begin_head()
        was_in_head = self._phase is _Phase.HEAD
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No protocol to upgrade to: the request is answered as plain HTTP, and what follows cannot be parsed.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "This is not valid HTTP/1.1.")))
            return
        self._set_deadline(len(data) if was_in_head else 0)

    def _set_deadline(self, head_bytes: int) -> None:
        if self._phase is _Phase.BODY:
            self._last_byte_at = self.loop.time()
            if self._timer is None:  # the body is not whole with its head, as it is of most webhooks
                # Its task has not begun to run: it will take this in place of the cycle's own.
                self.cycle.send = partial(self._send, self.cycle)  # type: ignore[method-assign]
                self._timer = self.loop.call_later(self.settings.body_timeout_seconds, self._check_body)
        elif self._phase is _Phase.HEAD:
            self._head_bytes += head_bytes
            if self._head_bytes > self.settings.max_header_bytes:
                # The parser reports a header when it is whole; this one is still growing.
                self._refuse(*self._oversize())
            elif self._timer is None:
                self._timer = self.loop.call_later(self.settings.header_timeout_seconds, self._head_is_late)

    def on_message_begin(self) -> None:
        """Start a request's head; pipelined requests come here without passing IDLE."""
        super().on_message_begin()
        if self._phase is _Phase.IDLE:
            self._begin_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header, if there are not too many."""
        super().on_header(name, value)
        if len(self.headers) > self.settings.max_headers:
            self._stop_parsing(431, f"The request has more than {self.settings.max_headers} headers.")

    def on_headers_complete(self) -> None:
        """Weigh the whole head exactly, then start the request."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.settings.max_header_bytes:
            self._stop_parsing(*self._oversize())
        self._cancel_timer()
        self._phase = _Phase.BODY
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole: nothing is due from the sender."""
        self._cancel_timer()
        self._phase = _Phase.IDLE
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or end the connection when the sender still pushes a body nobody reads."""
        if self._said_close:
            self.pipeline.clear()
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._said_close:
            self._linger()
        elif self._phase is _Phase.HEAD:
            self._unset_keepalive_if_required()  # the next request has begun: its own deadline counts

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for bytes that are not HTTP."""
        self._refuse(400, msg)

    async def _send(self, cycle: RequestResponseCycle, message: ASGISendEvent) -> None:
        """The cycle's own `send`, for a request whose body came later than its head."""
        starts_early = message["type"] == "http.response.start" and cycle.more_body
        if starts_early:
            cycle.keep_alive = False  # adds the header
        await RequestResponseCycle.send(cycle, message)
        if starts_early:
            cycle.keep_alive = self._said_close = True  # false, the cycle itself would close at its end, and not linger

    def _begin_head(self) -> None:
        self._phase = _Phase.HEAD
        self._head_bytes = 0

    def _oversize(self) -> tuple[int, str]:
        limit = self.settings.max_header_bytes
        if not self.headers and len(getattr(self, "url", b"")) > limit // 2:
            return 414, f"The request line is too long: line and headers may have {limit} bytes together."
        return 431, f"The request line and headers have more than {limit} bytes."

    def _stop_parsing(self, status: int, detail: str) -> None:
        self._refusal = (status, detail)
        raise _RefusedError

    def _head_is_late(self) -> None:
        self._timer = None
        if self._phase is _Phase.IDLE:
            self.transport.close()  # it never said a word: there is no request to answer
            return
        self._refuse(408, f"The request's headers took longer than {self.settings.header_timeout_seconds} s.")

    def _check_body(self) -> None:
        """Refuse a stalled body; one timer per body, re-armed, because a timer per chunk would cost more."""
        self._timer = None
        now, limit = self.loop.time(), self.settings.body_timeout_seconds
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._last_byte_at = now  # the app is slow, not the sender
        rest = self._last_byte_at + limit - now
        if rest > 0:
            self._timer = self.loop.call_later(rest, self._check_body)
        else:
            self._refuse(408, f"The request's body stalled: no byte came for {limit} s.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer and end the connection, as far as an answer still fits into what was already written."""
        in_body = self._phase is _Phase.BODY
        self._phase = _Phase.REFUSED
        self._cancel_timer()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        pending = self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first
        if not pending:
            self._write_problem(status, detail)
        elif not in_body:
            self.cycle.keep_alive = False  # earlier requests are whole: they get their answers, then the end
        elif self.pipeline or self.cycle.response_started:
            self.transport.close()  # an answer is half written: a second one would be read as its rest
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._write_problem(status, detail)

    def _write_problem(self, status: int, detail: str) -> None:
        body = problem_document(problem_type_for_status(status), detail=detail)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self._linger()

    def _linger(self) -> None:
        self._phase = _Phase.REFUSED
        self._cancel_timer()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _discard(self, data: bytes) -> None:
        self._discarded_bytes += len(data)
        if self._discarded_bytes > LINGER_MAX_BYTES:
            self.transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
