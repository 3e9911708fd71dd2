"""OTLP messages as rows: what the history keeps goes out and comes back as it was; what strangers send is made safe."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import Span
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

from exporters.otlp import decoding
from exporters.otlp.given import Rules
from exporters.otlp.incoming import UnusableSpanError, derived_id, messages_of, read
from exporters.otlp.messages import as_json, request, span_message
from exporters.otlp.payloads import PayloadPolicy
from otel_tracker import configure
from otel_tracker.capture import CaptureSettings
from otel_tracker.conversion import child_from_span, record_from_span
from otel_tracker.record import ExecutionRecord, Row, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_tracker.provider import Configured

REMOTE = SpanContext(0xA1, 0xB2, is_remote=True, trace_flags=TraceFlags(3), trace_state=TraceState([("vendor", "1")]))
BELOW_REMOTE = set_span_in_context(NonRecordingSpan(REMOTE))
RULES = Rules()
ERROR = trace_pb2.Status.STATUS_CODE_ERROR
ID = "0199f2b0-6d5e-7c1a-9f00-3f1c5f6a7b8c"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def configured(exporter: InMemorySpanExporter) -> Iterator[Configured]:
    configured = configure(exporter, announces_start=False, shutdown_on_exit=False, instance_id="here")
    yield configured
    configured.shutdown()


def row_of(message: Span, rules: Rules = RULES, resource: dict[str, str] | None = None) -> Row:
    return read(message, resource or {}, rules).row


def there_and_back(row: Row) -> Row:
    message = request([("", span_message(row, policy=PayloadPolicy.FULL))], resource={})
    [(binary, _)] = messages_of(decoding.from_protobuf(message.SerializeToString()))
    [(text, _)] = messages_of(decoding.from_json(as_json(message)))
    assert binary == text
    return row_of(binary)


def execution(**attributes: Any) -> Span:
    """A hand-made execution's span, with our attributes by their last names."""
    message = Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="work", start_time_unix_nano=5, end_time_unix_nano=9)
    known = {"id": ID, **attributes}
    prefixes = {"id": "execution.id", "plugin": "plugin.name", "error": "error.message"}
    for name, value in known.items():
        one = message.attributes.add(key=name if "." in name else f"otel_tracker.{prefixes.get(name, name)}")
        kind = {bool: "bool_value", int: "int_value", float: "double_value"}.get(type(value), "string_value")
        setattr(one.value, kind, value)
    return message


def record(message: Span, rules: Rules = RULES, resource: dict[str, str] | None = None) -> ExecutionRecord:
    found = row_of(message, rules, resource)
    assert isinstance(found, ExecutionRecord)
    return found


def test_a_successful_execution_comes_back_as_it_was(configured: Configured, exporter: InMemorySpanExporter) -> None:
    tracked = configured.tracker.start(
        "job",
        input={"a": ["é", 1], "token": "x"},
        kind=SpanKind.SERVER,
        context=BELOW_REMOTE,
        attributes={"http.route": "/x", "http.request.method": "POST", "client.address": "::1", "url.path": "/x/1"},
        tags={"team": "red"},
    )
    assert tracked.span is not None
    tracked.span.set_attribute("shop.ratio", 0.5)
    tracked.span.add_event("half way", {"percent": 50}, timestamp=5)
    tracked.span.add_link(SpanContext(3, 4, is_remote=False), {"why": "retry"})
    tracked.set_metadata("headers", {"authorization": "secret"})
    tracked.set_output({"b": 2})
    tracked.end()
    before = record_from_span(exporter.get_finished_spans()[0])
    assert before is not None
    assert there_and_back(before) == before


def test_a_failed_one_too(configured: Configured, exporter: InMemorySpanExporter) -> None:
    tracked = configured.tracker.start("job")
    tracked.end(error=ValueError("no such order"), attributes={"otel_tracker.logs": '[{"stream":"stdout","text":"x"}]'})
    before = record_from_span(exporter.get_finished_spans()[0])
    assert before is not None
    assert (before.error_type, bool(before.traceback)) == ("validation_error", True)
    assert there_and_back(before) == before


def test_a_child_too(configured: Configured, exporter: InMemorySpanExporter) -> None:
    tracked = configured.tracker.start("job")
    assert tracked.span is not None
    inner = configured.provider.get_tracer("user").start_span(
        "SELECT",
        context=set_span_in_context(tracked.span),
        kind=SpanKind.CLIENT,
        attributes={"db.system": "x", "rows": 3, "ids": [1, 2], "password": "x"},
        links=[Link(REMOTE, {"n": 1})],
    )
    inner.add_event("retry", {"n": 1}, timestamp=7)
    inner.set_status(StatusCode.ERROR, "gone")
    inner.end()
    tracked.end()
    before = child_from_span(exporter.get_finished_spans()[0])
    assert before is not None
    assert there_and_back(before) == before


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(
    value=JSON_VALUES,
    tags=st.dictionaries(st.text(max_size=9), st.text(st.characters(codec="utf-8"), max_size=9), max_size=3),
    is_failure=st.booleans(),
    size=st.integers(256, 600),
)
def test_whatever_is_tracked_comes_back_as_it_was(
    *, value: Any, tags: dict[str, str], is_failure: bool, size: int
) -> None:
    exporter = InMemorySpanExporter()
    configured = configure(
        exporter, announces_start=False, shutdown_on_exit=False, settings=CaptureSettings(max_input_size=size)
    )
    try:
        tracked = configured.tracker.start("job", input=value, tags=tags)
        tracked.set_output(value)
        tracked.end(error=RuntimeError(str(value)) if is_failure else None)
        before = record_from_span(exporter.get_finished_spans()[0])
        assert before is not None
        if "\0" in f"{before.error}{before.traceback}" or not before.error.isascii():
            before = replace(before, error="", traceback="")
        assert there_and_back(before) == before
    finally:
        configured.shutdown()


def test_a_span_with_no_more_than_a_plugin_name_is_an_execution() -> None:
    message = execution(plugin="go_handler")
    del message.attributes[0]
    found = record(message, resource={"service.name": "shop", "service.instance.id": "pod-1"})
    assert found.id == derived_id(message.trace_id, message.span_id, 5)
    assert (found.plugin_name, found.status, found.duration) == ("go_handler", Status.COMPLETED, 4)
    assert found.instance_id == "pod-1"
    assert json.loads(found.span)["attributes"] == {"service.name": "shop"}


@pytest.mark.parametrize("value", ["running", "pending", "nonsense", "", 3])
def test_a_status_that_is_none_is_taken_from_the_span(value: Any) -> None:
    message = execution(plugin="x", status=value)
    assert record(message).status is Status.COMPLETED
    message.status.code = ERROR
    message.status.message = "connection refused"
    found = record(message)
    assert (found.status, found.error, found.error_type) == (Status.FAILED, "connection refused", "connection_error")


def test_a_failure_of_another_language_is_told_by_its_event() -> None:
    message = execution(plugin="x")
    message.attributes.add(key="error.type").value.string_value = "*net.OpError"
    message.status.code = ERROR
    event = message.events.add(name="exception", time_unix_nano=7)
    for name, text in (("type", "*net.OpError"), ("message", "dial: timeout"), ("stacktrace", "goroutine 1")):
        event.attributes.add(key=f"exception.{name}").value.string_value = text
    found = record(message)
    assert (found.error, found.traceback, found.error_type) == ("dial: timeout", "goroutine 1", "unknown_error")
    assert json.loads(found.span)["events"][0]["attributes"]["exception.type"] == "*net.OpError"


def test_payloads_are_redacted_bounded_and_always_json() -> None:
    rules = Rules(capture=CaptureSettings(max_input_size=256))
    assert record(execution(input='{"token": "x"}')).input == '{"token":"[redacted]"}'
    assert record(execution(input="plain text")).input == '"plain text"'
    assert json.loads(record(execution(input=json.dumps("x" * 999)), rules).input)["truncated"] is True
    assert record(execution(input=7)).input == "7"
    assert record(execution(tags="[1]", metadata="no")).tags.startswith("{")
    assert json.loads(record(execution(logs="hello")).logs)[0]["text"] == '"hello"'


def test_what_we_set_small_is_not_taken_for_small() -> None:
    found = record(execution(**{"url.path": "/" * 200_000, "http.response.status_code": "x" * 200_000}))
    assert len(found.span) < 70_000


def test_what_is_not_to_be_kept_is_not() -> None:
    rules = Rules(capture=CaptureSettings(track_input=False, track_output=False, track_errors=False))
    message = execution(input="1", output="2", error="secret", traceback="secret", status="failed")
    found = record(message, rules)
    assert (found.input, found.output, found.error, found.traceback) == ("", "", "", "")


@pytest.mark.parametrize(("name", "value"), [("attempts", -1), ("attempts", "x"), ("duration", -5), ("duration", True)])
def test_numbers_that_are_none_are_left_out(name: str, value: Any) -> None:
    found = record(execution(**{name: value}))
    assert (found.attempts, found.retry_count, found.duration) == (1, 0, 4)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("trace_id", b"", "trace_id"),
        ("trace_id", bytes(16), "trace_id"),
        ("span_id", b"123", "span_id"),
        ("parent_span_id", b"1", "parent_span_id"),
        ("start_time_unix_nano", 0, "no time"),
        ("end_time_unix_nano", 2**64 - 1, "no time"),
    ],
)
def test_a_span_that_cannot_be_kept_says_why(field: str, value: Any, why: str) -> None:
    message = execution(plugin="x")
    setattr(message, field, value)
    with pytest.raises(UnusableSpanError, match=why):
        read(message, {}, RULES)


@pytest.mark.parametrize("value", ["", "17", 17])
def test_an_execution_id_is_a_uuid(value: Any) -> None:
    with pytest.raises(UnusableSpanError, match="expected a UUID"):
        read(execution(id=value), {}, RULES)


def test_enums_from_the_future_are_the_default() -> None:
    message = execution(plugin="x")
    for holder, field, number in ((message, "kind", 77), (message.status, "code", 9)):
        setattr(holder, field, number)
    assert record(message).status is Status.COMPLETED


def span_json(**fields: Any) -> bytes:
    span = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "name": "x", **fields}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()


def test_json_is_read_as_the_protocol_has_it() -> None:
    body = span_json(
        startTimeUnixNano="1544712660000000000",
        endTimeUnixNano=1544712661000000000,
        kind=2,
        aFieldOfTheFuture={"x": 1},
        parentSpanId="",
        links=[{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174"}],
        attributes=[{"key": "traceId", "value": {"stringValue": "not hex"}}],
    )
    [(span, _)] = messages_of(decoding.from_json(body))
    assert (span.trace_id[0], span.span_id[0], span.kind) == (0x5B, 0xEE, 2)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1544712660000000000, 1544712661000000000)
    assert span.links[0].trace_id == span.trace_id
    assert span.attributes[0].value.string_value == "not hex"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"\xff", b'"x"', span_json(traceId="zz"), span_json(traceId=5),
     span_json(startTimeUnixNano="soon"), span_json(startTimeUnixNano=-1), b'{"resourceSpans": 5}',
     b'{"resourceSpans": [{"scopeSpans": [{"spans": [3]}]}]}', b"[" * 100_000],
)  # fmt: skip
def test_json_that_is_none_is_undecodable(body: bytes) -> None:
    with pytest.raises(decoding.UndecodableError):
        decoding.from_json(body)


@pytest.mark.parametrize("body", [b"\xff\xff", b"hello", b"\x0a\x05ab"])
def test_protobuf_that_is_none_is_undecodable(body: bytes) -> None:
    with pytest.raises(decoding.UndecodableError):
        decoding.from_protobuf(body)


def test_a_body_is_unpacked_within_its_bound() -> None:
    text = b"x" * 1000
    for packed, encoding in ((text, ""), (gzip.compress(text), "gzip"), (zlib.compress(text), "Deflate")):
        assert decoding.unpack(packed, encoding=encoding, max_bytes=1000) == text
        with pytest.raises(decoding.UnpackedTooLargeError):
            decoding.unpack(packed, encoding=encoding, max_bytes=999)


@pytest.mark.parametrize(
    "body", [b"", b"no", gzip.compress(b"x" * 99, mtime=0)[:-4], gzip.compress(b"x", mtime=0) + b"y"]
)
def test_a_packed_body_that_is_none_is_undecodable(body: bytes) -> None:
    with pytest.raises(decoding.UndecodableError):
        decoding.unpack(body, encoding="gzip", max_bytes=1000)


def test_an_unknown_packing_is_told_apart() -> None:
    with pytest.raises(decoding.UnknownEncodingError):
        decoding.unpack(b"", encoding="br", max_bytes=1)
