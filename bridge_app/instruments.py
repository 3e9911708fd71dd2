"""The instruments of a bridge: one table of what is told, by `/metrics` and over OTLP.

In: the parts of a bridge. Out: for each instrument its values with their labels, read from counters that are kept
anyway, when somebody asks, in whichever thread: a request pays nothing for them. Labels are registered plugins,
configured destinations and words of closed lists, so what callers send cannot make them grow. Names follow
OpenTelemetry's conventions for metrics; `otel.sdk.*` are its own,
https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/. docs/metrics.md prints the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.semconv._incubating.attributes.process_attributes import PROCESS_RUNTIME_VERSION
from opentelemetry.semconv.attributes.service_attributes import SERVICE_VERSION

from bridge_app import observed
from bridge_app.realtime import DURATION, PHASES
from otel_tracker.conventions import ERROR_TYPE, HTTP_RESPONSE_STATUS_CODE
from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import Meter

    from bridge_app.observed import Parts, Value


class Instrument(NamedTuple):
    """One of them. `counter` only rises while the process lives; `updown` sums over processes, a `gauge` does not."""

    kind: Literal["counter", "updown", "gauge"]
    name: str
    unit: str
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[Parts], Iterable[Value]]


def register(meter: Meter, parts: Parts) -> None:
    """Have all of them observed, each time that a reader collects."""
    make = {
        "counter": meter.create_observable_counter,
        "updown": meter.create_observable_up_down_counter,
        "gauge": meter.create_observable_gauge,
    }
    for one in INSTRUMENTS:
        make[one.kind](one.name, [_callback(one, parts)], unit=one.unit, description=one.meaning)


def markdown() -> str:
    """The table for people."""
    lines = ["| instrument | kind | unit | labels | meaning |", "| --- | --- | --- | --- | --- |"]
    rows = [
        *((one.name, one.kind, one.unit, one.labels, one.meaning) for one in INSTRUMENTS),
        *((one.name, "histogram", "s", one.labels, one.meaning) for one in (DURATION, PHASES)),
    ]
    for name, kind, unit, labels, meaning in sorted(rows):
        shown = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {kind} | {f'`{unit}`' if unit else ''} | {shown} | {meaning} |")
    return "\n".join(lines) + "\n"


def _callback(one: Instrument, parts: Parts) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> list[Observation]:
        return [
            Observation(value, {name: text for name, text in zip(one.labels, labels, strict=True) if text})
            for value, labels in one.read(parts)
        ]

    return observe


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument(
        "counter", "webhook_bridge.requests", "{request}", (HTTP_RESPONSE_STATUS_CODE,),
        "Answers to webhooks, those refused before they ran included",
        lambda parts: ((count, (str(status),)) for status, count in parts.bridge.answered.copy().items()),
    ),
    Instrument(
        "counter", "webhook_bridge.rejected", "{request}", ("reason",),
        "Deliveries refused before they became an execution",
        lambda parts: ((count, (reason,)) for reason, count in parts.bridge.rejected.copy().items()),
    ),
    Instrument(
        "counter", "webhook_bridge.executions", "{execution}", ("plugin", "status"), "Ended executions of webhooks",
        observed.executions,
    ),
    Instrument(
        "updown", "webhook_bridge.executions.running", "{execution}", ("plugin",),
        "Executions of webhooks that run now", observed.running,
    ),
    Instrument(
        "counter", "webhook_bridge.executions.started", "{execution}", (), "Executions opened",
        observed.accounting("started"),
    ),
    Instrument(
        "counter", "webhook_bridge.executions.stored", "{execution}", (), "Executions delivered to the store",
        observed.accounting("stored"),
    ),
    Instrument(
        "updown", "webhook_bridge.executions.spooled", "{execution}", (),
        "Executions that ended and wait for the store", observed.accounting("spooled"),
    ),
    Instrument(
        "updown", "webhook_bridge.executions.in_flight", "{execution}", (), "Executions running now",
        observed.accounting("in_flight"),
    ),
    Instrument(
        "counter", "webhook_bridge.executions.dropped", "{execution}", ("reason",),
        "Executions whose end is nowhere", observed.dropped,
    ),
    Instrument(
        "counter", "otel.sdk.span.started", "{span}", (), "Spans of executions opened", observed.accounting("started")
    ),
    Instrument(
        "updown", "otel.sdk.span.live", "{span}", (), "Spans of executions that have not ended",
        observed.accounting("in_flight"),
    ),
    Instrument(
        "counter", "otel.sdk.processor.span.processed", "{span}", (ERROR_TYPE,),
        "Ended spans of executions that reached the spool, or did not, and why", observed.processed,
    ),
    Instrument(
        "updown", "otel.sdk.processor.span.queue.size", "{span}", (), "Spans of executions in the spool",
        observed.accounting("spooled"),
    ),
    Instrument(
        "counter", "otel.sdk.exporter.span.exported", "{span}", (ERROR_TYPE,),
        "Ended spans of executions that reached the store, or that it would not have", observed.exported,
    ),
    Instrument(
        "counter", "webhook_bridge.tracking.failures", "{failure}", ("place",), "Faults inside tracking, all caught",
        lambda _: ((count, (place,)) for place, count in failsafe.failures.copy().items()),
    ),
    Instrument(
        "updown", "webhook_bridge.queue.size", "{call}", (), "Calls that wait for a worker",
        lambda parts: ((parts.runner.waiting, ()),),
    ),
    Instrument(
        "updown", "webhook_bridge.queue.limit", "{call}", (), "How many may wait: plugins.max_queue",
        lambda parts: ((parts.runner.settings.max_queue, ()),),
    ),
    Instrument(
        "updown", "webhook_bridge.workers", "{process}", (), "Worker processes alive, the spare one included",
        lambda parts: ((len(parts.runner.worker_pids()), ()),),
    ),
    Instrument(
        "counter", "webhook_bridge.worker.restarts", "{process}", (),
        "Worker processes that ended and were replaced: killed, crashed, or of age",
        lambda parts: ((parts.runner.restarts, ()),),
    ),
    Instrument(
        "updown", "webhook_bridge.plugins", "{plugin}", ("state",), "Plugins: ready, stale, broken, loading",
        observed.plugins,
    ),
    Instrument(
        "counter", "webhook_bridge.plugin.loads", "{load}", ("plugin", "result"),
        "Versions of plugin files that were loaded, or are broken; a reload is one more",
        lambda parts: ((count, labels) for labels, count in parts.runner.registry.loads.copy().items()),
    ),
    Instrument(
        "gauge", "webhook_bridge.storage.up", "", (), "1 while records are kept and reach the store, else 0",
        lambda parts: ((int(parts.history.is_open), ()),) if parts.history else (),
    ),
    Instrument(
        "counter", "webhook_bridge.spool.dropped", "{frame}", ("reason",), "Frames lost on their way to the store",
        observed.frames_dropped,
    ),
    Instrument(
        "gauge", "webhook_bridge.spool.size", "By", (), "What waits for the store", lambda parts: parts.spool("bytes")
    ),
    Instrument(
        "gauge", "webhook_bridge.spool.age", "s", (), "How long the oldest of it has waited: the history's lag",
        lambda parts: parts.spool("oldest_age_seconds"),
    ),
    Instrument(
        "counter", "webhook_bridge.otlp.spans", "{span}", ("result",), "Spans sent to /v1/traces",
        lambda parts: ((count, (result,)) for result, count in parts.otlp.counts.copy().items()) if parts.otlp else (),
    ),
    Instrument(
        "counter", "webhook_bridge.forward.spans", "{span}", ("destination", "result"),
        "Forwarded spans: sent, rejected (of a request that was taken), dead_letter, dropped", observed.forwarded,
    ),
    Instrument(
        "counter", "webhook_bridge.forward.dropped", "{span}", ("destination", "reason"), "The dropped ones, and why",
        observed.forward_dropped,
    ),
    Instrument(
        "updown", "webhook_bridge.forward.waiting", "{span}", ("destination",), "Spans on disk for a destination",
        observed.waiting("waiting_spans"),
    ),
    Instrument(
        "updown", "webhook_bridge.forward.waiting.size", "By", ("destination",), "What they take",
        observed.waiting("waiting_bytes"),
    ),
    Instrument(
        "gauge", "webhook_bridge.forward.lag", "s", ("destination",), "About how long the oldest of them has waited",
        observed.waiting("waiting_seconds"),
    ),
    Instrument(
        "gauge", "webhook_bridge.forward.up", "", ("destination",),
        "1 while the destination takes spans, 0 while it is retried",
        lambda parts: ((int(report.state == "ok"), (name,)) for name, report in parts.destinations()),
    ),
    Instrument(
        "gauge", "webhook_bridge.forward.behind", "By", (), "What of the history's spool the forwarder has not read",
        observed.forwarder("behind_bytes"),
    ),
    Instrument(
        "counter", "webhook_bridge.forward.missed", "{frame}", (),
        "Frames deleted before the forwarder had read them", observed.missed,
    ),
    Instrument(
        "counter", "webhook_bridge.forward.unreadable", "{frame}", (),
        "Frames that the forwarder could not decode", observed.forwarder("unreadable"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.runs", "{run}", (), "Cleanups of this process that came to their end",
        observed.cleaned("runs"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.skipped", "{run}", (), "Cleanups left to another process",
        observed.cleaned("skipped"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.deleted", "{execution}", (), "Executions that the retention deleted",
        observed.cleaned("deleted"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.payloads.deleted", "{execution}", (),
        "Executions that it left without their payload", observed.cleaned("payloads_deleted"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.freed", "By", (), "What it gave back to the disk",
        observed.cleaned("freed_bytes"),
    ),
    Instrument(
        "gauge", "webhook_bridge.build.info", "", (SERVICE_VERSION, PROCESS_RUNTIME_VERSION), "Always 1", observed.build
    ),
)  # fmt: skip
