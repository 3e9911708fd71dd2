"""A whole store: writer, reader and maintenance over one database. Implements `otel_tracker.ports.ExecutionStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from otel_tracker.query import RetentionPolicy
from otel_tracker.storage.interruption import interrupt
from otel_tracker.storage.last_cleanup import last_cleanup
from otel_tracker.storage.positions import Positions, forget_positions
from otel_tracker.storage.reader import Reader
from otel_tracker.storage.recount import Recount
from otel_tracker.storage.retention import Retention
from otel_tracker.storage.rollups import Rollups
from otel_tracker.storage.tables import executions
from otel_tracker.storage.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_tracker.query import (
        LastCleanup,
        Page,
        PageRequest,
        PruneResult,
        RollupCheck,
        SeriesRequest,
        SpoolPosition,
        StatsRequest,
        TraceRequest,
        TraceRows,
        WriteResult,
    )
    from otel_tracker.record import ExecutionRecord, Row, SpanRecord, StorageInfo
    from otel_tracker.stats import ExecutionStats, TimeSeries
    from otel_tracker.storage.engine import Database


class SqlStore:
    """Get one by `otel_tracker.storage.open_store`. Thread-safe."""

    def __init__(self, database: Database, *, bucket_nanoseconds: int) -> None:
        self._database = database
        self._rollups = Rollups(database, bucket_nanoseconds=bucket_nanoseconds)
        self._rollups.warn_of_another_width()
        self._writer = Writer(database, self._rollups)
        self._positions = Positions(database)
        self._reader = Reader(database, self._rollups)
        self._retention = Retention(database, self._rollups)

    @property
    def database(self) -> Database:
        """For what is about tables rather than records: copying them."""
        return self._database

    @property
    def rollups(self) -> Rollups:
        """Likewise."""
        return self._rollups

    def bucket_seconds(self) -> int:
        """How much time a bucket of its rollups covers: what it keeps, not what it was opened with."""
        with self._database.read() as connection:
            return self._rollups.width(connection) // 1_000_000_000

    def write(
        self,
        rows: Sequence[Row],
        *,
        position: SpoolPosition | None = None,
        before_commit: Callable[[WriteResult], object] = lambda _: None,
    ) -> WriteResult:
        """Keep each row's best-ranked version, in one transaction; idempotent. See `RecordWriter`."""
        return self._writer.write(rows, position=position, before_commit=before_commit)

    def position(self, instance_id: str) -> SpoolPosition | None:
        """How far the spool of that instance was delivered; None where the store does not know."""
        with self._database.read() as connection:
            return self._positions.get(connection, instance_id)

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The whole record, or None."""
        return self._reader.get(execution_id)

    def spans(self, execution_id: str) -> list[SpanRecord]:
        """The execution's stored child spans, by start time."""
        return self._reader.spans(execution_id)

    def trace(self, request: TraceRequest) -> TraceRows:
        """Executions and child spans of some traces, bounded."""
        return self._reader.trace(request)

    def plugin_names(self) -> list[str]:
        """The plugins that have executions, sorted; from rollups."""
        return self._reader.plugin_names()

    def page(self, request: PageRequest) -> Page:
        """A page of the history, newest first. Raises `CursorError` for a foreign cursor."""
        return self._reader.page(request)

    def stats(self, request: StatsRequest) -> ExecutionStats:
        """Counts and durations of a period, from rollups."""
        return self._reader.stats(request)

    def series(self, request: SeriesRequest) -> TimeSeries:
        """The same in stretches of equal length. Raises `PeriodTooLongError`."""
        return self._reader.series(request)

    def info(self) -> StorageInfo:
        """The store's kind, place, size and bounds."""
        return self._reader.info()

    def table_sizes(self) -> dict[str, int] | None:
        """Bytes by table, its indexes included; None where the database cannot tell. It may take seconds."""
        return self._reader.table_sizes()

    def ping(self) -> None:
        """Return when the store can be read and written: both are tried."""
        with self._database.write():
            pass
        with self._database.read() as connection:
            connection.execute(select(executions.c.id).limit(1)).all()

    def prune(
        self,
        *,
        started_before: int | None = None,
        max_executions_per_plugin: int | None = None,
        max_bytes: int | None = None,
        dry_run: bool = False,
        on_batch: Callable[[PruneResult], bool] = lambda _: True,
    ) -> PruneResult:
        """Delete what the bounds do not keep; give the space back. See `Maintenance`."""
        policy = RetentionPolicy(
            started_before=started_before, max_executions_per_plugin=max_executions_per_plugin, max_bytes=max_bytes
        )
        return self._retention.prune(policy, dry_run=dry_run, on_batch=on_batch)

    def last_cleanup(self) -> LastCleanup | None:
        """The newest run of the retention, by whatever process; None before the first."""
        with self._database.read() as connection:
            return last_cleanup(connection)

    def verify_rollups(self, *, repair: bool = False) -> RollupCheck:
        """Compare the statistics with a recount of the records; with `repair`, put right what differs."""
        return Recount(self._database, self._rollups).verify(repair=repair)

    def prune_rollups(self, *, started_before: int) -> int:
        """Delete the statistics of buckets that ended before that nanosecond and have no record left; says how many."""
        deleted = self._rollups.prune(started_before=started_before)
        with self._database.write() as connection:
            forget_positions(connection, before=started_before)
        return deleted

    def interrupt(self, instance_id: str, *, now: int) -> int:
        """End what `instance_id` left pending or running; its real end, should it still arrive, replaces this.

        `now` is when it is known to have ended: not before it started.
        """
        return interrupt(self._database, self._rollups, instance_id=instance_id, now=now)

    def close(self) -> None:
        """Release every connection. Safe to call twice."""
        self._database.close()
