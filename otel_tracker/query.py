"""What a reader can be asked, as one struct: parsed at the edge, compiled to SQL in `storage.query`. Pure values.

Sequences are tuples so that a query is hashable. Empty means "no such filter".
"""

from __future__ import annotations

import msgspec

from otel_tracker.record import ExecutionRecord, SpanRecord, Status

TOTAL_IS_EXACT_UP_TO = 10_000
"""Counting stops here: a page of a big history must not cost a scan of it."""


class SearchBudget(msgspec.Struct, frozen=True, kw_only=True):
    """How much one page may look at in search of what no index knows; the first bound that is reached ends the scan.

    At least one execution is looked at, so that a client that follows `next_cursor` always comes to the end.
    """

    candidates: int = 10_000
    """Executions that an index leads to, where other conditions than a `text` must be looked up in each of them."""
    rows: int = 50_000
    """Executions whose texts are compared. One core compares some 60,000 small ones a second."""
    characters: int = 64 * 1024 * 1024
    """Of input, output and error. In big texts a second folds 100 million of ASCII, 40 million of others."""
    seconds: float = 1.0
    """Looked at after each execution, so that it is passed by one read at most."""


class ExecutionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which executions; all given conditions must hold."""

    plugins: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    error_types: tuple[str, ...] = ()
    trace_id: str = ""
    delivery_id: str = ""
    started_from: int | None = None
    """Nanoseconds since the epoch, inclusive."""
    started_before: int | None = None
    """Nanoseconds since the epoch, exclusive."""
    tags: tuple[tuple[str, str], ...] = ()
    """Pairs of a tag's name and its exact value."""
    min_duration: int | None = None
    """Nanoseconds, inclusive. An execution that has not ended has no duration: neither bound selects it."""
    max_duration: int | None = None
    """Nanoseconds, inclusive."""
    text: str = ""
    """Somewhere in input, output or error, as they are stored; upper and lower case are one (`str.casefold`)."""


class PageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the history, newest first (by start time, then id)."""

    filter: ExecutionFilter = ExecutionFilter()
    limit: int = 50
    offset: int = 0
    """Rows to leave out; 0 where `cursor` is given, and where the filter has a `text`."""
    cursor: str = ""
    """`next_cursor` of the page before, or empty for the first page."""
    with_payloads: bool = True
    """False: input, output, logs, traceback and metadata stay empty and their table is never read."""
    with_total: bool = True
    budget: SearchBudget = SearchBudget()


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page. `total` counts the matches of the filter up to `TOTAL_IS_EXACT_UP_TO`.

    Where the filter has a `text` it counts what this page saw, and is exact where that was the whole history.
    """

    executions: list[ExecutionRecord]
    total: int
    total_is_exact: bool
    """False: there are, or may be, more than `total`."""
    next_cursor: str
    """Opaque; empty on the last page."""
    scan_complete: bool = True
    """False: the budget ended the search before the page was full; `next_cursor` goes on where it stopped."""
    generation: int = 0
    """Grows where the database was found replaced and opened anew: pages of two generations are not of one history."""


class TraceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of some traces, as far as the bounds reach."""

    trace_ids: tuple[str, ...] = ()
    """32 hex digits each."""
    execution_ids: tuple[str, ...] = ()
    """Instead of traces: only these executions and what opened inside them."""
    max_executions: int = 1_000
    max_spans: int = 10_000
    """Child spans."""
    max_span_bytes: int = 16 * 1024 * 1024
    """Of the child spans' texts."""
    payload_characters: int = 0
    """Of input, output, traceback, logs and metadata so many characters of each are read; 0: none of them."""


class TraceRows(msgspec.Struct, frozen=True, kw_only=True):
    """What a `TraceRequest` found, by start time; where the bounds cut, what started last is missing."""

    executions: list[ExecutionRecord]
    spans: list[SpanRecord]
    """Child spans of these executions."""
    is_whole: bool
    """False: the bounds cut it."""


class StatsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The executions started in `[started_from, started_before)`, of one plugin or of all (`plugin` empty)."""

    started_from: int
    started_before: int
    plugin: str = ""
    previous: tuple[int, int] | None = None
    """`(started_from, started_before)` of the period to tell beside it."""
    with_hours: bool = False
    """Whether to tell each hour."""


class SeriesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The executions started in `[started_from, started_before)`, in stretches of `granularity` nanoseconds."""

    started_from: int
    started_before: int
    granularity: int
    """Stretches begin at whole multiples of it since the epoch; the first holds `started_from`."""
    plugin: str = ""


class SpoolPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far a spool was delivered into a store. See `exporters.spool_reader` for what the numbers mean."""

    instance_id: str
    """Whose spool."""
    segment: int
    offset: int
    frames: int
    corrupt: int
    checksum: int


class WriteResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch; `stored + unchanged + len(rejected)` is its length."""

    stored: int
    """Rows inserted or updated."""
    unchanged: int
    """Rows that the store already knew, or knew better."""
    rejected: tuple[tuple[int, str], ...] = ()
    """Index in the batch, and why: the row was stored sanitised where possible, and belongs into the dead letters."""
    lost: tuple[int, ...] = ()
    """Of these, the indexes of those that were not stored, not even sanitised."""


class RetentionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a store keeps. Pending and running executions are always kept; None is no bound."""

    started_before: int | None = None
    """Nanoseconds since the epoch: what started earlier goes."""
    max_executions_per_plugin: int | None = None
    """Of each plugin the newest so many that have ended."""
    max_bytes: int | None = None
    """Of all payloads and spans, and `storage.agreed.EXECUTION_BYTES` for each execution.

    While there are more: the payloads of completed executions go, those of others, completed executions, others; each
    time the oldest first.
    """


class PruneResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a retention run removed, or (`dry_run`) would remove."""

    deleted: int = 0
    """Executions, without counting their children."""
    payloads_deleted: int = 0
    """Executions that are kept, without their payload: by `max_bytes` only."""
    removed_bytes: int = 0
    """What these held, as `max_bytes` counts it; in a dry run only what is over `max_bytes`."""
    freed_bytes: int = 0
    """Given back to the disk, by an SQLite file. A server keeps the room for what comes next: 0."""
    dry_run: bool = False


class LastCleanup(msgspec.Struct, frozen=True, kw_only=True):
    """The newest run of the retention in a store, whoever ran it."""

    time: int
    """Nanoseconds since the epoch, when it began, by the clock of who ran it."""
    deleted: int
    freed_bytes: int


class RollupDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of the rollups that is not what a recount of the records gives."""

    bucket_seconds: int
    bucket_start: int
    """Nanoseconds since the epoch."""
    plugin_name: str
    """Empty: the durations of all plugins together."""
    figure: str
    """What differs: `total`, `timed`, `duration_sum`, `duration_min`, `duration_max` of a group, or a `slot`."""
    group: str
    """`status` or `status/error_type`; for a slot of the durations, its number."""
    stored: int
    counted: int


class RollupCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The rollups compared with their records."""

    checked_executions: int
    unchecked_executions: int
    """Counted in the rollups, and their records deleted since: nothing to compare with."""
    differences: tuple[RollupDifference, ...]
    """The first hundred."""
    total_differences: int
    repaired_buckets: int
    bucket_seconds: int
    configured_bucket_seconds: int
    """Another than `bucket_seconds` where the store has not been rebuilt since the setting was changed."""
    rebuilt: bool
    """Whether the repair changed the width of the buckets to the configured one."""
    stored_bytes: int
    """What `max_bytes` is compared with, as the store kept it before a repair."""
    counted_bytes: int | None
    """The same, counted; None where the database could not do that in the time that a read may take."""
    repaired_bytes: bool = False
    """Whether the repair put it right."""

    @property
    def is_good(self) -> bool:
        """Whether the rollups, and the number of bytes, are now what they should be."""
        is_even = not self.total_differences or self.repaired_buckets > 0
        are_bytes_even = self.counted_bytes in (None, self.stored_bytes) or self.repaired_bytes
        return is_even and are_bytes_even and self.bucket_seconds == self.configured_bucket_seconds
