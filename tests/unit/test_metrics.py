"""Histograms that the bridge keeps itself, and where metrics are pushed to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from bridge_app.config import Config
from bridge_app.config_metrics import PushConfig
from bridge_app.errors import ConfigError
from bridge_app.histograms import BOUNDS, Described, Durations
from bridge_app.metric_exporters import open_exporter

if TYPE_CHECKING:
    from pathlib import Path

VALUES = [0.0, 0.005, 0.0051, 0.2, 1, 1.0001, 299, 300, 301, 86_400.0]


def test_a_histogram_is_what_the_sdk_makes_of_the_same_values() -> None:
    reader = InMemoryMetricReader()
    view = View(instrument_name="wait", aggregation=ExplicitBucketHistogramAggregation(BOUNDS))
    provider = MeterProvider(metric_readers=[reader], views=[view], shutdown_on_exit=False)
    theirs, ours = (
        provider.get_meter("m").create_histogram("wait", unit="s"),
        Durations(Described("wait", ("kind",), "")),
    )
    for value in VALUES:
        theirs.record(value, {"kind": "a"})
        ours.record(value, "a")
    data: Any = reader.get_metrics_data()
    (expected,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    (got,) = ours.metric().data.data_points
    compared = ("attributes", "count", "sum", "min", "max", "bucket_counts", "explicit_bounds")
    assert [_plain(getattr(got, name)) for name in compared] == [_plain(getattr(expected, name)) for name in compared]
    provider.shutdown()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_an_empty_label_is_left_out() -> None:
    durations = Durations(Described("wait", ("plugin", "error.type"), ""))
    durations.record(1, "echo", "")
    durations.record(1, "echo", "timeout")
    assert [dict(point.attributes or {}) for point in durations.metric().data.data_points] == [
        {"plugin": "echo"},
        {"plugin": "echo", "error.type": "timeout"},
    ]


def push_of(tmp_path: Path, text: str, **environment: str) -> tuple[PushConfig, dict[str, str]]:
    (tmp_path / "config.yaml").write_text(text)
    loaded = Config.load(tmp_path / "config.yaml", environment)
    return loaded.config.metrics.otlp, loaded.origins


def test_without_an_endpoint_nothing_is_pushed(tmp_path: Path) -> None:
    assert push_of(tmp_path, "{}")[0] == PushConfig()


def test_the_variables_name_a_backend(tmp_path: Path) -> None:
    push, origins = push_of(
        tmp_path,
        "{}",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4318/",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20sesame",
        OTEL_EXPORTER_OTLP_METRICS_TIMEOUT="2500",
        OTEL_METRIC_EXPORT_INTERVAL="5000",
    )
    assert push.endpoint == "http://collector:4318/v1/metrics"
    assert (push.timeout_seconds, push.interval_seconds) == (2.5, 5)
    assert push.headers == {"authorization": "Bearer sesame"}
    assert "sesame" not in repr(push)
    assert origins["metrics.otlp.endpoint"] == "environment OTEL_EXPORTER_OTLP_*"


def test_a_variable_for_metrics_alone_wins_and_is_taken_as_it_is(tmp_path: Path) -> None:
    push, _ = push_of(
        tmp_path,
        "{}",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://traces:4318",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://metrics:4317",
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="grpc",
    )
    assert (push.endpoint, push.protocol) == ("http://metrics:4317", "otlp-grpc")


@pytest.mark.parametrize("switch", [{"OTEL_METRICS_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}])
def test_the_variables_can_be_switched_off(tmp_path: Path, switch: dict[str, str]) -> None:
    assert push_of(tmp_path, "{}", OTEL_EXPORTER_OTLP_ENDPOINT="http://x:4318", **switch)[0].endpoint == ""


def test_the_file_wins_over_the_variables(tmp_path: Path) -> None:
    text = 'metrics: {otlp: {endpoint: "http://file:4318/v1/metrics", interval_seconds: 15}}'
    push, origins = push_of(tmp_path, text, OTEL_EXPORTER_OTLP_ENDPOINT="http://environment:4318")
    assert (push.endpoint, push.interval_seconds) == ("http://file:4318/v1/metrics", 15)
    assert origins["metrics.otlp.endpoint"] == "config.yaml line 1"


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        (
            "metrics: {otlp: {endpoint: localhost}}",
            {},
            r"metrics\.otlp\.endpoint is 'localhost' \(config\.yaml line 1\): expected a URL, such as http://localhost:4318/v1/metrics",
        ),
        (
            'metrics: {otlp: {endpoint: "http://a:b@c:4318"}}', {}, "who may see it would see the password",
        ),
        ("metrics: {otlp: {interval: 3}}", {}, "interval"),
        (
            'metrics: {otlp: {endpoint: "https://c:4318", tls: {insecure: true}}}', {},
            r"tls\.insecure is True \(config\.yaml line 1\): .* checks certificates",
        ),
        (
            "{}",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_METRIC_EXPORT_INTERVAL": "soon"},
            "environment OTEL_METRIC_EXPORT_INTERVAL is 'soon': expected milliseconds, such as 60000",
        ),
        ("{}", {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "x"}, "environment OTEL_EXPORTER_OTLP_METRICS_ENDPOINT is 'x'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        push_of(tmp_path, text, **environment)


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = 'metrics: {otlp: {endpoint: "https://x:4318/v1/metrics", tls: {ca_file: gone.pem}}}'
    push, _ = push_of(tmp_path, text)
    with pytest.raises(ConfigError, match=r"metrics\.otlp\.tls: .*gone\.pem cannot be read: No such file"):
        open_exporter(push)


def test_an_exporter_says_a_thing_once_until_it_says_another(caplog: pytest.LogCaptureFixture) -> None:
    open_exporter(PushConfig(endpoint="http://localhost:1/v1/metrics")).shutdown()
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    for text in ("away", "away", "back", "away"):
        logger.error(text)
    assert [record.getMessage() for record in caplog.records] == ["away", "back", "away"]
