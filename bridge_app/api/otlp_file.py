"""Executions and their child spans as a file of OTLP JSON, which Jaeger imports; made while it is sent.

In: groups of rows, and what their resources have in common. Out: one JSON document in pieces, one for each service of a
group; none is kept. What an execution was given and returned is in it whole, as the history has it. OTLP knows no
running spans: an execution that has not ended is left out.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from bridge_app.api.streaming import ByteStream
from exporters.otlp.messages import as_json, request, span_message
from exporters.otlp.payloads import PayloadPolicy
from exporters.otlp.resources import resource_of
from otel_tracker.query import ExecutionFilter, PageRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from otel_tracker.ports import RecordReader
    from otel_tracker.record import ExecutionRecord, Row, SpanRecord

_AT_ONCE: Final = 10
"""Executions in one read: each may have an input and an output of a megabyte."""
_BEGIN: Final = b'{"resourceSpans":['
_END: Final = b"]}"

Group = tuple["ExecutionRecord", list["SpanRecord"]]
"""An execution, and what was opened inside it."""


def groups_of_trace(store: RecordReader, trace_id: str) -> Iterator[Group]:
    """Every execution of a trace, newest first, a few at a time."""
    page = PageRequest(filter=ExecutionFilter(trace_id=trace_id), limit=_AT_ONCE, with_total=False)
    while True:
        found = store.page(page)
        for record in found.executions:
            yield record, store.spans(record.id)
        if not found.next_cursor:
            return
        page = PageRequest(filter=page.filter, limit=_AT_ONCE, with_total=False, cursor=found.next_cursor)


def otlp_response(groups: Iterable[Group], *, resource: Mapping[str, str], name: str) -> ByteStream:
    """The file. Raises `StorageError` where not even its first spans can be read."""
    pieces = otlp_pieces(groups, resource=resource)
    return ByteStream(
        chain([next(pieces)], pieces),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.otlp.json"'},
    )


def otlp_pieces(groups: Iterable[Group], *, resource: Mapping[str, str]) -> Iterator[bytes]:
    """A piece for each group that has ended spans; the first holds the beginning of the document."""
    before = _BEGIN
    for record, children in groups:
        rows: list[Row] = [record, *children] if record.end_time is not None else [*children]
        messages = [span_message(row, policy=PayloadPolicy.FULL) for row in rows]
        for service, spans in _by_service(messages, resource).items():
            document = as_json(request(((record.instance_id, span) for span in spans), resource=dict(service)))
            yield before + document.removeprefix(_BEGIN).removesuffix(_END)
            before = b","
    yield (_BEGIN if before == _BEGIN else b"") + _END


def _by_service(spans: Iterable[Span], own: Mapping[str, str]) -> dict[tuple[tuple[str, str], ...], list[Span]]:
    """Spans by the attributes of their resource."""
    found: dict[tuple[tuple[str, str], ...], list[Span]] = {}
    for span in spans:
        found.setdefault(tuple(resource_of(span, own).items()), []).append(span)
    return found
