"""From a span to the row that the history keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from otel_tracker import ExecutionRecord, conventions
from otel_tracker import Status as ExecutionStatus
from otel_tracker.conversion import child_from_span, record_from_span
from otel_tracker.failsafe import failsafe
from otel_tracker.record import Rank, SpanRecord

TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
ID = {"otel_tracker.execution.id": "one"}
PARENT = {"otel_tracker.execution.parent_id": "one"}


def context(span_id: int) -> SpanContext:
    return SpanContext(TRACE, span_id, is_remote=False, trace_flags=TraceFlags(0))


def span(attributes: dict[str, Any], **changes: Any) -> ReadableSpan:
    facts: dict[str, Any] = {
        "name": "execute greet",
        "context": context(1),
        "start_time": 100,
        "end_time": 350,
    } | changes
    return ReadableSpan(attributes=attributes, **facts)


def test_every_attribute_has_its_field() -> None:
    attributes = {
        conventions.EXECUTION_ID: "one",
        conventions.PLUGIN_NAME: "greet",
        conventions.STATUS: "failed",
        conventions.INPUT: '{"a":1}',
        conventions.OUTPUT: "2",
        conventions.ERROR: "no",
        conventions.ERROR_TYPE: "not_found",
        conventions.TRACEBACK: "Traceback",
        conventions.LOGS: "[]",
        conventions.TAGS: '{"t":"1"}',
        conventions.METADATA: '{"m":1}',
        conventions.ATTEMPTS: 3,
        conventions.INSTANCE_ID: "here",
        conventions.DELIVERY_ID: "d",
        conventions.DURATION: 249,
        conventions.HTTP_REQUEST_METHOD: "POST",
        conventions.CLIENT_ADDRESS: "192.0.2.1",
        conventions.USER_AGENT_ORIGINAL: "shop/1",
    }
    assert record_from_span(span(attributes, name="a name", parent=context(2))) == ExecutionRecord(
        id="one",
        plugin_name="greet",
        status=ExecutionStatus.FAILED,
        start_time=100,
        end_time=350,
        rank=Rank.ENDED,
        http_method="POST",
        input='{"a":1}',
        output="2",
        error="no",
        error_type="not_found",
        duration=249,
        attempts=3,
        retry_count=2,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="0000000000000001",
        parent_span_id="0000000000000002",
        user_agent="shop/1",
        remote_ip="192.0.2.1",
        tags='{"t":"1"}',
        metadata='{"m":1}',
        traceback="Traceback",
        logs="[]",
        instance_id="here",
        delivery_id="d",
        created_at=100,
        updated_at=350,
        span='{"flags":0,"name":"a name"}',
    )


def test_the_id_alone_makes_an_execution() -> None:
    assert record_from_span(span(ID)) == ExecutionRecord(
        id="one",
        plugin_name="execute greet",
        status=ExecutionStatus.COMPLETED,
        start_time=100,
        end_time=350,
        duration=250,
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="0000000000000001",
        created_at=100,
        updated_at=350,
        span='{"flags":0,"name":"execute greet"}',
    )


def test_a_span_without_an_end_is_running() -> None:
    record = record_from_span(span(ID, end_time=None))
    assert record
    assert (record.status, record.rank, record.end_time, record.duration, record.updated_at) == (
        ExecutionStatus.RUNNING, Rank.RUNNING, None, 0, 100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "status", "expected"),
    [
        ({}, Status(StatusCode.ERROR, "no"), (ExecutionStatus.FAILED, "no")),
        ({"otel_tracker.status": "timeout"}, Status(StatusCode.ERROR, "slow"), (ExecutionStatus.TIMEOUT, "slow")),
        ({"otel_tracker.status": "nonsense"}, Status(StatusCode.OK), (ExecutionStatus.COMPLETED, "")),
        ({"otel_tracker.status": 3}, Status(), (ExecutionStatus.COMPLETED, "")),
    ],
)
def test_the_spans_status_stands_in_where_the_attribute_says_nothing(
    attributes: dict[str, Any], status: Status, expected: tuple[ExecutionStatus, str]
) -> None:
    record = record_from_span(span(ID | attributes, status=status))
    assert record
    assert (record.status, record.error) == expected


@pytest.mark.parametrize(
    "other",
    [
        span({}),
        span({"otel_tracker.execution.id": 7}),
        span(ID, context=None),
        ReadableSpan(name="bare"),
    ],
    ids=["foreign", "id is no text", "no context", "nothing"],
)
def test_other_spans_are_no_executions(other: ReadableSpan) -> None:
    assert record_from_span(other) is None
    assert child_from_span(other) is None


def test_a_span_that_cannot_be_read_is_counted_and_raises_nothing() -> None:
    before = failsafe.failures["conversion.record_from_span"]
    assert record_from_span(span(ID | {"otel_tracker.attempts": "many"})) is None
    assert failsafe.failures["conversion.record_from_span"] == before + 1


def test_a_child_keeps_what_the_code_put_on_it() -> None:
    child = child_from_span(
        span(
            PARENT | {"rows": 3, "names": ("a", "b")},
            name="SELECT",
            parent=context(2),
            kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR, "gone"),
            events=[Event("retry", {"n": 1}, timestamp=120)],
        )
    )
    assert child == SpanRecord(
        execution_id="one",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        span_id="0000000000000001",
        parent_span_id="0000000000000002",
        name="SELECT",
        kind="client",
        start_time=100,
        end_time=350,
        status="error",
        error="gone",
        attributes='{"rows":3,"names":["a","b"]}',
        events='[{"name":"retry","time":120,"attributes":{"n":1}}]',
        span='{"flags":0}',
    )


def test_a_child_that_did_not_end_is_not_kept() -> None:
    assert child_from_span(span(PARENT, end_time=None)) is None


def test_odd_and_secret_attributes_of_a_child_are_made_safe() -> None:
    odd = {"text": "a\x00\ud800", "number": float("nan"), "http.request.header.authorization": "Bearer x"}
    child = child_from_span(span(PARENT | odd))
    assert child
    assert json.loads(child.attributes) == {
        "text": "a\ufffd\ufffd",
        "number": "NaN",
        "http.request.header.authorization": "[redacted]",
    }


def test_large_attributes_and_events_of_a_child_are_cut() -> None:
    child = child_from_span(span(PARENT | {"page": "x" * 100_000}, events=[Event("page", {"text": "x" * 100_000})]))
    assert child
    assert json.loads(child.attributes)["truncated"] is True
    assert json.loads(child.events)[0]["truncated"] is True
    assert len(child.attributes) <= 65_536
