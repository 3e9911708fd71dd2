"""The newest run of the retention, as three numbers in the database: whichever process ran it, each can tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select, update

from otel_tracker.query import LastCleanup
from otel_tracker.storage.tables import settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from otel_tracker.query import PruneResult
    from otel_tracker.storage.engine import Database

_TIME, _DELETED, _FREED = _NAMES = ("cleanup_time", "cleanup_deleted", "cleanup_freed_bytes")
_kept: Final = select(settings.c.name, settings.c.value).where(settings.c.name.in_(_NAMES))
_change: Final = update(settings).where(settings.c.name == bindparam("key")).values(value=bindparam("number"))


class LastCleanups:
    """Of one database."""

    def __init__(self, database: Database) -> None:
        self._put = database.dialect.upsert(settings, key=("name",), guard=None)

    def put(self, connection: Connection, result: PruneResult, *, began: int) -> None:
        """In the caller's transaction."""
        numbers = (began, result.deleted, result.freed_bytes)
        self._put(connection, [(name, 0) for name in _NAMES])
        connection.execute(
            _change, [{"key": name, "number": number} for name, number in zip(_NAMES, numbers, strict=True)]
        )


def last_cleanup(connection: Connection) -> LastCleanup | None:
    """None before the first."""
    found = {name: int(value) for name, value in connection.execute(_kept)}
    if len(found) < len(_NAMES):
        return None
    return LastCleanup(time=found[_TIME], deleted=found[_DELETED], freed_bytes=found[_FREED])
