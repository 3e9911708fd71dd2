"""Rows as OTLP messages: what OpenTelemetry's own encoder makes of the span, made of its record."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import Parse
from msgspec.structs import replace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from exporters.otlp.messages import any_value, as_json, of_json, request, span_message
from exporters.otlp.payloads import PayloadPolicy
from otel_tracker import configure
from otel_tracker.conversion import child_from_span, record_from_span
from otel_tracker.record import ExecutionRecord, SpanRecord
from otel_tracker.record import Status as ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_tracker.provider import Configured
    from otel_tracker.record import Row

REMOTE = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("vendor", "1")]))
BELOW_REMOTE = set_span_in_context(NonRecordingSpan(REMOTE))


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def configured(exporter: InMemorySpanExporter) -> Iterator[Configured]:
    configured = configure(exporter, announces_start=False, shutdown_on_exit=False, instance_id="here")
    yield configured
    configured.shutdown()


def theirs(span: ReadableSpan) -> Span:
    found: Span = encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]
    return found


def ours(span: ReadableSpan, **options: Any) -> Span:
    row: Row | None = record_from_span(span) or child_from_span(span)
    assert row is not None
    return span_message(row, **{"policy": PayloadPolicy.FULL, **options})


def attributes(span: Any) -> dict[str, str]:
    return {one.key: str(one.value) for one in span.attributes if str(one.value) != 'string_value: ""\n'}


def bare(span: Span) -> Span:
    """Without its attributes, whose order means nothing, and the W3C flags, which the SDK does not send."""
    copy = Span()
    copy.CopyFrom(span)
    del copy.attributes[:]
    copy.flags &= ~0xFF
    return copy


def test_an_execution_is_sent_as_the_span_that_it_was(configured: Configured, exporter: InMemorySpanExporter) -> None:
    execution = configured.tracker.start(
        "job",
        input={"a": ["é", 1]},
        kind=SpanKind.SERVER,
        context=BELOW_REMOTE,
        attributes={"http.route": "/x/{id}", "http.request.method": "POST", "client.address": "192.0.2.1"},
        tags={"team": "red"},
    )
    assert execution.span is not None
    execution.span.set_attribute("shop.ratio", 0.5)
    execution.span.set_attribute("shop.names", ["a", "b"])
    execution.span.set_attribute("shop.is_new", value=True)
    execution.span.add_event("half way", {"percent": 50}, timestamp=5)
    execution.span.add_link(SpanContext(3, 4, is_remote=False), {"why": "retry"})
    execution.set_output({"b": 2})
    execution.end()
    [span] = exporter.get_finished_spans()
    mine, reference = ours(span), theirs(span)
    for link in (*mine.links, *reference.links):
        link.flags = 0  # of a link nobody keeps whether it was remote
    assert bare(mine) == bare(reference)
    extra = attributes(mine).items() - attributes(reference).items()
    assert {name for name, _ in extra} == {"otel_tracker.attempts"}
    assert mine.flags & 0xFF == int(REMOTE.trace_flags)
    assert attributes(reference).items() - attributes(mine).items() <= {
        ("otel_tracker.metadata", 'string_value: "{}"\n')
    }


def test_a_failure_says_so_and_has_the_exception(configured: Configured, exporter: InMemorySpanExporter) -> None:
    execution = configured.tracker.start("job")
    execution.end(error=ValueError("no such order"))
    span = ours(exporter.get_finished_spans()[0])
    assert span.status == Status(code=Status.STATUS_CODE_ERROR, message="no such order")
    assert attributes(span)["error.type"] == 'string_value: "validation_error"\n'
    [event] = span.events
    assert event.name == "exception"
    assert set(attributes(event)) == {"exception.type", "exception.message", "exception.stacktrace"}
    assert (
        not ours(exporter.get_finished_spans()[0], policy=PayloadPolicy.NONE)
        .events[0]
        .attributes[-1]
        .key.endswith("stacktrace")
    )


def test_a_child_is_sent_as_the_span_that_it_was(configured: Configured, exporter: InMemorySpanExporter) -> None:
    execution = configured.tracker.start("job")
    assert execution.span is not None
    tracer = configured.provider.get_tracer("user")
    inner = tracer.start_span(
        "SELECT",
        context=set_span_in_context(execution.span),
        kind=SpanKind.CLIENT,
        attributes={"db.system": "x", "rows": 3, "ids": [1, 2]},
        links=[Link(REMOTE, {"n": 1})],
    )
    inner.add_event("retry", {"n": 1}, timestamp=7)
    inner.set_status(StatusCode.ERROR, "gone")
    inner.end()
    [span] = exporter.get_finished_spans()
    execution.end()
    mine, reference = ours(span), theirs(span)
    for link in (*mine.links, *reference.links):
        link.flags, link.trace_state = 0, ""  # the SDK does not send a link's state
    assert bare(mine) == bare(reference)
    assert attributes(mine) == attributes(reference)


RECORD = ExecutionRecord(
    id="0199f2b0-6d5e-7c1a-9f00-3f1c5f6a7b8c",
    plugin_name="job",
    status=ExecutionStatus.COMPLETED,
    start_time=1,
    end_time=2,
    input=json.dumps("é" * 3000, ensure_ascii=False),
    output="{}",
    trace_id=f"{0xA1:032x}",
    span_id=f"{0xB2:016x}",
    instance_id="here",
)


def record(**changes: Any) -> ExecutionRecord:
    return replace(RECORD, **changes)


def test_a_preview_says_how_much_there_was() -> None:
    found = {one.key: one.value for one in span_message(record(), policy=PayloadPolicy.PREVIEW).attributes}
    text = record().input
    assert text.startswith(found["otel_tracker.input"].string_value)
    assert 2040 <= len(found["otel_tracker.input"].string_value.encode()) <= 2048
    assert found["otel_tracker.input.size"].int_value == len(text.encode())
    assert found["otel_tracker.input.sha256"].string_value == sha256(text.encode()).hexdigest()
    assert found["otel_tracker.input.truncated"].bool_value
    assert found["otel_tracker.output"].string_value == "{}"
    assert "otel_tracker.output.size" not in found


def test_without_payloads_nothing_of_them_is_sent() -> None:
    names = {one.key for one in span_message(record(), policy=PayloadPolicy.NONE, aliases=True).attributes}
    assert not {name for name in names if "put" in name}


def test_phoenix_finds_its_own_names() -> None:
    found = {one.key: one.value.string_value for one in span_message(record(), aliases=True).attributes}
    assert found["output.value"] == "{}"
    assert found["output.mime_type"] == "application/json"
    assert found["input.value"] == found["otel_tracker.input"]
    assert found["openinference.span.kind"] == "CHAIN"


def test_json_is_what_the_protocol_says_and_reads_back() -> None:
    child = SpanRecord(
        execution_id=RECORD.id, trace_id=RECORD.trace_id, span_id=f"{7:016x}", parent_span_id=RECORD.span_id,
        name="x", kind="client", start_time=1, end_time=2, attributes='{"n":9007199254740993}',
    )  # fmt: skip
    made = request([("here", span_message(record())), ("there", span_message(child))], resource={"service.name": "b"})
    text = as_json(made)
    assert of_json(text) == made
    document = json.loads(text)
    first, second = document["resourceSpans"]
    assert first["scopeSpans"][0]["spans"][0]["traceId"] == RECORD.trace_id
    span = second["scopeSpans"][0]["spans"][0]
    assert (span["spanId"], span["parentSpanId"], span["kind"]) == (child.span_id, RECORD.span_id, 3)
    assert span["endTimeUnixNano"] == "2"
    assert span["attributes"][1]["value"] == {"intValue": "9007199254740993"}
    resource = {one["key"]: one["value"]["stringValue"] for one in second["resource"]["attributes"]}
    assert resource == {"service.name": "b", "service.instance.id": "there"}
    in_base64 = text.replace(RECORD.trace_id.encode(), b"AAAAAAAAAAAAAAAAAAAAoQ==")
    assert Parse(in_base64, ExportTraceServiceRequest()).resource_spans


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (True, "bool_value"),
        (1, "int_value"),
        (2**70, "string_value"),
        (0.5, "double_value"),
        ("a\udcff", "string_value"),
        ([1], "array_value"),
        ({"a": None}, "kvlist_value"),
    ],
)
def test_any_json_value_has_its_form(value: object, field: str) -> None:
    made = any_value(value)
    assert made.WhichOneof("value") == field
    assert made.SerializeToString()
