"""Answers from the tables: one record, its child spans, pages, statistics, the store's own figures. Never writes."""

from __future__ import annotations

import datetime as dt
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import bindparam, func, select

from otel_tracker.errors import StorageUnavailableError
from otel_tracker.query import TOTAL_IS_EXACT_UP_TO, Page, PageRequest, StatsRequest
from otel_tracker.record import DailyStats, ExecutionRecord, ExecutionStats, SpanRecord, Status, StorageInfo
from otel_tracker.storage import keyset, query
from otel_tracker.storage.rows import execution_from
from otel_tracker.storage.search import search
from otel_tracker.storage.tables import executions, payloads, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.engine import Connection

    from otel_tracker.storage.engine import Database

_COUNT_SECONDS: Final = 5.0
_EPOCH: Final = dt.date(1970, 1, 1)
# Built once: in_(ids) is a reference cycle of SQLAlchemy's that keeps the ids until a full garbage collection.
_PAYLOADS_OF: Final = select(payloads).where(payloads.c.execution_id.in_(bindparam("ids", expanding=True)))
_OPEN: Final = (Status.PENDING, Status.RUNNING)


class Reader:
    """Reads one database; thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
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
        generation = self._database.generation
        with self._database.read() as connection:
            page = _searched(connection, request) if request.filter.text else _page(connection, request)
        if self._database.generation != generation:
            raise StorageUnavailableError(
                f"{self._database.dialect.location} was replaced while it was read; try again"
            )
        return msgspec.structs.replace(page, generation=generation)

    def stats(self, request: StatsRequest) -> ExecutionStats:
        """Counts and durations of a period."""
        with self._database.read() as connection:
            groups = connection.execute(query.stats(request)).all()
        return _overall(groups)

    def info(self) -> StorageInfo:
        """The total may be some seconds old, for counting a big table is not free."""
        with self._database.read() as connection:
            oldest = connection.execute(select(func.min(executions.c.start_time))).scalar()
            newest = connection.execute(select(func.max(executions.c.start_time))).scalar()
            total = self._total(connection)
            size = self._database.dialect.size_bytes(connection)
        dialect = self._database.dialect
        return StorageInfo(
            type=dialect.name,
            location=dialect.location,
            size=size,
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


def _page(connection: Connection, request: PageRequest) -> Page:
    rows = connection.execute(keyset.page(request)).all()
    shown, more = rows[: request.limit], len(rows) > request.limit
    total = int(connection.execute(query.total(request.filter)).scalar_one()) if request.with_total else 0
    return Page(
        executions=_records(connection, shown, with_payloads=request.with_payloads),
        total=min(total, TOTAL_IS_EXACT_UP_TO),
        total_is_exact=request.with_total and total <= TOTAL_IS_EXACT_UP_TO,
        next_cursor=query.encode_cursor(shown[-1].start_time, shown[-1].id) if more and shown else "",
    )


def _searched(connection: Connection, request: PageRequest) -> Page:
    found = search(connection, request)
    ids = [execution_id for _, execution_id in found.matches]
    by_id = {row.id: row for row in connection.execute(select(executions).where(executions.c.id.in_(ids)))}
    rows = [by_id[execution_id] for execution_id in ids if execution_id in by_id]
    return Page(
        executions=_records(connection, rows, with_payloads=request.with_payloads),
        total=len(rows),
        total_is_exact=found.goes_on_behind is None and not request.cursor,
        next_cursor=query.encode_cursor(*found.goes_on_behind) if found.goes_on_behind else "",
        scan_complete=found.scan_complete,
    )


def _records(connection: Connection, rows: Sequence[SqlRow[Any]], *, with_payloads: bool) -> list[ExecutionRecord]:
    return _whole(connection, rows) if with_payloads else _narrow(rows)


def _narrow(rows: Iterable[SqlRow[Any]]) -> list[ExecutionRecord]:
    return [execution_from(row._asdict(), None) for row in rows]


def _whole(connection: Connection, rows: Sequence[SqlRow[Any]]) -> list[ExecutionRecord]:
    # A second statement, not a join: with OFFSET, a join reads the payloads of every skipped row too.
    ids = [row.id for row in rows]
    found = connection.execute(_PAYLOADS_OF, {"ids": ids}) if ids else ()
    by_id = {payload.execution_id: payload._asdict() for payload in found}
    return [execution_from(row._asdict(), by_id.get(row.id)) for row in rows]


def _overall(groups: Sequence[SqlRow[Any]]) -> ExecutionStats:
    ended = [group for group in groups if group.status not in _OPEN]
    days = sorted({int(group.day) for group in groups})
    total, successful, failed = _counts(groups)
    return ExecutionStats(
        total_executions=total,
        successful_executions=successful,
        failed_executions=failed,
        timeout_executions=sum(group.total for group in groups if group.status == Status.TIMEOUT),
        running_executions=total - successful - failed,
        success_rate=_rate(successful, failed),
        avg_duration=_average(ended),
        min_duration=min((group.duration_min for group in ended), default=0),
        max_duration=max((group.duration_max for group in ended), default=0),
        unique_plugins=len({group.plugin_name for group in groups}),
        daily_stats=[_daily(day, [group for group in groups if int(group.day) == day]) for day in days],
    )


def _daily(day: int, groups: Sequence[SqlRow[Any]]) -> DailyStats:
    total, successful, failed = _counts(groups)
    return DailyStats(
        date=(_EPOCH + dt.timedelta(days=day)).isoformat(),
        total_executions=total,
        successful_executions=successful,
        failed_executions=failed,
        success_rate=_rate(successful, failed),
        avg_duration=_average([group for group in groups if group.status not in _OPEN]),
    )


def _counts(groups: Sequence[SqlRow[Any]]) -> tuple[int, int, int]:
    total = sum(group.total for group in groups)
    successful = sum(group.total for group in groups if group.status == Status.COMPLETED)
    still_open = sum(group.total for group in groups if group.status in _OPEN)
    return total, successful, total - successful - still_open


def _rate(successful: int, failed: int) -> float:
    return round(100.0 * successful / (successful + failed), 2) if successful + failed else 0.0


def _average(groups: Sequence[SqlRow[Any]]) -> int:
    count = sum(group.total for group in groups)
    return round(sum(group.duration_sum for group in groups) / count) if count else 0
