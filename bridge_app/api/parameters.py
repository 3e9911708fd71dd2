"""Query parameters that a route does not know, or that are empty, are refused: ignoring a filter shows the wrong rows.

In: a request and its handler's signature. Out: nothing, or a `FieldError` that names the parameter and the nearest
known one. Use it as `before_request` of a route, controller or router.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, NamedTuple

from litestar import Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ParamType
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg
from litestar.typing import FieldDefinition

from bridge_app.problems import FieldError

MAX_SHOWN: Final = 80


async def refuse_unknown_parameters(request: Request[Any, Any, State]) -> None:
    """Raise for a parameter that the handler does not take, for one without a value, for a single one given twice."""
    if request.method == "OPTIONS":
        return
    known = query_parameters(request.route_handler)
    for name, values in request.query_params.dict().items():
        if name not in known:
            raise FieldError(_unknown(name, list(known)), field=name[:MAX_SHOWN])
        if not all(values) and not known[name].may_be_empty:
            raise FieldError("is empty: leave it out, or give it a value", field=name)
        if len(values) > 1 and not known[name].may_be_repeated:
            raise FieldError(f"was given {len(values)} times: expected it once", field=name)


class Taken(NamedTuple):
    """How a query parameter may be given."""

    may_be_repeated: bool
    may_be_empty: bool
    """Where it is declared with `min_length=0`."""


@cache
def query_parameters(handler: BaseRouteHandler) -> dict[str, Taken]:
    """The query parameters of a handler by name, those of its dependencies among them."""
    return dict(_taken(handler.parsed_fn_signature.parameters, handler.resolve_dependencies()))


def _taken(fields: Mapping[str, FieldDefinition], dependencies: Mapping[str, Provide]) -> Iterator[tuple[str, Taken]]:
    for name, field in fields.items():
        declared = field.kwarg_definition
        if provider := dependencies.get(name):
            yield from _taken(provider.parsed_fn_signature.parameters, dependencies)
        elif isinstance(declared, ParameterKwarg) and declared.param_type == ParamType.QUERY:
            yield name, Taken(field.is_non_string_collection, declared.min_length == 0)


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name[:MAX_SHOWN], known, n=1, cutoff=0.5)
    if close:
        return f"is no parameter here; did you mean {close[0]}?"
    return f"is no parameter here; known are {', '.join(known)}" if known else "is no parameter here; there are none"
