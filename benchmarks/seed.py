"""Fills a history with realistic records, fast: for measuring what a big one costs.

    python -m benchmarks.seed DATABASE COUNT

DATABASE is the path of an SQLite file or the URL of an empty database on a server. The records and their rollups go
through the store's own schema and columns, by the fastest insert that the driver has. While they are loaded SQLite's
safety is off and there are no indexes but the keys. Forty plugins, sixty days up to now, some failures and timeouts,
payloads of some 120 bytes; the same ones every time. A second process makes the records.
"""

from __future__ import annotations

import contextlib
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store
from otel_tracker.storage import rows as convert
from otel_tracker.storage.agreed import EXECUTION_BYTES, STORED
from otel_tracker.storage.buckets import Deltas
from otel_tracker.storage.tables import executions, payloads, tags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from sqlalchemy import Table

    from otel_tracker.storage.store import SqlStore

BATCH = 20_000
AHEAD = 2
"""Batches that are made before they are asked for."""
PLUGINS = 40
DAY = 86_400 * 1_000_000_000
SPAN_NANOSECONDS = 60 * DAY
INPUT = '{"action":"opened","number":%d,"repository":{"full_name":"ada/engine"},"sender":{"login":"user-%d"}}'

TAGS = '{"team":"engine"}'
"""Of one in twenty."""

_LOADING = ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1048576", "foreign_keys=OFF")
_STATISTICS = {"postgresql": "VACUUM ANALYZE", "mysql": "ANALYZE TABLE executions, execution_payloads, execution_tags"}
"""What servers do by themselves some minutes after so many rows came."""


class Batch(NamedTuple):
    """Rows in the order of the tables' columns."""

    executions: list[tuple[object, ...]]
    payloads: list[tuple[object, ...]]
    tags: list[tuple[object, ...]]


def record(chance: random.Random, start: int) -> ExecutionRecord:
    """One execution that started at this nanosecond."""
    draw, duration = chance.random(), int(chance.lognormvariate(17.0, 1.2))
    status = Status.FAILED if draw < 0.04 else Status.TIMEOUT if draw < 0.05 else Status.COMPLETED
    error_type = {Status.FAILED: "connection_error", Status.TIMEOUT: "timeout"}.get(status, "")
    number = chance.randrange(100_000)
    return ExecutionRecord(
        id=uuid7(start, chance),
        plugin_name=f"plugin_{min(int(chance.expovariate(0.15)), PLUGINS - 1):02d}",
        status=status,
        start_time=start,
        end_time=start + duration,
        rank=Rank.ENDED,
        http_method="POST",
        input=INPUT % (number, number % 997),
        output='{"status":"success"}' if status is Status.COMPLETED else "",
        error=f"no answer for {number}" if error_type else "",
        error_type=error_type,
        duration=duration,
        trace_id=f"{chance.getrandbits(128):032x}",
        span_id=f"{chance.getrandbits(64):016x}",
        user_agent="GitHub-Hookshot/0f1b2c3",
        remote_ip="192.0.2.10",
        tags=TAGS if number % 20 == 0 else "{}",
        logs="[]",
        instance_id="0199f2b0-6d5e-7c1a-9f00-3f1c5f6a7b8c",
        delivery_id=_dashed(chance.getrandbits(76) << 52 | 4 << 48 | chance.getrandbits(48)),
        created_at=start,
        updated_at=start + duration,
    )


def uuid7(nanoseconds: int, chance: random.Random) -> str:
    """A UUIDv7 of that moment (RFC 9562), the rest drawn."""
    milliseconds = nanoseconds // 1_000_000
    return _dashed(milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62))


def _dashed(value: int) -> str:
    """As `str(uuid.UUID(int=value))`, in a third of the time."""
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def insert(table: Table) -> str:
    """The driver's plain insert into every column of an SQLite table."""
    names = ", ".join(column.name for column in table.columns)
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(table.columns))})"  # noqa: S608 - our names


def made(first: int, *, count: int, end: int) -> Batch:
    """The records from number `first` on, of `count` that are spread evenly over the days before `end`."""
    chance, step = random.Random(first), SPAN_NANOSECONDS // count
    numbers = range(first, min(first + BATCH, count))
    records = [record(chance, end - SPAN_NANOSECONDS + number * step) for number in numbers]
    return Batch(
        [convert.execution_values(one) for one in records],
        [convert.payload_values(one) for one in records],
        [(one.id, *pair, one.start_time) for one in records for pair in convert.tag_pairs(one.tags)],
    )


def batches(count: int) -> Iterator[Batch]:
    """`count` executions, oldest first."""
    end = time.time_ns()
    with ProcessPoolExecutor(1) as other:
        ahead: list[Future[Batch]] = []
        for first in range(0, count, BATCH):
            ahead.append(other.submit(partial(made, first, count=count, end=end)))
            if len(ahead) > AHEAD:
                yield ahead.pop(0).result()
        yield from (one.result() for one in ahead)


def seed(database: Path | str, count: int) -> float:
    """Fill a new file, or an empty database by its URL; says how many records a second went in, all told."""
    url = f"sqlite:///{database}" if isinstance(database, Path) else database
    begun = time.perf_counter()
    with contextlib.closing(open_store(url, statement_timeout_seconds=3600.0, enable_wal=False)) as store:
        _relax(store)
        _change_indexes(store, "drop")
        _load(store, count)
        _change_indexes(store, "create")
        _gather_statistics(store)
    open_store(url).close()  # has an SQLite file in WAL mode
    return count / (time.perf_counter() - begun)


def _load(store: SqlStore, count: int) -> None:
    dialect, counted, stored = store.database.dialect, Deltas(store.bucket_seconds() * 1_000_000_000), 0
    targets = [(name, dialect.insert(table)) for name, table in zip(Batch._fields, _TABLES, strict=True)]
    for batch in batches(count):
        counted.add(map(convert.counted, batch.executions))
        stored += EXECUTION_BYTES * len(batch.executions) + convert.total(batch.payloads, _PAYLOAD_BYTES)
        with store.database.write() as connection:
            for name, put in targets:
                if rows := getattr(batch, name):
                    put(connection, rows)
    with store.database.write() as connection:
        store.rollups.begin(connection)
        store.rollups.apply(connection, counted)
        store.rollups.change(connection, {STORED: stored})


_PAYLOAD_BYTES = payloads.columns.keys().index("bytes")
_TABLES = (executions, payloads, tags)


def _change_indexes(store: SqlStore, change: str) -> None:
    with store.database.write() as connection:
        for index in sorted((one for table in _TABLES for one in table.indexes), key=lambda one: str(one.name)):
            getattr(index, change)(connection)


def _relax(store: SqlStore) -> None:
    """An SQLite connection that writes is kept, so its pragmas are."""
    if store.database.dialect.name == "sqlite":
        with store.database.maintained() as engine, engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            for pragma in _LOADING:
                driver.execute(f"PRAGMA {pragma}").fetchall()


def _gather_statistics(store: SqlStore) -> None:
    """Of servers."""
    statement = _STATISTICS.get(store.database.dialect.name)
    if statement:
        with store.database.maintained() as engine, engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))


if __name__ == "__main__":
    named = sys.argv[1]
    rate = seed(named if "://" in named else Path(named), int(sys.argv[2]))
    print(f"{sys.argv[2]} records in {named}, {rate:.0f} a second")
