"""SQLite, by the standard library's driver: one file in WAL mode.

Facts rest on https://www.sqlite.org/wal.html and https://www.sqlite.org/pragma.html.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Engine,
    NullPool,
    create_engine,
    event,
    literal_column,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from otel_tracker.errors import ConfigurationError, StorageSchemaError, StorageUnavailableError
from otel_tracker.storage import schema
from otel_tracker.storage.dialects import dbstat, sqlite_errors, sqlite_statements, vacuum
from otel_tracker.storage.dialects.base import driver_error
from otel_tracker.storage.mutex import ProcessMutex
from otel_tracker.storage.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import URL, Connection

_logger = logging.getLogger("otel_tracker.storage")

BUSY_TIMEOUT_SECONDS: Final = 5.0
_APPLICATION_ID: Final = 0x6F776231  # "owb1" in the file's header: how we know our own files
_WRITER_PRAGMAS: Final = (
    "synchronous=FULL",  # the spool's cursor moves after the commit: NORMAL lost commits in power cuts
    "cache_size=-65536",
    "temp_store=MEMORY",
    "wal_autocheckpoint=1000",
    "journal_size_limit=67108864",
)
_UNSYNCED_PRAGMAS: Final = ("synchronous=NORMAL", "wal_autocheckpoint=0")
_SYNCED_PRAGMAS: Final = ("synchronous=FULL", "wal_autocheckpoint=1000")
_READER_PRAGMAS: Final = ("query_only=ON", "cache_size=-8192", "temp_store=MEMORY")
_LOG_TRIES: Final = 20


class SQLite:
    """One file in WAL mode: one writer at a time in all processes, readers that cannot write."""

    name = "sqlite"
    clock: ColumnElement[int] = literal_column(
        "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000000", BigInteger
    )
    rests_for_seconds = 0.0

    def __init__(self, url: URL, *, max_connections: int, wal: bool, foreign_keys: bool) -> None:
        if not url.database or url.database == ":memory:":
            raise ConfigurationError("the storage URL names no file: a history in memory would be lost at exit")
        self._path = Path(url.database).absolute()
        self.location = str(self._path)
        self._max_connections = max_connections
        self._wal = wal
        self._foreign_keys = foreign_keys
        self._mutex: ProcessMutex | None = None
        self._identity = (0, 0)

    def prepare(self) -> None:
        """Create folder, file and tables where absent; refuse a file that is not ours."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            if self._mutex is None:
                self._mutex = ProcessMutex.shared(f"{self._path}.write-lock")
            with self.exclusive():
                self._create_or_verify()
            self._identity = self._stat()
        except OSError as error:
            raise StorageUnavailableError(
                f"cannot open {self._path}: {error.strerror or error}; check that the path can be written"
            ) from error
        except (sqlite3.DatabaseError, SQLAlchemyError) as error:
            cause = driver_error(error)
            if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise StorageSchemaError(f"{self._path} is not an SQLite database: name another file") from error
            raise StorageUnavailableError(f"cannot open {self._path}: {cause}") from error
        _logger.info("storage: %s, SQLite %s, wal=%s", self._path, sqlite3.sqlite_version, self._wal)

    def _create_or_verify(self) -> None:
        with contextlib.closing(self._connect(())) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application != _APPLICATION_ID and tables:
                raise StorageSchemaError(f"{self._path} holds another program's tables: name another file")
            if not tables:
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # counts only before the first table exists
        engine = create_engine("sqlite://", creator=lambda: self._connect(()), poolclass=NullPool)
        event.listen(engine, "begin", _begin)
        with engine.connect() as connection:
            if not schema.is_at_head(connection, location=self.location, auto=True):
                schema.upgrade(connection, location=self.location, first=_mark_as_ours)
        with contextlib.closing(self._connect(())) as connection:
            connection.execute(f"PRAGMA journal_mode={'WAL' if self._wal else 'DELETE'}")

    def _connect(self, pragmas: Sequence[str]) -> sqlite3.Connection:
        # mode=rw: a file that vanished must be noticed, not silently made anew without tables.
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute(f"PRAGMA foreign_keys={'ON' if self._foreign_keys else 'OFF'}")
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection

    def writer_engine(self) -> Engine:
        """An engine of one connection whose transactions start with BEGIN IMMEDIATE."""
        engine = self._engine(_WRITER_PRAGMAS, size=1)
        event.listen(engine, "begin", _begin_immediate)
        return engine

    def reader_engine(self) -> Engine:
        """An engine whose connections refuse to write."""
        return self._engine(_READER_PRAGMAS, size=self._max_connections)

    def _engine(self, pragmas: Sequence[str], *, size: int) -> Engine:
        return create_engine(
            "sqlite://",
            creator=lambda: self._connect(pragmas),
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=BUSY_TIMEOUT_SECONDS,
        )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """SQLite before 3.51.3 can corrupt a WAL that two connections write or checkpoint at once."""
        if self._mutex is None:
            raise StorageUnavailableError(f"the store {self._path} is closed")
        with self._mutex.held(timeout_seconds=BUSY_TIMEOUT_SECONDS):
            yield

    @contextlib.contextmanager
    def transaction(self, connection: Connection, *, synced: bool) -> Iterator[None]:
        """Without a sync of the log, where that is not asked for: the next commit that syncs takes it along.

        Where there is no log, each commit is synced: without, a power cut could damage the file.
        """
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        synced = synced or not self._wal
        for pragma in () if synced else _UNSYNCED_PRAGMAS:
            driver.execute(f"PRAGMA {pragma}").fetchall()
        try:
            with connection.begin():
                yield
        finally:
            for pragma in () if synced else _SYNCED_PRAGMAS:
                driver.execute(f"PRAGMA {pragma}").fetchall()

    def _stat(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_dev, stat.st_ino

    def is_replaced(self) -> bool:
        """Whether the path names another file now: writes into a deleted file would vanish without an error."""
        try:
            return self._stat() != self._identity
        except OSError:
            return True

    def bounded(
        self,
        connection: Connection,  # noqa: ARG002 - the signature is the protocol's
        *,
        seconds: float | None,  # noqa: ARG002 - likewise
    ) -> contextlib.AbstractContextManager[None]:
        """No server that might not answer; how long a lock is waited for, each connection knows."""
        return contextlib.nullcontext()

    among = staticmethod(sqlite_statements.among)
    insert = staticmethod(sqlite_statements.insert)
    upsert = staticmethod(sqlite_statements.upsert)
    merge = staticmethod(sqlite_statements.merge)

    is_data_error = staticmethod(sqlite_errors.is_data_error)
    is_schema_error = staticmethod(sqlite_errors.is_schema_error)
    is_refusal = staticmethod(sqlite_errors.is_refusal)
    is_locked = staticmethod(sqlite_errors.is_locked)

    def identity(self, connection: Connection) -> tuple[object, ...]:  # noqa: ARG002 - the signature is the protocol's
        """The file, whatever its path."""
        return self._stat()

    def size_bytes(self, connection: Connection) -> int:  # noqa: ARG002 - the signature is the protocol's
        """The file, its write-ahead log and its shared index."""
        return sum(_size(f"{self._path}{suffix}") for suffix in ("", "-wal", "-shm"))

    table_sizes = staticmethod(dbstat.table_sizes)

    def free_bytes(self) -> int | None:
        """What is left to who is not root."""
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self._path.parent).free
        return None

    def checkpoint(self, engine: Engine) -> float:
        """Copy the log into the file: a little each time, for a thousand pages at once take writers' patience."""
        with self._maintained(engine) as (connection, held):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return held()

    def give_back(self, engine: Engine, *, pause: Callable[[float, int], None]) -> None:
        """Vacuum in slices, for a whole one blocks writers for seconds; then shorten the log, if no reader is in it."""
        pace = Pace(least=vacuum.LEAST_PAGES, most=vacuum.MOST_PAGES)
        while True:
            with self._maintained(engine) as (connection, held):
                freed = vacuum.give_back_slice(connection, pages=pace.size)
            if freed <= 0:
                break
            pace.took(held(), done=pace.size)
            pause(held(), freed)
        for _ in range(_LOG_TRIES):
            with self._maintained(engine) as (connection, held):
                is_short = vacuum.truncate_log(connection)
            if is_short:
                break
            pause(held(), 0)

    @contextlib.contextmanager
    def _maintained(self, engine: Engine) -> Iterator[tuple[sqlite3.Connection, Callable[[], float]]]:
        """The writer's own connection, and for how long nobody else could write."""
        with self.exclusive():
            begun, ended = time.monotonic(), 0.0
            proxy = engine.raw_connection()
            try:
                yield cast("sqlite3.Connection", proxy.driver_connection), lambda: ended - begun
            finally:
                proxy.close()
                ended = time.monotonic()

    def close(self) -> None:
        """Let go of the mutex."""
        if self._mutex is not None:
            self._mutex.release_share()
            self._mutex = None


def _begin(connection: Connection) -> None:
    # Takes no lock before it has to: a look at the revision is not in anybody's way.
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    # A deferred BEGIN that reads, then writes, fails with "locked" at once and without waiting.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _mark_as_ours(connection: Connection) -> None:
    connection.exec_driver_sql(f"PRAGMA application_id={_APPLICATION_ID}")


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
