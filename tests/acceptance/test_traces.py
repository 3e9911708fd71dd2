"""Waterfalls, OTLP files and Jaeger's query API over HTTP: a real server over a store whose rows are known."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from bridge_process import BridgeProcess, until
from google.protobuf.json_format import Parse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_tracker.record import ExecutionRecord, SpanRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otel_tracker.record import Row

MS = 1_000_000
FRIDAY = 1_749_218_400_000 * MS  # 2025-06-06T14:00:00Z
MICROS = FRIDAY // 1000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PADDED = "0" * 16 + "ab" * 8
BIG = "c" * 32
CALLER, ORDER, CALL, STOCK = "1" * 16, "2" * 16, "3" * 16, "4" * 16
SERVICE = "webhook-bridge"
SLOW = "import time\ndef handle(event):\n    time.sleep(event.data['seconds'])\n    return 'done'\n"


def execution(id_: str, plugin: str, begin: int, length: int, **more: Any) -> ExecutionRecord:
    """`begin` and `length` in milliseconds."""
    values: dict[str, Any] = {
        "status": Status.COMPLETED,
        "start_time": FRIDAY + begin * MS,
        "end_time": FRIDAY + (begin + length) * MS,
        "duration": length * MS,
        "trace_id": TRACE,
        "instance_id": "one",
        "span": '{"kind":"server","attributes":{"http.route":"/api/v1/webhook/{plugin}"}}',
    }
    return ExecutionRecord(id=id_, plugin_name=plugin, **(values | more))


def child(of: str, span_id: str, parent: str, name: str, begin: int, length: int, **more: Any) -> SpanRecord:
    values: dict[str, Any] = {"trace_id": TRACE, "kind": "internal", "attributes": '{"n":1}'}
    return SpanRecord(
        execution_id=of,
        span_id=span_id,
        parent_span_id=parent,
        name=name,
        start_time=FRIDAY + begin * MS,
        end_time=FRIDAY + (begin + length) * MS,
        **(values | more),
    )


ROWS: list[Row] = [
    execution("order-1", "order", 0, 100, span_id=ORDER, parent_span_id=CALLER, input='{"n": 1}', tags='{"job": "7"}'),
    child("order-1", CALL, ORDER, "POST", 10, 60, kind="client"),
    child("order-1", "5" * 16, ORDER, "log", 20, 10),
    child("order-1", "6" * 16, "f" * 16, "lost", 80, 5),
    execution(
        "stock-1", "stock", 15, 50, span_id=STOCK, parent_span_id=CALL, status=Status.FAILED, error="none left",
        error_type="validation_error", instance_id="two",
    ),
    child("stock-1", "7" * 16, STOCK, "SELECT", 20, 40, kind="client", status="error", error="gone",
          attributes='{"service.name":"warehouse"}'),
    execution("order-2", "order", 1000, 3000, span_id="8" * 16, trace_id=PADDED, input="x" * 5000),
    *(execution(f"big-{n:04d}", "big", -9_000_000 + n, 1, span_id=f"{n:016x}", trace_id=BIG) for n in range(1001)),
    execution("untraced", "old", 0, 1, trace_id=""),
]  # fmt: skip


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    folder = tmp_path_factory.mktemp("traces")
    store = open_store(f"sqlite:///{folder}/data/executions.db")
    assert store.write(ROWS).rejected == ()
    store.close()
    links = {"jaeger": "http://localhost:16686/trace/{trace_id}?uiFind={span_id}", "logs": "/l/{plugin}/{execution_id}"}
    process = BridgeProcess(folder, BRIDGE__EXECUTION_TRACKING__RETENTION_DAYS="36500", BRIDGE__LINKS=json.dumps(links))
    process.plugin("slow", SLOW)
    yield process.start()
    process.close()


def shown(trace: dict[str, Any]) -> list[tuple[str, int, int, int, int]]:
    """Name, depth, and offset, self time and critical time in milliseconds."""
    times = ("offset", "self_time", "critical_time")
    return [(span["name"], span["depth"], *(span[name] // MS for name in times)) for span in trace["spans"]]


def names(answer: dict[str, Any]) -> list[list[str]]:
    return [[span["operationName"] for span in trace["spans"]] for trace in answer["data"]]


def jaeger(bridge: BridgeProcess, path: str, **params: Any) -> dict[str, Any]:
    answer = bridge.client.get(f"/api{path}", params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    found: dict[str, Any] = answer.json()
    return found


def search(bridge: BridgeProcess, **params: Any) -> list[str]:
    """The ids of the traces that are found among those of the Friday."""
    given = {"service": SERVICE, "start": MICROS - 1_000_000, "end": MICROS + 60_000_000} | params
    return [trace["traceID"] for trace in jaeger(bridge, "/traces", **given)["data"]]


# The waterfall.


def test_an_execution_is_a_waterfall_of_its_spans(bridge: BridgeProcess) -> None:
    """A span whose parent was not kept hangs below its execution; what `stock` did is not part of `order`."""
    trace = bridge.get("/executions/order-1/trace")
    assert shown(trace) == [
        ("execute order", 0, 0, 35, 35),
        ("POST", 1, 10, 60, 60),
        ("log", 1, 20, 10, 0),
        ("lost", 1, 80, 5, 5),
    ]
    assert [span["is_parent_missing"] for span in trace["spans"]] == [True, False, False, True]
    assert [(one["span_id"][0], one["offset"] // MS, one["duration"] // MS) for one in trace["critical_path"]] == [
        ("2", 0, 10), ("3", 10, 60), ("2", 70, 10), ("6", 80, 5), ("2", 85, 15)
    ]  # fmt: skip
    assert trace["links"] == {
        "jaeger": f"http://localhost:16686/trace/{TRACE}?uiFind={ORDER}",
        "logs": "/l/order/order-1",
    }


def test_a_trace_joins_its_executions(bridge: BridgeProcess) -> None:
    trace = bridge.get(f"/traces/{TRACE}")
    assert shown(trace) == [
        ("execute order", 0, 0, 35, 35),
        ("POST", 1, 10, 10, 10),
        ("execute stock", 2, 15, 10, 10),
        ("SELECT", 3, 20, 40, 40),
        ("log", 1, 20, 10, 0),
        ("lost", 1, 80, 5, 5),
    ]
    assert (trace["trace_id"], trace["executions"], trace["is_whole"]) == (TRACE, 2, True)
    assert (trace["start_time"], trace["duration"]) == ("2025-06-06T14:00:00Z", 100 * MS)
    assert trace["spans"][2] == {
        "span_id": STOCK,
        "parent_span_id": CALL,
        "execution_id": "stock-1",
        "plugin_name": "stock",
        "execution_status": "failed",
        "name": "execute stock",
        "kind": "server",
        "status": "error",
        "error": "none left",
        "start_time": "2025-06-06T14:00:00.015000Z",
        "end_time": "2025-06-06T14:00:00.065000Z",
        "depth": 2,
        "offset": 15 * MS,
        "duration": 50 * MS,
        "self_time": 10 * MS,
        "critical_time": 10 * MS,
        "on_critical_path": True,
        "is_parent_missing": False,
        "attributes": '{"http.route":"/api/v1/webhook/{plugin}"}',
        "events": "[]",
    }


def test_a_trace_id_may_have_hyphens_and_capitals(bridge: BridgeProcess) -> None:
    assert bridge.get("/traces/4BF92F35-77B3-4DA6-A3CE-929D0E0E4736") == bridge.get(f"/traces/{TRACE}")


def test_a_trace_that_is_too_big_says_that_it_is_cut(bridge: BridgeProcess) -> None:
    trace = bridge.get(f"/traces/{BIG}")
    assert (len(trace["spans"]), trace["is_whole"]) == (1000, False)
    assert trace["spans"][0]["execution_id"] == "big-0000"


def test_a_running_execution_is_shown_as_far_as_it_is_known(bridge: BridgeProcess) -> None:
    answered: list[int] = []
    call = threading.Thread(target=lambda: answered.append(bridge.post("slow", {"seconds": 3}).status_code))
    call.start()
    try:
        assert until(lambda: bool(bridge.get("/executions", plugin="slow", status="running")["executions"]))
        (record,) = bridge.get("/executions", plugin="slow")["executions"]
        for path in (f"/executions/{record['id']}/trace", f"/traces/{record['trace_id']}"):
            trace = bridge.get(path)
            (span,) = trace["spans"]
            assert (span["execution_status"], span["status"], span["end_time"]) == ("running", "unset", None)
            assert 0 < span["duration"] == span["self_time"] == span["critical_time"] == trace["duration"]
        file = bridge.get(f"/traces/{record['trace_id']}", format="otlp")
        assert file == {"resourceSpans": []}
        (found,) = jaeger(bridge, f"/traces/{record['trace_id']}")["data"]
        assert found["spans"][0]["warnings"] == ["It is still running."]
    finally:
        call.join(20)
    assert answered == [200]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/executions/nobody/trace", 404),
        ("/executions/nobody/trace?format=otlp", 404),
        ("/executions/order-1/trace?format=svg", 422),
        ("/executions/order-1/trace?depth=1", 422),
        (f"/traces/{'f' * 32}", 404),
        (f"/traces/{'f' * 32}?format=otlp", 404),
        ("/traces/order-1", 422),
    ],
)
def test_what_is_not_there_or_wrong_is_a_problem(bridge: BridgeProcess, path: str, status: int) -> None:
    answer = bridge.client.get(f"/api/v1{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


# The file.


def test_a_trace_is_a_file_of_otlp_json(bridge: BridgeProcess) -> None:
    answer = bridge.client.get(f"/api/v1/traces/{TRACE}", params={"format": "otlp"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == f'attachment; filename="trace-{TRACE}.otlp.json"'
    found = answer.json()["resourceSpans"]
    spans = {one["spanId"]: one for group in found for scope in group["scopeSpans"] for one in scope["spans"]}
    assert {one["name"] for one in spans.values()} == {
        "execute order",
        "POST",
        "log",
        "lost",
        "execute stock",
        "SELECT",
    }
    assert {one["traceId"] for one in spans.values()} == {TRACE}
    assert spans[STOCK]["parentSpanId"] == CALL
    assert spans[ORDER]["startTimeUnixNano"] == str(FRIDAY)
    instances = [
        attribute["value"]["stringValue"]
        for group in found
        for attribute in group["resource"]["attributes"]
        if attribute["key"] == "service.instance.id"
    ]
    assert sorted(instances) == ["one", "two", "two"]
    services = [
        (attribute["value"]["stringValue"], group["scopeSpans"][0]["spans"][0]["name"])
        for group in found
        for attribute in group["resource"]["attributes"]
        if attribute["key"] == "service.name"
    ]
    assert services == [(SERVICE, "execute stock"), ("warehouse", "SELECT"), (SERVICE, "execute order")]


def test_the_file_of_an_execution_has_its_payload_whole(bridge: BridgeProcess) -> None:
    answer = bridge.client.get("/api/v1/executions/order-2/trace", params={"format": "otlp"})
    (group,) = answer.json()["resourceSpans"]
    (span,) = group["scopeSpans"][0]["spans"]
    attributes = {one["key"]: one["value"] for one in span["attributes"]}
    assert attributes["otel_tracker.input"] == {"stringValue": "x" * 5000}


def test_the_file_has_all_of_a_trace_that_a_waterfall_cuts(bridge: BridgeProcess) -> None:
    answer = bridge.client.get(f"/api/v1/traces/{BIG}", params={"format": "otlp"})
    found = answer.json()["resourceSpans"]
    assert sum(len(scope["spans"]) for group in found for scope in group["scopeSpans"]) == 1001


def test_the_file_is_otlp_but_for_its_hexadecimal_ids(bridge: BridgeProcess) -> None:
    """OTLP/JSON differs from protobuf's own JSON in exactly that: with other ids, protobuf reads every field."""
    text = bridge.client.get(f"/api/v1/traces/{TRACE}", params={"format": "otlp"}).text
    request = Parse(text, ExportTraceServiceRequest())
    assert sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans) == 6


# Jaeger's query API, read as strictly as Grafana's types allow (pkg/tsdb/jaeger/types/types.go).


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class KeyValue(Strict):
    key: str
    type: str
    value: str | int | float | bool


class Reference(Strict):
    refType: str  # noqa: N815
    spanID: str  # noqa: N815
    traceID: str  # noqa: N815


class Log(Strict):
    timestamp: int
    fields: list[KeyValue]


class Span(Strict):
    traceID: str  # noqa: N815
    spanID: str  # noqa: N815
    processID: str  # noqa: N815
    operationName: str  # noqa: N815
    startTime: int  # noqa: N815
    duration: int
    logs: list[Log]
    references: list[Reference]
    tags: list[KeyValue]
    warnings: list[str] | None
    flags: int


class Process(Strict):
    serviceName: str  # noqa: N815
    tags: list[KeyValue]


class Trace(Strict):
    traceID: str  # noqa: N815
    processes: dict[str, Process]
    warnings: list[str] | None
    spans: list[Span]


class Error(Strict):
    code: int
    msg: str
    traceID: str  # noqa: N815


class Traces(Strict):
    data: list[Trace] | None
    errors: list[Error] | None
    limit: int
    offset: int
    total: int


def test_a_trace_is_what_grafana_reads(bridge: BridgeProcess) -> None:
    answer = bridge.client.get(f"/api/traces/{TRACE}")
    (trace,) = msgspec.json.decode(answer.content, type=Traces, strict=True).data or []
    assert [span.operationName for span in trace.spans] == [
        "execute order", "execute stock", "POST", "log", "SELECT", "lost"
    ]  # fmt: skip
    by_name = {span.operationName: span for span in trace.spans}
    stock = by_name["execute stock"]
    assert (stock.startTime, stock.duration) == (MICROS + 15_000, 50_000)
    assert [(one.refType, one.traceID, one.spanID) for one in stock.references] == [("CHILD_OF", TRACE, CALL)]
    assert KeyValue(key="error", type="bool", value=True) in stock.tags
    assert KeyValue(key="span.kind", type="string", value="server") in stock.tags
    assert trace.processes[stock.processID].serviceName == SERVICE
    assert {span.processID for span in trace.spans} == trace.processes.keys()


def test_leading_zeros_of_a_trace_id_may_be_missing(bridge: BridgeProcess) -> None:
    for spelling in (PADDED, "ab" * 8, "AB" * 8):
        (trace,) = jaeger(bridge, f"/traces/{spelling}", prettyPrint="true", start=1, end=2)["data"]
        assert trace["traceID"] == PADDED


def test_services_and_operations_are_the_bridge_and_its_plugins(bridge: BridgeProcess) -> None:
    assert jaeger(bridge, "/services")["data"] == [SERVICE]
    expected = [f"execute {plugin}" for plugin in ("big", "old", "order", "stock")]
    found = jaeger(bridge, f"/services/{SERVICE}/operations")
    assert [name for name in found["data"] if name != "execute slow"] == expected
    assert found["total"] == len(found["data"])
    assert jaeger(bridge, "/services/shop/operations")["data"] == []
    kinds = jaeger(bridge, "/operations", service=SERVICE, spanKind="server")["data"]
    assert {"name": "execute order", "spanKind": "server"} in kinds
    assert jaeger(bridge, "/operations", service=SERVICE, spanKind="client")["data"] == []
    assert jaeger(bridge, "/dependencies", endTs=1, lookback=2)["data"] == []


def test_a_search_finds_traces_newest_first_and_whole(bridge: BridgeProcess) -> None:
    assert search(bridge) == [PADDED, TRACE]
    assert search(bridge, limit=1) == [PADDED]
    assert search(bridge, service="shop") == []
    found = jaeger(bridge, "/traces", service=SERVICE, operation="execute stock", start=MICROS - 1)
    assert names(found) == [["execute order", "execute stock", "POST", "log", "SELECT", "lost"]]


@pytest.mark.parametrize(
    ("params", "traces"),
    [
        ({"operation": "execute order"}, [PADDED, TRACE]),
        ({"operation": "execute stock"}, [TRACE]),
        ({"operation": "SELECT"}, []),
        ({"tags": '{"error":"true"}'}, [TRACE]),
        ({"tags": '{"error.type":"validation_error"}'}, [TRACE]),
        ({"tags": '{"job":"7"}'}, [TRACE]),
        ({"tags": '{"job":"8"}'}, []),
        ({"tag": "job:7"}, [TRACE]),
        ({"minDuration": "1s"}, [PADDED]),
        ({"maxDuration": "1s", "minDuration": "60ms"}, [TRACE]),
        ({"start": MICROS + 1}, [PADDED, TRACE]),
        ({"start": MICROS + 15_001}, [PADDED]),
        ({"end": MICROS}, [TRACE]),
        ({"end": MICROS - 1}, []),
        ({"lookback": "1h", "maxDuration": "", "minDuration": "", "tags": ""}, [PADDED, TRACE]),
    ],
)
def test_a_search_narrows(bridge: BridgeProcess, params: dict[str, Any], traces: list[str]) -> None:
    assert search(bridge, **params) == traces


def test_a_search_by_default_covers_the_last_two_days(bridge: BridgeProcess) -> None:
    assert TRACE not in [trace["traceID"] for trace in jaeger(bridge, "/traces", service=SERVICE)["data"]]


def test_several_traces_can_be_asked_for_by_id(bridge: BridgeProcess) -> None:
    found = jaeger(bridge, "/traces", traceID=[TRACE, "1", PADDED])
    assert [trace["traceID"] for trace in found["data"]] == [TRACE, PADDED]
    assert found["errors"] == [{"code": 404, "msg": "trace not found", "traceID": f"{1:032x}"}]


def test_a_trace_that_is_cut_says_so_in_jaeger_too(bridge: BridgeProcess) -> None:
    (trace,) = jaeger(bridge, f"/traces/{BIG}")["data"]
    assert len(trace["spans"]) == 1000
    assert trace["warnings"] == ["The history has more of this trace than is shown here."]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (f"/traces/{'f' * 32}", 404, "trace not found"),
        ("/traces/xyz", 400, "traceID: is 'xyz': expected up to 32 hexadecimal digits"),
        ("/traces", 400, "service: is missing: expected a name of /api/services, or a traceID"),
        (f"/traces?service={SERVICE}&minDuration=5", 400, "minDuration: is '5': the unit is missing, as in 100ms"),
        ("/operations", 400, "service: is missing: expected a name of /api/services"),
    ],
)
def test_errors_have_jaegers_shape(bridge: BridgeProcess, path: str, status: int, message: str) -> None:
    answer = bridge.client.get(f"/api{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    found = msgspec.json.decode(answer.content, type=Traces)
    assert (found.data, found.errors) == (None, [Error(code=status, msg=message, traceID="")])


def test_jaegers_paths_are_guarded_and_without_a_history_they_say_so(tmp_path: Path) -> None:
    bridge = BridgeProcess(tmp_path, BRIDGE__AUTH__TOKEN="t", BRIDGE__EXECUTION_TRACKING__ENABLED="false")
    try:
        client = bridge.start().client
        token = {"Authorization": "Bearer t"}
        for path in ("/api/services", "/api/traces", f"/api/traces/{TRACE}", "/api/operations", "/api/dependencies",
                     f"/api/services/{SERVICE}/operations", f"/api/v1/traces/{TRACE}"):  # fmt: skip
            assert client.get(path).status_code == 401
        answer = client.get("/api/services", headers=token)
        assert (answer.status_code, answer.json()["data"]) == (404, None)
        assert answer.json()["errors"][0]["msg"].startswith("No history is kept")
        assert client.get(f"/api/v1/traces/{TRACE}", headers=token).json()["type"] == "/problems/history-disabled"
    finally:
        bridge.close()
