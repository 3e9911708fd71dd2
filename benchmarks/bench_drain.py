"""How fast a drain fills each database, next to its driver's own best way to insert into the same tables.

    python -m benchmarks.bench_drain [sqlite postgresql mysql]

Both write the same records into databases of their own, batch by batch in turn, one transaction a batch. Ours decodes
frames, looks for versions that are there already, upserts executions and payloads and keeps the rollups. The driver's
best: `executemany` for SQLite and MySQL, COPY for PostgreSQL. Servers are those of the tests (`TEST_POSTGRESQL`,
`TEST_MYSQL`); one that is missing is left out, with a line that says so.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec
import psycopg
import pymysql

from benchmarks.seed import insert, record
from exporters.sql import ExecutionRecordExporter
from otel_tracker.storage import open_store
from otel_tracker.storage.dialects.sqlite import _WRITER_PRAGMAS
from otel_tracker.storage.rows import execution_values, payload_values
from otel_tracker.storage.tables import executions, payloads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_tracker.record import ExecutionRecord

BATCH, ROUNDS = 2048, 12
POSTGRESQL = os.environ.get("TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432")
MYSQL = os.environ.get("TEST_MYSQL", "mysql://root@127.0.0.1:3306")
_TABLES = ((executions, execution_values), (payloads, payload_values))


class Raw(Protocol):
    """A driver at its best."""

    def write(self, records: Sequence[ExecutionRecord]) -> None:
        """Insert them, in one transaction."""
        ...


class RawSQLite:
    """`executemany`, with the pragmas of our writer."""

    def __init__(self, url: str) -> None:
        self._connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        for pragma in (*_WRITER_PRAGMAS, "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}").fetchall()

    def write(self, records: Sequence[ExecutionRecord]) -> None:
        """See `Raw`."""
        self._connection.execute("BEGIN IMMEDIATE")
        for table, values in _TABLES:
            self._connection.executemany(insert(table), map(values, records))
        self._connection.execute("COMMIT")


class RawPostgreSQL:
    """COPY."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url)

    def write(self, records: Sequence[ExecutionRecord]) -> None:
        """See `Raw`."""
        with self._connection.cursor() as cursor:
            for table, values in _TABLES:
                columns = ", ".join(f'"{column.name}"' for column in table.columns)
                with cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN".encode()) as copy:
                    for one in records:
                        copy.write_row(values(one))
        self._connection.commit()


class RawMySQL:
    """`executemany`, which makes statements of many rows."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection: pymysql.Connection[Any] = pymysql.connect(
            host=parts.hostname or "",
            port=parts.port or 3306,
            user=parts.username or "",
            password=parts.password or "",
            database=parts.path.strip("/"),
        )

    def write(self, records: Sequence[ExecutionRecord]) -> None:
        """See `Raw`."""
        with self._connection.cursor() as cursor:
            for table, values in _TABLES:
                columns = ", ".join(f"`{column.name}`" for column in table.columns)
                places = ", ".join(["%s"] * len(table.columns))
                cursor.executemany(
                    f"INSERT INTO {table.name} ({columns}) VALUES ({places})",  # noqa: S608 - our own tables' names
                    [values(one) for one in records],
                )
        self._connection.commit()


RAW: dict[str, type[RawSQLite | RawPostgreSQL | RawMySQL]] = {
    "sqlite": RawSQLite,
    "postgresql": RawPostgreSQL,
    "mysql": RawMySQL,
}


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """An empty one, gone afterwards; its URL."""
    name = f"bridge_bench_{uuid.uuid4().hex[:12]}"
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/executions.db"
    elif kind == "postgresql":
        with psycopg.connect(f"{POSTGRESQL}/postgres", autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}".encode())
            try:
                yield f"{POSTGRESQL}/{name}"
            finally:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    else:
        parts = urlsplit(MYSQL)
        server_of_mysql: pymysql.Connection[Any] = pymysql.connect(
            host=parts.hostname or "", port=parts.port or 3306, user=parts.username or "", password=parts.password or ""
        )
        with server_of_mysql as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            try:
                yield f"{MYSQL}/{name}"
            finally:
                cursor.execute(f"DROP DATABASE {name}")


def measure(kind: str) -> None:
    """Print one database's line."""
    chance = random.Random(7)
    with database(kind) as ours_url, database(kind) as raw_url:
        open_store(raw_url).close()  # makes the same tables
        raw: Raw = RAW[kind](raw_url)
        with contextlib.closing(open_store(ours_url)) as store:
            drain = ExecutionRecordExporter(store)
            took = []
            for number in range(ROUNDS):
                start = 1_700_000_000_000_000_000 + number * 10**10
                records = [record(chance, start + index * 10**6) for index in range(BATCH)]
                frames = [msgspec.msgpack.encode(one) for one in records]
                begun = time.perf_counter()
                raw.write(records)
                written = time.perf_counter()
                assert drain.deliver(frames).rejected == ()
                took.append((written - begun, time.perf_counter() - written))
    rates = [BATCH / statistics.median(column) for column in zip(*took, strict=True)]
    ratio = statistics.median(a / b for a, b in took)
    print(
        f"drain     {kind:10} {rates[1]:6.0f} rows/s, the driver's best {rates[0]:6.0f}: "
        f"ratio {ratio:.2f} (must 0.50, aim 0.80)"
    )


def main(kinds: Sequence[str] = tuple(RAW)) -> None:
    """Print a line for each."""
    for kind in kinds:
        try:
            measure(kind)
        except (psycopg.OperationalError, pymysql.err.OperationalError) as error:
            print(f"drain     {kind:10} left out: {' '.join(str(error).split())[:90]}")


if __name__ == "__main__":
    main(sys.argv[1:] or tuple(RAW))
