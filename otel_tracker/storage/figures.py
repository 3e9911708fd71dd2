"""`ExecutionStats` from the rollups of a period. In: a connection, a `StatsRequest`. It never reads a record.

What it costs depends on how many days, plugins and kinds of errors there are, not on how many executions ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_tracker.stats import DailyStats, ErrorDay, ErrorTrend, ExecutionStats, Figures, HourlyStats, PluginFigures
from otel_tracker.storage.buckets import DAY_NANOSECONDS
from otel_tracker.storage.stretches import Stretch, by_plugin, by_start, stretches, tallies, together
from otel_tracker.storage.tally import Tally, date_text, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from otel_tracker.query import StatsRequest

HOUR_NANOSECONDS: Final = 3_600_000_000_000
_Tallies = dict[Any, Tally]


def stats(connection: Connection, request: StatsRequest, *, width: int) -> ExecutionStats:
    """The period by day, plugin and error type; where asked for by hour, and the period before it."""
    parts = stretches(request.started_from, request.started_before, width=width)
    plugin = request.plugin
    days = tallies(connection, parts, plugin=plugin, by=by_start(DAY_NANOSECONDS))
    plugins = {} if plugin else tallies(connection, parts, plugin="", by=by_plugin)
    whole, previous = Tally(), None
    for day in days.values():
        whole.merge(day)
    if request.previous:
        before = stretches(*request.previous, width=width)
        previous = tallies(connection, before, plugin=plugin, by=together)[1]
    return ExecutionStats(
        **whole.figures(),
        unique_plugins=min(len(days), 1) if plugin else len(plugins),
        daily_stats=[DailyStats(date=date_text(day), **one.figures()) for day, one in sorted(days.items())],
        hourly_stats=_hours(connection, request, width) if request.with_hours else [],
        plugin_stats=_by_plugin(plugins),
        by_error_type=_trends(whole, days, previous),
        previous=Figures(**previous.figures()) if previous else None,
    )


def _by_plugin(plugins: _Tallies) -> list[PluginFigures]:
    found = [PluginFigures(plugin_name=name, **one.figures()) for name, one in plugins.items()]
    return sorted(found, key=lambda one: (-one.total_executions, one.plugin_name))


def _trends(whole: Tally, days: Mapping[int, Tally], previous: Tally | None) -> list[ErrorTrend]:
    before = previous.by_error_type if previous else {}
    now = whole.by_error_type
    found = [
        ErrorTrend(
            error_type=error_type,
            total_executions=now[error_type],
            previous_executions=before.get(error_type, 0),
            daily=[
                ErrorDay(date=date_text(day), total_executions=one.by_error_type[error_type])
                for day, one in sorted(days.items())
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
    fine = Stretch(width, covering[0].first, covering[-1].before)
    hours = tallies(connection, [fine], plugin=request.plugin, by=by_start(HOUR_NANOSECONDS))
    return [HourlyStats(start_time=time_text(start), **one.figures()) for start, one in sorted(hours.items())]
