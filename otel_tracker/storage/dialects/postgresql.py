"""PostgreSQL, by psycopg 3. New rows go by COPY; upserts as arrays, one statement each.

Measured with 512 rows a batch: `executemany` (pipelined) 15,000 rows/s, arrays in binary 39,000, COPY into a temporary
table and from there 43,000; COPY straight into the tables, which cannot upsert, 59,000.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, String, Text, any_, bindparam, literal_column, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError

from otel_tracker.storage.dialects.base import Batch, driver_error, values_of
from otel_tracker.storage.dialects.server import LOCK_SHARE, Server
from otel_tracker.storage.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column, ColumnElement, Table
    from sqlalchemy.engine import Connection

_LOCK: Final = 0x6F776231
"""Of `pg_advisory_lock`: one number a database, ours spells "owb1"."""
_DATA_CLASSES: Final = ("22", "23", "54")  # data exception, integrity violation, program limit exceeded
_SCHEMA_CODES: Final = ("42P01", "42703", "3F000")  # undefined table, undefined column, invalid schema
_REFUSALS: Final = ("08", "25", "28", "42", "53", "57P", "58", "F0")
"""Classes of connection, transaction state (read-only), account, access, resources (disk, memory), shutdown, system."""
_LOCKS: Final = ("40001", "40P01", "55P03")  # serialization failure, deadlock, lock not available
_IN_ORDER: Final = "-c seq_page_cost=0.02 -c random_page_cost=0.022 -c enable_bitmapscan=off"
"""A page is to be read off the index of its filter, in order. As planned for slow disks, a plugin that was called often
and is no more is looked for among all by start, from the newest on; and of failed ones all are read and sorted."""
_dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own signature


class PostgreSQL(Server):
    """A PostgreSQL server, 13 or newer."""

    name = "postgresql"
    driver_package = "psycopg"
    unsynced = "SET LOCAL synchronous_commit = off"
    clock: ColumnElement[int] = literal_column(
        "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) * 1000000", BigInteger
    )

    def connect_arguments(self, *, connect: float, seconds: float, read_only: bool) -> dict[str, Any]:
        """Statement timeouts are the server's as well, so that it gives up what nobody waits for any more.

        That for locks is shorter, so that it says what it was.
        """
        options = (
            f"-c statement_timeout={round(seconds * 1000)} -c lock_timeout={round(seconds * 1000 * LOCK_SHARE)}"
            " -c timezone=UTC"
        )
        if read_only:
            options += f" -c default_transaction_read_only=on {_IN_ORDER}"
        return {
            "connect_timeout": max(2, round(connect)),
            "options": options,
            "application_name": "otel-webhook-bridge",
            "keepalives_idle": 30,
        }

    def descriptor(self, driver_connection: Any) -> int:
        """Of the connection's socket."""
        return int(driver_connection.fileno())

    @contextlib.contextmanager
    def schema_lock(self, connection: Connection) -> Iterator[None]:
        """An advisory lock of the session."""
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar():
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})

    def among(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """`= ANY` of an array: one parameter, and one plan for any number of values."""
        return column == any_(bindparam("ids", type_=postgresql.ARRAY(Text)))

    def insert(self, table: Table) -> Batch:
        """COPY."""
        columns = ", ".join(_name(column.name) for column in table.columns)
        sql = f"COPY {_name(table.name)} ({columns}) FROM STDIN"

        def run(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
            driver: Any = connection.connection.driver_connection
            try:
                with driver.cursor() as cursor, cursor.copy(sql) as copy:
                    for row in rows:
                        copy.write_row(row)
            except driver.Error as error:
                raise DBAPIError(sql, None, error) from error  # as SQLAlchemy would, had it gone through it

        return run

    def upsert(self, table: Table, *, key: Sequence[str], guard: str | None) -> Batch:
        """`INSERT ... SELECT FROM unnest(...) ON CONFLICT`, an array for each column."""
        if guard is None:
            return _insert(table, key=key, then="NOTHING")
        changes = ", ".join(f"{_name(c.name)} = EXCLUDED.{_name(c.name)}" for c in values_of(table, key))
        grew = f"EXCLUDED.{_name(guard)} > {_name(table.name)}.{_name(guard)}"
        return _insert(table, key=key, then=f"UPDATE SET {changes} WHERE {grew}")

    def merge(
        self, table: Table, *, key: Sequence[str], add: Sequence[str], least: Sequence[str], greatest: Sequence[str]
    ) -> Batch:
        """The same, with sums, LEAST and GREATEST."""
        changes = [f"{_name(name)} = {_old(table, name)} + EXCLUDED.{_name(name)}" for name in add]
        for function, names in (("LEAST", least), ("GREATEST", greatest)):
            changes += [f"{_name(name)} = {function}({_old(table, name)}, EXCLUDED.{_name(name)})" for name in names]
        return _insert(table, key=key, then=f"UPDATE SET {', '.join(changes)}")

    def is_data_error(self, error: BaseException) -> bool:
        """By SQLSTATE; a value that the driver itself refuses has none."""
        cause = driver_error(error)
        state = getattr(cause, "sqlstate", None)
        if state is not None:
            return str(state).startswith(_DATA_CLASSES)
        return type(cause).__name__ in {"DataError", "ProgrammingError"} or isinstance(
            cause, (TypeError, KeyError, ValueError, OverflowError)
        )

    def is_schema_error(self, error: BaseException) -> bool:
        """By SQLSTATE."""
        return getattr(driver_error(error), "sqlstate", None) in _SCHEMA_CODES

    def is_refusal(self, error: BaseException) -> bool:
        """By SQLSTATE; an error of the connection itself has none."""
        return str(getattr(driver_error(error), "sqlstate", None) or "").startswith(_REFUSALS)

    def is_locked(self, error: BaseException) -> bool:
        """By SQLSTATE."""
        return getattr(driver_error(error), "sqlstate", None) in _LOCKS

    def identity(self, connection: Connection) -> tuple[object, ...]:
        """When the server started, in microseconds, and what it calls the database: the host may have many names."""
        return tuple(connection.execute(text("SELECT pg_postmaster_start_time(), current_database()")).one())

    def table_sizes(self, connection: Connection) -> dict[str, int]:
        """With their TOAST tables; the server keeps these figures."""
        names = [table.name for table in metadata.sorted_tables]
        statement = text(
            "SELECT n, COALESCE(pg_total_relation_size(to_regclass(n)), 0) FROM unnest(CAST(:names AS text[])) AS n"
        )
        return {name: int(size) for name, size in connection.execute(statement, {"names": names})}


def _insert(table: Table, *, key: Sequence[str], then: str) -> Batch:
    columns = ", ".join(_name(column.name) for column in table.columns)
    arrays = ", ".join(f"%b::{_array_type(column)}[]" for column in table.columns)
    sql = (
        f"INSERT INTO {_name(table.name)} ({columns}) SELECT * FROM unnest({arrays}) "  # noqa: S608 - our own names
        f"ON CONFLICT ({', '.join(map(_name, key))}) DO {then}"
    )

    def run(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        connection.exec_driver_sql(sql, tuple(list(column) for column in zip(*rows, strict=True)))

    return run


def _old(table: Table, name: str) -> str:
    return f"{_name(table.name)}.{_name(name)}"


def _name(name: str) -> str:
    return str(_dialect.identifier_preparer.quote(name))


def _array_type(column: Column[Any]) -> str:
    # A cast to varchar(n) would cut what is too long, without an error.
    return "TEXT" if isinstance(column.type, String) else column.type.compile(_dialect)
