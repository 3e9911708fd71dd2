"""`POST /v1/traces`: programs with the stock SDK, and requests as a handler in any language sends them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess, until
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

TOKEN = "s3cret"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
PROTOBUF = {"Content-Type": "application/x-protobuf"}
PROGRAM = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otel_tracker import track

provider = TracerProvider(resource=Resource.create({"service.name": "importer"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(compression=Compression.Gzip), max_export_batch_size=1))
trace.set_tracer_provider(provider)

@track
def import_all(rows):
    with trace.get_tracer("shop").start_as_current_span("parse"):
        pass
    return {"imported": rows}

import_all(3)
with track("fails", input={"token": "x"}):
    try:
        with track("inner"):
            raise ValueError("no such row")
    except ValueError:
        pass
provider.shutdown()
"""


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = BridgeProcess(
        tmp_path_factory.mktemp("otlp-in"),
        BRIDGE__AUTH__TOKEN=TOKEN,
        BRIDGE__OTLP_IN__MAX_UNPACKED_BYTES="100000",
        BRIDGE__OTLP_IN__MAX_HELD_SPANS="5",
        BRIDGE__SERVER__MAX_BODY_BYTES="200000",
    )
    process.client.headers.update(AUTH)
    process.plugin("slow", "import time\ndef handle(event):\n    time.sleep(event.data['seconds'])\n")
    yield process.start()
    process.close()


def send(bridge: BridgeProcess, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return bridge.client.post("/v1/traces", content=content, headers={"Content-Type": "application/json", **headers})


def span(number: int, *, trace: int, parent: int = 0, attributes: dict[str, str] | None = None) -> dict[str, Any]:
    """As a JSON exporter writes it."""
    now = time.time_ns()
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": f"span {number}",
        "kind": 2,
        "startTimeUnixNano": str(now - 5_000_000),
        "endTimeUnixNano": str(now),
        "attributes": [{"key": name, "value": {"stringValue": value}} for name, value in (attributes or {}).items()],
        "status": {},
    }


def request(*spans: dict[str, Any], service: str = "go-handler") -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def listed(bridge: BridgeProcess, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bridge.get("/executions", **filters)["executions"]
    return found


def spans_of(bridge: BridgeProcess, execution_id: str) -> set[str]:
    return {one["name"] for one in bridge.get(f"/executions/{execution_id}/spans")["spans"]}


def test_a_program_with_the_stock_sdk_shows_its_executions(bridge: BridgeProcess, tmp_path: Any) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": bridge.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{TOKEN}",
        "PATH": "/usr/bin:/bin",
    }
    ended = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert until(lambda: len(listed(bridge, plugin="import_all,fails,inner")) == 3)
    inner, outer, imported = (listed(bridge, plugin=name)[0] for name in ("inner", "fails", "import_all"))
    assert (inner["status"], inner["error_type"], inner["error"]) == ("failed", "validation_error", "no such row")
    assert (outer["status"], outer["input"]) == ("completed", '{"token":"[redacted]"}')
    assert inner["parent_span_id"] == outer["span_id"]
    assert json.loads(imported["output"]) == {"imported": 3}
    assert until(lambda: spans_of(bridge, imported["id"]) == {"parse"})


def test_a_handler_in_another_language_needs_one_attribute(bridge: BridgeProcess) -> None:
    spans = [span(1, trace=1, attributes={"otel_tracker.plugin.name": "go_handler"}), span(2, trace=1, parent=1)]
    for _ in range(2):  # a batch that is sent again is the same one
        answer = send(bridge, request(*spans))
        assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, "application/json", {})
    assert until(lambda: len(listed(bridge, plugin="go_handler")) == 1)
    [record] = listed(bridge, plugin="go_handler")
    assert (record["trace_id"], record["status"], record["duration"]) == (f"{1:032x}", "completed", 5_000_000)
    assert until(lambda: spans_of(bridge, record["id"]) == {"span 2"})


def test_what_is_answered_is_readable_at_once(bridge: BridgeProcess) -> None:
    execution_id = "0199f2b0-6d5e-7c1a-9f00-0000000000aa"
    sent = span(1, trace=2, attributes={"otel_tracker.execution.id": execution_id, "otel_tracker.plugin.name": "node"})
    send(bridge, request(sent))
    assert bridge.get(f"/executions/{execution_id}")["plugin_name"] == "node"


def test_a_service_that_a_running_plugin_calls_joins_its_execution(bridge: BridgeProcess) -> None:
    trace = 0x4BF92F3577B34DA6A3CE929D0E0E4736
    answers: list[httpx.Response] = []
    caller = {"traceparent": f"00-{trace:032x}-00f067aa0ba902b7-01"}
    url = f"{bridge.url}/api/v1/webhook/slow"
    thread = threading.Thread(
        target=lambda: answers.append(bridge.client.post(url, json={"seconds": 1.5}, headers=caller))
    )
    thread.start()
    assert until(lambda: listed(bridge, plugin="slow") != [])
    assert send(bridge, request(span(7, trace=trace, parent=6))).json() == {}
    thread.join()
    assert send(bridge, request(span(8, trace=trace, parent=6))).json() == {}
    assert until(lambda: spans_of(bridge, answers[0].headers["X-Execution-Id"]) == {"span 7", "span 8"})


def test_spans_of_nobody_are_held_and_then_refused(bridge: BridgeProcess) -> None:
    answer = send(bridge, request(*[span(n, trace=1000 + n) for n in range(1, 9)]))
    assert answer.status_code == 200
    told = answer.json()["partialSuccess"]
    assert told["rejectedSpans"] == "3"
    assert "otel_tracker.plugin.name" in told["errorMessage"]
    late = span(99, trace=1001, attributes={"otel_tracker.plugin.name": "late"})
    assert send(bridge, request(late)).json() == {}
    assert until(lambda: len(listed(bridge, plugin="late")) == 1)
    assert until(lambda: spans_of(bridge, listed(bridge, plugin="late")[0]["id"]) == {"span 1"})


def test_a_bad_span_does_not_take_the_others_along(bridge: BridgeProcess) -> None:
    good = span(1, trace=3, attributes={"otel_tracker.plugin.name": "good"})
    bad = span(2, trace=3, attributes={"otel_tracker.execution.id": "17"})
    told = send(bridge, request(good, bad)).json()["partialSuccess"]
    assert told["rejectedSpans"] == "1"
    assert "expected a UUID" in told["errorMessage"]
    assert until(lambda: len(listed(bridge, plugin="good")) == 1)


def test_protobuf_is_answered_in_protobuf(bridge: BridgeProcess) -> None:
    message = ExportTraceServiceRequest()
    one = message.resource_spans.add().scope_spans.add().spans.add(name="x", trace_id=b"1" * 16, span_id=b"short")
    one.attributes.add(key="otel_tracker.plugin.name").value.string_value = "go"
    body = gzip.compress(message.SerializeToString())
    answer = send(bridge, body, **PROTOBUF, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 1
    empty = send(bridge, b"", **PROTOBUF)
    assert (empty.status_code, empty.content) == (200, b"")


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, 3),
        (b"\xff", PROTOBUF, 400, 3),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400, 3),
        (b"{}", {"Content-Encoding": "br"}, 415, 3),
        (b"{}", {"Content-Type": "text/plain"}, 415, 3),
        (gzip.compress(b" " * 100_001, mtime=0), {"Content-Encoding": "gzip"}, 413, 3),
        (b" " * 200_001, PROTOBUF, 413, 3),
    ],
)
def test_what_is_refused_says_so_in_the_senders_encoding(
    bridge: BridgeProcess, body: bytes, headers: dict[str, str], status: int, code: int
) -> None:
    answer = send(bridge, body, **headers)
    assert answer.status_code == status
    if headers is PROTOBUF:
        told = Status.FromString(answer.content)
        assert (told.code, bool(told.message)) == (code, True)
    else:
        assert answer.json()["code"] == code
        assert answer.json()["message"]


def test_without_the_token_nothing_is_taken(bridge: BridgeProcess) -> None:
    assert send(bridge, request(), Authorization="Bearer wrong").status_code == 401


def test_every_execution_is_accounted_for(bridge: BridgeProcess) -> None:
    def is_settled() -> bool:
        found = bridge.client.get("/health").json()["accounting"]
        return bool(found["spooled"] == found["in_flight"] == 0 and found["started"] == found["stored"] > 0)

    send(bridge, request(span(1, trace=4, attributes={"otel_tracker.plugin.name": "counted"})))
    assert until(is_settled)
    assert 'webhook_bridge_otlp_spans_total{result="' in bridge.client.get("/metrics").text


def test_a_full_spool_is_told_and_nothing_is_lost(tmp_path: Any) -> None:
    process = BridgeProcess(tmp_path, BRIDGE__EXECUTION_TRACKING__SPOOL__MAX_BYTES="4096")
    process.start()
    try:
        big = span(1, trace=5, attributes={"otel_tracker.plugin.name": "big", "otel_tracker.input": "x" * 9000})
        answer = send(process, request(big))
        assert (answer.status_code, answer.headers["Retry-After"], answer.json()["code"]) == (503, "5", 14)
    finally:
        process.close()


@pytest.mark.parametrize(("key", "status"), [("OTLP_IN__ENABLED", 404), ("EXECUTION_TRACKING__ENABLED", 404)])
def test_it_can_be_switched_off(tmp_path: Any, key: str, status: int) -> None:
    process = BridgeProcess(tmp_path, **{f"BRIDGE__{key}": "false"})
    process.start()
    try:
        assert send(process, request()).status_code == status
    finally:
        process.close()
