"""Executions and their child spans as a file of OTLP JSON, which Jaeger imports; made while it is sent.

In: groups of rows, and what their resources have in common. Out: one JSON document in pieces, a group each; no piece is
kept. What an execution was given and returned is in it whole, as the history has it. OTLP knows no running spans: an
execution that has not ended is left out.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from bridge_app.api.streaming import ByteStream
from exporters.otlp.messages import as_json, request, span_message
from exporters.otlp.payloads import PayloadPolicy
from otel_tracker.query import ExecutionFilter, PageRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
        if rows:
            spans = ((record.instance_id, span_message(row, policy=PayloadPolicy.FULL)) for row in rows)
            yield before + as_json(request(spans, resource=resource)).removeprefix(_BEGIN).removesuffix(_END)
            before = b","
    yield (_BEGIN if before == _BEGIN else b"") + _END
