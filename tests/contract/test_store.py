"""What every store promises, run over each database that `store_url` knows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import databases
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_tracker.errors import ConfigurationError, CursorError, StorageUnavailableError
from otel_tracker.query import ExecutionFilter, Page, PageRequest, SearchBudget, StatsRequest, WriteResult
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


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with databases.made(request.param, folder=tmp_path / "data") as url:
        yield url


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
    return numbers(store.page(PageRequest(filter=ExecutionFilter(**wanted))))


def numbers(page: Page) -> list[int]:
    return [int(record.id[-12:]) for record in page.executions]


def fields(value: msgspec.Struct, *but: str) -> dict[str, Any]:
    return {name: found for name, found in msgspec.structs.asdict(value).items() if name not in but}


def walked(store: ExecutionStore, request: PageRequest) -> list[int]:
    """Page after page by cursor, to the end."""
    found = []
    while True:
        page = store.page(request)
        found += numbers(page)
        if not page.next_cursor:
            return found
        request = msgspec.structs.replace(request, cursor=page.next_cursor)


def searched(store: ExecutionStore, text: str, **more: Any) -> Page:
    return store.page(PageRequest(filter=ExecutionFilter(text=text), **more))


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


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert ids(store, error_types=("timeout", "")) == [4, 3, 2, 1]
    assert ids(store, trace_id="f" * 32) == [1]
    assert ids(store, delivery_id="d-2") == [2]
    assert ids(store, started_from=NOON + 2 * SECOND, started_before=NOON + 4 * SECOND) == [3, 2]
    assert ids(store, tags=(("job", "7"), ("n", "1"))) == [3]
    assert ids(store, tags=(("job", "8"),)) == []


def test_a_duration_is_within_both_bounds_and_only_of_what_ended(store: ExecutionStore) -> None:
    store.write([*(execution(number, duration=number * 100) for number in range(1, 5)), running(5)])
    assert ids(store, min_duration=200) == [4, 3, 2]
    assert ids(store, max_duration=200) == [2, 1]
    assert ids(store, min_duration=200, max_duration=300) == [3, 2]
    assert ids(store, min_duration=0) == [4, 3, 2, 1]


def test_a_value_given_twice_finds_nothing_twice(store: ExecutionStore) -> None:
    store.write([execution(1), execution(2, plugin_name="other")])
    assert ids(store, plugins=("greet", "other", "greet")) == [2, 1]


def test_an_offset_counts_over_all_plugins(store: ExecutionStore) -> None:
    store.write([execution(number, plugin_name=f"p{number % 3}") for number in range(1, 10)])
    wanted = ExecutionFilter(plugins=("p0", "p1"))
    assert numbers(store.page(PageRequest(filter=wanted, limit=3, offset=2))) == [6, 4, 3]


def test_tags_follow_a_record_whose_start_is_corrected(store: ExecutionStore) -> None:
    store.write([running(1, tags='{"a":"b"}'), execution(2, tags='{"a":"b"}')])
    store.write([execution(1, start_time=NOON + 3 * SECOND, tags='{"a":"b"}')])
    assert ids(store, tags=(("a", "b"),)) == [1, 2]


def _mixed(number: int) -> ExecutionRecord:
    """Of a history in which each filter finds some."""
    status = (Status.COMPLETED, Status.FAILED, Status.TIMEOUT, Status.COMPLETED)[number % 4]
    return execution(
        number,
        plugin_name=f"p{number % 5}",
        status=status,
        error_type={Status.FAILED: ("not_found", "conflict")[number % 3 % 2], Status.TIMEOUT: "timeout"}.get(
            status, ""
        ),
        start_time=NOON + number // 3 * SECOND,
        duration=number % 7,
        tags=f'{{"team":"{"ab"[number % 2]}","lane":"{number % 3}"}}',
        error="É is wrong" if number % 6 == 0 else "",
    )


MIXED = [_mixed(number) for number in range(60)]
FILTERS = st.builds(
    ExecutionFilter,
    plugins=st.lists(st.sampled_from(["p0", "p1", "p4", "none"]), max_size=4).map(tuple),
    statuses=st.lists(st.sampled_from([Status.COMPLETED, Status.FAILED, Status.TIMEOUT]), max_size=3).map(tuple),
    error_types=st.lists(st.sampled_from(["not_found", "conflict", "timeout"]), max_size=3).map(tuple),
    started_from=st.none() | st.integers(0, 20).map(lambda second: NOON + second * SECOND),
    started_before=st.none() | st.integers(0, 20).map(lambda second: NOON + second * SECOND),
    min_duration=st.none() | st.integers(0, 6),
    max_duration=st.none() | st.integers(0, 6),
    tags=st.lists(st.sampled_from([("team", "a"), ("lane", "1"), ("lane", "2")]), max_size=2).map(tuple),
    text=st.sampled_from(["", "é IS", "success", "nowhere"]),
)


def _fits(record: ExecutionRecord, wanted: ExecutionFilter) -> bool:
    tags = msgspec.json.decode(record.tags)
    return (
        record.plugin_name in (wanted.plugins or [record.plugin_name])
        and record.status in (wanted.statuses or [record.status])
        and record.error_type in (wanted.error_types or [record.error_type])
        and (wanted.started_from or 0) <= record.start_time < (wanted.started_before or 2**62)
        and (wanted.min_duration or 0) <= record.duration
        and (wanted.max_duration is None or record.duration <= wanted.max_duration)
        and all(tags.get(name) == value for name, value in wanted.tags)
        and wanted.text.casefold() in f"{record.input}\n{record.output}\n{record.error}".casefold()
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=FILTERS, limit=st.integers(1, 20), budget=st.sampled_from([1, 7, 1000]))
def test_pages_of_any_filter_hold_each_match_once_newest_first(
    store: ExecutionStore, wanted: ExecutionFilter, limit: int, budget: int
) -> None:
    store.write(MIXED)
    newest_first = sorted(MIXED, key=lambda record: (record.start_time, record.id), reverse=True)
    expected = [int(record.id[-12:]) for record in newest_first if _fits(record, wanted)]
    request = PageRequest(filter=wanted, limit=limit, budget=SearchBudget(rows=budget, candidates=budget))
    assert walked(store, request) == expected
    page = store.page(request)
    assert page.total <= len(expected)
    assert page.total == len(expected) or not page.total_is_exact


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("needle", [5, 4, 3]),
        ("NEEDLE", [5, 4, 3]),
        ("纽约", [2]),
        ("É", [2]),
        ("e\u0301", []),
        ("STRASSE", [1]),
        ("straße", [1]),
        ("%", []),
        ("_", []),
        ("\0", []),
        ("traced", []),
        ("\ud800", []),
    ],
)
def test_text_is_found_in_input_output_and_error_whatever_its_case(
    store: ExecutionStore, text: str, found: list[int]
) -> None:
    """As it is stored: no wildcards, nothing normalised, and case folded as Unicode has it."""
    store.write(
        [
            execution(1, input='{"to":"Straße"}'),
            execution(2, output='"é 纽约"'),
            execution(3, input='"a Needle"'),
            execution(4, output='"needles"'),
            running(5, error="NEEDLE", traceback="traced"),
        ]
    )
    assert numbers(searched(store, text)) == found


def test_a_search_knows_its_last_page(store: ExecutionStore) -> None:
    store.write([execution(number, error="x" if number % 2 else "") for number in range(1, 7)])
    first = searched(store, "x", limit=2)
    assert (numbers(first), first.total, first.total_is_exact, first.scan_complete) == ([5, 3], 2, False, True)
    last = searched(store, "x", limit=2, cursor=first.next_cursor)
    assert (numbers(last), last.next_cursor, last.scan_complete) == ([1], "", True)
    whole = searched(store, "x", limit=3)
    assert (whole.total, whole.total_is_exact, whole.next_cursor) == (3, True, "")


@pytest.mark.parametrize("budget", [SearchBudget(rows=3), SearchBudget(characters=3 * 37), SearchBudget(seconds=0)])
def test_a_budget_that_is_hit_is_admitted_and_the_search_goes_on_behind(
    store: ExecutionStore, budget: SearchBudget
) -> None:
    store.write([execution(number, error="x" if number in {9, 2} else "") for number in range(1, 10)])
    page = searched(store, "x", budget=budget)
    assert (numbers(page), page.total, page.total_is_exact, page.scan_complete) == ([9], 1, False, False)
    store.write([execution(number, error="x") for number in range(10, 13)])
    assert walked(store, PageRequest(filter=ExecutionFilter(text="x"), budget=budget, cursor=page.next_cursor)) == [2]


SLOW = {3, 40, 95}
"""Of a hundred."""


@pytest.mark.parametrize(
    ("candidates", "found", "total", "is_all"),
    [
        (101, [95, 40, 3], 3, True),
        (100, [95, 40, 3], 3, False),
        (61, [95, 40], 2, False),
        (6, [95], 1, False),
        (5, [], 0, False),
        (1, [], 0, False),
    ],
)
def test_what_no_index_knows_is_looked_for_in_so_many_executions(
    store: ExecutionStore, candidates: int, found: list[int], total: int, *, is_all: bool
) -> None:
    """Of the plugin that an index leads to; the page and its total say where they stopped."""
    rows = [execution(number, duration=9 if number in SLOW else 1) for number in range(1, 101)]
    store.write([*rows, *(execution(number, plugin_name="other", duration=9) for number in range(101, 201))])
    wanted = ExecutionFilter(plugins=("greet",), min_duration=5)
    request = PageRequest(filter=wanted, limit=3, budget=SearchBudget(candidates=candidates))
    page = store.page(request)
    assert (numbers(page), page.total, page.total_is_exact, page.scan_complete) == (found, total, is_all, is_all)
    assert bool(page.next_cursor) is not is_all
    assert walked(store, request) == [95, 40, 3]


def test_a_search_passes_over_what_the_other_filters_leave_out_in_bounded_steps(store: ExecutionStore) -> None:
    """It comes to the end of its time though it has compared no text."""
    store.write([execution(number, error="x", duration=9 if number == 1 else 1) for number in range(1, 31)])
    wanted = ExecutionFilter(text="x", min_duration=5)
    budget = SearchBudget(candidates=10, seconds=0)
    page = store.page(PageRequest(filter=wanted, budget=budget))
    assert (numbers(page), page.scan_complete) == ([], False)
    assert walked(store, PageRequest(filter=wanted, budget=budget)) == [1]


def test_a_search_goes_through_a_long_history(store: ExecutionStore) -> None:
    store.write([execution(number, error="x" if number in {1, 600} else "") for number in range(1, 1102)])
    page = searched(store, "x")
    assert (numbers(page), page.total, page.total_is_exact, page.next_cursor) == ([600, 1], 2, True, "")


def test_a_search_reads_the_whole_records_that_it_found(store: ExecutionStore) -> None:
    record = execution(1, error="x", traceback="Traceback", logs='["y"]')
    store.write([record, execution(2)])
    assert searched(store, "x").executions == [record]
    (light,) = searched(store, "x", with_payloads=False).executions
    assert (light.input, light.error) == ("", "x")


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
    lost = child(execution_id="01920000-0000-7000-8000-000000000009")  # of a minute before
    store.write([execution(1, tags='{"a":"b"}'), running(2), execution(3), child(1), lost])
    before = NOON + 3 * SECOND
    assert store.prune(started_before=before, dry_run=True).deleted == 1
    assert store.prune(started_before=before).deleted == 1
    assert ids(store) == [3, 2]
    assert (store.spans(execution(1).id), store.spans(lost.execution_id)) == ([], [])


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


def test_a_text_too_long_for_its_column_is_cut(store: ExecutionStore) -> None:
    long = "é" * 400
    record = execution(
        plugin_name=long, delivery_id=long, http_method=long, error_type=long, remote_ip=long, instance_id=long,
        tags=msgspec.json.encode({long: long}).decode(),
    )  # fmt: skip
    assert store.write([record]).rejected == ()
    stored = store.get(record.id)
    assert stored is not None
    assert (stored.plugin_name, stored.delivery_id, stored.error_type) == (long[:255], long[:255], long[:255])
    assert (stored.http_method, stored.remote_ip, stored.instance_id) == (long[:16], long[:64], long[:64])
    assert (stored.tags, ids(store, tags=((long[:255], long[:255]),))) == (record.tags, [1])


def test_tags_whose_names_are_equal_once_cut_are_no_error(store: ExecutionStore) -> None:
    tags = {"n" * 255 + "a": "1", "n" * 255 + "b": "2"}
    assert store.write([execution(tags=msgspec.json.encode(tags).decode())]).rejected == ()


@pytest.mark.parametrize("characters", [70_000, 3_000_000])
def test_a_large_payload_comes_back_whole(store: ExecutionStore, characters: int) -> None:
    record = execution(input="纽" * characters)
    assert store.write([record]).rejected == ()
    assert store.get(record.id) == record


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
    with pytest.raises(ConfigurationError, match="known are sqlite, postgresql and mysql"):
        open_store("oracle://u:secret@host/db")


def test_the_total_is_what_a_count_gives_through_writes_ends_and_deletions(store: ExecutionStore) -> None:
    """It comes from the rollups; over several days, of running and ended executions, some told twice."""
    records = [execution(number, start_time=NOON + number * DAY // 3) for number in range(20)]
    store.write([running(number, start_time=NOON + number * DAY // 3) for number in range(20)])
    store.write(records[:15])
    store.write(records[10:15])
    store.prune(started_before=NOON + 2 * DAY)
    page = store.page(PageRequest(limit=1, with_total=True))
    assert (store.info().total_records, page.total) == (14, 14)


def test_each_table_has_a_size(store: ExecutionStore) -> None:
    store.write([execution(number) for number in range(100)])
    sizes = store.table_sizes()
    assert sizes
    ours = {
        "executions", "execution_payloads", "execution_tags", "spans", "rollups", "rollup_durations", "settings",
        "spool_positions", "leases",
    }  # fmt: skip
    assert set(sizes) >= ours
    assert min(sizes[name] for name in ours) > 0
