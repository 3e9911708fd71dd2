"""Attributes that an execution's span makes when they are first wanted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from both_spans import Traced, at_once
from opentelemetry.sdk.trace import SpanProcessor

from otel_tracker.failsafe import failsafe
from otel_tracker.spans import given

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from otel_tracker.spans import ExecutionSpan


@pytest.fixture
def traced() -> Traced:
    return Traced()


class Late:
    """Makes attributes, and counts how often."""

    def __init__(self, **made: Any) -> None:
        self.made = made
        self.calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return self.made


READERS: dict[str, Callable[[ExecutionSpan], object]] = {
    "attributes": lambda span: span.attributes,
    "settle": lambda span: span.settle(),
    "to_json": lambda span: span.to_json(),
    "end": lambda span: span.end(2000),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_late_attributes_are_made_once_when_they_are_first_wanted(
    traced: Traced, read: Callable[[ExecutionSpan], object]
) -> None:
    late = Late(a="late", odd=[1j])
    span = traced.ours(attributes={"a": "", "b": 1}, late=late)
    assert (late.calls, given(span)) == (0, {"a": "", "b": 1})
    read(span)
    assert (late.calls, given(span)) == (1, {"a": "late", "b": 1, "odd": ("1j",)})
    for again in READERS.values():
        again(span)
    assert late.calls == 1


def test_late_attributes_are_there_when_a_processor_sees_the_end(traced: Traced) -> None:
    traced.ours(late=Late(a=1)).end()
    assert given(traced.kept.ended[0]) == {"a": 1}


def test_late_attributes_can_be_read_by_a_processor_that_sees_the_start() -> None:
    seen = []

    class Reader(SpanProcessor):
        def on_start(self, span: Any, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the signature is the SDK's
            seen.append(dict(span.attributes))

    traced = Traced()
    traced.provider.add_span_processor(Reader())
    traced.ours(late=Late(a=1))
    assert seen == [{"a": 1}]


def test_the_time_that_late_attributes_take_is_not_the_spans(traced: Traced) -> None:
    made_at: list[int] = []

    def late() -> dict[str, int]:
        marker = traced.theirs()
        marker.end()
        made_at.append(marker.end_time or 0)
        return {}

    span = traced.ours(late=late)
    span.end()
    assert span.end_time
    assert span.end_time <= made_at[0]


def test_two_threads_that_make_them_at_once_get_the_same(traced: Traced) -> None:
    both_are_in, calls = threading.Barrier(2), []

    def late() -> dict[str, str]:
        both_are_in.wait()
        calls.append(1)
        return {"a": "late"}

    span, seen = traced.ours(late=late), []
    at_once(2, lambda _: seen.append(dict(span.attributes or {})))
    assert (len(calls), seen) == (2, [{"a": "late"}, {"a": "late"}])


def test_one_that_makes_them_too_slowly_changes_nothing_after_the_end(traced: Traced) -> None:
    """A reader is still at it while another thread makes them, and ends the span."""
    is_in, may_go_on = threading.Event(), threading.Event()

    def late() -> dict[str, str]:
        if threading.current_thread() is reader:
            is_in.set()
            may_go_on.wait()
            return {"a": "reader", "b": "reader"}
        return {"a": "ender"}

    span = traced.ours(late=late)
    reader = threading.Thread(target=span.settle)
    reader.start()
    is_in.wait()
    span.end()
    may_go_on.set()
    reader.join()
    assert span.attributes == {"a": "ender"}


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit()], ids=lambda e: type(e).__name__
)
def test_late_attributes_that_cannot_be_made_are_counted_and_not_tried_again(
    traced: Traced, error: BaseException
) -> None:
    calls = []

    def late() -> dict[str, str]:
        calls.append(1)
        raise error

    before = failsafe.failures.copy()
    span = traced.ours(attributes={"a": 1}, late=late)
    span.end()
    assert (span.attributes, traced.kept.ended, len(calls)) == ({"a": 1}, [span], 1)
    assert failsafe.failures - before == {"span.late": 1}


def test_late_attributes_that_are_none_are_counted(traced: Traced) -> None:
    nonsense: Any = lambda: None  # noqa: E731 - a value, of the wrong kind
    before = failsafe.failures.copy()
    traced.ours(late=nonsense).end()
    assert failsafe.failures - before == {"span.late": 1}
