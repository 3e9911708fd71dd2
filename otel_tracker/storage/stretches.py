"""A period's rollup rows: which buckets cover it with the fewest rows, and the statements that sum them.

In: a period, the width of the store's buckets, a plugin or none. Out: SQL that never looks at a record. Whole days come
from the rows of days, what is left before and after from the finer buckets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Double, cast, func, literal, select

from otel_tracker.storage.buckets import DAY_NANOSECONDS, bucket_of
from otel_tracker.storage.tables import rollup_durations, rollups

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select, Table

_INT64_MAX: Final = 2**63 - 1


class Stretch(NamedTuple):
    """The buckets of one width that begin in `[first, before)`."""

    width: int
    first: int
    before: int


def stretches(started_from: int, started_before: int, *, width: int) -> list[Stretch]:
    """Those that cover the period, from the bucket of its start to the end of the bucket of its end.

    >>> day, hour = 86_400_000_000_000, 3_600_000_000_000
    >>> [(one.width // hour, one.first // hour, one.before // hour)
    ...  for one in stretches(22 * hour + 1, 3 * day + 1, width=hour)]
    [(1, 22, 24), (24, 24, 72), (1, 72, 73)]
    """
    first, before = bucket_of(started_from, width), _end(started_before, width)
    first_day, last_day = _end(first, DAY_NANOSECONDS), bucket_of(before, DAY_NANOSECONDS)
    if first_day >= last_day:
        return [Stretch(width, first, before)] if first < before else []
    parts = (
        Stretch(width, first, first_day),
        Stretch(DAY_NANOSECONDS, first_day, last_day),
        Stretch(width, last_day, before),
    )
    return [part for part in parts if part.first < part.before]


def _end(moment: int, width: int) -> int:
    return min(-(-moment // width) * width, _INT64_MAX)


def counts(stretch: Stretch, *, plugin: str, every: int) -> Select[Any]:
    """Start, plugin, status, error type; total, timed, and the durations' sum, minimum, maximum; every so often."""
    start, table = _start(rollups, stretch, every), rollups.c
    key = (start, table.plugin_name, table.status, table.error_type)
    sums = (
        func.sum(table.total),
        func.sum(table.timed),
        func.sum(cast(table.duration_sum, Double)),  # floating: a sum of big integers may overflow
        func.min(table.duration_min),
        func.max(table.duration_max),
    )
    wanted = select(*key, *sums).where(*_within(rollups, stretch, plugin)).group_by(*key)
    return wanted.having(func.sum(table.total) > 0)


def slots_by_start(stretch: Stretch, *, plugin: str, every: int) -> Select[Any]:
    """Start, slot, total; every so often."""
    return _slots(stretch, plugin, _start(rollup_durations, stretch, every))


def slots_by_plugin(stretch: Stretch, *, plugin: str) -> Select[Any]:
    """Plugin, slot, total."""
    return _slots(stretch, plugin, rollup_durations.c.plugin_name)


def _slots(stretch: Stretch, plugin: str, by: ColumnElement[Any]) -> Select[Any]:
    table = rollup_durations.c
    wanted = select(by, table.slot, func.sum(table.total)).where(*_within(rollup_durations, stretch, plugin))
    return wanted.group_by(by, table.slot)


def _start(table: Table, stretch: Stretch, every: int) -> ColumnElement[Any]:
    """The start of the stretch of time that the bucket lies in."""
    start, length = table.c.bucket_start, literal(every, literal_execute=True)
    if every == stretch.width:
        return start  # in the order of the key: the database groups without sorting
    # The remainder of a negative number is negative in all databases; and no database divides like another.
    return (start - (start % length + length) % length).label("start")


def _within(table: Table, stretch: Stretch, plugin: str) -> list[ColumnElement[bool]]:
    found = [
        table.c.width == stretch.width,
        table.c.bucket_start >= stretch.first,
        table.c.bucket_start < stretch.before,
    ]
    return [*found, table.c.plugin_name == plugin] if plugin else found
