"""Records on their way to the store can be read at once, and never take more than their share of memory."""

from __future__ import annotations

from exporters.unsettled import Unsettled
from otel_tracker.record import ExecutionRecord, Rank, Status


def record(name: str, rank: Rank = Rank.ENDED) -> ExecutionRecord:
    status = Status.COMPLETED if rank is Rank.ENDED else Status.RUNNING
    return ExecutionRecord(id=name, plugin_name="p", status=status, start_time=1, rank=rank)


def test_a_record_is_there_until_its_frame_was_delivered() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a"), size=10, sequence=5)
    unsettled.settle(4)
    assert unsettled.get("a") == record("a")
    unsettled.settle(5)
    assert unsettled.get("a") is None


def test_a_lower_rank_never_replaces_a_higher_one() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a"), size=10, sequence=1)
    unsettled.add(record("a", Rank.RUNNING), size=10, sequence=2)
    assert unsettled.get("a") == record("a")


def test_a_delivered_start_leaves_the_end_that_is_still_on_its_way() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a", Rank.RUNNING), size=10, sequence=1)
    unsettled.add(record("b"), size=10, sequence=2)
    unsettled.add(record("a"), size=10, sequence=3)
    unsettled.settle(2)
    assert (unsettled.get("a"), unsettled.get("b")) == (record("a"), None)


def test_the_oldest_leave_when_there_are_too_many() -> None:
    unsettled = Unsettled()
    for number in range(10_001):
        unsettled.add(record(str(number)), size=10, sequence=number + 1)
    assert unsettled.get("0") is None
    assert unsettled.get("1") == record("1")


def test_the_oldest_leave_when_they_are_too_large() -> None:
    unsettled = Unsettled()
    for number, name in enumerate(("a", "b", "c"), 1):
        unsettled.add(record(name), size=4 << 20, sequence=number)
    assert [unsettled.get(name) is not None for name in ("a", "b", "c")] == [False, True, True]


def test_one_that_is_too_large_alone_is_kept() -> None:
    unsettled = Unsettled()
    unsettled.add(record("a"), size=100 << 20, sequence=1)
    assert unsettled.get("a") == record("a")


def test_a_new_version_is_charged_in_place_of_the_old_one() -> None:
    unsettled = Unsettled()
    for number in range(100):
        unsettled.add(record("a"), size=1 << 20, sequence=number + 1)
    unsettled.add(record("b"), size=7 << 20, sequence=101)
    assert unsettled.get("a") == record("a")
