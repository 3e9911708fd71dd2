"""What a worker does where its plugin uses OpenTelemetry, or calls out by a library that it instruments.

In: the call that runs, as trace context. Out: that context as the current one, a tracer provider whose spans go to the
bridge as they end, and instrumented libraries. Imported by a worker only once its plugin has imported one of `WATCHED`;
needs the API of OpenTelemetry only, and imports the SDK when a first tracer is asked for. Without the SDK no span is
kept, and outgoing calls carry the execution's context all the same.

A plugin may set up a provider of its own: it gets that one, and its spans come to the bridge as well.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context

    from bridge_app.plugins.worker_spans import SpanSender

INSTRUMENTED: Final = {
    "httpx": ("httpx", "HTTPXClientInstrumentor"),
    "requests": ("requests", "RequestsInstrumentor"),
    "aiohttp": ("aiohttp_client", "AioHttpClientInstrumentor"),
    "urllib3": ("urllib3", "URLLib3Instrumentor"),
}
"""Library → the module below `opentelemetry.instrumentation`, and its class."""
CALL: Final = context.create_key("webhook_bridge.call")
"""Under it a context says in which call of the plugin it began."""
_trace_context: Final = TraceContextTextMapPropagator()
_baggage: Final = W3CBaggagePropagator()


def call_context(traceparent: str, tracestate: str, baggage: str) -> Context:
    """The context that a call runs in: below its execution's span, with the caller's baggage."""
    headers = {"traceparent": traceparent, "tracestate": tracestate, "baggage": baggage}
    given = {name: text for name, text in headers.items() if text}
    return _baggage.extract(given, _trace_context.extract(given, context.Context()))


class Tracing:
    """Of one worker. `send` takes each span as bytes, the moment it ends."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._number = 0
        self._sender: SpanSender | None = None
        self._late = _LateProvider(self._provider)
        self._known: list[object] = [self._late]
        self._threads_follow = False
        # Not by `set_tracer_provider`, which works once a process: a plugin that sets its own must be able to.
        trace._TRACER_PROVIDER = self._late  # noqa: SLF001 - there is no public way to be the default only

    def begin(self, traceparent: str, tracestate: str, baggage: str) -> None:
        """A call begins, or goes on that did not need this before; what opens from here on belongs to it."""
        self._number += 1
        if self._sender is not None:
            self._sender.begin(self._number)
        self._join_providers()
        # Never detached: the next call attaches its own.
        context.attach(context.set_value(CALL, self._number, call_context(traceparent, tracestate, baggage)))

    @property
    def dropped(self) -> int:
        """Spans of this call that were too many."""
        return self._sender.dropped if self._sender else 0

    def imported(self, library: str) -> None:
        """Instrument the library, where that is installed."""
        if library not in INSTRUMENTED:
            return
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")  # the stable names of attributes
        module, name = INSTRUMENTED[library]
        if _instrument(module, name) and not self._threads_follow:
            self._threads_follow = True
            _instrument("threading", "ThreadingInstrumentor")

    def _provider(self) -> trace.TracerProvider:
        """The SDK's, made for this worker; one that makes nothing where the SDK is not installed."""
        try:
            worker_spans: Any = importlib.import_module("bridge_app.plugins.worker_spans")
        except ImportError:
            return trace.NoOpTracerProvider()
        provider: trace.TracerProvider = worker_spans.provider(self._ready_sender(worker_spans))
        return provider

    def _join_providers(self) -> None:
        """See the spans of a provider that the plugin set up."""
        provider: Any = trace.get_tracer_provider()
        if provider not in self._known:
            self._known.append(provider)
            if hasattr(provider, "add_span_processor"):
                worker_spans = importlib.import_module("bridge_app.plugins.worker_spans")
                provider.add_span_processor(self._ready_sender(worker_spans))

    def _ready_sender(self, worker_spans: Any) -> SpanSender:
        if self._sender is None:
            self._sender = worker_spans.SpanSender(self._send)
            self._sender.begin(self._number)
        return self._sender


class _LateProvider(trace.TracerProvider):
    """Becomes a provider when a first tracer is asked for: the SDK takes 50 ms to import."""

    def __init__(self, make: Callable[[], trace.TracerProvider]) -> None:
        self._make = make
        self._made: trace.TracerProvider | None = None

    def get_tracer(self, *args: Any, **options: Any) -> trace.Tracer:
        return self._provider().get_tracer(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider(), name)

    def _provider(self) -> trace.TracerProvider:
        if self._made is None:
            self._made = self._make()
        return self._made


def _instrument(module: str, name: str) -> bool:
    try:
        instrumentor = getattr(importlib.import_module(f"opentelemetry.instrumentation.{module}"), name)
    except ImportError:
        return False
    instrumentor().instrument()
    return True
