"""Query parameters → the periods that statistics are asked for. Pure; a wrong value raises FieldError.

In: days, or a granularity and bounds, and the present moment. Out: what a reader takes. It bounds how many points a
chart gets: a thousand are more than a screen shows.
"""

from __future__ import annotations

from typing import Final

from bridge_app.api.times import moment
from bridge_app.problems import FieldError
from bridge_app.units import format_duration, parse_duration
from otel_tracker.query import SeriesRequest, StatsRequest

MAX_POINTS: Final = 2000
HOURS_UP_TO_DAYS: Final = 2
"""Statistics of so many days tell each hour."""
_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400 * _SECOND
_MAX_GRANULARITY_SECONDS: Final = 366 * 86_400
_MAX_AGE_SECONDS: Final = 100 * 366 * 86_400
_COARSER: Final = ("1m", "5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "7d", "30d", "366d")


def stats_request(days: int, *, plugin: str, now: int) -> StatsRequest:
    """So many UTC days, today included, beside as many before them up to the same time of day.

    >>> stats_request(1, plugin="", now=20_000 * _DAY + 5).previous == (19_999 * _DAY, 19_999 * _DAY + 5)
    True
    """
    begin, length = (now // _DAY - days + 1) * _DAY, days * _DAY
    return StatsRequest(
        started_from=begin,
        started_before=now + _DAY,  # clocks of other machines may be ahead
        plugin=plugin,
        previous=(begin - length, now - length),
        with_hours=days <= HOURS_UP_TO_DAYS,
    )


def series_request(
    *, granularity: str, start_time: str | None, end_time: str | None, plugin: str, now: int
) -> SeriesRequest:
    """Up to now without an end; without a start, a day, or thirty points where a point is a day or more."""
    every = _granularity(granularity) * _SECOND
    end = moment("end_time", end_time, now=now) if end_time else None
    start = moment("start_time", start_time, now=now) if start_time else None
    before = now if end is None else end
    begin = before - (_DAY if every < _DAY else 30 * every) if start is None else start
    if begin >= before:
        raise FieldError("is not before end_time", field="start_time")
    if _points(begin, before, every) > MAX_POINTS:
        fitting = next(
            text for text in _COARSER if _points(begin, before, parse_duration(text) * _SECOND) <= MAX_POINTS
        )
        raise FieldError(
            f"is {granularity!r}: the period has {_points(begin, before, every)} of it, more than {MAX_POINTS}; "
            f"{fitting} fits",
            field="granularity",
        )
    return SeriesRequest(started_from=begin, started_before=before, granularity=every, plugin=plugin)


def age(text: str) -> int:
    """Seconds of `older_than`: at least one."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= _MAX_AGE_SECONDS:
        raise FieldError(
            f"is {text[:80]!r}: expected a duration of at least 1s, such as 7d, 24h or 1h30m", field="older_than"
        )
    return seconds


def _granularity(text: str) -> int:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= _MAX_GRANULARITY_SECONDS:
        longest = format_duration(_MAX_GRANULARITY_SECONDS)
        raise FieldError(
            f"is {text[:80]!r}: expected a duration up to {longest}, such as 5m, 1h or 1d", field="granularity"
        )
    return seconds


def _points(begin: int, before: int, every: int) -> int:
    return -(-before // every) - begin // every
