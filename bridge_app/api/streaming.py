"""A response whose body is made while it is sent, and that cannot end early without the client noticing.

In: an iterator of bytes that may block; each step of it runs in a thread. Out: the body in chunks. Where the iterator
fails, the connection ends without the terminating chunk (RFC 9112, 8: the message is incomplete). Where the client
goes away, no further step is taken. HEAD takes none.

Litestar's own `Stream` reads a ValueError of the iterator as its regular end, and takes every step for HEAD too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from anyio import CancelScope, create_task_group
from litestar import Response
from litestar.concurrency import sync_to_thread
from litestar.response.base import ASGIResponse

from otel_tracker.errors import StorageError

if TYPE_CHECKING:
    from litestar import Litestar, Request
    from litestar.types import Receive, Scope, Send

_logger: Final = logging.getLogger(__name__)


class ByteStream(Response[Any]):
    """What a handler returns. Read of `chunks` beforehand what may fail: only then is a failure a problem document."""

    def __init__(self, chunks: Iterator[bytes], *, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content=b"", headers={"content-type": media_type, **(headers or {})})
        self._chunks = chunks
        self._on_end: Callable[[], object] = _nothing

    def on_end(self, act: Callable[[], object]) -> None:
        """Have `act` called, once, when the last of the body is made, or the answer is broken off or given up."""
        self._on_end = act

    def to_asgi_response(self, app: Litestar | None, request: Request[Any, Any, Any], **_: Any) -> ASGIResponse:
        """Called by Litestar."""
        del app
        is_head = request.method == "HEAD"
        return _ChunkedResponse(self._chunks, self._on_end, headers=dict(self.headers), is_head_response=is_head)


class _ChunkedResponse(ASGIResponse):
    _should_set_content_length = False

    def __init__(
        self,
        chunks: Iterator[bytes],
        on_end: Callable[[], object],
        *,
        headers: dict[str, str],
        is_head_response: bool,
    ) -> None:
        super().__init__(headers=headers, is_head_response=is_head_response)
        self._chunks = chunks
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._end()

    async def send_body(self, send: Send, receive: Receive) -> None:
        async with create_task_group() as group:
            group.start_soon(_cancel_when_gone, group.cancel_scope, receive)
            await self._send_chunks(send)
            group.cancel_scope.cancel()

    async def _send_chunks(self, send: Send) -> None:
        """The last event is what the server makes the terminating chunk of; without it, it closes the connection."""
        try:
            while (chunk := await sync_to_thread(next, self._chunks, None)) is not None:
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except StorageError as error:
            _logger.warning("an answer was broken off: %s", error)
        except Exception:
            _logger.exception("an answer was broken off")
        else:
            self._end()  # before the client knows that it has all
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _end(self) -> None:
        on_end, self._on_end = self._on_end, _nothing
        on_end()


def _nothing() -> None:
    """Nobody waits for the end."""


async def _cancel_when_gone(scope: CancelScope, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
