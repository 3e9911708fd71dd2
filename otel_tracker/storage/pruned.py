"""What the rollups count of executions whose records are deleted, day by day: read, compared and replaced.

In: a database and the width of its buckets. Out: the rows with `pruned=1` of both rollup tables, which no record can
tell any more. Those with `pruned=0` are the writer's, and are never touched here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Table, delete, select

from otel_tracker.storage.buckets import DAY_NANOSECONDS, bounds, row_widths
from otel_tracker.storage.histories import READ_SECONDS
from otel_tracker.storage.tables import rollup_durations, rollups

if TYPE_CHECKING:
    from otel_tracker.storage.engine import Database
    from otel_tracker.storage.rollups import Rollups

PRUNED_TABLES = (rollups, rollup_durations)
DayRows = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]
"""Of `PRUNED_TABLES`, each in the order of its columns, sorted."""


class PrunedRollups:
    """The pruned rows of one database."""

    def __init__(self, database: Database, kept: Rollups) -> None:
        self._database = database
        self._rollups = kept
        with database.read() as connection:
            self.width = kept.width(connection)

    def days(self) -> set[int]:
        """The starts of the days that have any."""
        table = rollups.c
        found = select(table.bucket_start).where(table.width == DAY_NANOSECONDS, table.pruned == 1).distinct()
        with self._database.read(seconds=READ_SECONDS) as connection:
            return set(connection.execute(found).scalars())

    def of(self, day: int) -> DayRows:
        """Those of every width in that day."""
        with self._database.read(seconds=READ_SECONDS) as connection:
            counts, slots = (
                sorted(tuple(row) for row in connection.execute(select(table).where(*self._within(table, day))))
                for table in PRUNED_TABLES
            )
        return counts, slots

    def replace(self, day: int, rows: DayRows) -> None:
        """Those of the day by these, in one transaction: twice is the same as once."""
        with self._database.write() as connection:
            self._rollups.begin(connection)
            for table in PRUNED_TABLES:
                connection.execute(delete(table).where(*self._within(table, day)))
            self._rollups.merge(connection, counts=rows[0], slots=rows[1])

    def _within(self, table: Table, day: int) -> tuple[ColumnElement[bool], ...]:
        first, last = bounds(day, DAY_NANOSECONDS)
        return (
            table.c.width.in_(row_widths(self.width)),
            table.c.bucket_start >= first,
            table.c.bucket_start <= last,
            table.c.pruned == 1,
        )
