"""Sums of rollup rows, and the figures that they tell. Pure.

In: counts by status, durations, slots of a histogram. Out: the fields of `otel_tracker.stats.Figures`. What is added
twice counts twice; a tally of nothing tells zeros.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Final, TypedDict

from otel_tracker.record import Status
from otel_tracker.storage.buckets import NO_MINIMUM
from otel_tracker.storage.histogram import percentiles

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class FigureFields(TypedDict):
    """The fields of `Figures`."""

    total_executions: int
    successful_executions: int
    failed_executions: int
    timeout_executions: int
    running_executions: int
    success_rate: float
    avg_duration: int
    min_duration: int
    max_duration: int
    p50_duration: int
    p90_duration: int
    p95_duration: int
    p99_duration: int


class Tally:
    """Counts up."""

    def __init__(self) -> None:
        self.by_status: Counter[str] = Counter()
        self.by_error_type: Counter[str] = Counter()
        self.slots: Counter[int] = Counter()
        self._timed = 0
        self._sum = 0.0
        self._min, self._max = NO_MINIMUM, 0

    def add(self, status: str, error_type: str, total: int, durations: tuple[int, float, int, int]) -> None:
        """Executions of one status and error type; `durations` are how many, their sum, minimum and maximum."""
        timed, duration_sum, duration_min, duration_max = durations
        self.by_status[status] += total
        if error_type:
            self.by_error_type[error_type] += total
        self._timed += timed
        self._sum += duration_sum
        self._min, self._max = min(self._min, duration_min), max(self._max, duration_max)

    def merge(self, other: Tally) -> None:
        """All that the other counted."""
        self.by_status.update(other.by_status)
        self.by_error_type.update(other.by_error_type)
        self.slots.update(other.slots)
        self._timed += other._timed
        self._sum += other._sum
        self._min, self._max = min(self._min, other._min), max(self._max, other._max)

    def figures(self) -> FigureFields:
        """What is told of them."""
        total = self.by_status.total()
        successful = self.by_status[Status.COMPLETED]
        running = self.by_status[Status.PENDING] + self.by_status[Status.RUNNING]
        ended = total - running
        p50, p90, p95, p99 = self._percentiles()
        return {
            "total_executions": total,
            "successful_executions": successful,
            "failed_executions": ended - successful,
            "timeout_executions": self.by_status[Status.TIMEOUT],
            "running_executions": running,
            "success_rate": round(100.0 * successful / ended, 2) if ended else 0.0,
            "avg_duration": round(self._sum / self._timed) if self._timed else 0,
            "min_duration": self._min if self._timed else 0,
            "max_duration": self._max,
            "p50_duration": p50,
            "p90_duration": p90,
            "p95_duration": p95,
            "p99_duration": p99,
        }

    def _percentiles(self) -> list[int]:
        """Never beyond what was measured, though a slot's middle may be."""
        found = percentiles(self.slots, (50, 90, 95, 99))
        return [min(max(one, self._min), self._max) if self._timed else 0 for one in found]


def date_text(nanoseconds: int) -> str:
    """The UTC day.

    >>> date_text(1_749_220_428_000_000_000)
    '2025-06-06'
    """
    return time_text(nanoseconds)[:10]


def time_text(nanoseconds: int) -> str:
    """The second, RFC 3339, UTC.

    >>> time_text(1_749_220_428_000_000_000)
    '2025-06-06T14:33:48Z'
    """
    return (_EPOCH + dt.timedelta(seconds=nanoseconds // 1_000_000_000)).strftime("%Y-%m-%dT%H:%M:%SZ")
