"""Execution: one tracked run, from its opened span to its end.

In: an open span, the input as captured (or how to capture it later), then output, tags, metadata, an exception or a
Failure. Out: the span, ended once, with all that as attributes. Nothing here raises into or delays what it tracks:
every method is guarded by `failsafe`. Durations come from a monotonic clock; the span's end is its start plus that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from opentelemetry.trace import StatusCode

from otel_tracker import conventions as names
from otel_tracker.capture import NOTHING, Captured, CaptureSettings, capture, facts_text
from otel_tracker.classification import classify, format_error
from otel_tracker.failsafe import failsafe
from otel_tracker.record import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span

    from otel_tracker.redaction import Redactor

_encode = msgspec.json.Encoder().encode
_COMPLETED: Final = Status.COMPLETED.value


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution failed, for code that caught the failure itself."""

    status: Status
    error_type: str
    message: str = ""
    traceback: str = ""


class LateInput:
    """An input that is captured when it is first needed, and then stays what it is."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Captured]) -> None:
        self._make = make
        self._made: list[Captured] = []

    def captured(self) -> Captured:
        """The captured input; NOTHING where that failed. Of two threads that make it at once, the first counts."""
        if not self._made:
            try:
                made = self._make()
            except BaseException as error:  # noqa: BLE001 - an execution without its input is better than none
                failsafe.caught("tracker.input", error)
                made = NOTHING
            self._made.append(made)
        return self._made[0]

    def attributes(self) -> dict[str, str]:
        """What the span is to have of it."""
        return {names.INPUT: self.captured().text}


class GivesRules(Protocol):
    """What an execution needs of the tracker that opened it."""

    settings: CaptureSettings
    redactor: Redactor
    timer_ns: Callable[[], int]


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

    def __init__(
        self,
        tracker: GivesRules,
        span: Span | None,
        *,
        id: str = "",  # noqa: A002 - the record's own word
        start: int = 0,
        begin: int = 0,
        input: Captured | LateInput = NOTHING,  # noqa: A002 - the record's own word
    ) -> None:
        self.id = id
        """The record's id; empty where tracking is off or failed."""
        self._tracker = tracker
        self._span = span
        self._start = start
        self._begin = begin
        self._stop = 0
        self._done = span is None
        self._input = input
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
        """Whether `end` was called, or tracking is off."""
        return self._done

    def stop_clock(self) -> None:
        """Let it last until now, although it is ended a little later."""
        try:
            self._stop = self._tracker.timer_ns()
        except BaseException as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("execution.stop_clock", error)

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
        last: dict[str, Any] = {
            names.STATUS: failure.status.value if failure else _COMPLETED,
            names.DURATION: duration,
            names.METADATA: self._metadata_text(),
            **attributes,
        }
        if self._output.text:
            last[names.OUTPUT] = self._output.text
        if self._tags:
            last[names.TAGS] = facts_text(self._tags, redactor=self._tracker.redactor)
        if failure:
            last[names.ERROR_TYPE] = failure.error_type
            if settings.track_errors:
                last[names.ERROR] = failure.message
                last[names.TRACEBACK] = failure.traceback
            span.set_status(StatusCode.ERROR, failure.message if settings.track_errors else None)
        span.set_attributes(last)
        span.end(end_time=self._start + duration)

    def _finish_bare(self, status: Status) -> None:
        """End it with the least that is true, after `_finish` failed: it must not look as if it ran on for ever."""
        try:
            if self._span is not None and self._span.is_recording():
                self._span.set_attribute(names.STATUS, status.value)
                self._span.end()
        except BaseException as problem:  # noqa: BLE001 - whatever fails here must not reach the code around it
            failsafe.caught("execution.end", problem)

    def _metadata_text(self) -> str:
        taken = self._input if isinstance(self._input, Captured) else self._input.captured()
        cut = {**_marks("input", taken), **_marks("output", self._output)}
        marks = _encode(cut).decode() if cut else "{}"
        if not self._metadata:
            return marks
        given = facts_text(self._metadata, redactor=self._tracker.redactor)
        return f"{given[:-1]},{marks[1:]}" if cut else given


def _marks(name: str, captured: Captured) -> dict[str, Any]:
    """What the metadata says of a value that was cut."""
    if not captured.truncated:
        return {}
    return {f"{name}_truncated": True, f"{name}_size": captured.size, f"{name}_sha256": captured.sha256}


def _failure_of(error: BaseException) -> Failure:
    message, traceback = format_error(error)
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)):
        return Failure(status=Status.CANCELED, error_type="canceled", message=message, traceback=traceback)
    error_type = classify(error)
    status = Status.TIMEOUT if error_type == "timeout" else Status.FAILED
    return Failure(status=status, error_type=error_type, message=message, traceback=traceback)
