"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def _long(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb"), nullable=False)


def _number(name: str, kind: type[sa.Integer] = sa.BigInteger) -> sa.Column[int]:
    return sa.Column(name, kind(), nullable=False)


def upgrade() -> None:
    """Make them; what an interrupted try has made already stays."""
    op.create_table(
        "executions",
        sa.Column("id", sa.String(36), nullable=False),
        _number("rank", sa.SmallInteger),
        _text("plugin_name", 255),
        _text("status", 16),
        _number("start_time"),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        _number("duration"),
        _text("http_method", 16),
        _long("error"),
        _text("error_type", 255),
        _number("attempts", sa.Integer),
        _number("retry_count", sa.Integer),
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
        _number("payload_deleted", sa.SmallInteger),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
        if_not_exists=True,
        **_MYSQL,
    )
    failures = sa.text("status <> 'completed'")
    errors = sa.text("error_type <> ''")
    deliveries = sa.text("delivery_id <> ''")
    _index("executions_by_start", "executions", ["start_time", "id"])
    _index("executions_by_plugin", "executions", ["plugin_name", "start_time", "id"])
    _index("executions_by_trace", "executions", ["trace_id", "start_time", "id"])
    _index("executions_by_status", "executions", ["status", "start_time", "id"], where=failures)
    _index("executions_by_plugin_status", "executions", ["plugin_name", "status", "start_time", "id"], where=failures)
    _index("executions_by_error_type", "executions", ["error_type", "start_time", "id"], where=errors)
    _index("executions_by_delivery", "executions", ["delivery_id", "start_time", "id"], where=deliveries)
    op.create_table(
        "execution_payloads",
        sa.Column("execution_id", sa.String(36), nullable=False),
        _number("rank", sa.SmallInteger),
        _number("bytes"),
        _long("input"),
        _long("output"),
        _long("traceback"),
        _long("logs"),
        _long("metadata"),
        _long("span"),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("execution_id"),
        if_not_exists=True,
        **_MYSQL,
    )
    op.create_table(
        "execution_tags",
        sa.Column("execution_id", sa.String(36), nullable=False),
        _text("name", 255),
        _text("value", 255),
        _number("start_time"),
        sa.ForeignKeyConstraint(["execution_id"], ["executions.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("execution_id", "name"),
        sqlite_with_rowid=False,
        if_not_exists=True,
        **_MYSQL,
    )
    _index("execution_tags_by_value", "execution_tags", ["name", "value", "start_time", "execution_id"])
    op.create_table(
        "spans",
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
        sa.PrimaryKeyConstraint("execution_id", "span_id"),
        if_not_exists=True,
        **_MYSQL,
    )
    op.create_table(
        "rollups",
        _number("width"),
        _number("bucket_start"),
        _text("plugin_name", 255),
        _text("status", 16),
        _text("error_type", 255),
        _number("pruned", sa.SmallInteger),
        _number("total"),
        _number("timed"),
        _number("duration_sum"),
        _number("duration_min"),
        _number("duration_max"),
        sa.PrimaryKeyConstraint("width", "bucket_start", "plugin_name", "status", "error_type", "pruned"),
        sqlite_with_rowid=False,
        if_not_exists=True,
        **_MYSQL,
    )
    op.create_table(
        "rollup_durations",
        _number("width"),
        _number("bucket_start"),
        _text("plugin_name", 255),
        _number("octave", sa.SmallInteger),
        _number("pruned", sa.SmallInteger),
        *(_number(f"slot_{number}") for number in range(8)),
        sa.PrimaryKeyConstraint("width", "bucket_start", "plugin_name", "octave", "pruned"),
        sqlite_with_rowid=False,
        if_not_exists=True,
        **_MYSQL,
    )
    op.create_table(
        "settings",
        sa.Column("name", sa.String(64), nullable=False),
        _number("value"),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
        **_MYSQL,
    )
    op.create_table(
        "spool_positions",
        _text("instance_id", 128),
        _number("segment"),
        _number("segment_offset"),
        _number("frames"),
        _number("corrupt"),
        _number("checksum"),
        _number("updated_at"),
        sa.PrimaryKeyConstraint("instance_id"),
        if_not_exists=True,
        **_MYSQL,
    )
    op.create_table(
        "leases",
        _text("name", 64),
        _text("holder", 255),
        _number("expires_at"),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
        **_MYSQL,
    )


def _index(name: str, table: str, columns: list[str], *, where: sa.TextClause | None = None) -> None:
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where, if_not_exists=True)
