"""An execution's span has its place in a trace, and whatever processes and exports spans takes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from both_spans import Traced, facts
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
    use_span,
)

from otel_tracker.spans import ExecutionTracer, given

OTHER = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))


@pytest.fixture
def traced() -> Traced:
    return Traced()


def test_what_an_sdk_tracer_opens_below_it_is_its_child(traced: Traced) -> None:
    span = traced.ours()
    with use_span(span), traced.provider.get_tracer("shop").start_as_current_span("child") as child:
        pass
    assert isinstance(child, ReadableSpan)
    assert child.parent == span.get_span_context()
    assert child.get_span_context().trace_id == span.get_span_context().trace_id
    assert child.get_span_context().trace_flags == span.get_span_context().trace_flags


def test_it_is_a_child_of_what_is_above_it(traced: Traced) -> None:
    above = traced.theirs()
    for span in traced.both(context=set_span_in_context(above, Context())):
        assert span.parent == above.get_span_context()
        assert span.get_span_context().trace_id == above.get_span_context().trace_id
        assert span.get_span_context().span_id != above.get_span_context().span_id


@pytest.mark.parametrize("flags", [0x00, 0x01, 0x02, 0x03, 0xFE, 0xFF], ids=hex)
def test_flags_and_trace_state_of_a_caller_travel_as_the_sdk_has_them_travel(traced: Traced, flags: int) -> None:
    """An unsampled one stays unsampled and is recorded; flags that nobody knows yet are not passed on."""
    state = TraceState([("vendor", "1")])
    caller = SpanContext(0xABC, 2, is_remote=True, trace_flags=TraceFlags(flags), trace_state=state)
    ours, theirs = traced.both(context=set_span_in_context(NonRecordingSpan(caller), Context()))
    got, wanted = ours.get_span_context(), theirs.get_span_context()
    assert (got.trace_id, got.is_remote, got.trace_state) == (0xABC, False, state)
    assert (got.trace_flags, got.trace_state) == (wanted.trace_flags, wanted.trace_state)
    assert (ours.is_recording(), ours.parent) == (True, caller)


def test_a_root_has_no_parent_and_the_flags_of_the_sdks(traced: Traced) -> None:
    ours, theirs = traced.both()
    assert (ours.parent, ours.get_span_context().trace_flags) == (None, 0x03)
    assert theirs.get_span_context().trace_flags == 0x03
    assert ours.get_span_context().trace_state == theirs.get_span_context().trace_state


def test_ids_that_are_not_random_are_not_called_so() -> None:
    class Planned(RandomIdGenerator):
        def is_trace_id_random(self) -> bool:
            return False

    assert [span.get_span_context().trace_flags for span in Traced(Planned()).both()] == [0x01, 0x01]


def test_a_processor_sees_it_open_and_sees_it_end(traced: Traced) -> None:
    span = traced.ours(attributes={"a": 1})
    assert (traced.kept.started, traced.kept.ended) == ([span], [])
    span.end(2000)
    assert (traced.kept.started, traced.kept.ended) == ([span], [span])


def test_resource_and_scope_are_those_of_the_providers_tracer(traced: Traced) -> None:
    ours, theirs = traced.both()
    assert ours.resource is theirs.resource
    assert ours.instrumentation_scope == theirs.instrumentation_scope
    assert ours.instrumentation_scope
    assert ours.instrumentation_scope.name == "otel_tracker"


def test_a_resource_that_changes_is_that_of_later_spans(traced: Traced) -> None:
    """As the SDK has it after a fork."""
    tracer = traced.provider.get_tracer("otel_tracker")
    assert isinstance(tracer, Tracer)
    ours = ExecutionTracer(tracer)
    tracer.resource = Resource({"process.pid": 2})
    assert ours.start_span("a", Context(), start_time=1).resource is tracer.resource


def test_the_sdks_simple_processor_exports_it(traced: Traced) -> None:
    exporter = InMemorySpanExporter()
    traced.provider.add_span_processor(SimpleSpanProcessor(exporter))
    for span in traced.both(attributes={"a": [1]}):
        span.end(2000)
    ours, theirs = exporter.get_finished_spans()
    assert facts(ours) == facts(theirs)


def test_the_sdks_batch_processor_exports_it() -> None:
    traced, exporter = Traced(), InMemorySpanExporter()
    traced.provider.add_span_processor(BatchSpanProcessor(exporter))
    spans = [traced.ours(attributes={"number": number}) for number in range(1000)]
    for span in spans:
        span.end(2000)
    traced.provider.shutdown()
    assert [dict(span.attributes or {}) for span in exporter.get_finished_spans()] == [
        {"number": number} for number in range(1000)
    ]


def test_an_unsampled_one_is_not_forwarded_by_the_sdks_processors(traced: Traced) -> None:
    exporter = InMemorySpanExporter()
    traced.provider.add_span_processor(SimpleSpanProcessor(exporter))
    caller = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0)))
    traced.ours(context=set_span_in_context(caller, Context())).end()
    assert exporter.get_finished_spans() == ()
    assert len(traced.kept.ended) == 1


def test_as_json_it_is_what_the_sdks_is(traced: Traced) -> None:
    ours, theirs = traced.both(kind=SpanKind.SERVER, attributes={"a": [1], "b": "x"})
    for span in (ours, theirs):
        span.add_event("e", {"a": 1}, timestamp=1500)
        span.add_link(OTHER, {"a": 1})
        span.set_status(StatusCode.ERROR, "no")
        span.end(2000)
    got, wanted = (json.loads(span.to_json()) for span in (ours, theirs))
    assert got.pop("context")["span_id"] != wanted.pop("context")["span_id"]
    assert got == wanted
    assert "\n" not in ours.to_json(indent=None)


@pytest.mark.parametrize("kind", ["ours", "theirs"])
def test_what_was_given_is_read_without_a_copy(traced: Traced, kind: str) -> None:
    span: Any = getattr(traced, kind)(attributes={"a": 1})
    first = given(span)
    span.set_attribute("b", 2)
    assert (first, given(span) is first) == ({"a": 1, "b": 2}, True)


def test_what_was_given_to_a_bare_span_is_read_too() -> None:
    assert given(ReadableSpan("a")) == {}
    assert given(ReadableSpan("a", attributes={"b": 1})) == {"b": 1}
