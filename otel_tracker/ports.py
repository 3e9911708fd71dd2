"""What a store can do, split by who needs it. Implementations are synchronous and thread-safe.

Every method raises `StorageUnavailableError` when the store cannot serve now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_tracker.query import Page, PageRequest, PruneResult, RollupCheck, SeriesRequest, StatsRequest, WriteResult
    from otel_tracker.record import ExecutionRecord, Row, SpanRecord, StorageInfo
    from otel_tracker.stats import ExecutionStats, TimeSeries


class RecordWriter(Protocol):
    """Takes rows in any order, any number of times."""

    def ping(self) -> None:
        """Return when the store can be read and written; raise `StorageUnavailableError` otherwise."""
        ...

    def write(self, rows: Sequence[Row]) -> WriteResult:
        """Keep each row's best-ranked version, in one transaction; idempotent.

        A row that the database refuses is stored sanitised and named in `WriteResult.rejected`; it never takes the
        rest of the batch along.
        """
        ...


class RecordReader(Protocol):
    """Answers questions about the history; never writes."""

    def get(self, execution_id: str) -> ExecutionRecord | None:
        """The whole record, or None."""
        ...

    def spans(self, execution_id: str) -> list[SpanRecord]:
        """The execution's stored child spans, by start time."""
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

    def prune(self, *, started_before: int, dry_run: bool = False) -> PruneResult:
        """Delete finished executions that started before that nanosecond, children with them, in paced batches."""
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
