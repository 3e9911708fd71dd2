"""A `TimeSeries`: figures of stretches of equal length. In: a connection, a `SeriesRequest`. Never writes.

Where the granularity is a multiple of the store's buckets, from rollups. Otherwise from the records of the period,
which are found by their start, at most `MAX_RECORDS` of them: charts in minutes are looked at for short times.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from otel_tracker.errors import PeriodTooLongError
from otel_tracker.stats import TimePoint, TimeSeries
from otel_tracker.storage.buckets import DAY_NANOSECONDS, Counted, Deltas, bucket_of, of_all
from otel_tracker.storage.histogram import slots_in
from otel_tracker.storage.rollups import counted
from otel_tracker.storage.stretches import Stretch, by_start, tallies
from otel_tracker.storage.tables import executions
from otel_tracker.storage.tally import Tally, time_text

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from otel_tracker.query import SeriesRequest

MAX_RECORDS: Final = 50_000


def read(connection: Connection, request: SeriesRequest, *, width: int) -> TimeSeries:
    """From the stretch that holds the start to the one that holds the end. Raises `PeriodTooLongError`."""
    granularity = request.granularity
    first = bucket_of(request.started_from, granularity)
    if granularity % width == 0:
        whole = Stretch(DAY_NANOSECONDS if granularity % DAY_NANOSECONDS == 0 else width, first, _before(request))
        points = tallies(connection, [whole], plugin=request.plugin, by=by_start(granularity))
    else:
        points = _from_records(connection, request)
    return TimeSeries(
        granularity_seconds=granularity // 1_000_000_000,
        points=[_point(start, points[start]) for start in range(first, request.started_before, granularity)],
    )


def _from_records(connection: Connection, request: SeriesRequest) -> defaultdict[Any, Tally]:
    table = executions.c
    first = bucket_of(request.started_from, request.granularity)
    wanted = counted(table.start_time >= first, table.start_time < _before(request))
    if request.plugin:
        wanted = wanted.where(table.plugin_name == request.plugin)
    rows = connection.execute(wanted.limit(MAX_RECORDS + 1)).all()
    if len(rows) > MAX_RECORDS:
        raise PeriodTooLongError(
            f"the period holds more than {MAX_RECORDS} executions, too many to count one by one: "
            "choose a shorter one, or a multiple of the rollups' buckets"
        )
    recounted = Deltas(request.granularity, told=(request.granularity,))
    recounted.add(Counted(*row) for row in rows)
    points: defaultdict[Any, Tally] = defaultdict(Tally)
    for _, start, _, status, error_type, _, total, *durations in recounted.count_rows():
        points[start].add(status, error_type, total, tuple(durations))  # type: ignore[arg-type]  # four of them
    for width, start, _, octave, _, *totals in recounted.slot_rows():
        if width == of_all(request.granularity):
            points[start].slots.update(dict(slots_in(octave, totals)))
    return points


def _before(request: SeriesRequest) -> int:
    """The end of the stretch that holds the end of the period."""
    last = bucket_of(request.started_before - 1, request.granularity)
    return min(last + request.granularity, 2**63 - 1)


def _point(start: int, tally: Tally) -> TimePoint:
    by_error_type = dict(sorted(tally.by_error_type.items()))
    return TimePoint(start_time=time_text(start), by_error_type=by_error_type, **tally.figures())
