"""How long statistics take when the history is big, next to the GROUP BY over its records that they replace.

    python -m benchmarks.bench_stats [count [DATABASE]]

In turn, on one database: the counts and durations of thirty days as one GROUP BY over the records, which gives no
percentiles; the whole statistics of the same days from the store, by day, plugin and error type, with percentiles;
the same beside the thirty days before; and charts of the days, in hours and in days. And the statistics of a tenth of
the records, for what they cost must not depend on how many there are. DATABASE is one that `benchmarks.seed` filled
with `count` records.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace
from sqlalchemy import text

from benchmarks.bench_drain import database
from benchmarks.bench_pages import arguments
from benchmarks.seed import DAY, seed
from bridge_app.api.periods import stats_request
from otel_tracker.query import SeriesRequest
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_tracker.query import StatsRequest
    from otel_tracker.storage.store import SqlStore

ROUNDS = 11
CHECKED = 1_000_000
"""Bigger histories are not recounted."""
RAW = text(f"""
    SELECT start_time - start_time % {DAY}, plugin_name, status, error_type,
        count(*), sum(duration), min(duration), max(duration)
    FROM executions WHERE start_time >= :begin AND start_time < :end GROUP BY 1, 2, 3, 4
""")  # noqa: S608 - our number


def thirty_days() -> StatsRequest:
    """What `GET /api/v1/executions/stats?days=30` asks for: today and the days before, beside as many before them."""
    return stats_request(30, plugin="", now=time.time_ns())


def seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def measure(url: str, count: int, *, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of each, round by round in turn."""
    compared = thirty_days()
    alone = replace(compared, previous=None)
    days = SeriesRequest(started_from=alone.started_from, started_before=alone.started_before, granularity=DAY)
    quarter = replace(days, started_from=alone.started_from - 60 * DAY)
    hours = replace(days, granularity=DAY // 24)
    with contextlib.closing(open_store(url, statement_timeout_seconds=3600.0)) as store:
        check(store, compared, count)
        acts: dict[str, Callable[[], object]] = {
            "raw": lambda: raw(store, alone),
            "alone": lambda: store.stats(alone),
            "compared": lambda: store.stats(compared),
            "a plugin": lambda: store.stats(replace(compared, plugin="plugin_03")),
            "hours": lambda: store.series(hours),
            "days": lambda: store.series(quarter),
        }
        took: dict[str, list[float]] = {name: [] for name in acts}
        for _ in range(rounds):
            for name, act in acts.items():
                took[name].append(seconds(act))
    return took


def raw(store: SqlStore, request: StatsRequest) -> None:
    """The GROUP BY, however long it takes."""
    with store.database.read(seconds=3600.0) as connection:
        connection.execute(RAW, {"begin": request.started_from, "end": request.started_before}).all()


def check(store: SqlStore, request: StatsRequest, count: int) -> None:
    """The rollups are what a recount gives, and the statistics count the records."""
    assert count > CHECKED or store.verify_rollups().is_good
    figures = store.stats(request)
    assert figures.previous is not None
    counted = figures.total_executions + figures.previous.total_executions
    # A day of the sixty may lie before and between the two, and a database that was filled days ago reaches back more.
    assert 0.9 * count < counted <= count, counted


def report(took: dict[str, list[float]], count: int) -> float:
    """Print the ratios; gives that of the statistics to the GROUP BY."""
    times = {name: 1000 * statistics.median(some) for name, some in took.items()}
    ratios = {name: statistics.median(a / b for a, b in zip(took[name], took["raw"], strict=True)) for name in took}
    print(f"stats     GROUP BY over 30 days of {count} records in 60: {times['raw']:.0f} ms")
    print(f"stats     30 days from rollups: {times['alone']:.1f} ms, ratio {ratios['alone']:.5f}")
    print(f"stats     and the 30 days before: {times['compared']:.1f} ms, ratio {ratios['compared']:.5f}")
    print(f"stats     the same of one plugin: {times['a plugin']:.1f} ms")
    print(f"stats     charts: 30 days in hours {times['hours']:.1f} ms, 90 days in days {times['days']:.1f} ms")
    return ratios["compared"]


def main(count: int = 1_000_000, url: str = "") -> None:
    """Fill databases, unless one is given; print what they take."""
    if url:
        report(measure(url, count), count)
        return
    with database("sqlite") as small, database("sqlite") as big:
        seed(small, count // 10)
        seed(big, count)
        took = measure(big, count)
        report(took, count)
        grown = statistics.median(took["compared"]) / statistics.median(measure(small, count // 10)["compared"])
    print(f"stats     30 days from rollups ÷ that of {count // 10} records: {grown:.2f}")


if __name__ == "__main__":
    main(*arguments(sys.argv[1:]))
