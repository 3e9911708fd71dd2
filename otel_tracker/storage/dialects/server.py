"""Server: what PostgreSQL and MySQL have in common as databases behind a network.

In: a URL and `Timeouts`. Out: engines whose every call has an end. A subclass says how its driver is asked.
"""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from otel_tracker.errors import ConfigurationError, StorageUnavailableError
from otel_tracker.storage import schema
from otel_tracker.storage.deadlines import Deadlines
from otel_tracker.storage.dialects.base import driver_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

_logger = logging.getLogger("otel_tracker.storage")

_POOL_SECONDS: Final = 0.5
"""How long a reader waits for a free connection."""
_READER_CONNECT_SECONDS: Final = 2.0
"""At the most: whoever asked over HTTP is to have an answer within three."""
_RECYCLE_SECONDS: Final = 1800
LOCK_SHARE: Final = 0.8
"""Of a statement's time, for its locks: so the server says what it waited for, before time is up for everything."""
_MIGRATION_SECONDS: Final = 600.0


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long a server may take, in seconds."""

    connect: float = 3.0
    statement: float = 5.0


class Server(ABC):
    """A database server, seen from one process."""

    name = ""
    rests_for_seconds = 1.0
    driver_package = ""
    """What to install where the driver is missing."""
    clock: ColumnElement[int]
    unsynced = ""
    """The statement after which a transaction's commit does not wait for the disk; empty where there is none."""

    def __init__(self, url: URL, *, max_connections: int, timeouts: Timeouts, auto_migrate: bool) -> None:
        shown = URL.create(self.name, url.username, None, url.host, url.port, url.database)
        self.location = shown.render_as_string(hide_password=False)  # which would show *** for none
        self._url = url
        self._max_connections = max_connections
        self._timeouts = timeouts
        self._auto_migrate = auto_migrate
        self._deadlines = Deadlines()

    # --- what a subclass says

    @abstractmethod
    def connect_arguments(self, *, connect: float, seconds: float, read_only: bool) -> dict[str, Any]:
        """Of the driver's `connect`, which may take `connect` seconds; later waits should end after `seconds`."""

    @abstractmethod
    def descriptor(self, driver_connection: Any) -> int:
        """Of the connection's socket."""

    @abstractmethod
    def schema_lock(self, connection: Connection) -> contextlib.AbstractContextManager[None]:
        """Held by one process at a time while it creates or migrates tables."""

    @abstractmethod
    def table_sizes(self, connection: Connection) -> dict[str, int]:
        """Bytes by table, its indexes included."""

    def advice(self, error: BaseException) -> str:  # noqa: ARG002 - a subclass may look at it
        """What to add where the server's own words for a refused connection lead nowhere."""
        return ""

    # --- Dialect

    def prepare(self) -> None:
        """Create or migrate the tables, under a lock of the server; this may take long, a look does not."""
        with self._opened(self._timeouts.statement) as connection:
            is_done = schema.is_at_head(connection, location=self.location, auto=self._auto_migrate)
        if not is_done:
            with self._opened(_MIGRATION_SECONDS) as connection, self.schema_lock(connection):
                schema.upgrade(connection, location=self.location)
        _logger.info("storage: %s", self.location)

    @contextlib.contextmanager
    def _opened(self, seconds: float) -> Iterator[Connection]:
        engine = self._engine(seconds=seconds, read_only=False, poolclass=NullPool)
        try:
            with engine.connect() as connection, self.bounded(connection, seconds=seconds):
                yield connection
        except (SQLAlchemyError, OSError) as error:
            cause = driver_error(error)
            raise StorageUnavailableError(
                f"cannot open {self.location}: {_one_line(cause)}{self.advice(cause)}"
            ) from error
        finally:
            engine.dispose()

    def writer_engine(self) -> Engine:
        """One connection; a statement that takes too long breaks it."""
        seconds = self._timeouts.statement
        engine = self._engine(
            seconds=seconds, read_only=False, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=seconds
        )

        @event.listens_for(engine, "before_cursor_execute")
        def renew_for_statement(connection: Connection, *_: object) -> None:
            self._deadlines.renew(_key(connection), seconds)

        @event.listens_for(engine, "commit")
        def renew_for_commit(connection: Connection) -> None:
            self._deadlines.renew(_key(connection), seconds)

        return engine

    def reader_engine(self) -> Engine:
        """Connections that cannot write."""
        return self._engine(
            seconds=self._timeouts.statement,
            read_only=True,
            poolclass=QueuePool,
            pool_size=self._max_connections,
            max_overflow=0,
            pool_timeout=_POOL_SECONDS,
            pool_use_lifo=True,
        )

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to hold: the server takes care."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def transaction(self, connection: Connection, *, synced: bool) -> Iterator[None]:
        """As the server syncs; a subclass may know how to ask for less."""
        with connection.begin():
            if not synced and self.unsynced:
                connection.exec_driver_sql(self.unsynced)
            yield

    @contextlib.contextmanager
    def bounded(self, connection: Connection, *, seconds: float | None) -> Iterator[None]:
        """See `Dialect.bounded`."""
        key = _key(connection)
        limit = self._timeouts.statement if seconds is None else seconds
        with self._deadlines.within(key, limit, descriptor=lambda: self.descriptor(key)):
            yield

    def is_replaced(self) -> bool:
        """Never without an error that tells."""
        return False

    def size_bytes(self, connection: Connection) -> int:
        """Our tables."""
        return sum(self.table_sizes(connection).values())

    def free_bytes(self) -> int | None:
        """Its disk is elsewhere."""
        return None

    def checkpoint(self, engine: Engine) -> float:  # noqa: ARG002 - the signature is the protocol's
        """The server does it."""
        return 0.0

    def give_back(self, engine: Engine, *, pause: Callable[[float, int], None]) -> None:  # noqa: B027 - most need none
        """Nothing: the server uses the room for the next rows."""

    def close(self) -> None:  # noqa: B027 - most need none
        """Nothing is held."""

    def _engine(self, *, seconds: float, read_only: bool, **pool: Any) -> Engine:
        if "poolclass" in pool and pool["poolclass"] is not NullPool:
            pool["pool_recycle"] = _RECYCLE_SECONDS
        connect = min(self._timeouts.connect, _READER_CONNECT_SECONDS) if read_only else self._timeouts.connect
        arguments = self.connect_arguments(connect=connect, seconds=seconds, read_only=read_only)
        try:
            return create_engine(self._url, connect_args=arguments, isolation_level="READ COMMITTED", **pool)
        except ImportError as error:
            raise ConfigurationError(
                f"storage of type {self.name} needs the driver {self.driver_package}: "
                f"pip install 'otel-webhook-bridge[{self.name}]'"
            ) from error


def _key(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
