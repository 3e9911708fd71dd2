"""A database as two engines: transactions that write, one at a time, and reads that cannot.

In: a `Dialect`. Out: connections inside `write()` and `read()`. Every failure of the database leaves here as a
`StorageError`; errors of a row's data pass unchanged, for the writer to deal with.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from otel_tracker.errors import (
    StorageError,
    StorageLockedError,
    StorageRefusesError,
    StorageSchemaError,
    StorageUnavailableError,
)
from otel_tracker.storage.dialects import Dialect, driver_error, rolled_back_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine
    from sqlalchemy.engine import Connection

_logger = logging.getLogger("otel_tracker.storage")

READ_SECONDS: Final = 2.5
"""How long a read may take in all; whoever asked over HTTP is to have an answer within 3 seconds."""


class Database:
    """Thread-safe. Opens on construction; raises `StorageUnavailableError` or `StorageSchemaError`."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._lock = threading.Lock()
        self._closed = False
        self._why = ""
        self._rests_until = 0.0
        self._generation = 0
        try:
            dialect.prepare()
        except BaseException:
            dialect.close()
            raise
        self._writer: Engine = dialect.writer_engine()
        self._reader: Engine = dialect.reader_engine()

    @property
    def writer(self) -> Engine:
        """For maintenance that runs outside a transaction."""
        return self._writer

    @property
    def generation(self) -> int:
        """How often the database was found replaced, up to now."""
        self._check_usable()
        return self._generation

    @contextlib.contextmanager
    def write(self, *, synced: bool = True) -> Iterator[Connection]:
        """A write transaction: committed at the end, rolled back by any exception.

        With `synced=False` a power cut may take it back, until a synced one has followed.
        """
        self._check_usable()
        with (
            self._translated(),
            self.dialect.exclusive(),
            self._writer.connect() as connection,
            self.dialect.bounded(connection, seconds=None),
        ):
            try:
                with self.dialect.transaction(connection, synced=synced):
                    yield connection
            except SQLAlchemyError as error:
                # After a full disk or an I/O error the connection is not to be trusted: the next write opens another.
                if not self.dialect.is_data_error(error):
                    connection.invalidate()
                raise

    @contextlib.contextmanager
    def read(self, *, seconds: float = READ_SECONDS) -> Iterator[Connection]:
        """A connection that refuses to write, for so long in all."""
        self._check_usable()
        if time.monotonic() < self._rests_until:
            raise StorageUnavailableError(self._why)
        try:
            with (
                self._translated(),
                self._reader.connect() as connection,
                self.dialect.bounded(connection, seconds=seconds),
            ):
                yield connection
        except StorageUnavailableError as error:
            self._why, self._rests_until = str(error), time.monotonic() + self.dialect.rests_for_seconds
            raise

    @contextlib.contextmanager
    def maintained(self) -> Iterator[Engine]:
        """The writer's engine, for what the dialect does outside of transactions."""
        self._check_usable()
        with self._translated():
            yield self._writer

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._reader.dispose()
            self._writer.dispose()
            self.dialect.close()

    def _check_usable(self) -> None:
        if self._closed:
            raise StorageUnavailableError(f"the store {self.dialect.location} is closed")
        if self.dialect.is_replaced():
            self._reopen()

    def _reopen(self) -> None:
        with self._lock:
            if self._closed or not self.dialect.is_replaced():
                return
            _logger.error("%s was deleted or replaced under the running store: opening it anew", self.dialect.location)
            self._reader.dispose()
            self._writer.dispose()
            self._generation += 1
            self.dialect.prepare()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except (SQLAlchemyError, OSError) as error:
            if isinstance(error, DBAPIError) and self.dialect.is_data_error(error):
                raise
            raise self._translation(rolled_back_by(error)) from error

    def _translation(self, error: BaseException) -> StorageError:
        location, cause = self.dialect.location, driver_error(error)
        if self.dialect.is_schema_error(error):
            return StorageSchemaError(f"{location} does not have our tables: {cause}")
        kind = StorageUnavailableError
        if self.dialect.is_refusal(error):
            kind = StorageRefusesError
        elif self.dialect.is_locked(error):
            kind = StorageLockedError
        return kind(f"{location} cannot serve now: {cause}; try again")
