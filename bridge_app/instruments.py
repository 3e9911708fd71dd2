"""The instruments of a bridge: one table of what is told, by `/metrics` and over OTLP.

In: the parts of a bridge. Out: for each instrument its values with their labels, read from counters that are kept
anyway, when somebody asks, in whichever thread: a request pays nothing for them. Labels are registered plugins,
configured destinations and words of closed lists, so what callers send cannot make them grow. Names follow
OpenTelemetry's conventions for metrics; `otel.sdk.*` are its own,
https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/. docs/metrics.md prints the table.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.semconv._incubating.attributes.process_attributes import PROCESS_RUNTIME_VERSION
from opentelemetry.semconv.attributes.service_attributes import SERVICE_VERSION

from bridge_app.realtime import DURATION, PHASES
from bridge_app.version import VERSION
from exporters.account import REJECTED
from otel_tracker.conventions import ERROR_TYPE, HTTP_RESPONSE_STATUS_CODE
from otel_tracker.failsafe import failsafe

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from bridge_app.accounting import Accounting, Ledger
    from bridge_app.history import History
    from bridge_app.otlp_in import OtlpReceiver
    from bridge_app.plugins.runner import PluginRunner
    from bridge_app.webhooks import Bridge
    from exporters.forwarding.messages import DestinationReport

Value = tuple[float, tuple[str, ...]]
"""A number and its labels, in the order of the instrument's."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is observed; without tracking some of it is absent."""

    bridge: Bridge
    runner: PluginRunner
    history: History | None = None
    ledger: Ledger | None = None
    otlp: OtlpReceiver | None = None

    @property
    def accounting(self) -> Accounting | None:
        """Where the executions of this process are."""
        return self.ledger.read() if self.ledger else None

    def destinations(self) -> Iterator[tuple[str, DestinationReport]]:
        """Each by its name, and how it does."""
        forwarding = self.history.forwarding if self.history else None
        for one, report in forwarding.each() if forwarding else ():
            yield one.name, report

    def spool(self, name: str) -> Iterator[Value]:
        """One figure of the spool."""
        if self.history:
            yield self.history.spool_json()[name], ()


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


# --- what takes more than a line to read


def _executions(parts: Parts) -> Iterator[Value]:
    for labels, count in (parts.history.realtime.totals() if parts.history else {}).items():
        yield count, labels


def _running(parts: Parts) -> Iterator[Value]:
    for plugin, count in (parts.history.realtime.running() if parts.history else {}).items():
        yield count, (plugin,)


def _accounting(name: str) -> Callable[[Parts], Iterator[Value]]:
    def read(parts: Parts) -> Iterator[Value]:
        if (accounting := parts.accounting) is not None:
            yield getattr(accounting, name), ()

    return read


def _dropped(parts: Parts) -> Iterator[Value]:
    for reason, count in (accounting.dropped if (accounting := parts.accounting) else {}).items():
        yield count, (reason,)


def _processed(parts: Parts) -> Iterator[Value]:
    if (accounting := parts.accounting) is not None:
        rejected = accounting.dropped.get(REJECTED, 0)
        yield accounting.stored + accounting.spooled + rejected, ("",)
        yield from ((count, (reason,)) for reason, count in accounting.dropped.items() if reason != REJECTED)


def _exported(parts: Parts) -> Iterator[Value]:
    if (accounting := parts.accounting) is not None:
        yield accounting.stored, ("",)
        yield accounting.dropped.get(REJECTED, 0), (REJECTED,)


def _frames_dropped(parts: Parts) -> Iterator[Value]:
    for reason, count in (parts.history.spool_json()["dropped"] if parts.history else {}).items():
        yield count, (reason,)


def _forwarded(parts: Parts) -> Iterator[Value]:
    for name, report in parts.destinations():
        yield report.sent, (name, "sent")
        yield report.rejected, (name, "rejected")
        yield report.dead_letters, (name, "dead_letter")
        yield sum(report.dropped.values()), (name, "dropped")


def _forward_dropped(parts: Parts) -> Iterator[Value]:
    for name, report in parts.destinations():
        yield from ((count, (name, reason)) for reason, count in report.dropped.items())


def _waiting(name: str) -> Callable[[Parts], Iterator[Value]]:
    def read(parts: Parts) -> Iterator[Value]:
        yield from ((getattr(report, name), (destination,)) for destination, report in parts.destinations())

    return read


def _forwarder(name: Literal["behind_bytes", "unreadable"]) -> Callable[[Parts], Iterator[Value]]:
    def read(parts: Parts) -> Iterator[Value]:
        if parts.history and parts.history.forwarding:
            yield getattr(parts.history.forwarding.state, name), ()

    return read


def _missed(parts: Parts) -> Iterator[Value]:
    if parts.history and parts.history.forwarding:
        yield parts.history.unfollowed, ()


def _cleaned(name: Literal["runs", "skipped", "deleted", "payloads_deleted", "freed_bytes"]) -> _Read:
    def read(parts: Parts) -> Iterator[Value]:
        if parts.history:
            yield getattr(parts.history.cleaner, name), ()

    return read


def _plugins(parts: Parts) -> Iterator[Value]:
    states = [info.state.value for info in parts.runner.registry.list()]
    for state in sorted(set(states)):
        yield states.count(state), (state,)


def _build(_: Parts) -> Iterator[Value]:
    yield 1, (VERSION, platform.python_version())


_Read = Callable[[Parts], Iterator[Value]]

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
        _executions,
    ),
    Instrument(
        "updown", "webhook_bridge.executions.running", "{execution}", ("plugin",),
        "Executions of webhooks that run now", _running,
    ),
    Instrument(
        "counter", "webhook_bridge.executions.started", "{execution}", (), "Executions opened", _accounting("started")
    ),
    Instrument(
        "counter", "webhook_bridge.executions.stored", "{execution}", (), "Executions delivered to the store",
        _accounting("stored"),
    ),
    Instrument(
        "updown", "webhook_bridge.executions.spooled", "{execution}", (),
        "Executions that ended and wait for the store", _accounting("spooled"),
    ),
    Instrument(
        "updown", "webhook_bridge.executions.in_flight", "{execution}", (), "Executions running now",
        _accounting("in_flight"),
    ),
    Instrument(
        "counter", "webhook_bridge.executions.dropped", "{execution}", ("reason",),
        "Executions whose end is nowhere", _dropped,
    ),
    Instrument(
        "counter", "otel.sdk.span.started", "{span}", (), "Spans of executions opened", _accounting("started")
    ),
    Instrument(
        "updown", "otel.sdk.span.live", "{span}", (), "Spans of executions that have not ended",
        _accounting("in_flight"),
    ),
    Instrument(
        "counter", "otel.sdk.processor.span.processed", "{span}", (ERROR_TYPE,),
        "Ended spans of executions that reached the spool, or did not, and why", _processed,
    ),
    Instrument(
        "updown", "otel.sdk.processor.span.queue.size", "{span}", (), "Spans of executions in the spool",
        _accounting("spooled"),
    ),
    Instrument(
        "counter", "otel.sdk.exporter.span.exported", "{span}", (ERROR_TYPE,),
        "Ended spans of executions that reached the store, or that it would not have", _exported,
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
        "updown", "webhook_bridge.plugins", "{plugin}", ("state",), "Plugins: ready, stale, broken, loading", _plugins
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
        _frames_dropped,
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
        "Forwarded spans: sent, rejected (of a request that was taken), dead_letter, dropped", _forwarded,
    ),
    Instrument(
        "counter", "webhook_bridge.forward.dropped", "{span}", ("destination", "reason"), "The dropped ones, and why",
        _forward_dropped,
    ),
    Instrument(
        "updown", "webhook_bridge.forward.waiting", "{span}", ("destination",), "Spans on disk for a destination",
        _waiting("waiting_spans"),
    ),
    Instrument(
        "updown", "webhook_bridge.forward.waiting.size", "By", ("destination",), "What they take",
        _waiting("waiting_bytes"),
    ),
    Instrument(
        "gauge", "webhook_bridge.forward.lag", "s", ("destination",), "About how long the oldest of them has waited",
        _waiting("waiting_seconds"),
    ),
    Instrument(
        "gauge", "webhook_bridge.forward.up", "", ("destination",),
        "1 while the destination takes spans, 0 while it is retried",
        lambda parts: ((int(report.state == "ok"), (name,)) for name, report in parts.destinations()),
    ),
    Instrument(
        "gauge", "webhook_bridge.forward.behind", "By", (), "What of the history's spool the forwarder has not read",
        _forwarder("behind_bytes"),
    ),
    Instrument(
        "counter", "webhook_bridge.forward.missed", "{frame}", (),
        "Frames deleted before the forwarder had read them", _missed,
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.runs", "{run}", (), "Cleanups of this process that came to their end",
        _cleaned("runs"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.skipped", "{run}", (), "Cleanups left to another process",
        _cleaned("skipped"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.deleted", "{execution}", (), "Executions that the retention deleted",
        _cleaned("deleted"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.payloads.deleted", "{execution}", (),
        "Executions that it left without their payload", _cleaned("payloads_deleted"),
    ),
    Instrument(
        "counter", "webhook_bridge.cleanup.freed", "By", (), "What it gave back to the disk", _cleaned("freed_bytes")
    ),
    Instrument(
        "gauge", "webhook_bridge.build.info", "", (SERVICE_VERSION, PROCESS_RUNTIME_VERSION), "Always 1", _build
    ),
)  # fmt: skip
