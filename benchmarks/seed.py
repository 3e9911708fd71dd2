"""Fills an SQLite history with realistic records, fast: for measuring what a big history costs.

    python -m benchmarks.seed PATH COUNT

The records and their rollups go through the store's own schema and columns, with the disk's safety switched off while
they are loaded. Twenty plugins, thirty days, some failures and timeouts, small payloads; the same ones every time.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, cast

from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.storage import open_store
from otel_tracker.storage import rows as convert
from otel_tracker.storage.agreed import EXECUTION_BYTES, STORED
from otel_tracker.storage.buckets import Deltas
from otel_tracker.storage.tables import executions, payloads, rollup_durations, rollups, tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table

BATCH = 20_000
SPAN_NANOSECONDS = 30 * 86_400 * 1_000_000_000
INPUT = '{"action":"opened","number":%d,"repository":{"full_name":"ada/engine"},"sender":{"login":"user-%d"}}'

TAGS = '{"team":"engine"}'
"""Of one in twenty."""


def record(chance: random.Random, start: int) -> ExecutionRecord:
    """One execution that started at this nanosecond."""
    draw, duration = chance.random(), int(chance.lognormvariate(17.0, 1.2))
    status = Status.FAILED if draw < 0.04 else Status.TIMEOUT if draw < 0.05 else Status.COMPLETED
    error_type = {Status.FAILED: "connection_error", Status.TIMEOUT: "timeout"}.get(status, "")
    number = chance.randrange(100_000)
    return ExecutionRecord(
        id=uuid7(start, chance),
        plugin_name=f"plugin_{min(int(chance.expovariate(0.3)), 19):02d}",
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
        delivery_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        created_at=start,
        updated_at=start + duration,
    )


def uuid7(nanoseconds: int, chance: random.Random) -> str:
    """A UUIDv7 of that moment (RFC 9562), the rest drawn."""
    milliseconds = nanoseconds // 1_000_000
    value = milliseconds << 80 | 7 << 76 | chance.getrandbits(12) << 64 | 2 << 62 | chance.getrandbits(62)
    return str(uuid.UUID(int=value))


def records(count: int, *, seed: int = 1) -> Iterator[ExecutionRecord]:
    """`count` executions spread over the last thirty days, oldest first."""
    chance, now = random.Random(seed), time.time_ns()
    step = SPAN_NANOSECONDS // count
    return (record(chance, now - SPAN_NANOSECONDS + number * step) for number in range(count))


def tag_values(row: ExecutionRecord) -> list[tuple[str, str, str, int]]:
    """In the order of `tables.tags`."""
    return [(row.id, name, value, row.start_time) for name, value in convert.tag_pairs(row.tags)]


def insert(table: Table) -> str:
    """The driver's plain insert into every column."""
    names = ", ".join(column.name for column in table.columns)
    return f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(table.columns))})"  # noqa: S608 - our names


def seed(path: Path, count: int) -> float:
    """Fill a new history; says how many records a second went in."""
    open_store(f"sqlite:///{path}").close()
    begun = time.perf_counter()
    source, counted, stored = records(count), Deltas(3_600_000_000_000), 0
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-262144; PRAGMA foreign_keys=OFF")
        for start in range(0, count, BATCH):
            batch = [next(source) for _ in range(min(BATCH, count - start))]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert(executions), map(convert.execution_values, batch))
            connection.executemany(insert(payloads), map(convert.payload_values, batch))
            connection.executemany(insert(tags), (values for one in batch for values in tag_values(one)))
            connection.execute("COMMIT")
            counted.add(map(convert.counted, map(convert.execution_values, batch)))
            stored += sum(EXECUTION_BYTES + cast("int", convert.payload_values(one)[2]) for one in batch)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert(rollups), counted.count_rows())
        connection.executemany(insert(rollup_durations), counted.slot_rows())
        connection.execute("INSERT INTO settings (name, value) VALUES (?, ?)", (STORED, stored))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return count / (time.perf_counter() - begun)


if __name__ == "__main__":
    rate = seed(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"{sys.argv[2]} records in {sys.argv[1]}, {rate:.0f} a second")
