"""Destinations: where executions are forwarded to, and how each place does."""

from __future__ import annotations

from typing import Literal

from litestar import Response, route
from litestar.datastructures import State
from msgspec.structs import asdict

from bridge_app.api import examples, shapes
from bridge_app.api.executions import READ, json_response
from bridge_app.api.openapi import answers
from bridge_app.history import History


@route(
    "/destinations",
    http_method=READ,
    summary="Where executions are forwarded to, and how that goes",
    tags=["destinations"],
    responses=answers(shapes.DestinationList, "The destinations", example=examples.DESTINATIONS),
)
async def list_destinations(state: State) -> Response[bytes]:
    """Each destination: what it took, what waits for it, what was lost, and its last error."""
    history: History | None = state["history"]
    forwarding = history.forwarding if history else None
    if history is None or forwarding is None:
        return json_response(shapes.DestinationList(destinations=[]))
    report = forwarding.state
    return json_response(
        shapes.DestinationList(
            destinations=[
                shapes.Destination(name=one.name, protocol=one.protocol, endpoint=one.place, **asdict(found))
                for one, found in forwarding.each()
            ],
            why=report.why,
            behind_bytes=report.behind_bytes,
            missed=history.unfollowed,
            unreadable=report.unreadable,
            restarts=forwarding.restarts,
        )
    )


def states(history: History | None) -> dict[str, Literal["ok", "retrying", "dropping"]]:
    """By name, for the health: it tells no reasons."""
    if history is None or history.forwarding is None:
        return {}
    return {
        one.name: found.state if found.state != "ok" or not found.dropped else "dropping"
        for one, found in history.forwarding.each()
    }
