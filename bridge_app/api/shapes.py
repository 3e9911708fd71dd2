"""The JSON shapes of REST as structs: handlers encode them, and the OpenAPI document is made of them.

The text under a field becomes its description in that document. Times are RFC 3339 in UTC, durations nanoseconds.
Shapes that the domain has as REST shows them (`ExecutionStats`, `TimeSeries`, `PruneResult`) stand in `otel_tracker`.
No behaviour.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bridge_app.accounting import Accounting
from otel_tracker.record import Status
from otel_tracker.stats import ExecutionStats

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""Microseconds where there are any: `2025-06-06T14:33:48Z`, `2025-06-06T14:33:48.123456Z`."""


class ExecutionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a plugin. A list that was asked for `fields` holds only these."""

    id: str
    """UUIDv7, made when the execution started: ids sort by start."""
    plugin_name: str
    http_method: str
    start_time: Time
    end_time: Time | None
    """null while it runs."""
    status: Status
    input: str
    """JSON in a string: what the plugin was given, redacted; longer than `max_input_size` it is cut."""
    output: str
    """JSON in a string: what the plugin returned."""
    error: str
    """One line; empty on success."""
    error_type: str
    """From a closed list, such as timeout or connection_error; empty on success."""
    duration: int
    """Nanoseconds; 0 while it runs."""
    attempts: int
    retry_count: int
    trace_id: str
    """The OpenTelemetry trace id, 32 hexadecimal digits."""
    span_id: str
    """The execution's own span, 16 hexadecimal digits."""
    parent_span_id: str
    """16 hexadecimal digits; empty where the trace starts here."""
    delivery_id: str
    """The sender's own id of the delivery, where it gave one."""
    user_agent: str
    remote_ip: str
    tags: str
    """A JSON object of strings, in a string."""
    metadata: str
    """A JSON object in a string: sizes, hashes, what was cut."""
    traceback: str
    logs: str
    """A JSON list in a string: what the plugin printed and logged."""
    instance_id: str
    """The bridge process that ran it."""
    created_at: Time
    updated_at: Time
    payload_deleted: bool
    """Whether the retention deleted input, output, metadata, traceback and logs to keep within `max_bytes`."""


class ExecutionPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the history, newest first."""

    executions: list[ExecutionRecord]
    total: int
    """How many match the filter, counted up to 10,000; where no index knows all of it, among the newest executions; of
    a search for text (`q`) those that this page saw."""
    total_relation: Literal["eq", "gte"]
    """gte: there are, or may be, more than `total`."""
    limit: int
    offset: int
    next_cursor: str | None
    """The `cursor` of the next page; null on the last one."""
    scan_complete: bool
    """false: a search for what no index knows reached its bound before this page was full; `next_cursor` goes on."""


class RealtimeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What this bridge process itself has seen of a plugin since it started, in memory."""

    running: int
    ended: int
    by_status: dict[str, int]
    """Ended executions by status."""
    avg_duration: int
    p50_duration: int
    """The median of the last 256 executions, in nanoseconds."""
    p95_duration: int


class PluginStats(ExecutionStats, frozen=True, kw_only=True):
    """Counts and durations of one plugin, and its realtime figures."""

    plugin: str
    realtime: RealtimeFigures


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span that was opened inside an execution."""

    execution_id: str
    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    """internal, server, client, producer or consumer."""
    start_time: Time
    end_time: Time
    duration: int
    status: str
    """unset, ok or error."""
    error: str
    attributes: str
    """A JSON object in a string."""
    events: str
    """A JSON list in a string."""


class SpanList(msgspec.Struct, frozen=True, kw_only=True):
    """The spans of one execution, by start time."""

    spans: list[Span]


class Spool(msgspec.Struct, frozen=True, kw_only=True):
    """The records on their way into the store, and those that did not arrive."""

    frames: int
    """Records and span starts that wait for the store."""
    bytes: int
    oldest_age_seconds: float
    dropped: dict[str, int]
    """Frames lost, by reason; `accounting.dropped` counts executions."""
    corrupt_frames: int
    rejected: int
    """Rows that the store refused as they were: stored sanitised, kept raw."""
    delivered: int
    last_error: str
    """Why the last delivery failed; empty where it did not."""


class StorageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The store itself."""

    type: str
    """sqlite, mysql or postgresql."""
    location: str
    """A path, or a URL with its password masked."""
    size: int
    """Bytes on disk, write-ahead log included."""
    total_records: int
    oldest_record: Time | None
    newest_record: Time | None
    health: str
    """healthy, or why not."""
    free_bytes: int | None = None
    """What the disk of an SQLite file has left; null for a server."""


class Cleanup(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the retention."""

    time: Time
    """When it began."""
    deleted: int
    """Executions."""
    freed_bytes: int


class StorageState(StorageInfo, frozen=True, kw_only=True):
    """The store, and what is on its way to it."""

    spool: Spool
    tables: dict[str, int] | None = None
    """Bytes by table, its indexes included, at most an hour old; null until it was looked up, and where an SQLite was
    built without dbstat."""
    growth_per_day: int | None = None
    """Bytes, over the last day as far as this process has seen it; null in its first hour."""
    days_until_full: float | None = None
    """How long the disk of an SQLite file lasts at that growth; null for a server, and where nothing grows."""
    last_cleanup: Cleanup | None = None
    """The last run of the retention, by whatever process; null before."""
    accounting: Accounting | None = None


class Plugin(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin file."""

    name: str
    path: str
    methods: list[str]
    """HTTP methods that it handles; empty while it is broken."""
    state: Literal["loading", "ready", "broken", "stale"]
    """stale: an old version serves because the new one is broken."""
    error: str
    """The traceback of a version that does not load."""
    loaded_at: Time | None
    doc: str
    """Its docstring."""
    note: str
    """What is odd about the file, such as a link that leads out of the folder."""


class PluginList(msgspec.Struct, frozen=True, kw_only=True):
    """The plugins, by name."""

    plugins: list[Plugin]


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A place that executions are forwarded to. Counts are of spans, since the bridge started."""

    name: str
    protocol: str
    """otlp-http, otlp-http-json, otlp-grpc, console or file."""
    endpoint: str
    """A URL without its query, a file's path, or empty."""
    state: Literal["ok", "retrying"]
    """retrying: the last request failed; what waits stays on disk."""
    last_error: str
    """What it answered to the last request that was not a plain success."""
    sent: int
    """Spans that it took."""
    rejected: int
    """Spans that it rejected of requests which it took otherwise: OTLP's partial success."""
    dead_letters: int
    """Spans that it refused for good."""
    dropped: dict[str, int]
    """Spans lost, by reason, such as spool_full."""
    waiting_spans: int
    waiting_bytes: int
    waiting_seconds: float
    """About how long the oldest has waited."""


class DestinationList(msgspec.Struct, frozen=True, kw_only=True):
    """The destinations in the order of the configuration, and the process that serves them."""

    destinations: list[Destination]
    why: str = ""
    """Why executions do not get to the destinations' spools now; empty while they do."""
    behind_bytes: int = 0
    """What the history's spool holds that the forwarder has not read."""
    missed: int = 0
    """Records that left the history's spool before the forwarder had read them."""
    unreadable: int = 0
    """Damaged records."""
    restarts: int = 0
    """How often the forwarder was started again."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the bridge. Open to everybody: where `auth.token` is set it tells no reasons, which name paths."""

    status: Literal["ok", "degraded", "stopping"]
    """degraded: webhooks are served, but the store is away, or an execution was dropped in the last five minutes."""
    version: str
    webhooks: Literal["ok", "stopping"]
    storage: str
    """ok, disabled (tracking is off), or why the store is away: `unavailable` where no reasons are told."""
    spool: Spool | None = None
    """null where tracking is off."""
    accounting: Accounting | None = None
    """null where tracking is off."""
    interrupted_at_start: int = 0
    """Executions that dead processes had left running and this one ended."""
    destinations: dict[str, Literal["ok", "retrying", "dropping"]] = {}
    """How each destination does, by name; dropping: something was lost on the way to it. Not part of `status`."""


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """The event loop turns."""

    status: Literal["ok"] = "ok"
