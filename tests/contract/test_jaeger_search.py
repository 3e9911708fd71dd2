"""Jaeger's search over a store that has more than one answer may hold: it ends, and says what it left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge_app.api.jaeger.parameters import jaeger_query
from bridge_app.api.jaeger.search import MAX_LOOKED_AT, MAX_SPANS, find
from bridge_app.api.jaeger.spans import CUT
from otel_tracker.record import ExecutionRecord, SpanRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bridge_app.api.jaeger.shapes import JaegerTraces
    from otel_tracker.ports import ExecutionStore

NOON = 1_728_043_200_000_000_000
RESOURCE = {"service.name": "bridge"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExecutionStore]:
    opened = open_store(f"sqlite:///{tmp_path}/executions.db")
    yield opened
    opened.close()


def execution(number: int, trace: int) -> ExecutionRecord:
    start = NOON + number
    return ExecutionRecord(
        id=f"{number:036d}",
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=start,
        end_time=start + 1,
        trace_id=f"{trace:032x}",
        span_id=f"{number:016x}",
    )


def found(store: ExecutionStore, *, limit: int) -> tuple[JaegerTraces, list[str]]:
    """What was found in the hour before, and what the answer says is missing."""
    given = {"service": ["bridge"], "limit": [str(limit)]}
    answer = find(store, jaeger_query(given, service="bridge", now=NOON + 3_600 * 10**9), resource=RESOURCE, now=0)
    return answer, [error.msg for error in answer.errors or ()]


def test_a_search_among_very_many_executions_of_few_traces_ends(store: ExecutionStore) -> None:
    store.write([execution(0, 1)])
    for begin in range(1, MAX_LOOKED_AT + 1, 1000):
        store.write([execution(number, 2) for number in range(begin, begin + 1000)])
    answer, missing = found(store, limit=2)
    assert [(int(trace.traceID, 16), len(trace.spans), trace.warnings) for trace in answer.data] == [(2, 1000, [CUT])]
    assert missing == ["The search ended after 10,000 executions: ask for a shorter time."]
    assert found(store, limit=1)[1] == []


def test_an_answer_has_only_so_many_spans(store: ExecutionStore) -> None:
    """A thousand in each trace: twenty traces fit."""
    for trace in range(1, 22):
        one = execution(trace, trace)
        children = [
            SpanRecord(
                execution_id=one.id,
                trace_id=one.trace_id,
                span_id=f"{number:016x}",
                parent_span_id=one.span_id,
                name="GET",
                kind="client",
                start_time=NOON,
                end_time=NOON,
            )
            for number in range(1_000, 1_999)
        ]
        store.write([one, *children])
    answer, missing = found(store, limit=50)
    assert [int(trace.traceID, 16) for trace in answer.data] == list(range(21, 1, -1))
    assert sum(len(trace.spans) for trace in answer.data) == MAX_SPANS
    assert missing == ["There are more traces than fit into one answer: ask for fewer, or for a shorter time."]
