"""A real bridge tells the same figures by /metrics and over OTLP."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess
from bridge_process import until as until_within
from otlp_receiver import Certificates, GrpcReceiver, HttpReceiver, Received, respond
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.own_servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

until = partial(until_within, seconds=40)
ECHO = "def handle(event):\n    return event.data\n"
FAIL = "def handle(event):\n    raise ValueError('no')\n"
SLOW = "import time\ndef handle(event):\n    time.sleep(event.data['seconds'])\n"


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[BridgeProcess]:
    made = BridgeProcess(tmp_path, OTEL_SERVICE_NAME="orders", OTEL_METRIC_EXPORT_INTERVAL="200")
    made.plugin("echo", ECHO)
    made.plugin("fail", FAIL)
    made.plugin("slow", SLOW)
    yield made
    made.close()


def scraped(bridge: BridgeProcess) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """By name, then by labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(bridge.client.get("/metrics").text):
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if v))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def pushed(place: Received) -> dict[str, dict[tuple[tuple[str, str], ...], Any]]:
    """The newest request's points, by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], Any]] = {}
    for resource in place.metrics[-1].resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                data = getattr(metric, str(metric.WhichOneof("data")))
                for point in data.data_points:
                    labels = tuple(sorted((one.key, one.value.string_value) for one in point.attributes))
                    found.setdefault(metric.name, {})[labels] = point
    return found


def deliver(bridge: BridgeProcess) -> None:
    """Three that are echoed, two that fail, one unknown plugin, one body that is none."""
    for _ in range(3):
        assert bridge.post("echo", {"a": 1}).status_code == 200
    for _ in range(2):
        assert bridge.post("fail", {}).status_code == 500
    assert bridge.post("nobody", {}).status_code == 404
    bad = bridge.client.post("/api/v1/webhook/echo", content=b"{", headers={"content-type": "application/json"})
    assert bad.status_code == 400


def test_metrics_count_what_happened(bridge: BridgeProcess) -> None:
    bridge.start()
    deliver(bridge)
    told = scraped(bridge)
    assert told["webhook_bridge_requests_total"] == {
        (("http_response_status_code", "200"),): 3,
        (("http_response_status_code", "500"),): 2,
        (("http_response_status_code", "404"),): 1,
        (("http_response_status_code", "400"),): 1,
    }
    assert told["webhook_bridge_rejected_total"] == {(("reason", "unknown_plugin"),): 1, (("reason", "body"),): 1}
    assert told["webhook_bridge_executions_total"] == {
        (("plugin", "echo"), ("status", "completed")): 3,
        (("plugin", "fail"), ("status", "failed")): 2,
    }
    assert told["webhook_bridge_execution_duration_seconds_count"] == {
        (("plugin", "echo"), ("status", "completed")): 3,
        (("error_type", "validation_error"), ("plugin", "fail"), ("status", "failed")): 2,
    }
    phases = told["webhook_bridge_execution_phase_duration_seconds_count"]
    assert phases == {(("phase", phase),): 5 for phase in ("queue", "run", "keep")}
    assert told["webhook_bridge_plugin_loads_total"][("plugin", "echo"), ("result", "loaded")] == 1
    assert told["webhook_bridge_plugins"] == {(("state", "ready"),): 3}
    assert told["webhook_bridge_storage_up"] == {(): 1}
    assert told["webhook_bridge_workers"] == {(): 3}
    assert told["otel_sdk_span_started_total"] == {(): 5}
    (build,) = told["webhook_bridge_build_info"]
    assert {name for name, _ in build} == {"service_version", "process_runtime_version"}
    assert dict(next(iter(told["target_info"])))["service_name"] == "orders"
    assert until(lambda: scraped(bridge)["webhook_bridge_executions_stored_total"] == {(): 5})
    assert scraped(bridge)["otel_sdk_exporter_span_exported_total"][()] == 5


def test_metrics_tell_what_runs_and_what_waits(bridge: BridgeProcess) -> None:
    bridge._environment["BRIDGE__PLUGINS__WORKERS"] = "1"
    bridge.start()
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(bridge.post, "slow", {"seconds": 2}) for _ in range(3)]
        assert until(lambda: scraped(bridge)["webhook_bridge_queue_size"] == {(): 2})
        assert scraped(bridge)["webhook_bridge_executions_running"] == {(("plugin", "slow"),): 3}
        assert {answer.result().status_code for answer in answers} == {200}
    told = scraped(bridge)
    assert told["webhook_bridge_executions_running"] == {(("plugin", "slow"),): 0}
    waits = told["webhook_bridge_execution_phase_duration_seconds_sum"]
    assert waits[(("phase", "queue"),)] > 4
    assert 6 <= waits[(("phase", "run"),)] < 8


@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_the_same_figures_are_pushed(bridge: BridgeProcess, kind: str) -> None:
    place: HttpReceiver | GrpcReceiver = HttpReceiver() if kind == "http" else GrpcReceiver()
    endpoint = place.url.replace("/v1/traces", "/v1/metrics")
    bridge._environment |= {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc" if kind == "grpc" else "http/protobuf",
        "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "authorization=Bearer%20sesame",
    }
    bridge.start()
    deliver(bridge)
    executions = "webhook_bridge.executions"
    echoed = ("plugin", "echo"), ("status", "completed")
    assert until(lambda: bool(place.metrics) and echoed in pushed(place).get(executions, {}))
    assert until(lambda: pushed(place)["webhook_bridge.executions.stored"][()].as_int == 5)
    told = pushed(place)
    assert told[executions][echoed].as_int == 3
    point = told["webhook_bridge.execution.duration"][echoed]
    assert (point.count, sum(point.bucket_counts), len(point.explicit_bounds)) == (3, 3, 17)
    assert set(told) >= {"webhook_bridge.requests", "webhook_bridge.build.info", "otel.sdk.span.started"}
    names = {one.key: one.value.string_value for one in place.metrics[-1].resource_metrics[0].resource.attributes}
    assert names["service.name"] == "orders"
    assert names["service.instance.id"]
    assert place.headers[-1]["authorization"] == "Bearer sesame"
    place.close()


def test_the_configuration_names_a_backend_with_tls(bridge: BridgeProcess, tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    certificates = Certificates(tmp_path / "tls")
    place = HttpReceiver(tls=certificates.server())
    (bridge.folder / "config.yaml").write_text(
        f"""
metrics:
  otlp:
    endpoint: {place.url.replace("/v1/traces", "/v1/metrics")}
    compression: gzip
    interval_seconds: 0.2
    tls: {{ca_file: tls/ca.pem, client_cert_file: tls/client.pem, client_key_file: tls/client.key}}
"""
    )
    bridge.start()
    assert until(lambda: len(place.metrics) > 1)
    assert place.headers[-1]["content-encoding"] == "gzip"
    assert bridge.stop() == 0
    place.close()


def test_a_backend_that_is_away_is_told_once_and_delays_nothing(bridge: BridgeProcess) -> None:
    """Neither webhooks nor the stop; and what came meanwhile is in the figures once it is back."""
    port = free_port()
    bridge._environment |= {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{port}/v1/metrics",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "1000",
    }
    bridge.start()
    deliver(bridge)
    assert until(lambda: "/v1/metrics" in bridge.log or "Failed to export" in bridge.log)
    place = HttpReceiver(port)
    echoed = ("plugin", "echo"), ("status", "completed")
    assert until(lambda: bool(place.metrics) and echoed in pushed(place).get("webhook_bridge.executions", {}))
    assert pushed(place)["webhook_bridge.executions"][echoed].as_int == 3
    place.fault = lambda handler: respond(handler, 404, b"")
    refused = place.seen
    assert until(lambda: place.seen > refused + 5)
    assert bridge.log.count("404") == 1
    assert bridge.stop() == 0
    place.close()


def test_a_frozen_backend_holds_up_neither_webhooks_nor_the_stop(bridge: BridgeProcess) -> None:
    place, thawed = HttpReceiver(), threading.Event()
    place.fault = lambda _: thawed.wait(60)
    endpoint = place.url.replace("/v1/traces", "/v1/metrics")
    bridge._environment |= {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT": "60000",
    }
    bridge.start()
    assert until(lambda: place.seen == 1)
    deliver(bridge)
    assert bridge.stop() == 0  # waits for half the time that the backend is frozen
    thawed.set()
    place.close()


def test_a_backend_that_cannot_be_spoken_to_stops_the_start(bridge: BridgeProcess) -> None:
    (bridge.folder / "config.yaml").write_text(
        'metrics: {otlp: {endpoint: "https://localhost:4318/v1/metrics", tls: {ca_file: gone.pem}}}\n'
    )
    bridge.spawn()
    assert bridge.process.wait(30) == 2
    assert bridge.log.strip().splitlines()[-1].startswith("webhook-bridge: metrics.otlp.tls: ")


def test_without_tracking_there_are_metrics_too(tmp_path: Path) -> None:
    bridge = BridgeProcess(tmp_path, BRIDGE__EXECUTION_TRACKING__ENABLED="false")
    bridge.plugin("echo", ECHO)
    bridge.start()
    assert bridge.post("echo", {}).status_code == 200
    told = scraped(bridge)
    assert told["webhook_bridge_requests_total"] == {(("http_response_status_code", "200"),): 1}
    assert "webhook_bridge_storage_up" not in told
    bridge.close()
