"""Which destination wants what: filters, ratios, whole traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.forwarding import selection
from exporters.forwarding.selection import HELD_SECONDS, Rule, Selector, passes_ratio
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status

if TYPE_CHECKING:
    import pytest

    from otel_tracker.record import Row

LOW, HIGH = "0" * 31 + "1", "f" * 32
UNSAMPLED = '{"flags":0}'


def execution(
    name: str,
    *,
    status: Status = Status.COMPLETED,
    plugin: str = "p",
    trace_id: str = LOW,
    duration: int = 10,
    span: str = "",
) -> ExecutionRecord:
    return ExecutionRecord(
        id=name, plugin_name=plugin, status=status, start_time=100, duration=duration, trace_id=trace_id, span=span
    )


def child(name: str, of: str, *, span: str = "") -> SpanRecord:
    return SpanRecord(
        execution_id=of,
        trace_id=LOW,
        span_id=name,
        parent_span_id="",
        name=name,
        kind="internal",
        start_time=1,
        end_time=2,
        span=span,
    )


def offered(selector: Selector, *rows: Row, now: float = 0) -> list[tuple[str, int]]:
    """Name and wanting destinations of everything that comes out."""
    return [
        (one.row.id if isinstance(one.row, ExecutionRecord) else one.row.name, one.wanted_by)
        for row in rows
        for one in selector.offer(row, now=now)
    ]


def test_a_destination_without_rules_gets_everything_at_once() -> None:
    assert offered(Selector([Rule()]), child("a", "1"), execution("1")) == [("a", 1), ("1", 1)]


def test_children_wait_for_their_execution_where_it_decides() -> None:
    """Plugin, status and none: three destinations, bit 0 to 2."""
    rules = [Rule(plugins=frozenset({"p"})), Rule(statuses=frozenset({"failed"})), Rule()]
    selector = Selector(rules)
    assert offered(selector, child("a", "1"), child("b", "1")) == [("a", 4), ("b", 4)]
    assert offered(selector, execution("1")) == [("a", 1), ("b", 1), ("1", 5)]
    assert offered(selector, child("late", "1")) == [("late", 5)]
    assert offered(selector, child("c", "2"), execution("2", status=Status.FAILED, plugin="q")) == [
        ("c", 4),
        ("c", 2),
        ("2", 6),
    ]


def test_failures_pass_every_ratio_and_successes_by_trace_id() -> None:
    selector = Selector([Rule(ratio=0.5), Rule(ratio=0)])
    assert offered(selector, execution("1", trace_id=LOW)) == [("1", 1)]
    assert offered(selector, execution("2", trace_id=HIGH)) == []
    for status in (Status.FAILED, Status.TIMEOUT, Status.CANCELED):
        assert offered(selector, execution("3", trace_id=HIGH, status=status)) == [("3", 3)]


def test_the_slowest_pass_every_ratio() -> None:
    selector = Selector([Rule(ratio=0)])
    assert offered(selector, *(execution(str(number), duration=number) for number in range(100))) == []
    assert offered(selector, execution("slow", duration=1000)) == [("slow", 1)]
    assert offered(selector, execution("usual", duration=50)) == []
    assert offered(selector, execution("other", plugin="q", duration=1000)) == []


def test_what_the_caller_did_not_sample_is_sent_only_where_it_failed() -> None:
    selector = Selector([Rule()])
    assert offered(selector, child("a", "1", span=UNSAMPLED), execution("1", span=UNSAMPLED)) == []
    assert offered(selector, child("b", "2", span=UNSAMPLED), execution("2", span=UNSAMPLED, status=Status.FAILED)) == [
        ("b", 1),
        ("2", 1),
    ]


def test_the_ratio_is_that_of_opentelemetry() -> None:
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased  # noqa: PLC0415

    ids = [f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128:032x}" for number in range(1, 500)]
    for ratio in (0.0, 0.1, 0.5, 1.0):
        sampler = TraceIdRatioBased(ratio)
        theirs = [sampler.should_sample(None, int(one, 16), "x").decision is not Decision.DROP for one in ids]
        assert [passes_ratio(one, ratio) for one in ids] == theirs


def test_what_is_held_for_too_long_is_given_to_nobody_and_counted() -> None:
    selector = Selector([Rule(ratio=0.5)])
    offered(selector, child("a", "1"), child("b", "1"), now=0)
    selector.expire(now=HELD_SECONDS)
    assert selector.undecided == 0
    selector.expire(now=HELD_SECONDS + 1)
    assert selector.undecided == 2
    assert offered(selector, execution("1")) == [("1", 1)]


def test_what_is_held_is_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MAX_HELD", 3)
    selector = Selector([Rule(ratio=0.5)])
    offered(selector, *(child(str(number), f"e{number}") for number in range(5)))
    selector.expire(now=0)
    assert (selector.undecided, len(selector.held())) == (2, 3)


def test_what_is_held_goes_on_in_another_selector_and_comes_once() -> None:
    """A kill between what is pending and the cursor has the spans read again."""
    first = Selector([Rule(ratio=0.5)])
    started = execution("1", status=Status.RUNNING)
    offered(first, started, child("a", "1"))
    second = Selector([Rule(ratio=0.5)])
    for row in first.held():
        second.hold(row, now=0)
    assert offered(second, started, child("a", "1"), execution("1")) == [("a", 1), ("1", 1)]
    assert second.held() == []


def test_what_a_dead_process_left_running_ends_as_interrupted() -> None:
    selector = Selector([Rule(statuses=frozenset({"failed"}))])
    offered(selector, execution("1", status=Status.RUNNING), execution("2", status=Status.RUNNING), execution("2"))
    (found,) = selector.interrupt(now_ns=150)
    assert isinstance(found.row, ExecutionRecord)
    assert (found.row.id, found.row.status, found.row.error_type) == ("1", Status.FAILED, "interrupted")
    assert (found.row.end_time, found.row.duration, found.row.rank) == (150, 50, Rank.INTERRUPTED)


def test_the_words_are_the_stores() -> None:
    from otel_tracker.storage.interruption import INTERRUPTED_TEXT, INTERRUPTED_TYPE  # noqa: PLC0415

    assert (selection.INTERRUPTED_TYPE, selection.INTERRUPTED_TEXT) == (INTERRUPTED_TYPE, INTERRUPTED_TEXT)
