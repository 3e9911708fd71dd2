"""The proof of the rollups: what they say, compared with a recount of the records; and the repair of what differs.

In: a database, written meanwhile. Out: a `RollupCheck`. Records and rollups of a day are read by one statement, so both
come from one snapshot, and no writer waits. A repair recounts one bucket in a write transaction. Executions whose
records are deleted cannot be recounted: they are told as unchecked, and their counts are never changed. The number of
stored bytes is proven likewise, of the whole database at once.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, select

from otel_tracker.errors import StorageUnavailableError
from otel_tracker.query import RollupCheck
from otel_tracker.storage.agreed import EXECUTION_BYTES, STORED
from otel_tracker.storage.buckets import DAY_NANOSECONDS, Counted, Deltas, bucket_of, of_all
from otel_tracker.storage.comparison import DayComparison
from otel_tracker.storage.rollups import Rollups, counted, started_in
from otel_tracker.storage.tables import executions, payloads, rollup_durations, rollups, settings, spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Connection

    from otel_tracker.query import RollupDifference
    from otel_tracker.storage.engine import Database

_INT64_MAX: Final = 2**63 - 1
_SECOND: Final = 1_000_000_000
_SHOWN: Final = 100
_DAY_SECONDS: Final = 600.0
"""For the records of one day, which may be a million: nobody waits for them over HTTP."""
_BYTES_SECONDS: Final = 600.0
_stored_and_counted: Final = select(
    func.coalesce(select(settings.c.value).where(settings.c.name == STORED).scalar_subquery(), 0).label("stored"),
    select(func.coalesce(func.sum(payloads.c.bytes), 0)).scalar_subquery().label("payloads"),
    select(func.coalesce(func.sum(spans.c.bytes), 0)).scalar_subquery().label("spans"),
    select(func.count()).select_from(executions).scalar_subquery().label("executions"),
)


class Recount:
    """Checks and repairs the rollups of one database."""

    def __init__(self, database: Database, kept: Rollups) -> None:
        self._database = database
        self._rollups = kept

    def verify(self, *, repair: bool) -> RollupCheck:
        """Compare day by day; with `repair`, recount each bucket that differs."""
        rebuilt = repair and self._rebuild()
        executions_seen = unchecked = total = repaired = 0
        shown: list[RollupDifference] = []
        with self._database.read() as connection:
            width = self._rollups.width(connection)
        for day in self._days():
            with self._database.read(seconds=_DAY_SECONDS) as connection:
                compared = DayComparison(connection, day, width)
            executions_seen += compared.checked
            unchecked += compared.unchecked
            total += len(compared.differences)
            shown += compared.differences[: _SHOWN - len(shown)]
            if repair:
                repaired += self._repair(compared.differing_buckets, width)
        stored_bytes, counted_bytes = self._bytes()
        return RollupCheck(
            checked_executions=executions_seen,
            unchecked_executions=unchecked,
            differences=tuple(shown),
            total_differences=total,
            repaired_buckets=repaired,
            bucket_seconds=width // _SECOND,
            configured_bucket_seconds=self._rollups.configured_width // _SECOND,
            rebuilt=rebuilt,
            stored_bytes=stored_bytes,
            counted_bytes=counted_bytes,
            repaired_bytes=repair and self._repair_bytes(stored_bytes, counted_bytes),
        )

    def _bytes(self) -> tuple[int, int | None]:
        """What the store says that it holds, and what it does; both from one snapshot."""
        with contextlib.suppress(StorageUnavailableError), self._database.read(seconds=_BYTES_SECONDS) as connection:
            row = connection.execute(_stored_and_counted).one()
            executions_bytes = EXECUTION_BYTES * int(row.executions)
            return int(row.stored), int(row.payloads) + int(row.spans) + executions_bytes
        with self._database.read() as connection:
            return self._rollups.agreed(connection).stored_bytes, None

    def _repair_bytes(self, stored: int, counted: int | None) -> bool:
        """By the difference, which no writer changes: so none waits for the count."""
        if counted is None or counted == stored:
            return False
        with self._database.write() as connection:
            agreed = self._rollups.begin(connection)
            self._rollups.change(connection, {STORED: agreed.stored_bytes + counted - stored})
        return True

    def _days(self) -> Iterator[int]:
        """The starts of all days that have records or rollups, oldest first."""
        start = -_INT64_MAX - 1
        while start <= _INT64_MAX:
            with self._database.read() as connection:
                first = _first_from(connection, start)
            if first is None:
                return
            day = bucket_of(first, DAY_NANOSECONDS)
            yield day
            start = day + DAY_NANOSECONDS

    def _repair(self, buckets: list[tuple[int, int]], width: int) -> int:
        """Give these buckets, pairs of width and start, the rows that their records tell; each in a transaction."""
        for bucket_width, start in buckets:
            with self._database.write() as connection:
                if self._rollups.begin(connection).width != width:
                    return 0  # somebody else rebuilds them meanwhile
                for table in (rollups, rollup_durations):
                    is_there = (_of(table, bucket_width), table.c.bucket_start == start, table.c.pruned == 0)
                    connection.execute(delete(table).where(*is_there))
                deltas = Deltas(bucket_width, told=(bucket_width,))
                deltas.add(Counted(*row) for row in connection.execute(counted(*started_in(start, bucket_width))))
                self._rollups.apply(connection, deltas)
        return len(buckets)

    def _rebuild(self) -> bool:
        """Change the width of the buckets to the configured one, in one transaction; False where it is that already.

        Counts whose records are deleted move to the bucket in which theirs began: a finer one cannot be known.
        """
        wanted = self._rollups.configured_width
        with self._database.write() as connection:
            width = self._rollups.begin(connection).width
            if width == wanted:
                return False
            pruned = [_pruned_rows(connection, table, width) for table in (rollups, rollup_durations)]
            if width != DAY_NANOSECONDS:
                for table in (rollups, rollup_durations):
                    connection.execute(delete(table).where(_of(table, width)))
            self._rollups.set_width(connection)
            if wanted != DAY_NANOSECONDS:
                for bucket in sorted({row[1] for rows in pruned for row in rows}):  # of several, keys may be the same
                    counts, slots = ([_moved(row, wanted) for row in rows if row[1] == bucket] for rows in pruned)
                    self._rollups.merge(connection, counts=counts, slots=slots)
                deltas = Deltas(wanted, told=(wanted,))
                deltas.add(Counted(*row) for row in connection.execute(counted()))
                self._rollups.apply(connection, deltas)
        return True


def _of(table: Table, width: int) -> ColumnElement[bool]:
    return table.c.width.in_((width, of_all(width)))


def _moved(row: tuple[Any, ...], wanted: int) -> tuple[Any, ...]:
    return (wanted if row[0] > 0 else of_all(wanted), bucket_of(row[1], wanted), *row[2:])


def _first_from(connection: Connection, start: int) -> int | None:
    """When the first execution or bucket from that nanosecond on started."""
    statements = (
        select(executions.c.start_time).where(executions.c.start_time >= start).order_by(executions.c.start_time),
        select(rollups.c.bucket_start)
        .where(rollups.c.width == DAY_NANOSECONDS, rollups.c.bucket_start >= start)
        .order_by(rollups.c.bucket_start),
    )
    found = (connection.execute(statement.limit(1)).scalar() for statement in statements)
    return min((one for one in found if one is not None), default=None)


def _pruned_rows(connection: Connection, table: Table, width: int) -> list[tuple[Any, ...]]:
    statement = select(table).where(_of(table, width), table.c.pruned == 1)
    return [tuple(row) for row in connection.execute(statement)]
