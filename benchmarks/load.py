"""A load generator of one process: keep-alive connections that each send the next request when the answer is whole.

In: an address and the bytes of one request. Out: how many answers came, how long each took, and which statuses. It
reads just enough of HTTP/1.1 for our own server's answers (a status line and Content-Length), so that it costs the
machine some 20 µs a request and not the several hundred of a full client.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import cast

_LENGTH = b"content-length: "


@dataclass(slots=True)
class Load:
    """What came of one burst. Latencies in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """The latency, in milliseconds, that this share of the answers stayed below."""
        return statistics.quantiles(self.latencies, n=1000, method="inclusive")[round(share * 1000) - 1] * 1000


class _Client(asyncio.Protocol):
    def __init__(
        self, request: bytes, load: Load, stop_at: float, budget: list[int], done: asyncio.Future[None]
    ) -> None:
        self._request = request
        self._load = load
        self._stop_at = stop_at
        self._budget = budget
        self._done = done
        self._received = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._next()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            self._received = received
            return
        head = received[:end].lower()
        at = head.index(_LENGTH) + len(_LENGTH)
        stop = head.find(b"\r\n", at)
        size = int(head[at : stop if stop >= 0 else end])
        if len(received) < end + 4 + size:
            self._received = received
            return
        self._received = received[end + 4 + size :]
        now = time.perf_counter()
        self._load.latencies.append(now - self._sent_at)
        self._load.statuses[int(received[9:12])] += 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed a connection under load"))

    def _next(self) -> None:
        assert self._transport is not None
        now = time.perf_counter()
        if now >= self._stop_at or self._budget[0] <= 0:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._budget[0] -= 1
        self._sent_at = now
        self._transport.write(self._request)


async def _drive(host: str, port: int, request: bytes, connections: int, seconds: float, count: int) -> Load:
    loop = asyncio.get_running_loop()
    load, budget = Load(), [count]
    begun = time.perf_counter()
    waiting = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        await loop.create_connection(partial(_Client, request, load, begun + seconds, budget, done), host, port)
    async with asyncio.timeout(min(seconds, 600.0) + 60.0):
        await asyncio.gather(*waiting)
    load.seconds = time.perf_counter() - begun
    return load


def drive(
    port: int,
    request: bytes,
    *,
    connections: int = 16,
    seconds: float = 3600.0,
    count: int = 10**9,
    host: str = "127.0.0.1",
) -> Load:
    """Send `request` over so many connections until time or count is used up; raises where a connection fails."""
    import uvloop  # noqa: PLC0415 - a third of the cost of asyncio's own loop

    return uvloop.run(_drive(host, port, request, connections, seconds, count))


def post(path: str, body: bytes) -> bytes:
    """The bytes of a JSON POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str) -> bytes:
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
