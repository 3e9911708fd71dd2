"""How long statistics take when the history is big, next to the GROUP BY over its records that they replace.

    python -m benchmarks.bench_stats [count]

In turn, on one database: the counts and durations of thirty days as one GROUP BY over the records, which gives no
percentiles; the whole statistics of the same days from the store, by day, plugin and error type, with percentiles and
the thirty days before; and a chart of them in hours. And the statistics of a tenth of the records, for what they cost
must not depend on how many there are.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.seed import SPAN_NANOSECONDS, seed
from otel_tracker.query import SeriesRequest, StatsRequest
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_tracker.ports import ExecutionStore

ROUNDS = 11
DAY = 86_400 * 1_000_000_000
RAW = f"""
    SELECT start_time / {DAY}, plugin_name, status, error_type, count(*), sum(duration), min(duration), max(duration)
    FROM executions WHERE start_time >= ? AND start_time < ? GROUP BY 1, 2, 3, 4
"""  # noqa: S608 - our number


def thirty_days() -> StatsRequest:
    """From midnight thirty days ago, and the same before it."""
    end = time.time_ns()
    begin = (end - SPAN_NANOSECONDS) // DAY * DAY
    return StatsRequest(started_from=begin, started_before=end, previous=(begin - SPAN_NANOSECONDS, begin))


def seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def measure(path: Path, count: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of the GROUP BY, of the statistics, and of the chart, round by round in turn."""
    seed(path, count)
    request = thirty_days()
    period = (request.started_from, request.started_before)
    chart = SeriesRequest(started_from=period[0], started_before=period[1], granularity=3600 * 1_000_000_000)
    took: tuple[list[float], list[float], list[float]] = ([], [], [])
    with (
        contextlib.closing(open_store(f"sqlite:///{path}")) as store,
        contextlib.closing(sqlite3.connect(path)) as raw,
    ):
        check(store, request, count)
        for _ in range(ROUNDS):
            took[0].append(seconds(lambda: raw.execute(RAW, period).fetchall()))
            took[1].append(seconds(lambda: store.stats(request)))
            took[2].append(seconds(lambda: store.series(chart)))
    return took


def check(store: ExecutionStore, request: StatsRequest, count: int) -> None:
    """The rollups are what a recount gives, and the statistics count all of them."""
    assert store.verify_rollups().is_good
    assert store.stats(request).total_executions == count


def main(count: int = 1_000_000) -> None:
    """Print the ratios."""
    with tempfile.TemporaryDirectory() as root:
        small = measure(Path(root) / "small.db", count // 10)
        big = measure(Path(root) / "big.db", count)
    raw, stats, chart = (1000 * statistics.median(took) for took in big)
    ratio = statistics.median(b / a for a, b in zip(big[0], big[1], strict=True))
    grown = stats / (1000 * statistics.median(small[1]))
    print(f"stats     GROUP BY over {count} records {raw:.0f} ms")
    print(f"stats     30 days from rollups {stats:.1f} ms: ratio {ratio:.3f}")
    print(f"stats     30 days from rollups ÷ that of {count // 10} records: {grown:.2f}")
    print(f"stats     30 days in hours, a chart: {chart:.1f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
