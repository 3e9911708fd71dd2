"""What a span says beyond a record's fields: kept as text, and read again as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_tracker import configure
from otel_tracker.conventions import EXECUTION_ID, PLUGIN_NAME
from otel_tracker.conversion import child_from_span, record_from_span
from otel_tracker.span_facts import SpanEvent, SpanFacts, SpanLink, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_tracker.provider import Configured
    from otel_tracker.record import ExecutionRecord

OTHER = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(0), trace_state=TraceState([("vendor", "1")]))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def configured(exporter: InMemorySpanExporter) -> Iterator[Configured]:
    configured = configure(exporter, announces_start=False, shutdown_on_exit=False)
    yield configured
    configured.shutdown()


def ended(exporter: InMemorySpanExporter) -> ExecutionRecord:
    record = record_from_span(exporter.get_finished_spans()[-1])
    assert record is not None
    return record


def test_a_plain_execution_says_nothing_more(configured: Configured, exporter: InMemorySpanExporter) -> None:
    configured.tracker.start("job").end()
    assert read(ended(exporter).span) == SpanFacts(flags=3)  # random trace id, sampled


def test_everything_that_has_no_field_is_kept(configured: Configured, exporter: InMemorySpanExporter) -> None:
    execution = configured.tracker.start(
        "job",
        kind=SpanKind.SERVER,
        context=set_span_in_context(NonRecordingSpan(OTHER)),
        attributes={"http.route": "/x/{id}"},
    )
    span = execution.span
    assert span is not None
    span.update_name("another name")
    span.set_attribute("shop.order", 17)
    span.set_attribute("shop.password", "hunter2")
    span.add_event("half way", {"percent": 50}, timestamp=5)
    span.add_link(OTHER, {"why": "retry"})
    execution.end()
    record = ended(exporter)
    facts = read(record.span)
    assert facts == SpanFacts(
        name="another name",
        kind="server",
        flags=0,
        state="vendor=1",
        remote=True,
        attributes={"http.route": "/x/{id}", "shop.order": 17, "shop.password": "[redacted]"},
        events=[SpanEvent("half way", 5, {"percent": 50})],
        links=[SpanLink(f"{0xA:032x}", f"{0xB:016x}", "vendor=1", {"why": "retry"})],
    )
    assert not facts.is_sampled
    assert EXECUTION_ID not in facts.attributes
    assert PLUGIN_NAME not in facts.attributes


def test_what_is_too_much_is_left_out_and_the_rest_stays(
    configured: Configured, exporter: InMemorySpanExporter
) -> None:
    execution = configured.tracker.start("job", kind=SpanKind.SERVER)
    assert execution.span is not None
    execution.span.set_attribute("shop.order", "x" * 100_000)
    execution.end()
    assert read(ended(exporter).span) == SpanFacts(kind="server", flags=3)


def test_a_child_keeps_its_links(configured: Configured, exporter: InMemorySpanExporter) -> None:
    execution = configured.tracker.start("job")
    assert execution.span is not None
    tracer = configured.provider.get_tracer("user")
    context = set_span_in_context(execution.span)
    tracer.start_span("inner", context=context, links=[Link(OTHER)]).end()
    child = child_from_span(exporter.get_finished_spans()[-1])
    execution.end()
    assert child is not None
    assert read(child.span) == SpanFacts(flags=3, links=[SpanLink(f"{0xA:032x}", f"{0xB:016x}", "vendor=1")])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"flags":"x"}', "\udcff"])
def test_what_is_no_such_object_says_nothing(text: str) -> None:
    assert read(text) == SpanFacts()
