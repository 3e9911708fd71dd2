"""Answers from the tables: one record, its child spans, pages, statistics, the store's own figures. Never writes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row as SqlRow
from sqlalchemy import func, select

from otel_tracker.query import TOTAL_IS_EXACT_UP_TO, Page, PageRequest, SeriesRequest, StatsRequest
from otel_tracker.record import ExecutionRecord, SpanRecord, StorageInfo
from otel_tracker.storage import figures, query, series
from otel_tracker.storage.rows import execution_from
from otel_tracker.storage.tables import executions, payloads, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Connection

    from otel_tracker.stats import ExecutionStats, TimeSeries
    from otel_tracker.storage.engine import Database
    from otel_tracker.storage.rollups import Rollups

_COUNT_SECONDS: Final = 5.0


class Reader:
    """Reads one database; thread-safe."""

    def __init__(self, database: Database, rollups: Rollups) -> None:
        self._database = database
        self._rollups = rollups
        self._count_lock = threading.Lock()
        self._counted = (float("-inf"), 0)

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The whole record, or None."""
        with self._database.read() as connection:
            statement = select(executions).where(executions.c.id == _askable(execution_id))
            return next(iter(_whole(connection, connection.execute(statement).all())), None)

    def spans(self, execution_id: str) -> list[SpanRecord]:
        """Child spans, by start time."""
        statement = (
            select(spans)
            .where(spans.c.execution_id == _askable(execution_id))
            .order_by(spans.c.start_time, spans.c.span_id)
        )
        with self._database.read() as connection:
            return [SpanRecord(**row) for row in connection.execute(statement).mappings()]

    def page(self, request: PageRequest) -> Page:
        """A page, newest first."""
        statement = query.page(request)
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
            shown, more = rows[: request.limit], len(rows) > request.limit
            total = int(connection.execute(query.total(request.filter)).scalar_one()) if request.with_total else 0
            found = _whole(connection, shown) if request.with_payloads else _narrow(shown)
        return Page(
            executions=found,
            total=min(total, TOTAL_IS_EXACT_UP_TO),
            total_is_exact=request.with_total and total <= TOTAL_IS_EXACT_UP_TO,
            next_cursor=query.encode_cursor(found[-1].start_time, found[-1].id) if more and found else "",
        )

    def stats(self, request: StatsRequest) -> ExecutionStats:
        """Counts and durations of a period."""
        with self._database.read() as connection:
            return figures.stats(connection, request, width=self._rollups.width(connection))

    def series(self, request: SeriesRequest) -> TimeSeries:
        """The same in stretches of equal length. Raises `PeriodTooLongError`."""
        with self._database.read() as connection:
            return series.read(connection, request, width=self._rollups.width(connection))

    def info(self) -> StorageInfo:
        """The total may be some seconds old, for counting a big table is not free."""
        with self._database.read() as connection:
            oldest = connection.execute(select(func.min(executions.c.start_time))).scalar()
            newest = connection.execute(select(func.max(executions.c.start_time))).scalar()
            total = self._total(connection)
        dialect = self._database.dialect
        return StorageInfo(
            type=dialect.name,
            location=dialect.location,
            size=dialect.size_bytes(),
            total_records=total,
            oldest_record=oldest,
            newest_record=newest,
            health="healthy",
        )

    def _total(self, connection: Connection) -> int:
        with self._count_lock:
            counted_at, total = self._counted
            if time.monotonic() - counted_at > _COUNT_SECONDS:
                total = connection.execute(select(func.count()).select_from(executions)).scalar_one()
                self._counted = (time.monotonic(), total)
            return total

    def forget_total(self) -> None:
        """Count anew when next asked."""
        with self._count_lock:
            self._counted = (float("-inf"), 0)


def _askable(execution_id: str) -> str:
    """A lone surrogate in a path must be "not found", not an encoding error."""
    return execution_id.encode("utf-8", "replace").decode()


def _narrow(rows: Iterable[SqlRow[Any]]) -> list[ExecutionRecord]:
    return [execution_from(row._asdict(), None) for row in rows]


def _whole(connection: Connection, rows: Sequence[SqlRow[Any]]) -> list[ExecutionRecord]:
    # A second statement, not a join: with OFFSET, a join reads the payloads of every skipped row too.
    ids = [row.id for row in rows]
    found = connection.execute(select(payloads).where(payloads.c.execution_id.in_(ids))) if ids else ()
    by_id = {payload.execution_id: payload._asdict() for payload in found}
    return [execution_from(row._asdict(), by_id.get(row.id)) for row in rows]
