"""What every process that writes into a store must agree on: a few numbers, in the table `settings`.

In: a connection inside a write transaction. Out: the numbers, locked until it ends: whoever has them is the only one
that changes records. They are changed in the transaction of the rows they tell of, so that no crash comes between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import bindparam, select, update

from otel_tracker.storage.tables import settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.engine import Connection

    from otel_tracker.storage.engine import Database

EXECUTION_BYTES: Final = 768
"""What an execution is charged beside its payload and spans: its row, and its entries in all indexes.

Measured in SQLite with a trace and the id of a delivery: 765.
"""

WIDTH: Final = "bucket_nanoseconds"
"""The width of the rollups' buckets."""
STORED: Final = "stored_bytes"
"""The bytes of all payloads and spans, and `EXECUTION_BYTES` for each execution."""
NO_MARK: Final = -(2**63)
MARKS: Final = ("payloads_of_completed", "payloads_of_others", "completed")
"""Of what the bounds in bytes delete first: nothing that started before the nanosecond is left. See `shedding`."""

_NAMES: Final = (WIDTH, STORED, *MARKS)
_agreed: Final = select(settings.c.name, settings.c.value).where(settings.c.name.in_(_NAMES))
_locked: Final = _agreed.order_by(settings.c.name).with_for_update()
_change: Final = update(settings).where(settings.c.name == bindparam("key")).values(value=bindparam("number"))


class Agreed(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers."""

    width: int
    """Nanoseconds."""
    stored_bytes: int
    marks: dict[str, int]
    """By the names of `MARKS`."""

    def lowered(self, start_times: Iterable[int]) -> dict[str, int]:
        """The marks that must go back where executions that started then come in or change."""
        first = min(start_times, default=2**63)
        return {name: first for name, mark in self.marks.items() if mark > first}


class Agreement:
    """Reads and changes them in one database."""

    def __init__(self, database: Database, *, bucket_nanoseconds: int) -> None:
        self._first = [(WIDTH, bucket_nanoseconds), (STORED, 0), *((name, NO_MARK) for name in MARKS)]
        self._put = database.dialect.upsert(settings, key=("name",), guard=None)

    def lock(self, connection: Connection) -> Agreed:
        """Wait until no other transaction changes records; what all agree on now."""
        found = self._read(connection, locked=True)
        if len(found) < len(_NAMES):
            self._put(connection, self._first)
            found = self._read(connection, locked=True)
        return _agreed_from(found)

    def read(self, connection: Connection) -> Agreed:
        """The same without a lock."""
        return _agreed_from(dict(self._first) | self._read(connection, locked=False))

    def change(self, connection: Connection, numbers: Mapping[str, int]) -> None:
        """Give these names these numbers, in the transaction of `lock`."""
        if numbers:
            connection.execute(_change, [{"key": name, "number": number} for name, number in sorted(numbers.items())])

    def _read(self, connection: Connection, *, locked: bool) -> dict[str, int]:
        return {row.name: int(row.value) for row in connection.execute(_locked if locked else _agreed)}


def _agreed_from(found: Mapping[str, int]) -> Agreed:
    return Agreed(width=found[WIDTH], stored_bytes=found[STORED], marks={name: found[name] for name in MARKS})
