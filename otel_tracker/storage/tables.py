"""The tables, as SQLAlchemy Core constructs: the declared schema, the same for every database.

Executions are narrow so that pages, counts and statistics stay cheap; what users send and get lives in
`execution_payloads`, and may be deleted before its execution (`payload_deleted`). `bytes` are those of the row's texts
in UTF-8. Statistics are answered from `rollups`, whatever the number of executions. Child spans carry no
foreign key: a span may be delivered before its execution.
Times and durations are integers (nanoseconds), never naive datetimes. Nothing here connects to anything.
"""

from __future__ import annotations

from typing import Any, Final

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
    TextClause,
    text,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT

NOT_COMPLETED: Final = text("status <> 'completed'")
"""What the status index covers: queries repeat it literally, for a planner cannot prove it of a bound value."""
HAS_DELIVERY: Final = text("delivery_id <> ''")
HAS_ERROR_TYPE: Final = text("error_type <> ''")

SLOTS: Final = tuple(f"slot_{number}" for number in range(8))
"""The columns of an octave of durations."""

_Long: Final = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")
"""16 MB and more: MySQL's TEXT ends at 64 KB."""
# Text is compared byte by byte everywhere, as SQLite and PostgreSQL (in UTF-8) do it for equality.
_MYSQL: Final[dict[str, Any]] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}

metadata = MetaData()


def _text(name: str, length: int) -> Column[str]:
    return Column(name, String(length), nullable=False)


def _long(name: str) -> Column[str]:
    return Column(name, _Long, nullable=False)


def _number(name: str, kind: type[Integer] = BigInteger) -> Column[int]:
    return Column(name, kind, nullable=False)


def _partial(name: str, *columns: str, where: TextClause) -> Index:
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


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
    _long("error"),
    _text("error_type", 255),
    _number("attempts", Integer),
    _number("retry_count", Integer),
    _text("trace_id", 32),
    _text("span_id", 16),
    _text("parent_span_id", 16),
    _long("user_agent"),
    _text("remote_ip", 64),
    _long("tags"),
    _text("instance_id", 64),
    _text("delivery_id", 255),
    _number("created_at"),
    _number("updated_at"),
    _number("payload_deleted", SmallInteger),
    Index("executions_by_start", "start_time", "id"),
    Index("executions_by_plugin", "plugin_name", "start_time", "id"),
    Index("executions_by_trace", "trace_id", "start_time", "id"),
    # Few rows are anything but completed, so these three cost next to nothing while rows come in (MySQL has no such
    # partial indexes: there each record pays).
    _partial("executions_by_status", "status", "start_time", "id", where=NOT_COMPLETED),
    _partial("executions_by_plugin_status", "plugin_name", "status", "start_time", "id", where=NOT_COMPLETED),
    _partial("executions_by_error_type", "error_type", "start_time", "id", where=HAS_ERROR_TYPE),
    _partial("executions_by_delivery", "delivery_id", "start_time", "id", where=HAS_DELIVERY),
    sqlite_with_rowid=False,
    **_MYSQL,
)

payloads = Table(
    "execution_payloads",
    metadata,
    Column("execution_id", String(36), ForeignKey(executions.c.id, ondelete="CASCADE"), primary_key=True),
    _number("rank", SmallInteger),
    _number("bytes"),
    _long("input"),
    _long("output"),
    _long("traceback"),
    _long("logs"),
    _long("metadata"),
    _long("span"),
    **_MYSQL,
)

tags = Table(
    "execution_tags",
    metadata,
    Column("execution_id", String(36), ForeignKey(executions.c.id, ondelete="CASCADE"), nullable=False),
    _text("name", 255),
    _text("value", 255),
    _number("start_time"),  # the execution's: a page of a common tag is read off the index, not sorted
    PrimaryKeyConstraint("execution_id", "name"),
    Index("execution_tags_by_value", "name", "value", "start_time", "execution_id"),
    sqlite_with_rowid=False,
    **_MYSQL,
)

spans = Table(
    "spans",
    metadata,
    _text("execution_id", 36),
    _text("span_id", 16),
    _number("bytes"),
    _text("trace_id", 32),
    _text("parent_span_id", 16),
    _long("name"),
    _text("kind", 16),
    _number("start_time"),
    _number("end_time"),
    _text("status", 16),
    _long("error"),
    _long("attributes"),
    _long("events"),
    _long("span"),
    PrimaryKeyConstraint("execution_id", "span_id"),
    **_MYSQL,
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
    **_MYSQL,
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
    _number("octave", SmallInteger),
    _number("pruned", SmallInteger),
    *(_number(name) for name in SLOTS),
    PrimaryKeyConstraint("width", "bucket_start", "plugin_name", "octave", "pruned"),
    sqlite_with_rowid=False,
    **_MYSQL,
)
"""How many durations of a bucket lie in each slot of `histogram`: a row for the eight of an octave.

A row for each slot would be six times as many, of which statistics of a month read seventy thousand. For figures of
all plugins there is a row of all of them, which has a negative `width` and no `plugin_name`.
"""

settings = Table("settings", metadata, Column("name", String(64), primary_key=True), _number("value"), **_MYSQL)
"""What every process that uses the store must agree on; see `agreed`."""

spool_positions = Table(
    "spool_positions",
    metadata,
    Column("instance_id", String(128), primary_key=True),
    _number("segment"),
    _number("segment_offset"),
    _number("frames"),
    _number("corrupt"),
    _number("checksum"),
    _number("updated_at"),
    **_MYSQL,
)
"""How far each spool was delivered, written with the rows that it delivered: no frame counts twice."""

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    _text("holder", 255),
    _number("expires_at"),
    **_MYSQL,
)
"""What one process does for all, and until when it may; nanoseconds of the database's own clock."""
