"""The query parameters that choose executions, declared once for every route that takes them.

In: a request. Out: an `ExecutionFilter`, relative times counted from one now; a wrong value raises FieldError, which
names the parameter. A route has them all by `dependencies=FILTER_DEPENDENCY` and an argument
`chosen: NamedDependency[ExecutionFilter]`. Reads nothing but the parameters and the clock.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

from litestar.di import Provide
from litestar.openapi.spec import Example, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import QueryParameter

from bridge_app.api.filters import MAX_TEXT, execution_filter
from bridge_app.api.rendering import FIELDS
from otel_tracker.classification import ERROR_TYPES
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status


def many(description: str, *, of: tuple[str, ...] = ()) -> Any:
    """A parameter of several values, perhaps of a closed list."""
    items = {"items": Schema(type=OpenAPIType.STRING, enum=list(of))} if of else {}
    return QueryParameter(
        description=f"{description} May be repeated, or a comma-separated list.", schema_extra=dict(items)
    )


def one(description: str, *examples: str, of: tuple[str, ...] = ()) -> Any:
    """A parameter of one value, perhaps of a closed list."""
    return QueryParameter(
        description=description,
        examples=[Example(value=example) for example in examples] if examples else None,
        schema_extra={"enum": list(of)} if of else None,
    )


Fields = Annotated[
    tuple[str, ...],
    many("Only these fields of each record, which then is no whole ExecutionRecord.", of=FIELDS),
]


def point_in_time(description: str, *examples: str) -> Any:
    """A parameter that is a time."""
    return QueryParameter(
        description=f"{description} RFC 3339, without an offset UTC; or how long ago.",
        examples=[Example(value=example) for example in examples],
        schema_extra={"any_of": [Schema(format=OpenAPIFormat.DATE_TIME), Schema(pattern="^-[0-9]")]},
    )


_LENGTH: Final = "Nanoseconds, or a number with a unit (ns, us, ms, s, m, h, d, w)."


def _requested(  # noqa: PLR0913 - each is a parameter of its own
    *,
    plugin: Annotated[tuple[str, ...], many("Only these plugins.")] = (),
    status: Annotated[tuple[str, ...], many("Only these.", of=tuple(Status))] = (),
    error_type: Annotated[tuple[str, ...], many("Only these.", of=ERROR_TYPES)] = (),
    trace_id: Annotated[str | None, one("32 hexadecimal digits.", "4bf92f3577b34da6a3ce929d0e0e4736")] = None,
    delivery_id: Annotated[str | None, one("The sender's own id of the delivery.")] = None,
    start_time: Annotated[str | None, point_in_time("Started then or later.", "2025-06-06T14:33:48Z", "-24h")] = None,
    end_time: Annotated[str | None, point_in_time("Started before.", "2025-06-07T00:00:00Z", "-15m")] = None,
    min_duration: Annotated[str | None, one(f"Ended, and took so long or longer. {_LENGTH}", "1.5s")] = None,
    max_duration: Annotated[str | None, one(f"Ended, and took no longer. {_LENGTH}", "250ms", "2000000")] = None,
    tags: Annotated[
        tuple[str, ...], QueryParameter(description="`name:value`; may be repeated, then all must fit.")
    ] = (),
    q: Annotated[
        str | None,
        QueryParameter(
            description="Text in input, output or error, upper and lower case alike. Empty: no such filter.",
            min_length=0,
            max_length=MAX_TEXT,
        ),
    ] = None,
) -> ExecutionFilter:
    """What of the history is asked for."""
    return execution_filter(
        now=time.time_ns(),
        plugin=plugin,
        status=status,
        error_type=error_type,
        trace_id=trace_id,
        delivery_id=delivery_id,
        start_time=start_time,
        end_time=end_time,
        min_duration=min_duration,
        max_duration=max_duration,
        tags=tags,
        q=q,
    )


FILTER_DEPENDENCY: Final = {"chosen": Provide(_requested, sync_to_thread=False)}
