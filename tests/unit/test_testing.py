"""record_executions(): what the tests of tracked code get to see."""

from __future__ import annotations

import pytest
from opentelemetry.trace import Status, StatusCode

from otel_tracker import track
from otel_tracker.record import SpanRecord
from otel_tracker.testing import BEGIN, SECOND, record_executions
from otel_tracker.tracking import get_tracker


def test_whatever_was_configured_before_is_back_afterwards() -> None:
    with record_executions() as outer:
        before = get_tracker()
        with pytest.raises(KeyError), record_executions():
            raise KeyError
        assert get_tracker() is before
        track(len)("after")
    assert outer.one.plugin_name == "len"


def test_ids_and_times_are_the_same_each_time() -> None:
    def run() -> list[object]:
        with record_executions() as recorded:
            with track("a"), track("b"):
                pass
            return [*recorded.executions]

    assert run() == run()


def test_child_spans_of_the_code_are_recorded_with_the_same_clock() -> None:
    with record_executions() as recorded:
        tracer = recorded.provider.get_tracer("shop")
        with track("import") as execution, tracer.start_as_current_span("SELECT") as span:
            span.set_attribute("rows", 3)
            span.set_status(Status(StatusCode.ERROR, "gone"))
    assert recorded.spans == [
        SpanRecord(
            execution_id=execution.id,
            trace_id="00000000000000000000000000000001",
            span_id="0000000000000002",
            parent_span_id="0000000000000001",
            name="SELECT",
            kind="internal",
            start_time=BEGIN + 3 * SECOND,
            end_time=BEGIN + 4 * SECOND,
            status="error",
            error="gone",
            attributes='{"rows":3}',
            span='{"flags":3}',
        )
    ]


def test_what_runs_is_not_among_what_ended() -> None:
    with record_executions() as recorded, track("import"):
        assert [record.plugin_name for record in recorded.running] == ["import"]
        assert recorded.executions == []


def test_one_means_exactly_one() -> None:
    with record_executions() as recorded:
        with pytest.raises(AssertionError, match=r"expected one execution, got 0: \[\]"):
            _ = recorded.one
        track(len)("a")
        track(len)("b")
    with pytest.raises(AssertionError, match=r"expected one execution, got 2: \['len', 'len'\]"):
        _ = recorded.one


def test_failures_of_the_tracker_itself_are_told() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise OSError

    with record_executions() as recorded, track("import") as execution:
        execution.set_tag("odd", Unprintable())  # type: ignore[arg-type]  # what untyped code may do
    assert recorded.failures == {"execution.set_tag": 1}
