"""The rollups of one database: counts and duration histograms per bucket, kept equal to what its records tell.

In: `Deltas`, inside the transaction that writes, ends or deletes the records themselves, so that no crash comes between
the two. Out: merged rows. Every such transaction begins with `begin`, which locks a few rows: two transactions that
know an execution's old version would otherwise both take it out. It never reads a record. An execution that is written
again after its record was deleted counts again, for nothing is left to know it by; a spool delivers nothing twice (see
`positions`).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, delete, func, select

from otel_tracker.storage.agreed import WIDTH, Agreed, Agreement
from otel_tracker.storage.buckets import Counted, Deltas, bounds, of_all
from otel_tracker.storage.tables import SLOTS, executions, rollup_durations, rollups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement, Select, Table
    from sqlalchemy.engine import Connection

    from otel_tracker.storage.engine import Database

_logger = logging.getLogger("otel_tracker.storage")
_PRUNED_BUCKETS: Final = 100
_Values = tuple[Any, ...]


def counted(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The columns of `Counted`, of the executions for which all conditions hold."""
    return select(*(executions.c[name] for name in Counted._fields)).where(*conditions)


def started_in(bucket: int, width: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """The executions that started in that bucket."""
    first, last = bounds(bucket, width)
    return executions.c.start_time >= first, executions.c.start_time <= last


class Rollups:
    """Adds to the rollups of one database and prunes them."""

    def __init__(self, database: Database, *, bucket_nanoseconds: int) -> None:
        self._database = database
        self.configured_width = bucket_nanoseconds
        """The buckets of a store that has none yet, and after `storage verify --repair` of any."""
        dialect = database.dialect
        self._agreement = Agreement(database, bucket_nanoseconds=bucket_nanoseconds)
        self._merge_counts = dialect.merge(
            rollups,
            key=[column.name for column in rollups.primary_key],
            add=("total", "timed", "duration_sum"),
            least=("duration_min",),
            greatest=("duration_max",),
        )
        self._merge_slots = dialect.merge(
            rollup_durations,
            key=[column.name for column in rollup_durations.primary_key],
            add=SLOTS,
            least=(),
            greatest=(),
        )

    def begin(self, connection: Connection) -> Agreed:
        """Wait until no other transaction changes records or rollups; what all who do agree on."""
        return self._agreement.lock(connection)

    def change(self, connection: Connection, numbers: Mapping[str, int]) -> None:
        """Agree on these numbers from now on, in the transaction of `begin`."""
        self._agreement.change(connection, numbers)

    def agreed(self, connection: Connection) -> Agreed:
        """The same as `begin`, without waiting and without a hold on it."""
        return self._agreement.read(connection)

    def width(self, connection: Connection) -> int:
        """The width of the store's buckets, in nanoseconds."""
        return self.agreed(connection).width

    def warn_of_another_width(self) -> None:
        """Say so where the configured width is not the store's."""
        with self._database.read() as connection:
            width = self.width(connection)
        if width != self.configured_width:
            _logger.warning(
                "the rollups of %s are in buckets of %d s, not %d s: `webhook-bridge storage verify --repair` "
                "recounts them",
                self._database.dialect.location,
                width // 1_000_000_000,
                self.configured_width // 1_000_000_000,
            )

    def set_width(self, connection: Connection) -> None:
        """From now on, the configured width; the caller recounts."""
        self.change(connection, {WIDTH: self.configured_width})

    def apply(self, connection: Connection, deltas: Deltas) -> None:
        """Merge them, in the transaction of `begin`."""
        self.merge(connection, counts=deltas.count_rows(), slots=deltas.slot_rows())

    def merge(self, connection: Connection, *, counts: Sequence[_Values], slots: Sequence[_Values]) -> None:
        """Rows in the order of the tables' columns, sorted."""
        if counts:
            self._merge_counts(connection, counts)
        if slots:
            self._merge_slots(connection, slots)

    def prune(self, *, started_before: int) -> int:
        """Delete the buckets that end before that nanosecond and of which no record is left; says how many.

        In small transactions. A bucket with a record stays whole, so that it can always be recounted.
        """
        deleted = 0
        while removed := self._delete_buckets(started_before):
            deleted += removed
        return deleted

    def drop_empty(self, connection: Connection, buckets: set[tuple[int, int]]) -> None:
        """Delete what was brought down to nothing in these buckets, pairs of width and start."""
        for table in (rollups, rollup_durations):
            for chosen in _in_buckets(table, _with_all(buckets)):
                connection.execute(delete(table).where(chosen, *_nothing(table)))

    def _delete_buckets(self, started_before: int) -> int:
        begun = time.monotonic()
        with self._database.write() as connection:
            self.begin(connection)
            buckets = {(width, start) for width, start in connection.execute(_without_records(started_before))}
            for table in (rollups, rollup_durations):
                for chosen in _in_buckets(table, _with_all(buckets)):
                    connection.execute(delete(table).where(chosen))
        if buckets:
            time.sleep(min(time.monotonic() - begun, 0.1))  # others get half of the time
        return len(buckets)


def _nothing(table: Table) -> list[ColumnElement[bool]]:
    return [table.c[name] == 0 for name in (("total",) if table is rollups else SLOTS)]


def _with_all(buckets: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """These, and those of all plugins together."""
    return buckets | {(of_all(width), start) for width, start in buckets}


def _in_buckets(table: Table, buckets: set[tuple[int, int]]) -> list[ColumnElement[bool]]:
    """A condition a width; buckets are pairs of width and start."""
    starts: dict[int, list[int]] = {}
    for width, start in sorted(buckets):
        starts.setdefault(width, []).append(start)
    return [and_(table.c.width == width, table.c.bucket_start.in_(found)) for width, found in starts.items()]


def _without_records(started_before: int) -> Select[Any]:
    table = rollups.c
    return (
        select(table.width, table.bucket_start)
        .where(table.bucket_start + table.width <= started_before)
        .group_by(table.width, table.bucket_start)
        .having(func.sum((1 - table.pruned) * table.total) == 0)
        .order_by(table.width, table.bucket_start)
        .limit(_PRUNED_BUCKETS)
    )
