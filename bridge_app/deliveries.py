"""A delivery: one HTTP call that came in, read.

In: the ASGI scope and the bytes of the body. Out: a frozen `Delivery`, the sender's own id of it, and the `Call` that a
plugin gets. Bytes that are no data raise `BodyError`. Never waits, and knows nothing of tracking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge_app.bodies import Parsed, headers_as_dict, parse_body
from bridge_app.plugins.calls import Call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.types import HTTPScope

_DELIVERY_HEADERS: Final = (
    "webhook-id",
    "svix-id",
    "x-github-delivery",
    "idempotency-key",
    "x-gitlab-event-uuid",
    "x-shopify-webhook-id",
    "request-id",
)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP call that came in, read."""

    plugin: str
    method: str
    path: str
    scheme: str
    headers: dict[str, str]
    query: dict[str, Any]
    body: bytes
    parsed: Parsed
    remote_ip: str
    delivery_id: str
    """The sender's own id of it, where a known header gives one; else empty."""

    @classmethod
    def from_scope(cls, scope: HTTPScope, *, plugin: str, query: Sequence[tuple[str, str]], body: bytes) -> Delivery:
        """Read the headers, and the body as they say. Raises `BodyError`."""
        headers = headers_as_dict(scope["headers"])
        client = scope["client"]
        return cls(
            plugin=plugin,
            method=str(scope["method"]),
            path=scope["path"],
            scheme=scope["scheme"],
            headers=headers,
            query=dict(query),
            body=body,
            parsed=parse_body(body, content_type=headers.get("content-type", ""), query=query),
            remote_ip=client[0] if client else "",
            delivery_id="" if headers.keys().isdisjoint(_DELIVERY_HEADERS) else _delivery_id(headers),
        )

    def call(self, *, execution_id: str, traceparent: str, tracestate: str, baggage: str) -> Call:
        """What the plugin gets of it; all but `baggage` are "" where no execution is recorded."""
        return Call(
            plugin=self.plugin,
            method=self.method,
            data=self.parsed.data,
            headers=dict(self.headers),  # a plugin in a thread may change its own, and the record keeps what came
            query=self.query,
            path=self.path,
            body=self.body,
            delivery_id=self.delivery_id,
            execution_id=execution_id,
            traceparent=traceparent,
            tracestate=tracestate,
            baggage=baggage,
        )


def _delivery_id(headers: dict[str, str]) -> str:
    return next((headers[name] for name in _DELIVERY_HEADERS if name in headers), "")
