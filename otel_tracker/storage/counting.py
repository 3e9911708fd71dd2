"""How many executions the retention would delete, from the rollups: without walking over them. Never writes.

In: a connection, the width of the store's buckets. Out: counts of ended executions by plugin, whose records are there.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from otel_tracker.record import Status
from otel_tracker.storage.buckets import DAY_NANOSECONDS, bucket_of
from otel_tracker.storage.tables import executions, rollups

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

    from otel_tracker.query import RetentionPolicy

_OPEN = (Status.PENDING.value, Status.RUNNING.value)
_kept = rollups.c


def ended(connection: Connection, *conditions: ColumnElement[bool], width: int = DAY_NANOSECONDS) -> Counter[str]:
    """By plugin, of the buckets that meet the conditions."""
    statement = (
        select(_kept.plugin_name, func.sum(_kept.total))
        .where(_kept.width == width, _kept.pruned == 0, _kept.status.not_in(_OPEN), *conditions)
        .group_by(_kept.plugin_name)
    )
    return Counter({name: int(total) for name, total in connection.execute(statement)})


def ended_before(connection: Connection, moment: int, *, width: int) -> Counter[str]:
    """Those that started before that nanosecond: whole buckets, and the records of the one in which it lies."""
    bucket = bucket_of(moment, width)
    table = executions.c
    rest = (
        select(table.plugin_name, func.count())
        .where(table.start_time >= bucket, table.start_time < moment, table.status.not_in(_OPEN))
        .group_by(table.plugin_name)
    )
    found = ended(connection, _kept.bucket_start < bucket, width=width)
    found.update({name: int(total) for name, total in connection.execute(rest)})
    return found


def excess(counts: Counter[str], most: int | None) -> dict[str, int]:
    """By plugin, how many are more than it may have."""
    return {} if most is None else {name: total - most for name, total in sorted(counts.items()) if total > most}


def to_delete(connection: Connection, policy: RetentionPolicy, *, width: int) -> int:
    """By age and by count."""
    before = policy.started_before
    old: Counter[str] = Counter() if before is None else ended_before(connection, before, width=width)
    young = ended(connection)
    young.subtract(old)
    return old.total() + sum(excess(young, policy.max_executions_per_plugin).values())
