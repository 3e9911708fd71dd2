"""The JSON shapes of traces, as `shapes` has the others. No behaviour."""

from __future__ import annotations

import msgspec

from bridge_app.api.shapes import Time


class TraceSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span in its place in the waterfall: an execution, or what was opened inside one."""

    span_id: str
    parent_span_id: str
    """Empty where the trace starts here."""
    execution_id: str
    """The execution that it is, or belongs to."""
    plugin_name: str
    """Of that execution."""
    execution_status: str
    """Of an execution's own span; empty for the others."""
    name: str
    kind: str
    """internal, server, client, producer or consumer."""
    status: str
    """unset, ok or error."""
    error: str
    start_time: Time
    end_time: Time | None
    """null while it runs."""
    depth: int
    """0 for a root; a span comes after its parent."""
    offset: int
    """Nanoseconds from the first span's start to its own."""
    duration: int
    """Nanoseconds; so far, where it runs."""
    self_time: int
    """Nanoseconds of it that none of its children covers."""
    critical_time: int
    """Nanoseconds of it that lie on the critical path."""
    on_critical_path: bool
    """Whether any do."""
    is_parent_missing: bool
    """It names a parent that is not here: a caller's span, one that has not ended, or one that was not kept."""
    attributes: str
    """A JSON object in a string; input and output are in the execution's record."""
    events: str
    """A JSON list in a string."""


class CriticalSection(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the critical path: in this span, for so long."""

    span_id: str
    offset: int
    """Nanoseconds from the first span's start."""
    duration: int


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Spans as a waterfall, and the critical path of each root."""

    trace_id: str
    start_time: Time
    """Of the first span."""
    duration: int
    """Nanoseconds, to the end of the last."""
    executions: int
    """How many of the spans are executions."""
    is_whole: bool
    """false: there is more than is shown here, which is what started first."""
    links: dict[str, str]
    """Into other tools, as `links` of the configuration says."""
    spans: list[TraceSpan]
    """Parents before their children, these by start."""
    critical_path: list[CriticalSection]
    """By time; the sections of a root follow each other without a gap and are as long as it."""
