"""Dialect: what a database must answer for the rest of the storage to be the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from sqlalchemy import bindparam
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    import contextlib

    from sqlalchemy import Column, ColumnElement, Engine, Table

Batch: TypeAlias = Callable[[Connection, Sequence[tuple[object, ...]]], None]
"""Runs one statement for many rows, each a tuple in the order of the table's columns."""


class Dialect(Protocol):
    """One database, by its URL. It never decides what is stored."""

    name: str
    location: str
    """A path, or a URL without its password."""
    clock: ColumnElement[int]
    """The database's own time when the statement runs: nanoseconds since the epoch, exact to a millisecond."""
    rests_for_seconds: float
    """How long nobody asks again after the database gave no answer: each who did would wait as long."""

    def prepare(self) -> None:
        """Create or migrate what is missing. Raises `StorageUnavailableError`, `StorageSchemaError`."""
        ...

    def writer_engine(self) -> Engine:
        """For transactions that write."""
        ...

    def reader_engine(self) -> Engine:
        """For connections that refuse to write."""
        ...

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Held around every write transaction and checkpoint."""
        ...

    def transaction(self, connection: Connection, *, synced: bool) -> contextlib.AbstractContextManager[object]:
        """A transaction that, with `synced`, is on the disk once it is committed; else `checkpoint` is to follow."""
        ...

    def bounded(self, connection: Connection, *, seconds: float | None) -> contextlib.AbstractContextManager[None]:
        """Break the connection where the database does not answer: for so long in all, or (None) to one statement."""
        ...

    def is_replaced(self) -> bool:
        """Whether the database is no longer the one that `prepare` saw."""
        ...

    def among(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether the column's value is in the list that is bound as `ids`."""
        ...

    def insert(self, table: Table) -> Batch:
        """Insert rows that are known to be new, the fastest way that the driver has."""
        ...

    def upsert(self, table: Table, *, key: Sequence[str], guard: str | None) -> Batch:
        """Insert, or replace where `guard` grew (never, without a guard)."""
        ...

    def merge(
        self, table: Table, *, key: Sequence[str], add: Sequence[str], least: Sequence[str], greatest: Sequence[str]
    ) -> Batch:
        """Insert, or add to the columns of `add` and keep the least and greatest of the others."""
        ...

    def is_data_error(self, error: BaseException) -> bool:
        """Whether a row is at fault rather than the database."""
        ...

    def is_schema_error(self, error: BaseException) -> bool:
        """Whether tables or columns are not there."""
        ...

    def is_refusal(self, error: BaseException) -> bool:
        """Whether the database takes nothing from anybody: it is full, read-only, out of memory, not to be written."""
        ...

    def is_locked(self, error: BaseException) -> bool:
        """Whether another transaction holds what this one needs, or it was chosen to end a deadlock."""
        ...

    def identity(self, connection: Connection) -> tuple[object, ...]:
        """The same for every way to name this database, and for no other of its kind."""
        ...

    def size_bytes(self, connection: Connection) -> int:
        """Bytes on disk."""
        ...

    def table_sizes(self, connection: Connection) -> dict[str, int] | None:
        """Bytes by table, its indexes included; None where the database cannot tell. It may take seconds."""
        ...

    def free_bytes(self) -> int | None:
        """What the disk of the database has left; None where it cannot be seen from here."""
        ...

    def checkpoint(self, engine: Engine) -> float:
        """Bring what was committed without a sync where it belongs; for how many seconds that kept writers waiting."""
        ...

    def give_back(self, engine: Engine, *, pause: Callable[[float, int], None]) -> None:
        """Return free space to the disk in slices; `pause` is told how long each took, and how many bytes it returned.

        It may raise: what is not returned then is returned another time.
        """
        ...

    def close(self) -> None:
        """Let go of what is no engine."""
        ...


def driver_error(error: BaseException) -> BaseException:
    """What the driver raised, out of SQLAlchemy's wrapping."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def rolled_back_by(error: BaseException) -> BaseException:
    """What took the whole transaction back, where `error` only says that a savepoint went with it; else `error`.

    A full disk does that in SQLite, a deadlock in MySQL: SQLAlchemy then fails to return to the savepoint.
    """
    cause = error.__context__ if "savepoint" in str(driver_error(error)).lower() else None
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__context__
    return cause or error


def in_list(column: ColumnElement[str]) -> ColumnElement[bool]:
    """`IN` with a parameter for each value."""
    return column.in_(bindparam("ids", expanding=True))


def values_of(table: Table, key: Sequence[str]) -> list[Column[Any]]:
    """The columns that are not of the key."""
    return [column for column in table.columns if column.name not in key]
