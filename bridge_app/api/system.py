"""Plugins, health and metrics: what the bridge itself is doing."""

from __future__ import annotations

import platform
from typing import Any

from litestar import Response, get
from litestar.datastructures import State
from litestar.params import FromPath

from bridge_app.api.executions import json_response
from bridge_app.api.rendering import rfc3339
from bridge_app.problems import NotFoundError
from bridge_app.version import VERSION


@get("/plugins", summary="The plugins and what each handles", tags=["plugins"])
async def list_plugins(state: State) -> Response[bytes]:
    """Every plugin found; a broken one is a row with its traceback."""
    return json_response({"plugins": [plugin_json(info) for info in state["bridge"].runner.registry.list()]})


@get("/plugins/{plugin:str}", summary="One plugin", tags=["plugins"])
async def show_plugin(plugin: FromPath[str], state: State) -> Response[bytes]:
    """What one plugin handles and the state it is in."""
    info = state["bridge"].runner.registry.get(plugin)
    if info is None:
        raise NotFoundError(f"There is no plugin {plugin!r}. GET /api/v1/plugins lists those there are.")
    return json_response(plugin_json(info))


@get(["/health", "/health/ready"], summary="Health", tags=["health"])
async def health(state: State) -> Response[bytes]:
    """200 while webhooks are served, 503 while stopping; the history's own state is inside."""
    stopping = state["bridge"].is_stopping
    kept = state["history"]
    body: dict[str, Any] = {
        "status": "stopping" if stopping else "ok" if kept is None or kept.is_open else "degraded",
        "version": VERSION,
        "python": platform.python_version(),
        "webhooks": "stopping" if stopping else "ok",
        "storage": "disabled" if kept is None else "ok" if kept.is_open else kept.why_closed,
    }
    if kept is not None:
        body["spool"] = kept.spool_json()
        body["interrupted_at_start"] = kept.interrupted
    return json_response(body, status_code=503 if stopping else 200)


@get("/health/live", summary="Liveness", tags=["health"])
async def live() -> Response[bytes]:
    """200 as long as the event loop turns."""
    return json_response({"status": "ok"})


@get("/metrics", summary="Prometheus metrics", tags=["health"])
async def metrics(state: State) -> Response[bytes]:
    """The process's figures in Prometheus' text format."""
    text: bytes = state["metrics"].render()
    return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def plugin_json(info: Any) -> dict[str, Any]:
    """One plugin as REST and the command line show it."""
    return {
        "name": info.name,
        "path": str(info.path),
        "methods": list(info.methods),
        "state": str(info.state),
        "error": info.error,
        "loaded_at": rfc3339(info.loaded_at) if info.loaded_at else None,
        "doc": info.doc,
    }
