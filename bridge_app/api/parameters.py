"""Query parameters that a route does not know, or that are empty, are refused: ignoring a filter shows the wrong rows.

In: a request and its handler's signature. Out: nothing, or a `FieldError` that names the parameter and the nearest
known one. Use it as `before_request` of a route, controller or router.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from litestar import Request
from litestar.datastructures import State
from litestar.di import Provide
from litestar.enums import ParamType
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg
from litestar.utils.signature import ParsedSignature

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
        if not all(values):
            raise FieldError("is empty: leave it out, or give it a value", field=name)
        if len(values) > 1 and not known[name]:
            raise FieldError(f"was given {len(values)} times: expected it once", field=name)


@cache
def query_parameters(handler: BaseRouteHandler) -> dict[str, bool]:
    """The names of the query parameters of a handler and its dependencies, each with whether it may be repeated."""
    return dict(_query_parameters(handler.parsed_fn_signature, handler.resolve_dependencies()))


def _query_parameters(signature: ParsedSignature, provided: Mapping[str, Provide]) -> Iterator[tuple[str, bool]]:
    """In the order of the signature; what a dependency provides stands for the dependency's own parameters."""
    for name, field in signature.parameters.items():
        kind = field.kwarg_definition
        if name in provided:
            yield from _query_parameters(provided[name].parsed_fn_signature, provided)
        elif isinstance(kind, ParameterKwarg) and kind.param_type == ParamType.QUERY:
            yield name, field.is_non_string_collection


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name[:MAX_SHOWN], known, n=1, cutoff=0.5)
    if close:
        return f"is no parameter here; did you mean {close[0]}?"
    return f"is no parameter here; known are {', '.join(known)}" if known else "is no parameter here; there are none"
