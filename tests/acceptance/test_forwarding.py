"""A real bridge, real receivers of OTLP: each execution arrives under its own id, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest
import yaml
from bridge_process import BridgeProcess
from bridge_process import until as until_within
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_receiver import GrpcReceiver, HttpReceiver, Received, respond

from benchmarks.own_servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]
ECHO = "def handle(event):\n    return event.data\n"
FAIL = "def handle(event):\n    raise ValueError('no')\n"
until = partial(until_within, seconds=40)
SLOW = "import time\ndef handle(event):\n    time.sleep(60)\n"


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    made = HttpReceiver()
    yield made
    made.close()


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[BridgeProcess]:
    made = BridgeProcess(tmp_path, TOKEN="sesame", OTEL_SERVICE_NAME="orders", OTEL_RESOURCE_ATTRIBUTES="a=b%20c")
    made.plugin("echo", ECHO)
    made.plugin("fail", FAIL)
    made.plugin("slow", SLOW)
    yield made
    made.close()


def has_come(place: Received, count: int) -> bool:
    return len(place.spans) == count


def configure(bridge: BridgeProcess, *destinations: dict[str, Any]) -> None:
    text = yaml.safe_dump({"forwarding": {"destinations": list(destinations)}})
    (bridge.folder / "config.yaml").write_text(text)


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in span.attributes}


def destination(bridge: BridgeProcess, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in bridge.get("/destinations")["destinations"] if one["name"] == name)
    return found


def destinations(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command of that name, run in this folder."""
    command = [sys.executable, "-m", "bridge_app", "destinations", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def forwarder(bridge: BridgeProcess) -> psutil.Process:
    return next(
        one for one in psutil.Process(bridge.process.pid).children() if "exporters.forwarding.worker" in one.cmdline()
    )


def test_a_span_of_another_program_keeps_the_name_of_its_service(bridge: BridgeProcess, receiver: HttpReceiver) -> None:
    """Sent to `/v1/traces`, forwarded on; a span that the plugin makes itself is the bridge's own."""
    configure(bridge, {"name": "main", "endpoint": receiver.url})
    bridge.start()
    request = ExportTraceServiceRequest()
    sent = request.resource_spans.add()
    sent.resource.attributes.add(key="service.name").value.string_value = "shop"
    spans = sent.scope_spans.add().spans
    for number, name in enumerate(("execute order", "step"), start=1):
        made = spans.add(trace_id=b"t" * 16, span_id=bytes([number]) * 8, name=name)
        made.start_time_unix_nano = made.end_time_unix_nano = time.time_ns()
    spans[0].attributes.add(key="otel_tracker.plugin.name").value.string_value = "order"
    spans[1].parent_span_id = spans[0].span_id
    headers = {"content-type": "application/x-protobuf"}
    assert bridge.client.post("/v1/traces", content=request.SerializeToString(), headers=headers).status_code == 200
    assert bridge.post("echo", {}).status_code == 200
    assert until(lambda: has_come(receiver, 3))
    names: dict[str, set[str]] = {}
    for come in receiver.requests:
        for resource in come.resource_spans:
            service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
            names.setdefault(service, set()).update(span.name for span in resource.scope_spans[0].spans)
    assert names == {"shop": {"execute order", "step"}, "orders": {"execute echo"}}
    assert bridge.client.get("/api/services").json()["data"] == ["orders"]


def test_one_webhook_is_one_server_span_everywhere(bridge: BridgeProcess, receiver: HttpReceiver) -> None:
    """Over HTTP as protobuf and as JSON, over gRPC, and in a file."""
    over_json, over_grpc = HttpReceiver(), GrpcReceiver()
    configure(
        bridge,
        {"name": "main", "endpoint": receiver.url, "headers": {"authorization": "Bearer ${TOKEN}"}, "aliases": True},
        {"name": "json", "protocol": "otlp-http-json", "endpoint": over_json.url, "payload": "none"},
        {"name": "grpc", "protocol": "otlp-grpc", "endpoint": over_grpc.url, "compression": "gzip"},
        {"name": "file", "protocol": "file", "path": "spans.jsonl", "payload": "full"},
    )
    bridge.start()
    answer = bridge.post("echo", {"a": "x" * 3000})
    trace_id = answer.headers["X-Trace-Id"]
    failed = bridge.post("fail", {}).headers["X-Trace-Id"]
    for place in (receiver, over_json, over_grpc):
        assert until(partial(has_come, place, 2))
        assert [one.trace_id.hex() for one in place.spans] == [trace_id, failed]
        assert [one.kind for one in place.spans] == [Span.SPAN_KIND_SERVER] * 2
    span = receiver.spans[0]
    facts = attributes(span)
    assert facts["otel_tracker.execution.id"] == answer.headers["X-Execution-Id"]
    assert facts["http.response.status_code"] == 200
    assert (len(facts["otel_tracker.input"]), facts["otel_tracker.input.truncated"]) == (2048, True)
    assert facts["input.value"] == facts["otel_tracker.input"]
    assert not {"otel_tracker.input", "otel_tracker.output"} & attributes(over_json.spans[0]).keys()
    assert attributes(receiver.spans[1])["error.type"]
    assert [one.name for one in receiver.spans[1].events] == ["exception"]
    assert receiver.headers[0]["authorization"] == "Bearer sesame"
    resource = receiver.requests[0].resource_spans[0].resource
    told = {one.key: one.value.string_value for one in resource.attributes}
    assert (told["service.name"], told["a"]) == ("orders", "b c")
    record = bridge.get(f"/executions/{facts['otel_tracker.execution.id']}")
    assert (told["service.instance.id"], bool(told["service.version"])) == (record["instance_id"], True)
    assert until(lambda: destination(bridge, "file")["sent"] == 2)
    lines = (bridge.folder / "spans.jsonl").read_text().splitlines()
    assert sum(line.count(trace_id) for line in lines) == 1
    assert "x" * 3000 in lines[0]
    assert until(lambda: [one["sent"] for one in bridge.get("/destinations")["destinations"]] == [2, 2, 2, 2])
    health = bridge.client.get("/health").json()
    assert health["destinations"] == dict.fromkeys(("main", "json", "grpc", "file"), "ok")
    assert "sesame" not in bridge.client.get("/api/v1/destinations").text + bridge.log
    over_json.close()
    over_grpc.close()


def test_a_destination_that_is_away_gets_all_after_kills_and_the_others_do_not_wait(
    bridge: BridgeProcess, receiver: HttpReceiver
) -> None:
    """`kill -9` of the forwarder, then of the bridge; nothing is lost, the history and the other go on."""
    port = free_port()
    configure(
        bridge,
        {"name": "away", "endpoint": f"http://127.0.0.1:{port}/v1/traces"},
        {"name": "here", "endpoint": receiver.url},
    )
    bridge.start()
    ids = [bridge.post("echo", {"n": number}).headers["X-Trace-Id"] for number in range(20)]
    assert until(lambda: destination(bridge, "away")["state"] == "retrying")
    forwarder(bridge).kill()
    ids += [bridge.post("echo", {"n": number}).headers["X-Trace-Id"] for number in range(20)]
    assert until(lambda: bridge.get("/destinations")["restarts"] == 1)
    ids += [bridge.post("echo", {"n": number}).headers["X-Trace-Id"] for number in range(20)]
    bridge.kill()
    bridge.start()
    ids += [bridge.post("echo", {"n": number}).headers["X-Trace-Id"] for number in range(20)]
    assert until(lambda: {one.trace_id.hex() for one in receiver.spans} == set(ids))
    assert until(lambda: bridge.get("/executions", limit=1)["total"] == 80)
    back = HttpReceiver(port)
    assert until(lambda: {one.trace_id.hex() for one in back.spans} == set(ids))
    assert until(lambda: destination(bridge, "away")["waiting_spans"] == 0)
    assert destination(bridge, "away")["dropped"] == {}
    back.close()


def test_a_frozen_destination_delays_nothing_else(bridge: BridgeProcess, receiver: HttpReceiver) -> None:
    frozen = HttpReceiver()
    thawed = threading.Event()
    frozen.fault = lambda _: thawed.wait(60)
    configure(
        bridge,
        {"name": "frozen", "endpoint": frozen.url, "timeout_seconds": 60},
        {"name": "here", "endpoint": receiver.url},
    )
    bridge.start()
    bridge.post("echo", {})
    assert until(lambda: frozen.seen == 1)
    frozen_at = frozen.seen
    ids = [bridge.post("echo", {}).headers["X-Trace-Id"] for _ in range(5)]
    assert until(lambda: len(receiver.spans) == 6)
    assert {one.trace_id.hex() for one in receiver.spans} > set(ids)
    assert frozen.seen == frozen_at
    assert until(lambda: bridge.get("/executions", limit=1)["total"] == 6)
    thawed.set()
    frozen.close()


def test_what_a_stopped_bridge_had_not_sent_goes_out_after_the_next_start(
    bridge: BridgeProcess, receiver: HttpReceiver
) -> None:
    port = free_port()
    configure(bridge, {"name": "away", "endpoint": f"http://127.0.0.1:{port}/v1/traces"})
    bridge.start()
    trace_id = bridge.post("echo", {}).headers["X-Trace-Id"]
    assert bridge.stop() == 0
    back = HttpReceiver(port)
    bridge.start()
    assert until(lambda: [one.trace_id.hex() for one in back.spans] == [trace_id])
    back.close()


def test_what_waits_for_a_destination_that_was_taken_out_is_told(bridge: BridgeProcess) -> None:
    """It stays where it is, and goes out once the destination is back."""
    port = free_port()
    away = {"name": "away", "endpoint": f"http://127.0.0.1:{port}/v1/traces"}
    configure(bridge, away)
    bridge.start()
    bridge.post("echo", {})
    assert until(lambda: destination(bridge, "away")["waiting_spans"] == 1)
    assert bridge.stop() == 0
    configure(bridge)
    bridge.start()
    folder = bridge.folder / "data" / "forward" / "away"
    assert "bytes wait for the destination away, which is not configured: put it back, or delete " in bridge.log
    (row,) = json.loads(destinations(bridge.folder, "list", "--json").stdout)
    assert (row["name"], row["endpoint"], row["folder"]) == ("away", "not configured", str(folder))
    assert row["waiting_bytes"] > 100
    assert bridge.stop() == 0
    configure(bridge, away)
    back = HttpReceiver(port)
    bridge.start()
    assert until(lambda: has_come(back, 1))
    assert "which is not configured" not in bridge.log_of_this_start
    back.close()


def test_an_execution_that_a_dead_bridge_left_running_arrives_as_interrupted(
    bridge: BridgeProcess, receiver: HttpReceiver
) -> None:
    configure(bridge, {"name": "here", "endpoint": receiver.url})
    bridge.start()
    client = bridge.client
    with pytest.raises(Exception, match="timed out"):
        client.post("/api/v1/webhook/slow", json={}, timeout=1.5)
    assert until(lambda: bridge.get("/executions", status="running")["total"] == 1)
    bridge.kill()
    bridge.start()
    assert until(lambda: len(receiver.spans) == 1)
    facts = attributes(receiver.spans[0])
    assert (facts["otel_tracker.status"], facts["error.type"]) == ("failed", "interrupted")
    assert until(lambda: len(list((bridge.folder / "data/spool").iterdir())) == 1)  # the dead one's is gone


def test_failures_are_always_sent_and_successes_by_ratio(bridge: BridgeProcess, receiver: HttpReceiver) -> None:
    other = HttpReceiver()
    configure(
        bridge,
        {"name": "none", "endpoint": receiver.url, "sampling_ratio": 0},
        {"name": "only-echo", "endpoint": other.url, "plugins": ["echo"]},
    )
    bridge.start()
    echoed = [bridge.post("echo", {}).headers["X-Trace-Id"] for _ in range(5)]
    unsampled = bridge.client.post(
        "/api/v1/webhook/echo", json={}, headers={"traceparent": f"00-{'1' * 32}-{'2' * 16}-00"}
    )
    assert unsampled.status_code == 200
    failed = bridge.post("fail", {}).headers["X-Trace-Id"]
    assert until(lambda: [one.trace_id.hex() for one in receiver.spans] == [failed])
    assert until(lambda: [one.trace_id.hex() for one in other.spans] == echoed)
    assert until(lambda: bridge.get("/executions", limit=1)["total"] == 7)
    other.close()


def test_the_standard_variables_are_enough(tmp_path: Path, receiver: HttpReceiver) -> None:
    base = receiver.url.removesuffix("/v1/traces")
    bridge = BridgeProcess(
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=base,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/json",
        OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_SERVICE_NAME="mine",
    )
    bridge.plugin("echo", ECHO)
    bridge.start()
    trace_id = bridge.post("echo", {}).headers["X-Trace-Id"]
    assert until(lambda: [one.trace_id.hex() for one in receiver.spans] == [trace_id])
    assert receiver.headers[0]["x-key"] == "a b"
    assert json.loads(json.dumps(destination(bridge, "env")))["endpoint"] == receiver.url
    bridge.close()


def test_the_command_line_shows_what_a_destination_answers(tmp_path: Path, receiver: HttpReceiver) -> None:
    text = yaml.safe_dump(
        {
            "forwarding": {
                "destinations": [
                    {"name": "here", "endpoint": receiver.url},
                    {"name": "gone", "endpoint": f"http://127.0.0.1:{free_port()}/v1/traces"},
                ]
            }
        }
    )
    (tmp_path / "config.yaml").write_text(text)

    run = partial(destinations, tmp_path)
    answer = run("test", "here", "--json")
    told = json.loads(answer.stdout)
    assert (answer.returncode, told["verdict"], told["answer"]) == (0, "taken", "HTTP 200 OK")
    assert [one.trace_id.hex() for one in receiver.spans] == [told["trace_id"]]
    receiver.fault = lambda one: respond(one, 403, b"no such tenant", kind="text/plain")
    answer = run("test", "here")
    assert (answer.returncode, answer.stdout.splitlines()[1]) == (1, "HTTP 403 Forbidden: no such tenant")
    answer = run("test", "gone")
    assert (answer.returncode, answer.stdout.splitlines()[1]) == (1, "no connection: [Errno 111] Connection refused")
    answer = run("test", "nobody")
    assert answer.returncode == 2
    assert "configured are here, gone" in answer.stderr
    listed = json.loads(run("list", "--json").stdout)
    assert [(one["name"], one["waiting_bytes"], one["refused_requests"]) for one in listed] == [
        ("here", 0, 0),
        ("gone", 0, 0),
    ]
