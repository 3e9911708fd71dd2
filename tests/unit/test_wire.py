"""Requests lined up from encoded spans are those that protobuf makes."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from exporters.otlp.messages import request, span_message
from exporters.otlp.wire import EncodedSpan, RequestEncoder, from_frame, to_frame
from otel_tracker.record import ExecutionRecord, Status


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


def test_no_spans_are_an_empty_request() -> None:
    assert RequestEncoder({}).protobuf([]) == b""
