"""A period's rollup rows: which buckets cover it with the fewest rows, and what they sum up to.

In: a period, the width of the store's buckets, a plugin or none; what to tell apart. Out: tallies, by statements that
never look at a record. Whole days come from the rows of days, what is left before and after from the finer buckets.
Databases do the summing: of forty plugins a month has fifteen thousand rows of durations, of all together four hundred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Double, Select, Table, cast, func, literal, literal_column, select

from otel_tracker.storage.buckets import DAY_NANOSECONDS, bucket_of, of_all
from otel_tracker.storage.histogram import slots_in
from otel_tracker.storage.tables import SLOTS, rollup_durations, rollups
from otel_tracker.storage.tally import Tally

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_INT64_MAX: Final = 2**63 - 1
_ONE: Final[ColumnElement[int]] = literal_column("1")


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


By = Callable[[Table, Stretch], ColumnElement[Any]]
"""What is summed apart: a column of both tables of rollups."""


def together(_table: Table, _stretch: Stretch) -> ColumnElement[Any]:
    """Nothing: all are one."""
    return _ONE


def by_plugin(table: Table, _stretch: Stretch) -> ColumnElement[Any]:
    """Each plugin."""
    return table.c.plugin_name


def by_start(every: int) -> By:
    """Each stretch of so many nanoseconds, as its start."""

    def start(table: Table, stretch: Stretch) -> ColumnElement[Any]:
        begun, length = table.c.bucket_start, literal(every, literal_execute=True)
        if every == abs(stretch.width):
            return begun
        # The remainder of a negative number is negative in all databases; and no database divides like another.
        return (begun - (begun % length + length) % length).label("start")

    return start


def tallies(connection: Connection, parts: Iterable[Stretch], *, plugin: str, by: By) -> defaultdict[Any, Tally]:
    """What ran in them, by plugin's name or start; of this plugin, where one is given."""
    found: defaultdict[Any, Tally] = defaultdict(Tally)
    for part in parts:
        for key, *row in connection.execute(_counts(part, plugin, by)).all():
            _add(row, found[_key(key)])
        for key, octave, *totals in connection.execute(_slots(part, plugin, by)).all():
            slots = found[_key(key)].slots
            for slot, total in slots_in(octave, totals):
                slots[slot] = slots.get(slot, 0) + int(total)
    return found


def _counts(stretch: Stretch, plugin: str, by: By) -> Select[Any]:
    """What is told apart, status, error type; total, timed, and the durations' sum, minimum, maximum."""
    table = rollups.c
    sums = (
        func.sum(table.total),
        func.sum(table.timed),
        func.sum(cast(table.duration_sum, Double)),  # floating: a sum of big integers may overflow
        func.min(table.duration_min),
        func.max(table.duration_max),
    )
    wanted = _grouped((by(rollups, stretch), table.status, table.error_type), sums)
    return wanted.where(*_within(rollups, stretch, plugin)).having(func.sum(table.total) > 0)


def _slots(stretch: Stretch, plugin: str, by: By) -> Select[Any]:
    """What is told apart, octave, totals."""
    table = rollup_durations.c
    if not plugin and by is not by_plugin:
        stretch = stretch._replace(width=of_all(stretch.width))
    wanted = _grouped((by(rollup_durations, stretch), table.octave), [func.sum(table[name]) for name in SLOTS])
    return wanted.where(*_within(rollup_durations, stretch, plugin))


def _grouped(key: Sequence[ColumnElement[Any]], sums: Sequence[ColumnElement[Any]]) -> Select[Any]:
    return select(*key, *sums).group_by(*(column for column in key if column is not _ONE))


def _key(value: object) -> str | int:
    """Some databases give starts and sums as decimals."""
    return value if isinstance(value, str) else int(value)  # type: ignore[call-overload]  # a number


def _add(row: Sequence[Any], tally: Tally) -> None:
    status, error_type, total, timed, duration_sum, duration_min, duration_max = row
    durations = (int(timed), float(duration_sum), int(duration_min), int(duration_max))
    tally.add(status, error_type, int(total), durations)


def _within(table: Table, stretch: Stretch, plugin: str) -> list[ColumnElement[bool]]:
    found = [
        table.c.width == stretch.width,
        table.c.bucket_start >= stretch.first,
        table.c.bucket_start < stretch.before,
    ]
    return [*found, table.c.plugin_name == plugin] if plugin else found
