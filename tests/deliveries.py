"""Deliveries over raw sockets, many at once, and an exact account of what was sent and what was answered.

Only an answer that arrived whole counts as one: a connection that breaks leaves its delivery unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST; `ticket` is unique and travels as the sender's delivery id and in the body."""

    ticket: str
    plugin: str
    body: bytes

    def to_http(self) -> bytes:
        head = (
            f"POST /api/v1/webhook/{self.plugin} HTTP/1.1\r\nHost: bridge\r\nContent-Type: application/json\r\n"
            f"webhook-id: {self.ticket}\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    delivery: Delivery
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def execution_id(self) -> str:
        return self.headers.get("x-execution-id", "")

    @property
    def durable(self) -> str:
        return self.headers.get("x-execution-durable", "")


@dataclass(slots=True)
class Account:
    """What was sent, by ticket, and what was answered."""

    sent: dict[str, Delivery] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)


class Load:
    """Sends deliveries in a thread of its own, until they run out or the server goes."""

    def __init__(self, url: str, deliveries: Iterator[Delivery], account: Account, *, connections: int = 16) -> None:
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        self._address = (host, int(port))
        self._deliveries = deliveries
        self._account = account
        self._connections = connections
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def start(self) -> Load:
        self._thread.start()
        return self

    def join(self) -> None:
        """Wait until nothing is on its way any more."""
        self._thread.join(30)
        assert not self._thread.is_alive(), "a connection hangs"

    async def _run(self) -> None:
        await asyncio.gather(*(self._converse() for _ in range(self._connections)))

    async def _converse(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # the server went: what was answered counts
            reader, writer = await asyncio.open_connection(*self._address)
            try:
                for delivery in self._deliveries:
                    self._account.sent[delivery.ticket] = delivery
                    writer.write(delivery.to_http())
                    self._account.answers.append(await _answer(reader, delivery))
            finally:
                writer.close()


async def _answer(reader: asyncio.StreamReader, delivery: Delivery) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Answer(delivery, int(head[0].split()[1]), headers, body)


def delivery(ticket: str, plugin: str, **data: object) -> Delivery:
    return Delivery(ticket, plugin, json.dumps({"ticket": ticket, **data}).encode())
