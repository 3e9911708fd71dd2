"""The domain: what an execution is, as frozen structs. No I/O, no spans, no tables.

Times are integers: nanoseconds since the Unix epoch, UTC. Durations are nanoseconds. Values that users send or get
(`input`, `output`, `tags`, `metadata`, ...) are text that holds JSON, already bounded and redacted.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import assert_never

import msgspec


class Status(StrEnum):
    """Where an execution stands. The last four are final."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after this state."""
        match self:
            case Status.PENDING | Status.RUNNING:
                return False
            case Status.COMPLETED | Status.FAILED | Status.TIMEOUT | Status.CANCELED:
                return True
            case _:
                assert_never(self)


class Rank(IntEnum):
    """How much a version of a record knows; a store keeps the version with the highest rank, in any order of arrival.

    `INTERRUPTED` is an end that was concluded from outside (the process is gone); the real end, should it still
    arrive, is worth more.
    """

    PENDING = 0
    RUNNING = 1
    INTERRUPTED = 2
    ENDED = 3


class ExecutionRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="e", gc=False):
    """One execution of a plugin or of tracked code, as the history keeps it.

    Fields are only ever appended: a spool written by an older version must stay readable.
    """

    id: str
    """UUIDv7, 36 characters, made when the execution started; so ids sort by start."""
    plugin_name: str
    status: Status
    start_time: int
    """Nanoseconds since the epoch."""
    end_time: int | None = None
    """Nanoseconds since the epoch; None while running."""
    rank: Rank = Rank.ENDED
    http_method: str = ""
    input: str = ""
    output: str = ""
    error: str = ""
    """One line: the exception's message. The traceback is in `traceback`."""
    error_type: str = ""
    """From the closed list of `otel_tracker.classification.ERROR_TYPES`; empty on success."""
    duration: int = 0
    """Nanoseconds, from a monotonic clock; 0 while running."""
    attempts: int = 1
    retry_count: int = 0
    trace_id: str = ""
    """32 hex digits, the id that Jaeger shows."""
    span_id: str = ""
    """16 hex digits: the execution's own span."""
    parent_span_id: str = ""
    """16 hex digits, or empty where the trace starts here."""
    user_agent: str = ""
    remote_ip: str = ""
    tags: str = "{}"
    """A JSON object of strings."""
    metadata: str = "{}"
    """A JSON object: what the product knows beside the fixed fields (route, sizes, hashes, what was cut)."""
    traceback: str = ""
    logs: str = ""
    """A JSON list of what the code printed and logged, bounded: `[{"stream": "stdout", "text": "..."}, ...]`."""
    instance_id: str = ""
    """The process that ran it; a store closes what a dead instance left running."""
    delivery_id: str = ""
    """The sender's own id of the delivery, where it gave one."""
    created_at: int = 0
    """Nanoseconds; when the record was first made. Equals `start_time` unless a store knows better."""
    updated_at: int = 0
    """Nanoseconds; when this version of the record was made."""
    payload_deleted: bool = False
    """Whether the retention deleted input, output, traceback, logs, metadata and span, which are empty then."""
    span: str = ""
    """What its span says beyond these fields, a JSON object: see `otel_tracker.span_facts`."""


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="s", gc=False):
    """One finished child span of an execution: a further attempt, or a span that the plugin opened."""

    execution_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    """OpenTelemetry's span kind, lower case: internal, server, client, producer, consumer."""
    start_time: int
    end_time: int
    status: str = "unset"
    """OpenTelemetry's status code, lower case: unset, ok, error."""
    error: str = ""
    attributes: str = "{}"
    """A JSON object."""
    events: str = "[]"
    """A JSON list of `{"name", "time", "attributes"}`."""
    span: str = ""
    """What it says beyond these fields, a JSON object: see `otel_tracker.span_facts`."""


Row = ExecutionRecord | SpanRecord
"""What a writer takes."""


class StorageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `GET /api/v1/executions/storage/info` says of the store itself."""

    type: str
    location: str
    """A path, or a URL with its password masked."""
    size: int
    """Bytes on disk, write-ahead log included."""
    total_records: int
    oldest_record: int | None
    """Nanoseconds since the epoch; None in an empty store."""
    newest_record: int | None
    health: str
    """`healthy`, or why not."""
    free_bytes: int | None = None
    """What the disk of an SQLite file has left; None for a server."""
