"""What a frozen database costs a webhook, and how fast the spool is caught up afterwards while traffic goes on.

    python -m benchmarks.bench_outage [sqlite postgresql mysql]

One bridge for each database; bursts of 16 connections in turn, the database answering and not. Frozen means: SQLite's
file is locked by another connection; a server's bytes are held back on the way, with the connections open. Then the
backlog is drained while a paced sender goes on, and the records that reach the store are compared with those that come.
Servers are those of `bench_drain`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import psycopg
import pymysql

from benchmarks.bench_drain import RAW, database
from benchmarks.bridge import BODY, bridge, storage_settings
from benchmarks.load import drive, post

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROUNDS, SECONDS = 6, 2.0
PACED_PER_SECOND = 400
REQUEST = post("/api/v1/webhook/bench", BODY)


class Freezer(Protocol):
    """What can stop a database from answering."""

    def freeze(self) -> None:
        """From now on."""
        ...

    def thaw(self) -> None:
        """It answers again, what was held back first."""
        ...


class LockedFile:
    """SQLite: a connection that has the file to itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def freeze(self) -> None:
        """See `Freezer`."""
        self._connection = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        self._connection.execute("BEGIN IMMEDIATE")

    def thaw(self) -> None:
        """See `Freezer`."""
        assert self._connection is not None
        self._connection.close()


class HoldingProxy:
    """A server: bytes in both directions, held back while frozen."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """See `Freezer`."""
        self._flowing.clear()

    def thaw(self) -> None:
        """See `Freezer`."""
        self._flowing.set()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                target.sendall(data)
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def bridge_on(kind: str, folder: Path) -> Iterator[tuple[int, Freezer]]:
    """A bridge on a database of its own; its port, and what freezes the database."""
    if kind == "sqlite":
        with bridge(folder) as (port, _):
            yield port, LockedFile(folder / "data" / "executions.db")
        return
    with database(kind) as url:
        parts = urlsplit(url)
        proxy = HoldingProxy(parts.hostname or "", parts.port or 0)
        proxied = parts._replace(netloc=f"{parts.username}:{parts.password or ''}@127.0.0.1:{proxy.port}").geturl()
        with bridge(folder, **storage_settings(proxied)) as (port, _):
            yield port, proxy


def health(port: int) -> dict[str, int]:
    """What `/health` says of the spool."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
        spool: dict[str, int] = json.load(answer)["spool"]
        return spool


def burst(port: int) -> float:
    """The p99 of a burst, in milliseconds; every answer is 200."""
    load = drive(port, REQUEST, connections=16, seconds=SECONDS)
    assert set(load.statuses) == {200}, load.statuses
    return load.quantile(0.99)


def caught_up(port: int, thaw: Callable[[], None]) -> tuple[float, float]:
    """Records stored a second, and those that came a second, from the thaw until the backlog is gone."""
    stop = threading.Event()
    sent = 0

    def send() -> None:
        nonlocal sent
        while not stop.is_set():
            begun = time.perf_counter()
            drive(port, REQUEST, connections=4, count=PACED_PER_SECOND // 10)
            sent += PACED_PER_SECOND // 10
            time.sleep(max(0.0, 0.1 - (time.perf_counter() - begun)))

    sender = threading.Thread(target=send)
    sender.start()
    before = health(port)["delivered"]
    thaw()
    while health(port)["delivered"] == before:
        time.sleep(0.005)
    begun, first, sent_before = time.perf_counter(), health(port)["delivered"], sent
    while health(port)["frames"] > PACED_PER_SECOND:
        time.sleep(0.01)
    seconds = time.perf_counter() - begun
    rates = (health(port)["delivered"] - first) / seconds, (sent - sent_before) / seconds
    stop.set()
    sender.join()
    return rates


def measure(kind: str) -> None:
    """Print one database's lines."""
    with tempfile.TemporaryDirectory() as folder, bridge_on(kind, Path(folder)) as (port, freezer):
        burst(port)
        pairs = []
        for _ in range(ROUNDS):
            healthy = burst(port)
            freezer.freeze()
            pairs.append((healthy, burst(port)))
            freezer.thaw()
            while health(port)["frames"]:
                time.sleep(0.05)
        freezer.freeze()
        drive(port, REQUEST, connections=16, count=30_000)
        stored, arriving = caught_up(port, freezer.thaw)
    healthy, frozen = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = statistics.median(b - a for a, b in pairs)
    print(
        f"outage    {kind:10} p99 healthy {healthy:.2f} ms, frozen {frozen:.2f}: added {added:.2f} ms (must 5, aim 1)"
    )
    print(
        f"outage    {kind:10} caught up at {stored:.0f} records/s while {arriving:.0f} came: "
        f"ratio {stored / max(arriving, 1):.1f} (must 5, aim 10)",
        flush=True,
    )


def main(kinds: Sequence[str] = tuple(RAW)) -> None:
    """Print two lines for each."""
    for kind in kinds:
        try:
            measure(kind)
        except (psycopg.OperationalError, pymysql.err.OperationalError) as error:
            print(f"outage    {kind:10} left out: {' '.join(str(error).split())[:90]}")


if __name__ == "__main__":
    main(sys.argv[1:] or tuple(RAW))
