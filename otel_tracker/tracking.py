"""Tracker: opens an execution's span; and which tracker the process has.

In: a name, an input, tags, attributes. Out: a running `Execution`. Nothing here raises into, delays or changes what it
tracks: every entry is guarded by `failsafe`, and an execution whose tracking failed goes on untracked.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Protocol

import uuid_utils
from opentelemetry import context as otel_context
from opentelemetry.trace import NoOpTracer, SpanKind, get_tracer, set_span_in_context

from otel_tracker import conventions as names
from otel_tracker.capture import NOTHING, Captured, CaptureSettings, capture, facts_text
from otel_tracker.execution import Execution, LateInput
from otel_tracker.failsafe import failsafe
from otel_tracker.redaction import Redactor
from otel_tracker.spans import ExecutionTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import Attributes


class OpensSpans(Protocol):
    """What a tracker needs of a tracer: every OpenTelemetry tracer has it, and so has ExecutionTracer, for less."""

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *,
        start_time: int,
    ) -> Span:
        """Open a span, child of the current one of `context`."""
        ...


class Tracker:
    """Opens executions on one tracer. Thread-safe; makes no thread of its own."""

    def __init__(self, tracer: OpensSpans, *, settings: CaptureSettings | None = None, instance_id: str = "") -> None:
        self.settings = settings or CaptureSettings()
        self.redactor = Redactor(self.settings.redact_keys)
        self.new_id: Callable[[], object] = uuid_utils.uuid7
        self.clock_ns: Callable[[], int] = time.time_ns
        self.timer_ns: Callable[[], int] = time.perf_counter_ns
        self._tracer = tracer
        self._instance_id = instance_id

    def start(  # noqa: PLR0913 - each is a separate fact, named at the call
        self,
        name: str,
        *,
        input: object = None,  # noqa: A002 - the record's own word
        captured_input: Captured | Callable[[], Captured] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        context: Context | None = None,
        attributes: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Execution:
        """Open an execution; the caller must `end` it. Never raises: a failure gives one that tracks nothing.

        A callable as `captured_input` is called when the input is first needed, at the latest by `end`.
        """
        try:
            return self._start(
                name,
                captured_input or self._captured(input),
                kind=kind,
                context=context,
                attributes=attributes or {},
                tags=tags,
            )
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("tracker.start", error)
            return Execution(self, None)

    def _captured(self, value: object) -> Captured:
        if value is None or not self.settings.track_input:
            return NOTHING
        try:
            return capture(value, max_bytes=self.settings.max_input_size, redactor=self.redactor)
        except BaseException as error:  # noqa: BLE001 - an execution without its input is better than none
            failsafe.caught("tracker.input", error)
            return NOTHING

    def _start(
        self,
        name: str,
        captured: Captured | Callable[[], Captured],
        *,
        kind: SpanKind,
        context: Context | None,
        attributes: Mapping[str, Any],
        tags: Mapping[str, str] | None,
    ) -> Execution:
        open_span, taken, text = self._opening(captured)
        execution_id = str(self.new_id())
        start, begin = self.clock_ns(), self.timer_ns()
        first = {
            names.EXECUTION_ID: execution_id,
            names.PLUGIN_NAME: name,
            names.INPUT: text,
            names.INSTANCE_ID: self._instance_id,
            **attributes,
        }
        texts = _texts(tags) if tags else {}
        if texts:
            first[names.TAGS] = facts_text(texts, redactor=self.redactor)
        span = open_span(f"execute {name}", context=context, kind=kind, attributes=first, start_time=start)
        if not span.is_recording():
            return Execution(self, None)
        execution = Execution(self, span, id=execution_id, start=start, begin=begin, input=taken)
        for tag, text in texts.items():
            execution.set_tag(tag, text)
        return execution

    def _opening(
        self, captured: Captured | Callable[[], Captured]
    ) -> tuple[Callable[..., Span], Captured | LateInput, str]:
        """How to open the span, the input, and its text as far as it is known at the start."""
        tracer = self._tracer
        if isinstance(captured, Captured):
            return tracer.start_span, captured, captured.text
        late = LateInput(captured)
        if isinstance(tracer, ExecutionTracer):
            return functools.partial(tracer.start_span, late=late.attributes), late, ""
        return tracer.start_span, late, late.captured().text  # other spans show at their start what they are given


def _texts(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as the texts that they should be; none where even that fails."""
    try:
        return {str(name): str(value) for name, value in tags.items()}
    except BaseException as error:  # noqa: BLE001 - an execution without its tags is better than none
        failsafe.caught("tracker.tags", error)
        return {}


_current: Tracker | None = None


def set_tracker(tracker: Tracker | None) -> Tracker | None:
    """Make this the tracker of `track` in the whole process, None takes it away; gives the one before."""
    global _current  # a decorator at import time has nowhere else to look
    before, _current = _current, tracker
    return before


def get_tracker() -> Tracker:
    """What `configure` set up; without it, one on OpenTelemetry's global provider (no provider: tracks nothing)."""
    return _current or _global_tracker()


@functools.cache
def _global_tracker() -> Tracker:
    try:
        return Tracker(get_tracer("otel_tracker"))  # before there is a provider, a proxy that waits for one
    except BaseException as error:  # noqa: BLE001 - OTEL_PYTHON_TRACER_PROVIDER may name what does not load
        failsafe.caught("tracking.get_tracker", error)
        return Tracker(NoOpTracer())


def activate(execution: Execution) -> Token[Context] | None:
    """Make the execution's span the current one, so that what opens inside becomes its child."""
    try:
        return otel_context.attach(set_span_in_context(execution.span)) if execution.span else None
    except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
        failsafe.caught("tracking.activate", error)
        return None


def deactivate(token: Token[Context] | None) -> None:
    """Undo `activate`."""
    if token is not None:
        try:
            otel_context.detach(token)
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("tracking.deactivate", error)
