"""What an exporter gets to see of the spans around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_tracker.conventions import PARENT_EXECUTION_ID
from otel_tracker.failsafe import failsafe
from otel_tracker.processor import MAX_CHILDREN, ExecutionProcessor
from otel_tracker.provider import ExecutionTracerProvider
from otel_tracker.tracking import Tracker, activate, deactivate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan


class Exporter:
    """Keeps names and parents, or fails."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.seen: list[str] = []
        self.parents: dict[str, Any] = {}
        self._error = error

    def export(self, spans: Sequence[ReadableSpan], /) -> SpanExportResult:
        self._fail()
        for span in spans:
            self.seen.append(f"{span.name}{'' if span.end_time else ' started'}")
            self.parents[span.name] = (span.attributes or {}).get(PARENT_EXECUTION_ID)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._fail()
        self.seen.append("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self._fail()
        return timeout_millis == 7

    def _fail(self) -> None:
        if self._error:
            raise self._error


class Traced:
    """A provider with the processor, and tracers on it."""

    def __init__(self, exporter: Exporter, **options: Any) -> None:
        self.processor = ExecutionProcessor(exporter, **options)
        self.provider = ExecutionTracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracker = Tracker(self.provider.execution_tracer())
        self.tracer = self.provider.get_tracer("other")


def test_an_execution_is_seen_at_its_start_and_at_its_end() -> None:
    exporter = Exporter()
    Traced(exporter).tracker.start("a").end()
    assert exporter.seen == ["execute a started", "execute a"]


def test_a_start_is_not_shown_to_an_exporter_that_must_not_see_it() -> None:
    exporter = Exporter()
    Traced(exporter, announces_start=False).tracker.start("a").end()
    assert exporter.seen == ["execute a"]


def test_an_unsampled_execution_is_seen_all_the_same() -> None:
    exporter = Exporter()
    caller = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0)))
    Traced(exporter).tracker.start("a", context=set_span_in_context(caller, Context())).end()
    assert exporter.seen == ["execute a started", "execute a"]


def test_spans_outside_an_execution_are_not_seen() -> None:
    exporter, traced = Exporter(), None
    traced = Traced(exporter)
    with traced.tracer.start_as_current_span("outer"), traced.tracer.start_as_current_span("inner"):
        pass
    assert exporter.seen == []


def test_what_opens_below_an_execution_belongs_to_it() -> None:
    exporter = Exporter()
    traced = Traced(exporter)
    execution = traced.tracker.start("a")
    token = activate(execution)
    with traced.tracer.start_as_current_span("child"), traced.tracer.start_as_current_span("grandchild"):
        pass
    deactivate(token)
    execution.end()
    assert exporter.seen == ["execute a started", "grandchild", "child", "execute a"]
    assert exporter.parents == {"execute a": None, "child": execution.id, "grandchild": execution.id}


def test_an_execution_inside_another_has_children_of_its_own() -> None:
    exporter = Exporter()
    traced = Traced(exporter)
    outer = traced.tracker.start("outer")
    token = activate(outer)
    inner = traced.tracker.start("inner")
    inner_token = activate(inner)
    traced.tracer.start_span("child").end()
    deactivate(inner_token)
    inner.end()
    deactivate(token)
    outer.end()
    assert exporter.parents == {"execute outer": None, "execute inner": None, "child": inner.id}


def test_children_are_bounded_and_the_rest_is_counted() -> None:
    exporter = Exporter()
    traced = Traced(exporter, announces_start=False)
    execution = traced.tracker.start("a")
    token = activate(execution)
    for _ in range(MAX_CHILDREN + 2):
        traced.tracer.start_span("child").end()
    deactivate(token)
    execution.end()
    assert len(exporter.seen) == MAX_CHILDREN + 1
    assert traced.processor.dropped_children == 2


def test_a_child_that_outlives_its_execution_is_kept_and_may_not_grow() -> None:
    exporter = Exporter()
    traced = Traced(exporter)
    execution = traced.tracker.start("a")
    token = activate(execution)
    child = traced.tracer.start_span("late")
    deactivate(token)
    execution.end()
    traced.tracer.start_span("later", context=set_span_in_context(child, Context())).end()
    child.end()
    assert exporter.seen == ["execute a started", "execute a", "late"]
    assert traced.processor.dropped_children == 1


def test_it_counts_what_runs() -> None:
    traced = Traced(Exporter())
    first, _ = traced.tracker.start("a"), traced.tracker.start("b")
    first.end()
    assert (traced.processor.started, traced.processor.ended, traced.processor.running) == (2, 1, 1)


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt(), SystemExit()], ids=lambda e: type(e).__name__)
def test_an_exporter_that_fails_reaches_nobody_and_is_counted(error: BaseException) -> None:
    before = failsafe.failures.copy()
    traced = Traced(Exporter(error))
    traced.tracker.start("a").end()
    assert traced.provider.force_flush() is False
    traced.provider.shutdown()
    assert failsafe.failures - before == {
        "processor.on_start": 1,
        "processor.on_end": 1,
        "processor.force_flush": 1,
        "processor.shutdown": 1,
    }


def test_flush_and_shutdown_are_the_exporters() -> None:
    exporter = Exporter()
    processor = ExecutionProcessor(exporter)
    assert (processor.force_flush(7), processor.force_flush()) == (True, False)
    processor.shutdown()
    assert exporter.seen == ["shutdown"]
