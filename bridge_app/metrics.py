"""`/metrics`: the figures of this process as OpenTelemetry instruments, read by Prometheus.

The instruments observe plain counters when they are scraped, so a request pays nothing for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, generate_latest

from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import Meter

    from bridge_app.accounting import Ledger
    from bridge_app.history import History
    from bridge_app.otlp_in import OtlpReceiver
    from bridge_app.webhooks import Bridge


class Metrics:
    """The instruments of one bridge."""

    def __init__(
        self, *, bridge: Bridge, history: History | None, ledger: Ledger | None, otlp: OtlpReceiver | None = None
    ) -> None:
        self._bridge = bridge
        self._history = history
        self._ledger = ledger
        self._otlp = otlp
        self._reader = PrometheusMetricReader()
        self._provider = MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        meter = self._provider.get_meter("bridge_app")
        counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
        counter("webhook_bridge.executions", [self._executions], unit="{execution}", description="Ended executions")
        counter("webhook_bridge.rejected", [self._rejected], unit="{request}", description="Deliveries refused")
        counter("webhook_bridge.tracking.failures", [self._failures], unit="{failure}", description="Tracking faults")
        counter("otel.sdk.span.started", [self._started], unit="{span}", description="Execution spans started")
        counter("webhook_bridge.spool.dropped", [self._dropped], unit="{frame}", description="Frames lost, and why")
        counter("webhook_bridge.otlp.spans", [self._received], unit="{span}", description="Spans of others, by result")
        counter("webhook_bridge.cleanup.skipped", [self._skipped], unit="{run}", description="Cleanups left to others")
        self._account_for(meter)
        gauge("webhook_bridge.spool.size", [self._spool_bytes], unit="By", description="Bytes waiting for the store")
        gauge("webhook_bridge.spool.age", [self._spool_age], unit="s", description="Age of the oldest waiting record")

    def _account_for(self, meter: Meter) -> None:
        """Started = stored + spooled + in flight + dropped."""

        def observed(name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
            return lambda _: [Observation(getattr(self._ledger.read(), name))] if self._ledger else []

        told = {"started": "opened", "stored": "delivered to the store"}
        for name, what in told.items():
            meter.create_observable_counter(
                f"webhook_bridge.executions.{name}",
                [observed(name)],
                unit="{execution}",
                description=f"Executions {what}",
            )
        told = {"spooled": "that ended and wait for the store", "in_flight": "running now"}
        for name, what in told.items():
            meter.create_observable_gauge(
                f"webhook_bridge.executions.{name}",
                [observed(name)],
                unit="{execution}",
                description=f"Executions {what}",
            )
        meter.create_observable_counter(
            "webhook_bridge.executions.dropped",
            [self._lost],
            unit="{execution}",
            description="Executions whose end is nowhere, and why",
        )

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(REGISTRY)

    def close(self) -> None:
        """Take the instruments out of the registry."""
        self._provider.shutdown()

    def _executions(self, _: CallbackOptions) -> Iterable[Observation]:
        totals = self._history.realtime.totals() if self._history else {}
        return [Observation(n, {"plugin": plugin, "status": status}) for (plugin, status), n in totals.items()]

    def _rejected(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(n, {"reason": reason}) for reason, n in self._bridge.rejected.items()]

    def _failures(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(n, {"place": place}) for place, n in failsafe.failures.items()]

    def _started(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._ledger.read().started)] if self._ledger else []

    def _lost(self, _: CallbackOptions) -> Iterable[Observation]:
        dropped = self._ledger.read().dropped if self._ledger else {}
        return [Observation(n, {"reason": reason}) for reason, n in dropped.items()]

    def _dropped(self, _: CallbackOptions) -> Iterable[Observation]:
        dropped = self._history.spool_json()["dropped"] if self._history else {}
        return [Observation(n, {"reason": reason}) for reason, n in dropped.items()]

    def _received(self, _: CallbackOptions) -> Iterable[Observation]:
        counts = self._otlp.counts.copy() if self._otlp else {}
        return [Observation(n, {"result": result}) for result, n in counts.items()]

    def _skipped(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._history.cleaner.skipped)] if self._history else []

    def _spool_bytes(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._history.spool_json()["bytes"])] if self._history else []

    def _spool_age(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._history.spool_json()["oldest_age_seconds"])] if self._history else []
