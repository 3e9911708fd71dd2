"""What every store promises, run over each database that `store_url` knows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_tracker.errors import ConfigurationError, CursorError, StorageUnavailableError
from otel_tracker.query import ExecutionFilter, PageRequest, StatsRequest, WriteResult
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status
from otel_tracker.stats import ExecutionStats
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otel_tracker.ports import ExecutionStore

DAY = 86_400_000_000_000
NOON = 20_000 * DAY + DAY // 2  # 2024-10-04T12:00:00Z
SECOND = 1_000_000_000


@pytest.fixture(params=["sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/data/executions.db"
        case unknown:
            raise AssertionError(unknown)


@pytest.fixture
def store(store_url: str) -> Iterator[ExecutionStore]:
    opened = open_store(store_url)
    yield opened
    opened.close()


def execution(number: int = 1, **changes: Any) -> ExecutionRecord:
    start = NOON + number * SECOND
    base = ExecutionRecord(
        id=f"01970000-0000-7000-8000-{number:012d}",
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=start,
        end_time=start + 5,
        duration=5,
        input='{"key": "value"}',
        output='{"result": "success"}',
        instance_id="one",
        created_at=start,
        updated_at=start + 5,
    )
    return msgspec.structs.replace(base, **changes)


def running(number: int = 1, **changes: Any) -> ExecutionRecord:
    start = NOON + number * SECOND
    return execution(
        number,
        **{
            "status": Status.RUNNING,
            "rank": Rank.RUNNING,
            "end_time": None,
            "duration": 0,
            "output": "",
            "updated_at": start,
        }
        | changes,
    )


def child(number: int = 1, **changes: Any) -> SpanRecord:
    base = SpanRecord(
        execution_id=execution(number).id,
        trace_id="a" * 32,
        span_id="b" * 16,
        parent_span_id="c" * 16,
        name="attempt 2",
        kind="internal",
        start_time=NOON,
        end_time=NOON + 1,
    )
    return msgspec.structs.replace(base, **changes)


def ids(store: ExecutionStore, **wanted: Any) -> list[int]:
    page = store.page(PageRequest(filter=ExecutionFilter(**wanted)))
    return [int(record.id[-12:]) for record in page.executions]


def fields(value: msgspec.Struct, *but: str) -> dict[str, Any]:
    return {name: found for name, found in msgspec.structs.asdict(value).items() if name not in but}


def test_a_record_comes_back_as_it_was_written(store: ExecutionStore) -> None:
    record = execution(
        traceback="Traceback", logs="[]", metadata='{"a":1}', tags='{"job":"7"}', error="e", error_type="timeout",
        user_agent="curl", remote_ip="::1", trace_id="a" * 32, delivery_id="d-1", http_method="POST", attempts=2,
    )  # fmt: skip
    assert store.write([record]) == WriteResult(stored=1, unchanged=0)
    assert store.get(record.id) == record


def test_an_unknown_id_is_none(store: ExecutionStore) -> None:
    assert store.get("nobody") is None
    assert store.get("\ud800") is None


def test_a_start_and_its_end_in_one_batch_are_one_row(store: ExecutionStore) -> None:
    assert store.write([running(), execution()]) == WriteResult(stored=1, unchanged=1)
    assert store.get(execution().id) == execution()


def test_a_start_after_its_end_changes_nothing(store: ExecutionStore) -> None:
    store.write([execution()])
    assert store.write([running()]) == WriteResult(stored=0, unchanged=1)
    assert store.get(execution().id) == execution()


_numbers = itertools.count(1)
_VERSIONS = (
    running(tags='{"stage":"start"}'),
    running(rank=Rank.INTERRUPTED, status=Status.FAILED, error_type="interrupted"),
    execution(tags='{"stage":"end"}'),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 2), min_size=1, max_size=6), cuts=st.sets(st.integers(1, 5)))
def test_any_order_and_repetition_gives_the_best_version(
    store: ExecutionStore, order: list[int], cuts: set[int]
) -> None:
    """Frames in any order, any number of times, in any batches."""
    number = next(_numbers)
    versions = [msgspec.structs.replace(version, id=execution(number).id) for version in _VERSIONS]
    bounds = [0, *sorted(cut for cut in cuts if cut < len(order)), len(order)]
    for start, stop in itertools.pairwise(bounds):
        store.write([versions[index] for index in order[start:stop]])
    best = versions[max(order)]
    assert store.get(best.id) == best
    assert (number in ids(store, tags=(("stage", "end"),))) == (2 in order)
    assert (number in ids(store, tags=(("stage", "start"),))) == (max(order) == 0)


def test_unusual_text_survives(store: ExecutionStore) -> None:
    text = "纽约 🎉 ' \" ; -- %s \\ \x01 \u202e \r\n é́" * 3
    record = execution(plugin_name=text[:200], input=text, error=text)
    assert store.write([record]).rejected == ()
    assert store.get(record.id) == record


def test_pages_stay_stable_while_rows_arrive(store: ExecutionStore) -> None:
    store.write([execution(number) for number in range(1, 8)])
    first = store.page(PageRequest(limit=3))
    store.write([execution(number) for number in range(8, 20)])
    second = store.page(PageRequest(limit=3, cursor=first.next_cursor))
    third = store.page(PageRequest(limit=3, cursor=second.next_cursor))
    pages = [[int(record.id[-12:]) for record in page.executions] for page in (first, second, third)]
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]
    assert third.next_cursor == ""


def test_equal_start_times_are_paged_by_id(store: ExecutionStore) -> None:
    store.write([execution(number, start_time=NOON) for number in range(1, 6)])
    first = store.page(PageRequest(limit=2))
    second = store.page(PageRequest(limit=2, cursor=first.next_cursor))
    assert [int(record.id[-12:]) for record in first.executions + second.executions] == [5, 4, 3, 2]


def test_an_offset_leaves_out_the_newest(store: ExecutionStore) -> None:
    store.write([execution(number) for number in range(1, 6)])
    page = store.page(PageRequest(limit=2, offset=2))
    assert [int(record.id[-12:]) for record in page.executions] == [3, 2]
    assert (page.total, page.total_is_exact) == (5, True)


def test_a_foreign_cursor_is_an_error(store: ExecutionStore) -> None:
    with pytest.raises(CursorError):
        store.page(PageRequest(cursor="bm90aGluZw"))


def test_a_light_page_has_no_payloads(store: ExecutionStore) -> None:
    store.write([execution()])
    (record,) = store.page(PageRequest(with_payloads=False)).executions
    assert (record.input, record.output, record.plugin_name) == ("", "", "greet")


def test_filters_select_what_they_say(store: ExecutionStore) -> None:
    store.write(
        [
            execution(1, plugin_name="other", trace_id="f" * 32),
            execution(2, status=Status.FAILED, error_type="timeout", delivery_id="d-2"),
            execution(3, tags='{"job":"7","n":1}'),
            running(4),
        ]
    )
    assert ids(store, plugins=("other",)) == [1]
    assert ids(store, plugins=("other", "greet")) == [4, 3, 2, 1]
    assert ids(store, statuses=(Status.FAILED,)) == [2]
    assert ids(store, statuses=(Status.COMPLETED, Status.RUNNING)) == [4, 3, 1]
    assert ids(store, error_types=("timeout",)) == [2]
    assert ids(store, trace_id="f" * 32) == [1]
    assert ids(store, delivery_id="d-2") == [2]
    assert ids(store, started_from=NOON + 2 * SECOND, started_before=NOON + 4 * SECOND) == [3, 2]
    assert ids(store, tags=(("job", "7"), ("n", "1"))) == [3]
    assert ids(store, tags=(("job", "8"),)) == []


def test_a_total_beyond_ten_thousand_is_told_as_a_bound(store: ExecutionStore) -> None:
    store.write([execution(number) for number in range(10_001)])
    page = store.page(PageRequest(limit=1))
    assert (page.total, page.total_is_exact) == (10_000, False)


def test_statistics_count_what_ended_and_what_runs(store: ExecutionStore) -> None:
    store.write(
        [
            execution(1, start_time=NOON - DAY, duration=100),
            execution(2, duration=200),
            execution(3, status=Status.FAILED, duration=300, plugin_name="other"),
            execution(4, status=Status.TIMEOUT, duration=1_000),
            running(5),
        ]
    )
    stats = store.stats(StatsRequest(started_from=0, started_before=2**62))
    assert fields(stats, "plugin_stats", "daily_stats") == {
        "total_executions": 5,
        "successful_executions": 2,
        "failed_executions": 2,
        "timeout_executions": 1,
        "running_executions": 1,
        "success_rate": 50.0,
        "avg_duration": 400,
        "min_duration": 100,
        "max_duration": 1_000,
        "p50_duration": 206,
        "p90_duration": 981,
        "p95_duration": 981,
        "p99_duration": 981,
        "unique_plugins": 2,
        "hourly_stats": [],
        "by_error_type": [],
        "previous": None,
    }
    assert [(day.date, day.total_executions, day.success_rate, day.avg_duration) for day in stats.daily_stats] == [
        ("2024-10-03", 1, 100.0, 100),
        ("2024-10-04", 4, 33.33, 500),
    ]
    assert [(one.plugin_name, one.total_executions, one.max_duration) for one in stats.plugin_stats] == [
        ("greet", 4, 1_000),
        ("other", 1, 300),
    ]
    assert store.stats(StatsRequest(started_from=0, started_before=2**62, plugin="other")).total_executions == 1


def test_statistics_of_nothing_are_zeros(store: ExecutionStore) -> None:
    assert store.stats(StatsRequest(started_from=0, started_before=1)) == ExecutionStats()


def test_pruning_spares_what_runs_and_takes_children_along(store: ExecutionStore) -> None:
    store.write([execution(1, tags='{"a":"b"}'), running(2), execution(3), child(1), child(9)])
    before = NOON + 3 * SECOND
    assert store.prune(started_before=before, dry_run=True).deleted == 1
    assert store.prune(started_before=before).deleted == 1
    assert ids(store) == [3, 2]
    assert (store.spans(execution(1).id), store.spans(execution(9).id)) == ([], [])


def test_pruning_gives_space_back(store: ExecutionStore) -> None:
    store.write([execution(number, input="x" * 20_000) for number in range(100)])
    size = store.info().size
    assert store.prune(started_before=2**62).freed_bytes > 1_000_000
    assert store.info().size < size - 1_000_000


def test_interrupting_ends_what_a_dead_instance_left(store: ExecutionStore) -> None:
    store.write([running(1), running(2, instance_id="two"), execution(3)])
    assert store.interrupt("one", now=NOON + 3 * SECOND) == 1
    record = store.get(execution(1).id)
    assert record is not None
    assert (record.status, record.error_type, record.duration) == (Status.FAILED, "interrupted", 2 * SECOND)
    assert record.error == "The process that ran this execution ended before it did."
    assert store.interrupt("one", now=NOON) == 0


def test_the_real_end_replaces_an_interruption(store: ExecutionStore) -> None:
    store.write([running()])
    store.interrupt("one", now=NOON + 3 * SECOND)
    store.write([running()])
    assert store.write([execution()]).stored == 1
    assert store.get(execution().id) == execution()


def test_a_child_span_may_come_before_its_execution(store: ExecutionStore) -> None:
    assert store.write([child()]).stored == 1
    assert store.write([execution(), child()]) == WriteResult(stored=1, unchanged=1)
    assert store.spans(execution().id) == [child()]


@pytest.mark.parametrize(
    ("field", "bad", "kept"),
    [
        ("input", "a\ud800b", "a\ufffdb"),
        ("error", "a\0b", "a\ufffdb"),
        ("duration", 2**70, 2**63 - 1),
        ("start_time", -(2**70), -(2**63)),
        ("plugin_name", 7, "7"),
        ("attempts", "many", 0),
    ],
)
def test_a_bad_row_is_stored_repaired_and_harms_no_other(
    store: ExecutionStore, field: str, bad: object, kept: object
) -> None:
    rows = [execution(number) for number in range(50)]
    rows[17] = execution(17, **{field: bad})
    result = store.write(rows)
    assert (result.stored, [index for index, _ in result.rejected]) == (49, [17])
    assert "stored repaired" in result.rejected[0][1]
    repaired = store.get(execution(17).id)
    value = getattr(repaired, field)
    assert value == kept or (isinstance(kept, str) and value.startswith("a\ufffd") and value.endswith("b"))
    assert store.page(PageRequest()).total == 50


def test_a_bad_span_is_stored_repaired(store: ExecutionStore) -> None:
    result = store.write([child(1), child(2, name="x\0")])
    assert (result.stored, len(result.rejected)) == (1, 1)
    assert store.spans(execution(2).id)[0].name == "x\ufffd"


def test_info_tells_size_and_bounds(store: ExecutionStore) -> None:
    assert store.info().oldest_record is None
    store.prune(started_before=0)
    store.write([execution(1), execution(2)])
    info = store.info()
    assert (info.oldest_record, info.newest_record) == (NOON + SECOND, NOON + 2 * SECOND)
    assert (info.size > 0, info.health) == (True, "healthy")


def test_a_closed_store_says_so(store: ExecutionStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StorageUnavailableError, match="is closed"):
        store.write([execution()])


def test_an_unknown_scheme_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="known is sqlite"):
        open_store("oracle://u:secret@host/db")
