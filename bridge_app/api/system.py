"""Plugins, health and metrics: what the bridge itself is doing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, route
from litestar.datastructures import State
from litestar.params import PathParameter

from bridge_app.accounting import Ledger
from bridge_app.api import examples, shapes
from bridge_app.api.destinations import states
from bridge_app.api.executions import READ, json_response
from bridge_app.api.openapi import answers
from bridge_app.api.rendering import plugin as plugin_shape
from bridge_app.history import History
from bridge_app.problems import NotFoundError
from bridge_app.version import VERSION

PluginName = Annotated[str, PathParameter(description="The plugin's name: its file's, without `.py`.")]


@route(
    "/plugins",
    http_method=READ,
    summary="The plugins and what each handles",
    tags=["plugins"],
    responses=answers(shapes.PluginList, "The plugins", example=examples.PLUGINS),
)
async def list_plugins(state: State) -> Response[bytes]:
    """Every plugin found; a broken one is a row with its traceback."""
    found = state["bridge"].runner.registry.list()
    return json_response(shapes.PluginList(plugins=[plugin_shape(info) for info in found]))


@route(
    "/plugins/{plugin:str}",
    http_method=READ,
    summary="One plugin",
    tags=["plugins"],
    responses=answers(shapes.Plugin, "The plugin", example=examples.PLUGIN, errors=(404,)),
)
async def get_plugin(plugin: PluginName, state: State) -> Response[bytes]:
    """What one plugin handles and the state it is in."""
    info = state["bridge"].runner.registry.get(plugin)
    if info is None:
        raise NotFoundError(f"There is no plugin {plugin[:80]!r}. GET /api/v1/plugins lists those there are.")
    return json_response(plugin_shape(info))


@route(
    ["/health", "/health/ready"],
    http_method=READ,
    summary="Health",
    tags=["health"],
    responses=answers(shapes.Health, "Webhooks are served", example=examples.HEALTH)
    | answers(shapes.Health, "The bridge is stopping", status=503),
)
async def health(state: State) -> Response[bytes]:
    """200 while webhooks are served, 503 while stopping; the history's own state is inside."""
    stopping = state["bridge"].is_stopping
    kept: History | None = state["history"]
    ledger: Ledger | None = state["ledger"]
    is_well = (kept is None or kept.is_open) and not (ledger and ledger.is_losing)
    body = shapes.Health(
        status="stopping" if stopping else "ok" if is_well else "degraded",
        version=VERSION,
        webhooks="stopping" if stopping else "ok",
        storage="disabled" if kept is None else "ok" if kept.is_open else _reason(state, kept.why_closed),
        spool=_spool(state, kept) if kept else None,
        accounting=ledger.read() if ledger else None,
        interrupted_at_start=kept.interrupted if kept else 0,
        destinations=states(kept),
    )
    return json_response(body, status_code=503 if stopping else 200)


@route(
    "/health/live",
    http_method=READ,
    summary="Liveness",
    tags=["health"],
    responses=answers(shapes.Liveness, "The event loop turns", example=examples.LIVENESS),
)
async def live() -> Response[bytes]:
    """200 as long as the event loop turns."""
    return json_response(shapes.Liveness())


@route(
    "/metrics",
    http_method=READ,
    summary="Prometheus metrics",
    tags=["health"],
    responses=answers(str, "The figures", media_type="text/plain"),
)
async def metrics(state: State) -> Response[bytes]:
    """The process's figures in Prometheus' text format."""
    text: bytes = state["metrics"].render()
    return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def _spool(state: State, history: History) -> shapes.Spool:
    spool = msgspec.convert(history.spool_json(), shapes.Spool)
    return msgspec.structs.replace(spool, last_error=spool.last_error and _reason(state, spool.last_error))


def _reason(state: State, reason: str) -> str:
    """It may name hosts, users and paths: a bridge that strangers reach keeps it for those who hold the token."""
    return "unavailable" if state["is_guarded"] else reason
