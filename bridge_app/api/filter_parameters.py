"""The query parameters that choose executions, declared once for every route that takes them.

A route takes them by a parameter `chosen: ExecutionFilter`, which Litestar fills from here (`dependencies`). A wrong
value raises FieldError, which names the parameter.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar.di import Provide
from litestar.openapi.spec import Example, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import QueryParameter

from bridge_app.api.filters import execution_filter
from bridge_app.api.rendering import FIELDS
from otel_tracker.classification import ERROR_TYPES
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status


def many(description: str, *, of: tuple[str, ...] = ()) -> Any:
    """A parameter with several values."""
    items = {"items": Schema(type=OpenAPIType.STRING, enum=list(of))} if of else {}
    return QueryParameter(
        description=f"{description} May be repeated, or a comma-separated list.", schema_extra=dict(items)
    )


def one(description: str, *, example: str = "", schema_format: str = "", of: tuple[str, ...] = ()) -> Any:
    """A parameter with one value."""
    extra: dict[str, Any] = {"format": schema_format} if schema_format else {}
    return QueryParameter(
        description=description,
        examples=[Example(value=example)] if example else None,
        schema_extra=extra | ({"enum": list(of)} if of else {}) or None,
    )


Fields = Annotated[
    tuple[str, ...],
    many("Only these fields of each record, which then is no whole ExecutionRecord.", of=FIELDS),
]


def chosen_executions(  # noqa: PLR0913 - each is a separate fact, named at the call
    plugin: Annotated[tuple[str, ...], many("Only these plugins.")] = (),
    status: Annotated[tuple[str, ...], many("Only these.", of=tuple(Status))] = (),
    error_type: Annotated[tuple[str, ...], many("Only these.", of=ERROR_TYPES)] = (),
    trace_id: Annotated[str | None, one("32 hexadecimal digits.", example="4bf92f3577b34da6a3ce929d0e0e4736")] = None,
    delivery_id: Annotated[str | None, one("The sender's own id of the delivery.")] = None,
    start_time: Annotated[
        str | None, one("Started then or later.", example="2025-06-06T14:33:48Z", schema_format="date-time")
    ] = None,
    end_time: Annotated[
        str | None, one("Started before.", example="2025-06-07T00:00:00Z", schema_format="date-time")
    ] = None,
    tags: Annotated[
        tuple[str, ...], QueryParameter(description="`name:value`; may be repeated, then all must fit.")
    ] = (),
) -> ExecutionFilter:
    """All filters of the history's list."""
    return execution_filter(
        plugin=plugin,
        status=status,
        error_type=error_type,
        trace_id=trace_id,
        delivery_id=delivery_id,
        start_time=start_time,
        end_time=end_time,
        tags=tags,
    )


CHOSEN: Final = {"chosen": Provide(chosen_executions, sync_to_thread=False)}
"""What a controller names as its `dependencies`."""
