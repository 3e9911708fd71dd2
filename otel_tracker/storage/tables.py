"""The tables, as SQLAlchemy Core constructs: the declared schema, the same for every database.

Executions are narrow so that pages, counts and statistics stay cheap; what users send and get lives in
`execution_payloads`. Statistics are answered from `rollups`, whatever the number of executions. Child spans carry no
foreign key: a span may be delivered before its execution.
Times and durations are integers (nanoseconds), never naive datetimes. Nothing here connects to anything.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

SCHEMA_VERSION: Final = 1

NOT_COMPLETED: Final = text("status <> 'completed'")
"""What the status index covers: queries repeat it literally, for a planner cannot prove it of a bound value."""
HAS_DELIVERY: Final = text("delivery_id <> ''")

metadata = MetaData()


def _text(name: str, length: int) -> Column[str]:
    return Column(name, String(length), nullable=False)


def _number(name: str, kind: type[Integer] = BigInteger) -> Column[int]:
    return Column(name, kind, nullable=False)


executions = Table(
    "executions",
    metadata,
    Column("id", String(36), primary_key=True),
    _number("rank", SmallInteger),
    _text("plugin_name", 255),
    _text("status", 16),
    _number("start_time"),
    Column("end_time", BigInteger),
    _number("duration"),
    _text("http_method", 16),
    Column("error", Text, nullable=False),
    _text("error_type", 255),
    _number("attempts", Integer),
    _number("retry_count", Integer),
    _text("trace_id", 32),
    _text("span_id", 16),
    _text("parent_span_id", 16),
    Column("user_agent", Text, nullable=False),
    _text("remote_ip", 64),
    Column("tags", Text, nullable=False),
    _text("instance_id", 64),
    _text("delivery_id", 255),
    _number("created_at"),
    _number("updated_at"),
    Index("executions_by_start", "start_time", "id"),
    Index("executions_by_plugin", "plugin_name", "start_time", "id"),
    Index("executions_by_trace", "trace_id"),
    # Few rows are anything but completed, so this one costs next to nothing while rows come in.
    Index("executions_by_status", "status", "start_time", "id", sqlite_where=NOT_COMPLETED),
    Index("executions_by_delivery", "delivery_id", sqlite_where=HAS_DELIVERY),
    sqlite_with_rowid=False,
)

payloads = Table(
    "execution_payloads",
    metadata,
    Column("execution_id", String(36), ForeignKey(executions.c.id, ondelete="CASCADE"), primary_key=True),
    _number("rank", SmallInteger),
    Column("input", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("logs", Text, nullable=False),
    Column("metadata", Text, nullable=False),
)

tags = Table(
    "execution_tags",
    metadata,
    Column("execution_id", String(36), ForeignKey(executions.c.id, ondelete="CASCADE"), nullable=False),
    _text("name", 255),
    _text("value", 255),
    PrimaryKeyConstraint("execution_id", "name"),
    Index("execution_tags_by_value", "name", "value", "execution_id"),
    sqlite_with_rowid=False,
)

spans = Table(
    "spans",
    metadata,
    _text("execution_id", 36),
    _text("span_id", 16),
    _text("trace_id", 32),
    _text("parent_span_id", 16),
    Column("name", Text, nullable=False),
    _text("kind", 16),
    _number("start_time"),
    _number("end_time"),
    _text("status", 16),
    Column("error", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("events", Text, nullable=False),
    PrimaryKeyConstraint("execution_id", "span_id"),
)

rollups = Table(
    "rollups",
    metadata,
    _number("width"),
    _number("bucket_start"),
    _text("plugin_name", 255),
    _text("status", 16),
    _text("error_type", 255),
    _number("pruned", SmallInteger),
    _number("total"),
    _number("timed"),
    _number("duration_sum"),
    _number("duration_min"),
    _number("duration_max"),
    PrimaryKeyConstraint("width", "bucket_start", "plugin_name", "status", "error_type", "pruned"),
    sqlite_with_rowid=False,
)
"""How many executions started in each bucket of time; `timed` is how many of them have a duration.

`pruned` is 1 for those whose records were deleted: the rows with 0 are what a recount of the records gives.
"""

rollup_durations = Table(
    "rollup_durations",
    metadata,
    _number("width"),
    _number("bucket_start"),
    _text("plugin_name", 255),
    _number("slot", SmallInteger),
    _number("pruned", SmallInteger),
    _number("total"),
    PrimaryKeyConstraint("width", "bucket_start", "plugin_name", "slot", "pruned"),
    sqlite_with_rowid=False,
)
"""How many durations of a bucket lie in each slot of `histogram`."""

settings = Table("settings", metadata, Column("name", String(64), primary_key=True), _number("value"))
"""What every process that uses the store must agree on: the width of its buckets, in nanoseconds."""
