"""`POST /v1/traces`: the route that the OTLP exporters of all languages know. What it does is in `otlp_in`."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from bridge_app.otlp_in import OtlpReceiver, RefusedError, refusal


@post("/v1/traces", include_in_schema=False)  # a protocol of its own, described by its makers
async def receive_traces(request: Request[Any, Any, State], state: State) -> Response[bytes]:
    """Spans in, as protobuf or JSON; 200 once they are safe."""
    content_type = request.headers.get("content-type", "")
    try:
        receiver = _receiver(state)
        body = await _body(request)
    except RefusedError as refused:
        return refusal(refused, media_type=content_type.partition(";")[0].strip().lower())
    encoding = request.headers.get("content-encoding", "")
    return await receiver.receive(body, content_type=content_type, encoding=encoding)


def _receiver(state: State) -> OtlpReceiver:
    if state["bridge"].is_stopping:
        raise RefusedError(503, "The bridge is stopping.", retry_after_seconds=5)
    receiver: OtlpReceiver | None = state["otlp"]
    if receiver is None:
        raise RefusedError(404, "No history is kept: execution_tracking.enabled is false.")
    return receiver


async def _body(request: Request[Any, Any, State]) -> bytes:
    try:
        return await request.body()
    except HTTPException as error:
        if error.status_code != 413:
            raise
        raise RefusedError(413, "The body is larger than server.max_body_bytes: send smaller batches.") from error
