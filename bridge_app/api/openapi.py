"""The OpenAPI 3.1 document of the bridge: what Litestar reads from the handlers, finished.

Litestar gives paths and parameters, `schemas` the shapes, the table in `problems` the errors. Built once, when first
asked for.
`answers` is what a handler says of itself; webhooks, which answer whatever a plugin returns, are described here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import Components, Example, License, OpenAPI, SecurityScheme, Tag

from bridge_app.api import viewer
from bridge_app.api.export import ExportFormat
from bridge_app.api.schemas import schemas
from bridge_app.auth import is_open
from bridge_app.problems import MEDIA_TYPE, Problem, problem_document, problem_type_for_status
from bridge_app.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.handlers import HTTPRouteHandler
    from litestar.types import Method
    from litestar.types.internal_types import PathParameterDefinition

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_JSON: Final = "application/json"
_WEBHOOK: Final = "/webhook/"
_EXPORT: Final = "/executions/export"
_JAEGER_FAILURE: Final = {_JSON: {"schema": {"$ref": "#/components/schemas/JaegerFailure"}}}
_DESCRIPTION: Final = """\
An HTTP call to a webhook runs a plugin; every run is an execution whose record is kept and can be read here.

`/api/latest/…` is an alias of `/api/v1/…`. Every GET answers HEAD too. Every error is a `Problem`
(`application/problem+json`). Unknown and wrong query parameters are errors, not ignored.
"""
_TAGS: Final = {
    "webhooks": "Run plugins.",
    "executions": "The history: records, statistics, the store.",
    "traces": "Executions as waterfalls of spans.",
    "jaeger": "Jaeger's query API over the history, for its UI and for Grafana.",
    "plugins": "What there is to run.",
    "destinations": "Where executions are forwarded to.",
    "health": "What the bridge itself is doing.",
}


def openapi_config(*, token_required: bool) -> OpenAPIConfig:
    """What to pass to `Litestar(openapi_config=...)`."""
    bearer = SecurityScheme(type="http", scheme="bearer", description="The `auth.token` of the configuration.")
    return _Config(
        title="Webhook bridge",
        version=VERSION,
        description=_DESCRIPTION,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        components=Components(security_schemes={"token": bearer}) if token_required else Components(),
        security=[{"token": []}] if token_required else None,
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()],
        openapi_router=viewer.router(),
    )


def answers(
    shape: type,
    description: str,
    *,
    status: int = 200,
    example: object = None,
    errors: Sequence[int] = (),
    media_type: str = _JSON,
) -> dict[int, ResponseSpec]:
    """What a handler answers: one shape, and a problem document with each of `errors`."""
    shown = [Example(value=msgspec.to_builtins(example))] if example is not None else None
    success = ResponseSpec(
        shape, generate_examples=False, description=description, media_type=media_type, examples=shown
    )
    return {status: success, **{error: _problem(error) for error in errors}}


def _problem(status: int) -> ResponseSpec:
    kind = problem_type_for_status(status)
    return ResponseSpec(Problem, generate_examples=False, description=kind.title, media_type=MEDIA_TYPE)


@dataclass
class _Config(OpenAPIConfig):
    def to_openapi_schema(self) -> OpenAPI:
        made = super().to_openapi_schema()
        return _Document(**{field.name: getattr(made, field.name) for field in fields(made)})


@dataclass
class _Document(OpenAPI):
    def to_schema(self) -> dict[str, Any]:
        document = super().to_schema()
        for path, item in document["paths"].items():
            item.pop("head", None)  # says nothing that GET does not
            for method, operation in item.items():
                if _WEBHOOK in path:
                    _describe_webhook(operation, method)
                if path.endswith(_EXPORT):
                    _describe_export(operation)
                _finish(operation)
                if self.security:
                    _secure(operation, path)
        document["paths"] = {
            path: {method: item[method] for method in _METHODS if method in item}
            for path, item in sorted(document["paths"].items())
        }
        document["components"]["schemas"] = schemas()
        return document


def _operation_id(handler: HTTPRouteHandler, method: Method, components: list[str | PathParameterDefinition]) -> str:
    """The handler's name, with the end of the path where it has several, with the method where it serves several."""
    parts = [handler.handler_name]
    if len(handler.paths) > 1 and components and components[-1] != handler.handler_name:
        parts.append(str(components[-1]))
    if method == "HEAD" or len(handler.http_methods - {"HEAD"}) > 1:
        parts.append(method.lower())
    return "_".join(parts)


def _secure(operation: dict[str, Any], path: str) -> None:
    if is_open(path.replace("{plugin}", "plugin")):
        operation["security"] = []
    else:
        operation["responses"]["401"] = _problem_response("401")


def _finish(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if responses.get("400", {}).get("content", _JAEGER_FAILURE) not in ({}, _JAEGER_FAILURE):
        del responses["400"]  # Litestar's own error, in a shape that the exception handlers never send
    for status, response in responses.items():
        if MEDIA_TYPE in response.get("content", {}):
            response["content"] = _problem_content(status)
        if not response.get("headers", True):
            del response["headers"]
    other = _JAEGER_FAILURE if operation["tags"] == ["jaeger"] else _problem_content("500")
    responses["default"] = {"description": "Any other error", "content": other}
    for parameter in operation.get("parameters", []):
        _tidy(parameter)


def _tidy(parameter: dict[str, Any]) -> None:
    schema = parameter["schema"]
    for noise in ("deprecated", "allowEmptyValue", "allowReserved", "examples"):
        parameter.pop(noise, None)
    schema.pop("description", None)
    if schema.get("default") == ():
        del schema["default"]
    for kind in schema.pop("oneOf", ()):  # may be left out: None in the signature, which nobody can send
        if kind != {"type": "null"}:
            schema.update(kind)
    for bound in {"minimum", "maximum"} & schema.keys():
        schema[bound] = int(schema[bound])


def _problem_response(status: str) -> dict[str, Any]:
    return {"description": problem_type_for_status(int(status)).title, "content": _problem_content(status)}


def _problem_content(status: str) -> dict[str, Any]:
    example = msgspec.json.decode(problem_document(problem_type_for_status(int(status))))
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}


def _describe_export(operation: dict[str, Any]) -> None:
    """One answer in the media types of the formats."""
    records = {"type": "array", "items": {"$ref": "#/components/schemas/ExecutionRecord"}}
    text, binary = {"type": "string"}, {"type": "string", "format": "binary"}
    schemas_of = {ExportFormat.JSON: records, ExportFormat.PARQUET: binary}
    content = {one.media_type.partition(";")[0]: {"schema": schemas_of.get(one, text)} for one in ExportFormat}
    operation["responses"]["200"]["content"] = content | {"application/gzip": {"schema": binary}}
    disposition = {"description": "`attachment`, with a file name.", "schema": {"type": "string"}}
    operation["responses"]["200"]["headers"] = {"Content-Disposition": disposition}


def _describe_webhook(operation: dict[str, Any], method: str) -> None:
    """Any body comes in, and whatever the plugin returns goes out."""
    anything = {"description": "Any JSON value", "examples": [{"key": "value"}]}
    headers = {
        "X-Execution-Id": "The execution's id: GET /api/v1/executions/{execution_id} shows its record at once.",
        "X-Trace-Id": "Its OpenTelemetry trace id, 32 hexadecimal digits.",
        "traceresponse": "The span of the execution (W3C Trace Context 2): 00-TRACE_ID-SPAN_ID-FLAGS.",
        "Server-Timing": 'The same for scripts in a browser: traceparent;desc="…".',
        "X-Execution-Durable": "Where its record is already safe: disk, process or none.",
    }
    described = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    operation["operationId"] = f"run_plugin_{method}"
    operation["parameters"][0]["description"] = "The plugin's name: its file's, without `.py`."
    operation["responses"] = {
        "200": {
            "description": "What the plugin returned",
            "headers": described,
            "content": {_JSON: {"schema": anything}},
        },
        **{status: _problem_response(status) for status in ("400", "404", "405", "413", "415", "500", "503", "504")},
    }
    if method in {"post", "put", "patch"}:
        form = {"type": "object", "additionalProperties": True}
        operation["requestBody"] = {
            "description": "The plugin's data. Without a body it is the query.",
            "content": {
                _JSON: {"schema": anything},
                "application/x-www-form-urlencoded": {"schema": form},
                "multipart/form-data": {"schema": form},
                "text/plain": {"schema": {"type": "string"}},
            },
        }
    else:
        query = {"type": "object", "additionalProperties": {"type": "string"}}
        operation["parameters"].append(
            {"name": "query", "in": "query", "description": "The plugin's data", "style": "form", "explode": True,
             "schema": query}
        )  # fmt: skip
