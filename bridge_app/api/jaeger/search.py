"""Traces of the history, as Jaeger's search finds them: those with an execution that matches, newest first.

In: a reader and a `JaegerQuery`. Out: traces in Jaeger's JSON, whole, within bounds; what is missing is said in
`errors`. Only executions are searched, not what was opened inside them: no index knows that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from bridge_app.api.jaeger.shapes import JaegerError, JaegerTrace, JaegerTraces
from bridge_app.api.jaeger.spans import READ_CHARACTERS, jaeger_trace
from otel_tracker.query import PageRequest, TraceRequest, TraceRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge_app.api.jaeger.parameters import JaegerQuery
    from otel_tracker.ports import RecordReader

MAX_LOOKED_AT: Final = 10_000
"""Executions that one search looks at: where few traces have very many, it says so and ends."""
MAX_SPANS: Final = 20_000
"""In one answer."""
MAX_CHARACTERS: Final = 32 * 1024 * 1024
"""Of attributes and events of child spans in one answer."""
_PAGE: Final = 200
_TRACES_AT_ONCE: Final = 20
_NOT_ALL_LOOKED_AT: Final = f"The search ended after {MAX_LOOKED_AT:,} executions: ask for a shorter time."
_NOT_ALL_SHOWN: Final = "There are more traces than fit into one answer: ask for fewer, or for a shorter time."


def find(store: RecordReader, query: JaegerQuery, *, resource: Mapping[str, str], now: int) -> JaegerTraces:
    """What the query asks for; `now` is in nanoseconds."""
    ids, errors = (list(query.trace_ids), []) if query.trace_ids else _matching(store, query)
    found: list[JaegerTrace] = []
    budget = _Budget()
    for trace_id, rows in _rows(store, ids):
        if rows.executions and budget.is_spent_by(rows):
            errors.append(JaegerError(code=0, msg=_NOT_ALL_SHOWN))
            break
        if rows.executions:
            found.append(jaeger_trace(trace_id, rows, resource=resource, now=now))
        elif query.trace_ids:
            errors.append(JaegerError(code=404, msg="trace not found", traceID=trace_id))
    return JaegerTraces(data=found, total=len(found), errors=errors or None)


class _Budget:
    """What is left of the bounds of an answer; its first trace is always in it."""

    def __init__(self) -> None:
        self._spans, self._characters, self._is_first = MAX_SPANS, MAX_CHARACTERS, True

    def is_spent_by(self, rows: TraceRows) -> bool:
        self._spans -= len(rows.executions) + len(rows.spans)
        self._characters -= sum(len(span.attributes) + len(span.events) for span in rows.spans)
        is_first, self._is_first = self._is_first, False
        return not is_first and min(self._spans, self._characters) < 0


def _matching(store: RecordReader, query: JaegerQuery) -> tuple[list[str], list[JaegerError]]:
    """Trace ids, newest first, and what there is to say of the search."""
    if query.filter is None:
        return [], []
    ids: dict[str, None] = {}
    page = PageRequest(filter=query.filter, limit=_PAGE, with_payloads=False, with_total=False)
    looked_at = 0
    while len(ids) < query.limit:
        if looked_at >= MAX_LOOKED_AT:
            return list(ids), [JaegerError(code=0, msg=_NOT_ALL_LOOKED_AT)]
        found = store.page(page)
        ids |= dict.fromkeys(record.trace_id for record in found.executions if record.trace_id)
        looked_at += len(found.executions)
        if not found.next_cursor:
            break
        page = replace(page, cursor=found.next_cursor)
    return list(ids)[: query.limit], []


def _rows(store: RecordReader, ids: Sequence[str]) -> Iterator[tuple[str, TraceRows]]:
    """Several traces in one read; each alone where they are too many rows together."""
    for begin in range(0, len(ids), _TRACES_AT_ONCE):
        some = ids[begin : begin + _TRACES_AT_ONCE]
        together = store.trace(TraceRequest(trace_ids=tuple(some), payload_characters=READ_CHARACTERS))
        for trace_id in some:
            yield trace_id, _of(trace_id, together) if together.is_whole else one_trace(store, trace_id)


def one_trace(store: RecordReader, trace_id: str) -> TraceRows:
    """Everything of one trace, bounded."""
    return store.trace(TraceRequest(trace_ids=(trace_id,), payload_characters=READ_CHARACTERS))


def _of(trace_id: str, rows: TraceRows) -> TraceRows:
    executions = [record for record in rows.executions if record.trace_id == trace_id]
    ids = {record.id for record in executions}
    spans = [span for span in rows.spans if span.execution_id in ids]
    return TraceRows(executions=executions, spans=spans, is_whole=True)
