"""@track, `with track()`, and Tracker: opens the span of an execution, captures input, output and error, closes it.

Nothing here raises into, delays or changes what it tracks: every entry is guarded by `failsafe`, and an execution whose
tracking failed goes on untracked. Durations come from a monotonic clock; the span's end is its start plus that.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import uuid_utils
from opentelemetry import context as otel_context
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode, get_tracer, set_span_in_context

from otel_tracker import conventions as names
from otel_tracker.capture import NOTHING, Captured, capture
from otel_tracker.classification import classify, format_error
from otel_tracker.failsafe import failsafe
from otel_tracker.record import Status
from otel_tracker.redaction import Redactor
from otel_tracker.spans import ExecutionSpan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span
    from opentelemetry.util.types import Attributes

_encode = msgspec.json.Encoder().encode
_MAX_FACTS: Final = 65_536
"""Bytes of tags, and of metadata."""


class CaptureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of inputs, outputs and errors."""

    track_input: bool = True
    track_output: bool = True
    track_errors: bool = True
    max_input_size: int = 1_048_576
    """Bytes of JSON; what is larger is cut and says so."""
    max_output_size: int = 1_048_576
    redact_keys: tuple[str, ...] = ()
    """Names to redact beside the built-in ones."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution failed, for code that caught the failure itself."""

    status: Status
    error_type: str
    message: str = ""
    traceback: str = ""


class Execution:
    """One running execution. Every method is safe to call at any time, also after the end, and never raises."""

    __slots__ = (
        "_begin",
        "_done",
        "_input",
        "_metadata",
        "_output",
        "_span",
        "_start",
        "_stop",
        "_tags",
        "_tracker",
        "id",
    )

    def __init__(self, tracker: Tracker, span: Span | None, *, id: str, start: int, begin: int) -> None:  # noqa: A002 - the record's own word
        self.id = id
        """The record's id; empty where tracking is off or failed."""
        self._tracker = tracker
        self._span = span
        self._start = start
        self._begin = begin
        self._stop = 0
        self._done = span is None
        self._input = NOTHING
        self._output = NOTHING
        self._metadata: dict[str, Any] = {}
        self._tags: dict[str, str] = {}

    @property
    def trace_id(self) -> str:
        """32 hex digits, the id that Jaeger shows; empty where tracking is off."""
        return format(self._span.get_span_context().trace_id, "032x") if self._span else ""

    @property
    def span(self) -> Span | None:
        """The execution's span, for what else OpenTelemetry can do with it; None where tracking is off."""
        return self._span

    @property
    def is_ended(self) -> bool:
        """Whether `end` was called."""
        return self._done

    def stop_clock(self) -> None:
        """Let it last until now, although it is ended a little later."""
        self._stop = self._tracker.timer_ns()

    def set_output(self, value: object) -> None:
        """Keep this value (any JSON-like or dataclass value) as the output; the last call wins."""
        try:
            settings = self._tracker.settings
            if not self._done and settings.track_output:
                self.set_captured_output(
                    capture(value, max_bytes=settings.max_output_size, redactor=self._tracker.redactor)
                )
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("execution.set_output", error)

    def set_captured_output(self, captured: Captured) -> None:
        """Keep an output that was captured already."""
        self._output = captured

    def set_tag(self, name: str, value: str) -> None:
        """Tag the record, to filter by later."""
        try:
            self._tags[str(name)] = str(value)
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("execution.set_tag", error)

    def set_metadata(self, name: str, value: object) -> None:
        """Keep a JSON-like fact beside the fixed fields, as it is when the execution ends."""
        try:
            self._metadata[str(name)] = value
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("execution.set_metadata", error)

    def fail(self, failure: Failure, *, attributes: Mapping[str, Any] | None = None) -> None:
        """End it as failed, timed out or canceled, without an exception at hand."""
        self.end(failure=failure, attributes=attributes)

    def end(
        self,
        *,
        error: BaseException | None = None,
        failure: Failure | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """End it: as completed, by an exception, or by a failure; the first call counts."""
        if self._done:
            return
        self._done = True
        try:
            self._finish(failure if error is None else _failure_of(error), attributes or {})
        except BaseException as problem:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("execution.end", problem)
            self._finish_bare(Status.COMPLETED if error is None and failure is None else Status.FAILED)

    def _finish(self, failure: Failure | None, attributes: Mapping[str, Any]) -> None:
        span, settings = self._span, self._tracker.settings
        if span is None:
            return
        duration = (self._stop or self._tracker.timer_ns()) - self._begin
        if isinstance(span, ExecutionSpan):
            span.settle()  # before the metadata, which says what was cut
        last: dict[str, Any] = {
            names.STATUS: (failure.status if failure else Status.COMPLETED).value,
            names.DURATION: duration,
            names.METADATA: self._metadata_text(),
            **attributes,
        }
        if self._output.text:
            last[names.OUTPUT] = self._output.text
        if self._tags:
            last[names.TAGS] = self._tracker.facts_text(self._tags)
        if failure:
            last[names.ERROR_TYPE] = failure.error_type
            if settings.track_errors:
                last[names.ERROR] = failure.message
                last[names.TRACEBACK] = failure.traceback
            span.set_status(StatusCode.ERROR, failure.message if settings.track_errors else None)
        span.set_attributes(last)
        span.end(end_time=self._start + duration)

    def _take_late(self, make: Callable[[], Captured]) -> None:
        def made() -> dict[str, Any]:
            try:
                self._input = make()
            except BaseException as error:  # noqa: BLE001 - an execution without its input is better than none
                failsafe.caught("tracker.input", error)
            return {names.INPUT: self._input.text}

        if isinstance(self._span, ExecutionSpan):
            self._span.set_late(made)
        elif self._span is not None:
            self._span.set_attributes(made())

    def _finish_bare(self, status: Status) -> None:
        """End it with the least that is true, after `_finish` failed: it must not look as if it ran on for ever."""
        try:
            if self._span is not None and self._span.is_recording():
                self._span.set_attribute(names.STATUS, status.value)
                self._span.end()
        except BaseException as problem:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("execution.end", problem)

    def _metadata_text(self) -> str:
        cut: dict[str, Any] = {}
        for name, captured in (("input", self._input), ("output", self._output)):
            if captured.truncated:
                cut[f"{name}_truncated"] = True
                cut[f"{name}_size"] = captured.size
                cut[f"{name}_sha256"] = captured.sha256
        marks = _encode(cut).decode() if cut else "{}"
        if not self._metadata:
            return marks
        given = self._tracker.facts_text(self._metadata)
        return f"{given[:-1]},{marks[1:]}" if cut else given


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
            return Execution(self, None, id="", start=0, begin=0)

    def facts_text(self, facts: Mapping[str, Any]) -> str:
        """Tags or metadata as a JSON object, bounded and redacted."""
        text = capture(facts, max_bytes=_MAX_FACTS, redactor=self.redactor).text
        return text if text.startswith("{") else "{}"  # what could not be captured is counted there

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
        late = None if isinstance(captured, Captured) else captured
        captured = captured if isinstance(captured, Captured) else NOTHING
        execution_id = str(self.new_id())
        start, begin = self.clock_ns(), self.timer_ns()
        first = {
            names.EXECUTION_ID: execution_id,
            names.PLUGIN_NAME: name,
            names.INPUT: captured.text,
            names.INSTANCE_ID: self._instance_id,
            **attributes,
        }
        texts = _texts(tags) if tags else None
        if texts:
            first[names.TAGS] = self.facts_text(texts)
        span = self._tracer.start_span(
            f"execute {name}",
            context=context,
            kind=kind,
            attributes=first,
            start_time=start,
        )
        if not span.is_recording():
            return Execution(self, None, id="", start=0, begin=0)
        execution = Execution(self, span, id=execution_id, start=start, begin=begin)
        execution._input = captured  # noqa: SLF001 - one thing in two halves
        if late is not None:
            execution._take_late(late)  # noqa: SLF001 - one thing in two halves
        if texts:
            execution._tags.update(texts)  # noqa: SLF001 - one thing in two halves
        return execution


def _texts(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as the texts that they should be; none where even that fails."""
    try:
        return {str(name): str(value) for name, value in tags.items()}
    except BaseException as error:  # noqa: BLE001 - an execution without its tags is better than none
        failsafe.caught("tracker.tags", error)
        return {}


def _failure_of(error: BaseException) -> Failure:
    message, traceback = format_error(error)
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)):
        return Failure(status=Status.CANCELED, error_type="canceled", message=message, traceback=traceback)
    error_type = classify(error)
    status = Status.TIMEOUT if error_type == "timeout" else Status.FAILED
    return Failure(status=status, error_type=error_type, message=message, traceback=traceback)


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
