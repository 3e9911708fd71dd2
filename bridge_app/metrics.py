"""`/metrics` and metrics over OTLP: the instruments of this process, one table for both.

In: the parts of a bridge, and where to push. Out: Prometheus' text when it is scraped, and a request to an OTLP
backend every `interval_seconds`, made by OpenTelemetry's own exporter in a thread of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricReader,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import REGISTRY, generate_latest

from bridge_app.instruments import register
from bridge_app.metric_exporters import open_exporter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.metrics.export import Metric, MetricExporter

    from bridge_app.config_metrics import PushConfig
    from bridge_app.observed import Parts

_CLOSE_MILLISECONDS: Final = 2000


class Metrics:
    """The instruments of one bridge. `push` names an OTLP backend; without an endpoint nothing is pushed."""

    def __init__(self, parts: Parts, *, resource: Mapping[str, str], push: PushConfig) -> None:
        """Raises `ConfigError` where `push` cannot be done."""
        histograms = parts.history.realtime.histograms if parts.history else list
        readers: list[MetricReader] = [_PrometheusReader(histograms)]
        if push.endpoint:
            readers.append(_PushReader(histograms, open_exporter(push), interval_seconds=push.interval_seconds))
        self._provider = MeterProvider(
            metric_readers=readers, resource=Resource(dict(resource)), shutdown_on_exit=False
        )
        register(self._provider.get_meter("bridge_app"), parts)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(REGISTRY)

    def close(self) -> None:
        """Push once more, for two seconds at the most, and take the instruments out of the registry. May block."""
        self._provider.shutdown(timeout_millis=_CLOSE_MILLISECONDS)


class _PrometheusReader(PrometheusMetricReader):
    def __init__(self, histograms: Callable[[], Sequence[Metric]]) -> None:
        super().__init__(
            scope_info_enabled=False
        )  # there is one scope, and three labels of it on each line say nothing
        self._histograms = histograms

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        super()._receive_metrics(_with(self._histograms(), metrics_data), timeout_millis, **kwargs)


class _PushReader(PeriodicExportingMetricReader):
    def __init__(
        self, histograms: Callable[[], Sequence[Metric]], exporter: MetricExporter, *, interval_seconds: float
    ) -> None:
        self._histograms = histograms
        super().__init__(exporter, export_interval_millis=interval_seconds * 1000)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        super()._receive_metrics(_with(self._histograms(), metrics_data), timeout_millis, **kwargs)


def _with(histograms: Sequence[Metric], data: MetricsData) -> MetricsData:
    """The SDK's metrics, and the histograms that it does not keep, in the same scope; none without a value."""
    found = [
        ResourceMetrics(
            resource=one.resource,
            scope_metrics=[
                ScopeMetrics(
                    scope=each.scope,
                    metrics=[metric for metric in (*each.metrics, *histograms) if metric.data.data_points],
                    schema_url=each.schema_url,
                )
                for each in one.scope_metrics
            ],
            schema_url=one.schema_url,
        )
        for one in data.resource_metrics
    ]
    return MetricsData(resource_metrics=found)
