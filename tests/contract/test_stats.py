"""Statistics and time series are what the records say, and are answered without looking at one."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import databases
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from otel_tracker.errors import PeriodTooLongError
from otel_tracker.query import SeriesRequest, StatsRequest
from otel_tracker.record import ExecutionRecord, Rank, Status
from otel_tracker.stats import Figures, TimeSeries
from otel_tracker.storage import open_store, series
from otel_tracker.storage.store import SqlStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOON = 20_000 * DAY + 12 * HOUR  # 2024-10-04T12:00:00Z
TYPES = ["", "timeout", "connection_error"]


@pytest.fixture(params=databases.KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    with databases.made(request.param, folder=tmp_path) as url, contextlib.closing(open_store(url)) as opened:
        assert isinstance(opened, SqlStore)
        yield opened


def execution(number: int, start: int, **changes: Any) -> ExecutionRecord:
    base = ExecutionRecord(
        id=f"01970000-0000-7000-8000-{number:012d}",
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=start,
        duration=5,
    )
    return msgspec.structs.replace(base, **changes)


def figures(found: Figures) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Figures.__struct_fields__}


def expected(records: Sequence[ExecutionRecord]) -> dict[str, Any]:
    """The figures of records, counted one by one; percentiles exact."""
    by_status = Counter(record.status for record in records)
    ended = [record for record in records if record.status.is_final]
    taken = sorted(record.duration for record in ended if record.rank is Rank.ENDED)
    return {
        "total_executions": len(records),
        "successful_executions": by_status[Status.COMPLETED],
        "failed_executions": len(ended) - by_status[Status.COMPLETED],
        "timeout_executions": by_status[Status.TIMEOUT],
        "running_executions": len(records) - len(ended),
        "success_rate": round(100 * by_status[Status.COMPLETED] / len(ended), 2) if ended else 0.0,
        "avg_duration": round(sum(taken) / len(taken)) if taken else 0,
        "min_duration": min(taken, default=0),
        "max_duration": max(taken, default=0),
        **{f"p{p}_duration": taken[-(-len(taken) * p // 100) - 1] if taken else 0 for p in (50, 90, 95, 99)},
    }


def assert_figures(found: Figures, records: Sequence[ExecutionRecord]) -> None:
    told, exact = figures(found), expected(records)
    for name in ("p50_duration", "p90_duration", "p95_duration", "p99_duration"):
        wanted = exact.pop(name)
        assert abs(told.pop(name) - wanted) <= 0.0443 * wanted + 0.5
    assert told == exact


records = st.lists(
    st.builds(
        execution,
        st.integers(1, 10**6),
        st.integers(-60, 60).map(lambda hours: hours * HOUR + 7),
        status=st.sampled_from(list(Status)),
        plugin_name=st.sampled_from(["a", "b"]),
        error_type=st.sampled_from(TYPES),
        rank=st.sampled_from([Rank.INTERRUPTED, Rank.ENDED]),
        duration=st.integers(0, 10**10),
    ),
    unique_by=lambda record: record.id,
    max_size=25,
)
hours = st.integers(-70, 70).map(lambda hours: hours * HOUR)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=records, bounds=st.tuples(hours, hours).map(sorted), plugin=st.sampled_from(["", "a"]))
def test_statistics_are_those_of_the_records(
    store: SqlStore, kept: list[ExecutionRecord], bounds: list[int], plugin: str
) -> None:
    """Of any period that begins and ends with an hour, whole, by day, hour, plugin and error; also before 1970."""
    databases.empty(store)
    store.write(kept)
    begin, end = bounds
    chosen = [one for one in kept if begin <= one.start_time < end and plugin in ("", one.plugin_name)]
    request = StatsRequest(started_from=begin, started_before=end, plugin=plugin, with_hours=True)
    stats = store.stats(request)
    assert_figures(stats, chosen)
    assert stats.unique_plugins == len({one.plugin_name for one in chosen})
    assert_parts([(one.start_time, one) for one in stats.hourly_stats], chosen, HOUR)
    assert_parts([(f"{one.date}T00:00:00Z", one) for one in stats.daily_stats], chosen, DAY)
    for one in stats.plugin_stats:
        assert_figures(one, [record for record in chosen if record.plugin_name == one.plugin_name])
    assert {one.error_type: one.total_executions for one in stats.by_error_type} == Counter(
        record.error_type for record in chosen if record.error_type
    )
    assert all(sum(day.total_executions for day in one.daily) == one.total_executions for one in stats.by_error_type)
    found = store.stats(msgspec.structs.replace(request, started_from=end, started_before=end, previous=(begin, end)))
    assert found.previous is not None
    assert figures(found.previous) == figures(stats)


def assert_parts(parts: list[tuple[str, Figures]], chosen: list[ExecutionRecord], width: int) -> None:
    by_start: dict[int, list[ExecutionRecord]] = {}
    for record in chosen:
        by_start.setdefault(record.start_time - record.start_time % width, []).append(record)
    assert [time for time, _ in parts] == [rfc3339(start) for start in sorted(by_start)]
    for (_, found), (_, those) in zip(parts, sorted(by_start.items()), strict=True):
        assert_figures(found, those)


def rfc3339(nanoseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // 10**9))


@pytest.mark.parametrize("granularity", [5 * MINUTE, HOUR, 90 * MINUTE, 3 * HOUR, DAY, 7 * DAY])
def test_a_series_is_that_of_the_records(store: SqlStore, granularity: int) -> None:
    """From rollups and from records alike; every stretch of the period is there, and nothing else."""
    kept = [
        execution(number, NOON - DAY + number * 7 * MINUTE, duration=number, error_type=TYPES[number % 3])
        for number in range(300)
    ]
    store.write([*kept, execution(1000, NOON - 40 * DAY), execution(1001, NOON + 40 * DAY)])
    found = store.series(SeriesRequest(started_from=NOON - DAY, started_before=NOON + DAY, granularity=granularity))
    first = (NOON - DAY) - (NOON - DAY) % granularity
    starts = range(first, NOON + DAY, granularity)
    assert found.granularity_seconds == granularity // 10**9
    assert [point.start_time for point in found.points] == [rfc3339(start) for start in starts]
    for start, point in zip(starts, found.points, strict=True):
        those = [one for one in kept if start <= one.start_time < start + granularity]
        assert_figures(point, those)
        assert point.by_error_type == Counter(one.error_type for one in those if one.error_type)


def test_a_series_of_one_plugin_is_its_own(store: SqlStore) -> None:
    store.write([execution(1, NOON), execution(2, NOON, plugin_name="other")])
    for granularity in (MINUTE, HOUR):
        request = SeriesRequest(started_from=NOON, started_before=NOON + 1, granularity=granularity, plugin="other")
        (point,) = store.series(request).points
        assert point.total_executions == 1


def test_too_many_records_for_a_fine_series_are_refused(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "MAX_RECORDS", 2)
    store.write([execution(number, NOON + number) for number in range(3)])
    request = SeriesRequest(started_from=NOON, started_before=NOON + HOUR, granularity=MINUTE)
    with pytest.raises(PeriodTooLongError, match="more than 2 executions"):
        store.series(request)
    assert store.series(msgspec.structs.replace(request, started_before=NOON - MINUTE)) == TimeSeries(
        granularity_seconds=60, points=[]
    )
    assert store.series(msgspec.structs.replace(request, granularity=HOUR)).points[0].total_executions == 3


def test_a_period_within_buckets_takes_them_whole(store: SqlStore) -> None:
    store.write([execution(1, NOON), execution(2, NOON + HOUR - 1), execution(3, NOON + HOUR)])
    stats = store.stats(StatsRequest(started_from=NOON + 5, started_before=NOON + 6))
    assert stats.total_executions == 2


def test_error_trends_stand_beside_the_period_before(store: SqlStore) -> None:
    store.write(
        [execution(number, NOON - number * DAY, status=Status.FAILED, error_type=TYPES[1 + number // 3])
         for number in range(4)]
    )  # fmt: skip
    stats = store.stats(
        StatsRequest(started_from=NOON - 2 * DAY, started_before=NOON + 1, previous=(NOON - 4 * DAY, NOON - 2 * DAY))
    )
    assert msgspec.to_builtins(stats.by_error_type) == [
        {
            "error_type": "timeout",
            "total_executions": 3,
            "previous_executions": 0,
            "daily": [{"date": f"2024-10-0{day}", "total_executions": 1} for day in (2, 3, 4)],
        },
        {"error_type": "connection_error", "total_executions": 0, "previous_executions": 1, "daily": []},
    ]


def test_statistics_outlive_the_records(store: SqlStore) -> None:
    store.write([execution(number, NOON + number, duration=number) for number in range(1, 50)])
    request = StatsRequest(started_from=NOON - DAY, started_before=NOON + DAY, with_hours=True)
    before = store.stats(request)
    store.prune(started_before=NOON + 20)
    assert store.stats(request) == before
    store.prune(started_before=NOON + DAY)
    assert store.stats(request) == before
    store.prune_rollups(started_before=NOON + 2 * DAY)
    assert store.stats(request).total_executions == 0


def test_statistics_never_look_at_a_record(store: SqlStore) -> None:
    store.write([execution(1, NOON)])
    asked: list[str] = []
    event.listen(store._database._reader, "before_cursor_execute", lambda *call: asked.append(call[2]))
    store.stats(StatsRequest(started_from=0, started_before=2**62, previous=(0, NOON), with_hours=True))
    store.series(SeriesRequest(started_from=NOON, started_before=NOON + DAY, granularity=HOUR))
    assert len(asked) > 5
    assert not [statement for statement in asked if "executions" in statement]
