"""What a caller's trace context means here: continued, linked or ignored; and what is said of ours. Pure.

In: the headers of a request (lower-case names, repeated ones joined by ", ") and a policy. Out: where the execution's
span opens, what it is linked to, and the baggage that goes on to the plugin. Malformed headers are as none: an invalid
or repeated `traceparent` begins a new trace, and without a valid one `tracestate` means nothing.
Sources: W3C Trace Context 2 (https://www.w3.org/TR/trace-context-2/) and W3C Baggage (https://www.w3.org/TR/baggage/).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_TRACESTATE: Final = 8192
"""Characters of all `tracestate` headers together; the specification wants at least 512 handed on."""
MAX_BAGGAGE: Final = 8192
"""Characters of all `baggage` headers together, the specification's own bound; more is handed on as none."""
_TRACEPARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<span_id>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?"
)
_MEMBER: Final = re.compile(
    r"([a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)
_MAX_MEMBERS: Final = 32
_CONTEXT_HEADERS: Final = ("traceparent", "baggage")


class Policy(StrEnum):
    """What becomes of a caller's trace context."""

    CONTINUE = "continue"
    """The execution is part of the caller's trace."""
    LINK = "link"
    """The execution begins a trace of its own, and says which the caller's was."""
    IGNORE = "ignore"
    """As if nothing had come."""


class Received(NamedTuple):
    """What a request says of its trace, as far as the policy lets it count."""

    context: Context
    """Where the execution's span opens: below the caller's, or at a root."""
    link: SpanContext | None = None
    baggage: str = ""


NOTHING: Final = Received(Context())


class Policies:
    """A policy for each plugin: the default, but for those that are named (`NAME=POLICY`, as the configuration has it).

    >>> policies = Policies("continue", ["github=link"])
    >>> policies.of("github").value, policies.of("shop").value
    ('link', 'continue')
    """

    def __init__(self, default: str, exceptions: Iterable[str] = ()) -> None:
        self._default = Policy(default)
        self._of = {name: Policy(policy) for name, _, policy in (each.partition("=") for each in exceptions)}

    def of(self, plugin: str) -> Policy:
        """The policy for this plugin."""
        return self._of.get(plugin, self._default)


def received(headers: Mapping[str, str], policy: Policy) -> Received:
    """What the headers say.

    >>> from opentelemetry.trace import get_current_span
    >>> caller = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
    >>> get_current_span(received(caller, Policy.CONTINUE).context).get_span_context().trace_state.to_header()
    'vendor=1'
    """
    if policy is Policy.IGNORE or headers.keys().isdisjoint(_CONTEXT_HEADERS):
        return NOTHING
    caller, baggage = caller_of(headers), headers.get("baggage", "")
    if len(baggage) > MAX_BAGGAGE or not baggage.isascii():
        baggage = ""
    if caller is None:
        return Received(NOTHING.context, None, baggage)
    if policy is Policy.LINK:
        return Received(NOTHING.context, caller, baggage)
    return Received(set_span_in_context(NonRecordingSpan(caller), NOTHING.context), None, baggage)


def caller_of(headers: Mapping[str, str]) -> SpanContext | None:
    """The caller's span; None where `traceparent` is missing, malformed, or came more than once."""
    text = headers.get("traceparent", "").strip(" \t")
    found = _TRACEPARENT.fullmatch(text)
    if found is None or "," in text:  # joined: it came more than once
        return None
    version, rest = found["version"], found["rest"]
    if version == "ff" or (version == "00" and rest):
        return None
    caller = SpanContext(
        trace_id=int(found["trace_id"], 16),
        span_id=int(found["span_id"], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found["flags"], 16)),
        trace_state=_state(headers.get("tracestate", "")),
    )
    return caller if caller.is_valid else None


def _state(text: str) -> TraceState | None:
    """Of all `tracestate` headers together; none where one member is malformed, repeated, or one too many."""
    if not text or len(text) > MAX_TRACESTATE:
        return None
    members = [member for each in text.split(",") if (member := each.strip(" \t"))]
    found = [match.groups() for member in members if (match := _MEMBER.fullmatch(member))]
    if len(found) < len(members) or len(members) > _MAX_MEMBERS or len({key for key, _ in found}) < len(found):
        return None
    return TraceState(found)  # type: ignore[arg-type]  # pairs, which `groups` does not tell


def traceparent(span: SpanContext) -> str:
    """The span as the header has it: whoever gets it becomes its child."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def answer_headers(span: SpanContext) -> dict[str, str]:
    """What tells the caller under which trace and span its request is recorded."""
    text = traceparent(span)
    return {"traceresponse": text, "Server-Timing": f'traceparent;desc="{text}"'}
