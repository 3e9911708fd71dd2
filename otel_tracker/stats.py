"""Figures of many executions over a period, as frozen structs: counts, durations, trends. No I/O, no tables.

Every struct is told over REST as it stands here: times are text, RFC 3339 in UTC. Durations are nanoseconds, counted of
the executions whose end was told: not of those that run, nor of those that a dead process left (`interrupted`).
Percentiles come from histograms and are at most 4.43 % off; minimum, maximum and average are exact.
"""

from __future__ import annotations

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Counts and durations of some executions; durations are 0 where none was timed.

    `failed_executions` is every execution that ended without success, timeouts included; running ones count in
    `total_executions` and `running_executions` only. `success_rate` is percent of the ended, 0.0 to 100.0.
    """

    total_executions: int = 0
    successful_executions: int = 0
    failed_executions: int = 0
    timeout_executions: int = 0
    running_executions: int = 0
    success_rate: float = 0.0
    avg_duration: int = 0
    min_duration: int = 0
    max_duration: int = 0
    p50_duration: int = 0
    """The median, in nanoseconds; at most 4.43 % off, as are the other percentiles."""
    p90_duration: int = 0
    p95_duration: int = 0
    p99_duration: int = 0


class DailyStats(Figures, frozen=True, kw_only=True):
    """One UTC day."""

    date: str
    """YYYY-MM-DD, UTC."""


class HourlyStats(Figures, frozen=True, kw_only=True):
    """One hour."""

    start_time: str
    """RFC 3339, UTC: when it began."""


class PluginFigures(Figures, frozen=True, kw_only=True):
    """One plugin."""

    plugin_name: str


class ErrorDay(msgspec.Struct, frozen=True, kw_only=True):
    """How often an error came on a UTC day."""

    date: str
    total_executions: int


class ErrorTrend(msgspec.Struct, frozen=True, kw_only=True):
    """One error type over the period."""

    error_type: str
    total_executions: int
    previous_executions: int = 0
    """In the period before; 0 where none was asked for."""
    daily: list[ErrorDay] = []
    """Oldest day first; days without it are left out."""


class ExecutionStats(Figures, frozen=True, kw_only=True):
    """A period: as a whole, by day, hour, plugin and error type, and beside the period before."""

    unique_plugins: int = 0
    daily_stats: list[DailyStats] = []
    """Oldest day first; days without executions are left out."""
    hourly_stats: list[HourlyStats] = []
    """Oldest hour first, hours without executions left out; empty where they were not asked for."""
    plugin_stats: list[PluginFigures] = []
    """The busiest first; empty where one plugin was asked for."""
    by_error_type: list[ErrorTrend] = []
    """The most frequent first; errors that came in the period before only are last, with 0 executions."""
    previous: Figures | None = None
    """The period before, where one was asked for."""


class TimePoint(HourlyStats, frozen=True, kw_only=True):
    """One stretch of time, as long as the granularity."""

    by_error_type: dict[str, int] = {}


class TimeSeries(msgspec.Struct, frozen=True, kw_only=True):
    """Stretches of equal length, oldest first, without gaps: one without executions is zeros."""

    granularity_seconds: int
    points: list[TimePoint]
