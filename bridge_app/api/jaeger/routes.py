"""`/api/services`, `/api/operations`, `/api/traces`, `/api/dependencies`: Jaeger's paths, guarded as the history is."""

from __future__ import annotations

import time
from typing import Annotated, Any, Final

import msgspec
from litestar import Controller, Response, route
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import ResponseSpec
from litestar.params import PathParameter, QueryParameter

from bridge_app.api.executions import READ, history, json_response
from bridge_app.api.jaeger.parameters import DEFAULT_LIMIT, LOOKBACK, OPERATION_PREFIX, jaeger_query, padded_trace_id
from bridge_app.api.jaeger.search import find, one_trace
from bridge_app.api.jaeger.shapes import (
    JaegerDependencies,
    JaegerError,
    JaegerFailure,
    JaegerNames,
    JaegerOperation,
    JaegerOperations,
    JaegerTraces,
)
from bridge_app.api.jaeger.spans import jaeger_trace
from bridge_app.problem_handlers import AnyRequest, handle_exception
from bridge_app.problems import FieldError, NotFoundError

_KIND: Final = "server"
_DAYS: Final = LOOKBACK // 86_400_000_000_000


def _answers(shape: type, description: str, *, errors: tuple[int, ...] = (404, 503)) -> dict[int, ResponseSpec]:
    failed = {
        status: ResponseSpec(JaegerFailure, generate_examples=False, description="An error, as Jaeger tells it")
        for status in errors
    }
    return {200: ResponseSpec(shape, generate_examples=False, description=description), **failed}


def _text(description: str) -> Any:
    return QueryParameter(description=description, min_length=0)


def as_jaeger(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Any exception in the shape that Jaeger's clients read."""
    problem = handle_exception(request, error)
    status = 400 if problem.status_code == 422 else problem.status_code or 500
    detail: str = msgspec.json.decode(problem.content)["detail"]
    answer = json_response(JaegerFailure(errors=[JaegerError(code=status, msg=detail)]), status_code=status)
    answer.headers.update(problem.headers)
    return answer


Service = Annotated[str, _text("A name of `/api/services`.")]


class JaegerController(Controller):
    """Jaeger's query API."""

    path = "/api"
    tags = ("jaeger",)
    exception_handlers = {HTTPException: as_jaeger, Exception: as_jaeger}  # noqa: RUF012 - Litestar reads it of the class

    @route(
        "/services",
        http_method=READ,
        sync_to_thread=True,
        summary="Jaeger: the services",
        responses=_answers(JaegerNames, "Their names"),
    )
    def jaeger_services(self, state: State) -> Response[bytes]:
        """The bridge's own service name, once it has executions."""
        names = [_service(state)] if history(state).store.plugin_names() else []
        return json_response(JaegerNames(data=names, total=len(names)))

    @route(
        "/services/{service:str}/operations",
        http_method=READ,
        sync_to_thread=True,
        summary="Jaeger: the operations of a service, by name",
        responses=_answers(JaegerNames, "Their names"),
    )
    def jaeger_service_operations(
        self, state: State, service: Annotated[str, PathParameter(description="A name of `/api/services`.")]
    ) -> Response[bytes]:
        """`execute <plugin>` for every plugin that has executions."""
        names = _operations(state, service)
        return json_response(JaegerNames(data=names, total=len(names)))

    @route(
        "/operations",
        http_method=READ,
        sync_to_thread=True,
        summary="Jaeger: the operations of a service, with their kinds",
        responses=_answers(JaegerOperations, "The operations", errors=(400, 404, 503)),
    )
    def jaeger_operations(
        self,
        state: State,
        service: Service = "",
        spanKind: Annotated[str, _text("Only operations of this kind.")] = "",  # noqa: N803 - Jaeger's name
    ) -> Response[bytes]:
        """The same as objects."""
        if not service:
            raise FieldError("is missing: expected a name of /api/services", field="service")
        names = _operations(state, service) if spanKind in {"", _KIND} else []
        found = [JaegerOperation(name=name, spanKind=_KIND) for name in names]
        return json_response(JaegerOperations(data=found, total=len(found)))

    @route(
        "/traces",
        http_method=READ,
        sync_to_thread=True,
        summary="Jaeger: search for traces",
        responses=_answers(JaegerTraces, "The traces", errors=(400, 404, 503)),
    )
    def jaeger_search(  # noqa: PLR0913 - each is a parameter of its own
        self,
        state: State,
        *,
        service: Service = "",
        operation: Annotated[str, _text("`execute <plugin>`: only that plugin.")] = "",
        tags: Annotated[tuple[str, ...], _text('A JSON object of texts, such as `{"error": "true"}`.')] = (),
        tag: Annotated[tuple[str, ...], _text("`name:value`; may be repeated.")] = (),
        start: Annotated[str, _text(f"Started then or later: microseconds; {_DAYS} days ago by default.")] = "",
        end: Annotated[str, _text("Started until then: microseconds; now by default.")] = "",
        minDuration: Annotated[str, _text("Took so long or longer, such as `1.2s`, `100ms`, `500us`.")] = "",  # noqa: N803
        maxDuration: Annotated[str, _text("Took no longer.")] = "",  # noqa: N803 - Jaeger's name
        limit: Annotated[str, _text(f"Traces at most, up to 1500; {DEFAULT_LIMIT} by default.")] = "",
        traceID: Annotated[tuple[str, ...], _text("These traces, instead of a search; may be repeated.")] = (),  # noqa: N803
    ) -> Response[bytes]:
        """Traces with an execution that matches, newest first, whole. `lookback` and unknown parameters are ignored."""
        now = time.time_ns()
        given = {
            "tags": tags, "tag": tag, "traceID": traceID,
            "service": [service], "operation": [operation], "start": [start], "end": [end],
            "minDuration": [minDuration], "maxDuration": [maxDuration], "limit": [limit],
        }  # fmt: skip
        query = jaeger_query(given, service=_service(state), now=now)
        return json_response(find(history(state).store, query, resource=state["resource"], now=now))

    @route(
        "/traces/{trace_id:str}",
        http_method=READ,
        sync_to_thread=True,
        summary="Jaeger: one trace",
        responses=_answers(JaegerTraces, "The trace", errors=(400, 404, 503)),
    )
    def jaeger_get_trace(
        self, state: State, trace_id: Annotated[str, PathParameter(description="Up to 32 hexadecimal digits.")]
    ) -> Response[bytes]:
        """Everything of a trace: at most 1,000 executions and 10,000 child spans; `warnings` say where it is cut."""
        wanted = padded_trace_id("traceID", trace_id)
        rows = one_trace(history(state).store, wanted)
        if not rows.executions:
            raise NotFoundError("trace not found")
        found = jaeger_trace(wanted, rows, resource=state["resource"], now=time.time_ns())
        return json_response(JaegerTraces(data=[found], total=1))

    @route(
        "/dependencies",
        http_method=READ,
        summary="Jaeger: which service calls which",
        responses=_answers(JaegerDependencies, "Always none", errors=()),
    )
    async def jaeger_dependencies(self) -> Response[bytes]:
        """None: calls between services are not counted."""
        return json_response(JaegerDependencies(data=[]))


def _service(state: State) -> str:
    name: str = state["resource"]["service.name"]
    return name


def _operations(state: State, service: str) -> list[str]:
    if service != _service(state):
        return []
    return [f"{OPERATION_PREFIX}{name}" for name in history(state).store.plugin_names()]
