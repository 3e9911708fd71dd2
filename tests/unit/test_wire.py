"""Requests lined up from encoded spans are those that protobuf makes."""

from __future__ import annotations

import pytest
from msgspec import structs
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from exporters.otlp.messages import request, span_message
from exporters.otlp.resources import service_of
from exporters.otlp.wire import EncodedSpan, RequestEncoder, from_frame, spans_of, to_frame
from otel_tracker.record import ExecutionRecord, SpanRecord, Status

CHILD = SpanRecord(
    execution_id="e",
    trace_id="1" * 32,
    span_id="2" * 16,
    parent_span_id="",
    name="step",
    kind="internal",
    start_time=1,
    end_time=2,
)


def record(number: int) -> ExecutionRecord:
    return ExecutionRecord(
        id=f"{number}",
        plugin_name="p" * number,
        status=Status.COMPLETED,
        start_time=number,
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        input="x" * number * 50,
    )


def test_a_request_is_the_same_as_if_it_were_encoded_at_once() -> None:
    spans = [(("a", "b", "a")[number % 3], span_message(record(number))) for number in range(1, 40)]
    encoded = [EncodedSpan(instance, span.SerializeToString()) for instance, span in spans]
    resource = {"service.name": "orders"}
    made = RequestEncoder(resource).protobuf([from_frame(to_frame(one)) for one in encoded])
    assert ExportTraceServiceRequest.FromString(made) == request(spans, resource=resource)


def test_the_spans_of_a_request_make_the_same_request_again() -> None:
    encoder = RequestEncoder({"service.name": "bridge"})
    spans = [
        EncodedSpan(instance, span_message(record(number)).SerializeToString(), service)
        for number, (instance, service) in enumerate([("a", ""), ("b", "shop"), ("", ""), ("a", "")], start=1)
    ]
    made = ExportTraceServiceRequest.FromString(encoder.protobuf(spans))
    assert ExportTraceServiceRequest.FromString(encoder.protobuf(spans_of(made))) == made


def test_spans_of_another_program_have_a_resource_of_their_own() -> None:
    own = {"service.name": "bridge", "host.name": "here"}
    spans = [
        EncodedSpan("a", span_message(record(number)).SerializeToString(), service)
        for number, service in enumerate(["", "shop", "bridge", "shop"], start=1)
    ]
    made = ExportTraceServiceRequest.FromString(RequestEncoder(own).protobuf(spans))
    told = [
        (
            {one.key: one.value.string_value for one in resource.resource.attributes},
            [span.span_id[-1] for scope in resource.scope_spans for span in scope.spans],
        )
        for resource in made.resource_spans
    ]
    assert told == [
        (own | {"service.instance.id": "a"}, [1]),
        ({"service.name": "shop", "service.instance.id": "a"}, [2, 4]),
        (own | {"service.instance.id": "a"}, [3]),
    ]


@pytest.mark.parametrize(
    ("row", "service"),
    [
        (record(1), ""),
        (structs.replace(record(1), span='{"attributes":{"service.name":"shop"}}'), "shop"),
        (structs.replace(record(1), span='{"attributes":{"a":"service.name"}}'), ""),
        (structs.replace(record(1), span="service.name"), ""),
        (structs.replace(CHILD, attributes='{"x":1,"service.name":"shop"}'), "shop"),
        (structs.replace(CHILD, attributes='{"service.name":5}'), ""),
    ],
)
def test_the_service_is_read_of_what_the_row_keeps(row: ExecutionRecord | SpanRecord, service: str) -> None:
    assert service_of(row) == service


def test_no_spans_are_an_empty_request() -> None:
    assert RequestEncoder({}).protobuf([]) == b""
