"""The JSON shapes of Jaeger's query API, under its own names. No behaviour."""

from __future__ import annotations

from typing import Any

import msgspec


class JaegerError(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, or is missing."""

    code: int
    """The HTTP status; 0 where the rest of the answer is good."""
    msg: str
    traceID: str = ""  # noqa: N815 - Jaeger's name
    """Of which trace."""


class JaegerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What all answers have in common."""

    total: int = 0
    """How many `data` has."""
    limit: int = 0
    offset: int = 0
    errors: list[JaegerError] | None = None
    """null where there are none."""


class JaegerFailure(JaegerAnswer, frozen=True, kw_only=True):
    """An answer that is an error."""

    data: None = None


class JaegerNames(JaegerAnswer, frozen=True, kw_only=True):
    """Names of services or operations."""

    data: list[str]


class JaegerOperation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation of a service."""

    name: str
    spanKind: str  # noqa: N815 - Jaeger's name
    """server: each is a call that came in."""


class JaegerOperations(JaegerAnswer, frozen=True, kw_only=True):
    """Operations with their kinds."""

    data: list[JaegerOperation]


class JaegerTag(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute."""

    key: str
    type: str
    """string, bool, int64 or float64."""
    value: Any


class JaegerReference(msgspec.Struct, frozen=True, kw_only=True):
    """Another span that this one refers to."""

    refType: str  # noqa: N815 - Jaeger's name
    """CHILD_OF its parent, FOLLOWS_FROM what it links to."""
    traceID: str  # noqa: N815 - Jaeger's name
    spanID: str  # noqa: N815 - Jaeger's name


class JaegerLog(msgspec.Struct, frozen=True, kw_only=True):
    """An event."""

    timestamp: int
    """Microseconds since the epoch."""
    fields: list[JaegerTag]
    """Its name as `event`, and its attributes."""


class JaegerSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span."""

    traceID: str  # noqa: N815 - Jaeger's name
    spanID: str  # noqa: N815 - Jaeger's name
    flags: int
    operationName: str  # noqa: N815 - Jaeger's name
    references: list[JaegerReference]
    startTime: int  # noqa: N815 - Jaeger's name
    """Microseconds since the epoch."""
    duration: int
    """Microseconds; so far, where it runs."""
    tags: list[JaegerTag]
    logs: list[JaegerLog]
    processID: str  # noqa: N815 - Jaeger's name
    """Which of the trace's `processes`."""
    warnings: list[str] | None
    """Such as that it is still running; null where there are none."""


class JaegerProcess(msgspec.Struct, frozen=True, kw_only=True):
    """Where spans come from: a service, and its resource attributes."""

    serviceName: str  # noqa: N815 - Jaeger's name
    tags: list[JaegerTag]


class JaegerTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A trace."""

    traceID: str  # noqa: N815 - Jaeger's name
    spans: list[JaegerSpan]
    processes: dict[str, JaegerProcess]
    warnings: list[str] | None
    """Such as that it is cut; null where there are none."""


class JaegerTraces(JaegerAnswer, frozen=True, kw_only=True):
    """Traces."""

    data: list[JaegerTrace]


class JaegerDependency(msgspec.Struct, frozen=True, kw_only=True):
    """One service that calls another."""

    parent: str
    child: str
    callCount: int  # noqa: N815 - Jaeger's name


class JaegerDependencies(JaegerAnswer, frozen=True, kw_only=True):
    """Which service calls which."""

    data: list[JaegerDependency]
