"""What a store can do, split by who needs it. Implementations are synchronous and thread-safe.

Every method raises `StorageUnavailableError` when the store cannot serve now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

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


class RecordWriter(Protocol):
    """Takes rows in any order, any number of times."""

    def ping(self) -> None:
        """Return when the store can be read and written; raise `StorageUnavailableError` otherwise."""
        ...

    def write(
        self,
        rows: Sequence[Row],
        *,
        position: SpoolPosition | None = None,
        before_commit: Callable[[WriteResult], object] = lambda _: None,
    ) -> WriteResult:
        """Keep each row's best-ranked version, in one transaction; idempotent.

        A row that the database refuses is stored sanitised and named in `WriteResult.rejected`; it never takes the
        rest of the batch along. `position` is where the spool stands that the rows come from, once they are stored:
        kept in the same transaction. `before_commit` is told the result while the transaction can still fail.
        """
        ...

    def position(self, instance_id: str) -> SpoolPosition | None:
        """How far the spool of that instance was delivered: what was written last as its `position`, or None."""
        ...


class RecordReader(Protocol):
    """Answers questions about the history; never writes."""

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The whole record, or None."""
        ...

    def spans(self, execution_id: str) -> list[SpanRecord]:
        """The execution's stored child spans, by start time."""
        ...

    def trace(self, request: TraceRequest) -> TraceRows:
        """Executions and child spans of some traces, bounded."""
        ...

    def plugin_names(self) -> list[str]:
        """The plugins that have executions, sorted; from rollups."""
        ...

    def page(self, request: PageRequest) -> Page:
        """A page of the history, newest first. Raises `CursorError` for a foreign cursor."""
        ...

    def stats(self, request: StatsRequest) -> ExecutionStats:
        """Counts and durations of a period, from rollups: what it costs does not depend on how many executions ran.

        The period begins with the bucket (an hour by default) of its start, and ends with that of its end.
        """
        ...

    def series(self, request: SeriesRequest) -> TimeSeries:
        """The same in stretches of equal length. Raises `PeriodTooLongError`.

        From rollups where the granularity is a multiple of their buckets; otherwise from the records that are left.
        """
        ...

    def info(self) -> StorageInfo:
        """The store's kind, place, size and bounds."""
        ...

    def table_sizes(self) -> dict[str, int] | None:
        """Bytes by table, its indexes included; None where the database cannot tell. It may take seconds."""
        ...


class Maintenance(Protocol):
    """Keeps the store healthy."""

    def prune(
        self,
        *,
        started_before: int | None = None,
        max_executions_per_plugin: int | None = None,
        max_bytes: int | None = None,
        dry_run: bool = False,
        on_batch: Callable[[PruneResult], bool] = lambda _: True,
    ) -> PruneResult:
        """Delete what a `RetentionPolicy` of these bounds does not keep, children with it, in paced batches.

        `dry_run` only counts. `on_batch` is told the sums after each batch; where it says False the run ends there, and
        the next one goes on. Raises `CleanupRunningError` while another process cleans the store.
        """
        ...

    def last_cleanup(self) -> LastCleanup | None:
        """The newest run of it, by whatever process; None before the first."""
        ...

    def prune_rollups(self, *, started_before: int) -> int:
        """Delete the statistics of buckets that ended before that nanosecond and have no record left; says how many."""
        ...

    def verify_rollups(self, *, repair: bool = False) -> RollupCheck:
        """Compare the statistics with a recount of the records, while others write; with `repair`, put right."""
        ...

    def interrupt(self, instance_id: str, *, now: int) -> int:
        """End what `instance_id` left pending or running as failed, `error_type` interrupted; says how many."""
        ...

    def close(self) -> None:
        """Release every connection. Safe to call twice."""
        ...


class ExecutionStore(RecordWriter, RecordReader, Maintenance, Protocol):
    """A whole store."""
