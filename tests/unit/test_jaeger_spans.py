"""Rows of the history in Jaeger's JSON."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from bridge_app.api.jaeger.shapes import JaegerReference, JaegerTag
from bridge_app.api.jaeger.spans import CUT, READ_CHARACTERS, RUNNING, SHOWN_CHARACTERS, jaeger_trace
from otel_tracker.query import TraceRows
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status

TRACE = "0" * 16 + "ab" * 8
RESOURCE = {"service.name": "bridge", "service.version": "1"}
EXECUTION = ExecutionRecord(
    id="one",
    plugin_name="greet",
    status=Status.FAILED,
    start_time=5_000_999,
    end_time=9_000_000,
    duration=3_999_001,
    error="no such key",
    error_type="not_found",
    trace_id=TRACE,
    span_id="a" * 16,
    parent_span_id="c" * 16,
    instance_id="here",
    input='{"a": 1}',
    traceback="Traceback …",
    span='{"kind":"server","state":"v=1","attributes":{"http.response.status_code":500,"r":0.5,"l":[1,"a"],"o":{"k":null}},'
    '"links":[{"trace_id":"' + "d" * 32 + '","span_id":"' + "e" * 16 + '"}]}',
)
CHILD = SpanRecord(
    execution_id="one",
    trace_id=TRACE,
    span_id="b" * 16,
    parent_span_id="a" * 16,
    name="GET",
    kind="client",
    start_time=6_000_000,
    end_time=7_000_000,
    status="ok",
    attributes='{"ok": true}',
    events='[{"name": "sent", "time": 6500000, "attributes": {"bytes": 3}}]',
)


def made(*rows: ExecutionRecord | SpanRecord, is_whole: bool = True, now: int = 0) -> Any:
    executions = [row for row in rows if isinstance(row, ExecutionRecord)]
    spans = [row for row in rows if isinstance(row, SpanRecord)]
    found = TraceRows(executions=executions, spans=spans, is_whole=is_whole)
    return jaeger_trace(TRACE, found, resource=RESOURCE, now=now)


def tags(span: Any) -> dict[str, tuple[str, Any]]:
    return {tag.key: (tag.type, tag.value) for tag in span.tags}


def test_an_execution_has_its_times_in_microseconds_and_its_references() -> None:
    (span,) = made(EXECUTION).spans
    assert (span.traceID, span.spanID, span.operationName) == (TRACE, "a" * 16, "execute greet")
    assert (span.startTime, span.duration, span.flags, span.warnings) == (5_000, 3_999, 1, None)
    assert span.references == [
        JaegerReference(refType="CHILD_OF", traceID=TRACE, spanID="c" * 16),
        JaegerReference(refType="FOLLOWS_FROM", traceID="d" * 32, spanID="e" * 16),
    ]


def test_attributes_keep_their_types() -> None:
    found = tags(made(EXECUTION).spans[0])
    assert found["http.response.status_code"] == ("int64", 500)
    assert found["r"] == ("float64", 0.5)
    assert found["l"] == ("string", '[1,"a"]')
    assert found["o"] == ("string", '{"k":null}')
    assert found["otel_tracker.input"] == ("string", '{"a": 1}')


def test_what_jaeger_has_no_field_for_is_a_tag() -> None:
    found = tags(made(EXECUTION).spans[0])
    assert found["span.kind"] == ("string", "server")
    assert found["error"] == ("bool", True)
    assert found["otel.status_code"] == ("string", "ERROR")
    assert found["otel.status_description"] == ("string", "no such key")
    assert found["w3c.tracestate"] == ("string", "v=1")
    assert found["otel.scope.name"] == ("string", "otel_tracker")


def test_a_failure_is_logged_as_an_exception() -> None:
    (log,) = made(EXECUTION).spans[0].logs
    assert log.timestamp == 9_000
    assert [(field.key, field.value) for field in log.fields] == [
        ("event", "exception"),
        ("exception.type", "not_found"),
        ("exception.message", "no such key"),
        ("exception.stacktrace", "Traceback …"),
    ]


def test_a_child_span_is_below_its_parent_with_its_events() -> None:
    span = made(EXECUTION, CHILD).spans[1]
    assert span.references == [JaegerReference(refType="CHILD_OF", traceID=TRACE, spanID="a" * 16)]
    assert to_builtins(span.logs) == [
        {
            "timestamp": 6_500,
            "fields": [
                {"key": "event", "type": "string", "value": "sent"},
                {"key": "bytes", "type": "int64", "value": 3},
            ],
        }
    ]
    found = tags(span)
    assert found["ok"] == ("bool", True)
    assert found["span.kind"] == ("string", "client")
    assert found["otel.status_code"] == ("string", "OK")
    assert found["otel_tracker.execution.parent_id"] == ("string", "one")
    assert "error" not in found


def test_each_instance_is_a_process_of_the_service() -> None:
    other = replace(EXECUTION, id="two", instance_id="there", span_id="f" * 16)
    trace = made(EXECUTION, other, CHILD)
    assert [span.processID for span in trace.spans] == ["p1", "p2", "p1"]
    assert trace.processes["p2"].serviceName == "bridge"
    assert trace.processes["p2"].tags == [
        JaegerTag(key="service.version", type="string", value="1"),
        JaegerTag(key="service.instance.id", type="string", value="there"),
    ]


def test_a_span_of_another_program_shows_its_service() -> None:
    foreign = replace(CHILD, attributes='{"service.name": "shop"}')
    trace = made(EXECUTION, foreign, replace(CHILD, span_id="9" * 16))
    assert [(span.processID, trace.processes[span.processID].serviceName) for span in trace.spans] == [
        ("p1", "bridge"), ("p2", "shop"), ("p1", "bridge")
    ]  # fmt: skip
    assert trace.processes["p2"].tags == [JaegerTag(key="service.instance.id", type="string", value="here")]


def test_a_running_execution_is_no_error_and_says_that_it_runs() -> None:
    running = replace(EXECUTION, status=Status.RUNNING, rank=Rank.RUNNING, end_time=None, duration=0, error="")
    (span,) = made(running, now=8_000_999).spans
    assert (span.duration, span.warnings, span.logs) == (3_000, [RUNNING], [])
    found = tags(span)
    assert found["otel_tracker.status"] == ("string", "running")
    assert "error" not in found


def test_long_payloads_are_cut_and_say_so() -> None:
    long = replace(EXECUTION, input="x" * READ_CHARACTERS, output="y" * SHOWN_CHARACTERS)
    found = tags(made(long).spans[0])
    assert found["otel_tracker.input"] == ("string", "x" * SHOWN_CHARACTERS)
    assert found["otel_tracker.input.truncated"] == ("bool", True)
    assert "otel_tracker.output.truncated" not in found


def test_a_trace_that_was_cut_says_so() -> None:
    assert made(EXECUTION).warnings is None
    assert made(EXECUTION, is_whole=False).warnings == [CUT]
