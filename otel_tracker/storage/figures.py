"""`ExecutionStats` from the rollups of a period. In: a connection, a `StatsRequest`. It never reads a record.

What it costs depends on how many days, plugins and kinds of errors there are, not on how many executions ran.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from otel_tracker.stats import DailyStats, ErrorDay, ErrorTrend, ExecutionStats, Figures, HourlyStats, PluginFigures
from otel_tracker.storage.buckets import DAY_NANOSECONDS
from otel_tracker.storage.stretches import Stretch, counts, slots_by_plugin, slots_by_start, stretches
from otel_tracker.storage.tally import Tally, date_text, time_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.engine import Connection

    from otel_tracker.query import StatsRequest

HOUR_NANOSECONDS: Final = 3_600_000_000_000
_Tallies = defaultdict[Any, Tally]


def stats(connection: Connection, request: StatsRequest, *, width: int) -> ExecutionStats:
    """The period by day, plugin and error type; where asked for by hour, and the period before it."""
    parts = stretches(request.started_from, request.started_before, width=width)
    period = _Period(connection, parts, plugin=request.plugin)
    previous = None
    if request.previous:
        previous = _Period(connection, stretches(*request.previous, width=width), plugin=request.plugin).whole
    return ExecutionStats(
        **period.whole.figures(),
        unique_plugins=len(period.plugins),
        daily_stats=[DailyStats(date=date_text(day), **one.figures()) for day, one in sorted(period.days.items())],
        hourly_stats=_hours(connection, request, width) if request.with_hours else [],
        plugin_stats=[] if request.plugin else _by_plugin(period.plugins),
        by_error_type=_trends(period, previous),
        previous=Figures(**previous.figures()) if previous else None,
    )


class _Period:
    """The tallies of a period: whole, by day, by plugin."""

    def __init__(self, connection: Connection, parts: Iterable[Stretch], *, plugin: str) -> None:
        self.whole = Tally()
        self.days: _Tallies = defaultdict(Tally)
        self.plugins: _Tallies = defaultdict(Tally)
        for part in parts:
            for day, name, *row in connection.execute(counts(part, plugin=plugin, every=DAY_NANOSECONDS)).all():
                add(row, self.whole, self.days[int(day)], self.plugins[name])
            for day, slot, total in connection.execute(
                slots_by_start(part, plugin=plugin, every=DAY_NANOSECONDS)
            ).all():
                self.whole.slots[slot] += int(total)
                self.days[int(day)].slots[slot] += int(total)
            if not plugin:
                for name, slot, total in connection.execute(slots_by_plugin(part, plugin=plugin)).all():
                    self.plugins[name].slots[slot] += int(total)


def add(row: Iterable[Any], *tallies: Tally) -> None:
    """Status, error type and sums of `stretches.counts`; some databases give sums as decimals."""
    status, error_type, total, timed, duration_sum, duration_min, duration_max = row
    durations = (int(timed), float(duration_sum), int(duration_min), int(duration_max))
    for tally in tallies:
        tally.add(status, error_type, int(total), durations)


def _by_plugin(plugins: _Tallies) -> list[PluginFigures]:
    found = [PluginFigures(plugin_name=name, **one.figures()) for name, one in plugins.items()]
    return sorted(found, key=lambda one: (-one.total_executions, one.plugin_name))


def _trends(period: _Period, previous: Tally | None) -> list[ErrorTrend]:
    before = previous.by_error_type if previous else {}
    now = period.whole.by_error_type
    found = [
        ErrorTrend(
            error_type=error_type,
            total_executions=now[error_type],
            previous_executions=before.get(error_type, 0),
            daily=[
                ErrorDay(date=date_text(day), total_executions=one.by_error_type[error_type])
                for day, one in sorted(period.days.items())
                if one.by_error_type[error_type]
            ],
        )
        for error_type in {**now, **before}
    ]
    return sorted(found, key=lambda one: (-one.total_executions, -one.previous_executions, one.error_type))


def _hours(connection: Connection, request: StatsRequest, width: int) -> list[HourlyStats]:
    """Nothing where the store's buckets do not make up an hour."""
    covering = stretches(request.started_from, request.started_before, width=width)
    if HOUR_NANOSECONDS % width or not covering:
        return []
    hours: _Tallies = defaultdict(Tally)
    whole = Stretch(width, covering[0].first, covering[-1].before)
    for start, _, *row in connection.execute(counts(whole, plugin=request.plugin, every=HOUR_NANOSECONDS)):
        add(row, hours[int(start)])
    for start, slot, total in connection.execute(slots_by_start(whole, plugin=request.plugin, every=HOUR_NANOSECONDS)):
        hours[int(start)].slots[slot] += int(total)
    return [HourlyStats(start_time=time_text(start), **one.figures()) for start, one in sorted(hours.items())]
