"""Records on their way to the store can be read at once, and never take more than their share of memory."""

from __future__ import annotations

from exporters.unsettled import Unsettled
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status


def record(name: str, rank: Rank = Rank.ENDED) -> ExecutionRecord:
    status = Status.COMPLETED if rank is Rank.ENDED else Status.RUNNING
    return ExecutionRecord(id=name, plugin_name="p", status=status, start_time=1, rank=rank)


def test_a_record_is_there_until_it_is_settled() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a"), 10)
    assert unsettled.get("a") == record("a")
    unsettled.settle([record("a")])
    assert unsettled.get("a") is None


def test_a_lower_rank_never_replaces_a_higher_one() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a"), 10)
    unsettled.add(record("a", Rank.RUNNING), 10)
    assert unsettled.get("a") == record("a")


def test_a_settled_start_leaves_the_end_that_is_still_on_its_way() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a"), 10)
    unsettled.settle([record("a", Rank.RUNNING)])
    assert unsettled.get("a") == record("a")


def test_what_is_unknown_and_child_spans_settle_nothing() -> None:
    unsettled = Unsettled()
    child = SpanRecord(
        execution_id="a", trace_id="", span_id="", parent_span_id="", name="", kind="", start_time=1, end_time=2
    )
    unsettled.add(record("a"), 10)
    unsettled.settle([child, record("b")])
    assert unsettled.get("a") == record("a")


def test_the_oldest_leave_when_there_are_too_many() -> None:
    unsettled = Unsettled()
    for number in range(10_001):
        unsettled.add(record(str(number)), 10)
    assert unsettled.get("0") is None
    assert unsettled.get("1") == record("1")


def test_the_oldest_leave_when_they_are_too_large() -> None:
    unsettled = Unsettled()
    for name in ("a", "b", "c"):
        unsettled.add(record(name), 8 << 20)
    assert [unsettled.get(name) is not None for name in ("a", "b", "c")] == [False, True, True]


def test_one_that_is_too_large_alone_is_kept() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a"), 100 << 20)
    assert unsettled.get("a") == record("a")


def test_a_new_version_is_charged_in_place_of_the_old_one() -> None:
    unsettled = Unsettled()
    for _ in range(100):
        unsettled.add(record("a"), 1 << 20)
    unsettled.add(record("b"), 15 << 20)
    assert unsettled.get("a") == record("a")
