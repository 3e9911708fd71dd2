"""MySQL and MariaDB, by PyMySQL. Batches go as statements of many rows; text is utf8mb4 and compared byte by byte.

Measured with 512 rows a batch on MariaDB: PyMySQL 19,700 rows/s, mysqlclient 20,500, asyncmy 24,400. PyMySQL is within
a few percent of the one in C, and needs no compiler and no headers to install.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, bindparam, event, literal_column, text
from sqlalchemy.dialects import mysql

from otel_tracker.errors import ConfigurationError, StorageUnavailableError
from otel_tracker.storage.dialects.base import Batch, driver_error, in_list, values_of
from otel_tracker.storage.dialects.server import LOCK_SHARE, Server
from otel_tracker.storage.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import ColumnElement, Engine, Table
    from sqlalchemy.engine import URL, Connection

    from otel_tracker.storage.dialects.server import Timeouts

_LOCK: Final = "otel-webhook-bridge schema"
_LOCK_SECONDS: Final = 600
_SSL_MODES: Final = ("disable", "prefer", "require", "verify-ca", "verify-full")
_SCHEMA_CODES: Final = (1054, 1146)  # unknown column, no such table
_REFUSALS: Final = frozenset(
    {
        *(3, 14, 28, 1016, 1021, 1026, 1030, 1037, 1038, 1041, 1114),  # files, disk, memory, a table that is full
        *(1040, 1053, 1203, 1226),  # too many connections, shutdown
        *(1044, 1045, 1142, 1143, 1227, 1370),  # account and access
        *(1290, 1792, 1836),  # read-only
    }
)
_LOCKS: Final = (1205, 1213)  # waited too long, deadlock
_ACCESS_DENIED: Final = 1045
_TOO_LARGE: Final = 1153
"""Of max_allowed_packet. The driver cuts batches into statements of a megabyte: a single row did not fit."""
_dialect = mysql.dialect()


class MySQL(Server):
    """MySQL 8 or newer, MariaDB 10.6 or newer."""

    name = "mysql"
    driver_package = "PyMySQL"
    clock: ColumnElement[int] = literal_column(
        "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED) * 1000000", BigInteger
    )

    def __init__(self, url: URL, *, max_connections: int, timeouts: Timeouts, auto_migrate: bool) -> None:
        """`sslmode` and `sslrootcert` of the URL's query mean what they mean to libpq."""
        self._ssl_mode = _one(url, "sslmode") or "prefer"
        self._ssl_root_cert = _one(url, "sslrootcert")
        if self._ssl_mode not in _SSL_MODES:
            raise ConfigurationError(f"sslmode is {self._ssl_mode!r}: known are {', '.join(_SSL_MODES)}")
        super().__init__(
            url.difference_update_query(["sslmode", "sslrootcert"]),
            max_connections=max_connections,
            timeouts=timeouts,
            auto_migrate=auto_migrate,
        )

    def connect_arguments(self, *, connect: float, seconds: float, read_only: bool) -> dict[str, Any]:  # noqa: ARG002 - see `reader_engine`
        """The driver ends each wait on its socket by itself; `Deadlines` ends them all together.

        The server gives up as well: a statement that nobody waits for any more would hold its locks, and the writer up.
        Only MariaDB bounds every statement. Both bound the wait for locks, which ends earlier, to say what it was.
        """
        lock_seconds = max(1, int(seconds * LOCK_SHARE))
        return {
            "connect_timeout": connect,
            "read_timeout": seconds,
            "write_timeout": seconds,
            "charset": "utf8mb4",
            **self._tls(),
            "init_command": (
                "SET sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', "
                f"innodb_lock_wait_timeout = {lock_seconds} /*M! , max_statement_time = {seconds:.3f} */"
            ),
        }

    def reader_engine(self) -> Engine:
        """Connections that cannot write: by a statement, as MySQL and MariaDB name the variable differently."""
        engine = super().reader_engine()

        @event.listens_for(engine, "connect")
        def read_only(connection: Any, _record: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")

        return engine

    def _tls(self) -> dict[str, Any]:
        """Of PyMySQL 1.2: told nothing it prefers TLS, with a context it insists on it."""
        if self._ssl_mode == "prefer":
            return {}
        if self._ssl_mode == "disable":
            return {"ssl_disabled": True}
        context = ssl.create_default_context(cafile=self._ssl_root_cert or None)
        context.check_hostname = self._ssl_mode == "verify-full"
        if self._ssl_mode == "require":
            context.verify_mode = ssl.CERT_NONE
        return {"ssl": context}

    def advice(self, error: BaseException) -> str:
        """MariaDB that demands TLS tells those without it that user or password are wrong."""
        is_denied = _number(error) == _ACCESS_DENIED and self._ssl_mode == "disable"
        return "; sslmode is disable: does the server demand TLS?" if is_denied else ""

    def descriptor(self, driver_connection: Any) -> int:
        """Of the connection's socket, which PyMySQL shows by no public name."""
        return int(driver_connection._sock.fileno())  # noqa: SLF001 - see above

    @contextlib.contextmanager
    def schema_lock(self, connection: Connection) -> Iterator[None]:
        """A named lock of the server."""
        got = connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), {"name": _LOCK, "seconds": _LOCK_SECONDS})
        if got.scalar() != 1:
            raise StorageUnavailableError(f"{self.location}: another process migrates the tables for long; try again")
        try:
            yield
        finally:
            connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _LOCK})

    def among(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """See `in_list`."""
        return in_list(column)

    def insert(self, table: Table) -> Batch:
        """By statements of many rows."""
        return _insert(table, changes=())

    def upsert(self, table: Table, *, key: Sequence[str], guard: str | None) -> Batch:
        """`INSERT ... ON DUPLICATE KEY UPDATE`, which has no WHERE: each column asks the guard, which comes last."""
        if guard is None:
            return _insert(table, changes=[f"{_name(key[0])} = {_name(key[0])}"])
        grew = f"VALUES({_name(guard)}) > {_name(guard)}"
        names = [_name(column.name) for column in values_of(table, key) if column.name != guard]
        changes = [f"{name} = IF({grew}, VALUES({name}), {name})" for name in names]
        return _insert(table, changes=[*changes, _merged("GREATEST", guard)])

    def merge(
        self,
        table: Table,
        *,
        key: Sequence[str],  # noqa: ARG002 - MySQL takes every unique key
        add: Sequence[str],
        least: Sequence[str],
        greatest: Sequence[str],
    ) -> Batch:
        """The same, with sums, LEAST and GREATEST."""
        changes = [f"{_name(name)} = {_name(name)} + VALUES({_name(name)})" for name in add]
        changes += [_merged("LEAST", name) for name in least] + [_merged("GREATEST", name) for name in greatest]
        return _insert(table, changes=changes)

    def is_data_error(self, error: BaseException) -> bool:
        """By the driver's classes and MySQL's error numbers."""
        cause = driver_error(error)
        if _number(cause) == _TOO_LARGE:
            return True
        return type(cause).__name__ in {"DataError", "IntegrityError"} or isinstance(
            cause, (TypeError, KeyError, ValueError, OverflowError)
        )

    def is_schema_error(self, error: BaseException) -> bool:
        """By MySQL's error numbers."""
        return _number(driver_error(error)) in _SCHEMA_CODES

    def is_refusal(self, error: BaseException) -> bool:
        """By MySQL's error numbers; those of a connection that was lost (2006, 2013) are not among them."""
        return _number(driver_error(error)) in _REFUSALS

    def is_locked(self, error: BaseException) -> bool:
        """By MySQL's error numbers."""
        return _number(driver_error(error)) in _LOCKS

    def identity(self, connection: Connection) -> tuple[object, ...]:
        """The server's machine, port and folder, and the database: MariaDB has no `server_uuid`."""
        return tuple(connection.execute(text("SELECT @@hostname, @@port, @@datadir, DATABASE()")).one())

    def table_sizes(self, connection: Connection) -> dict[str, int]:
        """As the server last estimated them."""
        statement = text(
            "SELECT table_name, COALESCE(data_length + index_length, 0) FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name IN :names"
        ).bindparams(bindparam("names", expanding=True))
        names = [table.name for table in metadata.sorted_tables]
        return {name: int(size) for name, size in connection.execute(statement, {"names": names})}


def _insert(table: Table, *, changes: Sequence[str]) -> Batch:
    columns = ", ".join(_name(column.name) for column in table.columns)
    places = ", ".join(["%s"] * len(table.columns))
    sql = (
        f"INSERT INTO {_name(table.name)} ({columns}) VALUES ({places})"  # noqa: S608 - our own names
        + (f" ON DUPLICATE KEY UPDATE {', '.join(changes)}" if changes else "")
    )

    def run(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        connection.exec_driver_sql(sql, list(rows))

    return run


def _merged(function: str, name: str) -> str:
    return f"{_name(name)} = {function}({_name(name)}, VALUES({_name(name)}))"


def _name(name: str) -> str:
    return str(_dialect.identifier_preparer.quote_identifier(name))


def _one(url: URL, option: str) -> str:
    value = url.query.get(option, "")
    return value if isinstance(value, str) else value[0]


def _number(error: BaseException) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0
