"""Everything of a trace, read within bounds, over each database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import databases
import msgspec
import pytest

from otel_tracker.query import TraceRequest, TraceRows
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otel_tracker.ports import ExecutionStore

NOON = 1_728_043_200_000_000_000
SECOND = 1_000_000_000
TRACE, OTHER = "a" * 32, "b" * 32


@pytest.fixture(params=databases.KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ExecutionStore]:
    with databases.made(request.param, folder=tmp_path / "data") as url:
        opened = open_store(url)
        yield opened
        opened.close()


def execution(number: int, **changes: Any) -> ExecutionRecord:
    start = NOON + number * SECOND
    base = ExecutionRecord(
        id=f"01970000-0000-7000-8000-{number:012d}",
        plugin_name="greet",
        status=Status.COMPLETED,
        start_time=start,
        end_time=start + 5,
        duration=5,
        trace_id=TRACE,
        span_id=f"{number:016x}",
        span='{"kind":"server"}',
        created_at=start,
        updated_at=start,
    )
    return msgspec.structs.replace(base, **changes)


def child(number: int, of: ExecutionRecord, **changes: Any) -> SpanRecord:
    base = SpanRecord(
        execution_id=of.id,
        trace_id=of.trace_id,
        span_id=f"c{number:015x}",
        parent_span_id=of.span_id,
        name=f"call {number}",
        kind="client",
        start_time=of.start_time + number,
        end_time=of.start_time + number + 1,
    )
    return msgspec.structs.replace(base, **changes)


def found(rows: TraceRows) -> tuple[list[int], list[str], bool]:
    return [int(one.id[-12:]) for one in rows.executions], [one.name for one in rows.spans], rows.is_whole


def test_a_trace_has_its_executions_and_their_spans_by_start_time(store: ExecutionStore) -> None:
    second, first, foreign = execution(2), execution(1), execution(3, trace_id=OTHER)
    store.write([second, first, foreign, child(2, first), child(1, second), child(1, first), child(7, foreign)])
    assert found(store.trace(TraceRequest(trace_ids=(TRACE,)))) == ([1, 2], ["call 1", "call 2", "call 1"], True)
    assert found(store.trace(TraceRequest(trace_ids=(TRACE, OTHER))))[0] == [1, 2, 3]
    assert found(store.trace(TraceRequest(execution_ids=(first.id,)))) == ([1], ["call 1", "call 2"], True)


def test_what_is_not_there_is_empty_and_whole(store: ExecutionStore) -> None:
    for request in (TraceRequest(trace_ids=(TRACE,)), TraceRequest(execution_ids=("\ud800",)), TraceRequest()):
        assert found(store.trace(request)) == ([], [], True)


def test_a_running_execution_without_spans_is_there(store: ExecutionStore) -> None:
    running = execution(1, status=Status.RUNNING, rank=Rank.RUNNING, end_time=None, duration=0)
    store.write([running])
    (read,) = store.trace(TraceRequest(trace_ids=(TRACE,))).executions
    assert (read.status, read.end_time, read.rank) == (Status.RUNNING, None, Rank.RUNNING)


def test_payloads_are_read_as_far_as_asked(store: ExecutionStore) -> None:
    texts = {name: f"{name} é🎉 " + "x" * 100 for name in ("input", "output", "traceback", "logs")}
    record = execution(1, metadata='{"a": 1}', **texts)
    store.write([record])
    (without,) = store.trace(TraceRequest(trace_ids=(TRACE,))).executions
    assert (without.input, without.logs, without.metadata) == ("", "", "{}")
    assert without.span == '{"kind":"server"}'
    (cut,) = store.trace(TraceRequest(trace_ids=(TRACE,), payload_characters=8)).executions
    assert (cut.input, cut.output, cut.traceback, cut.logs) == ("input é🎉", "output é", "tracebac", "logs é🎉 ")
    assert cut.metadata == '{"a": 1}'
    (whole,) = store.trace(TraceRequest(trace_ids=(TRACE,), payload_characters=1000)).executions
    assert whole == record


def test_the_bounds_cut_what_started_last_and_say_so(store: ExecutionStore) -> None:
    rows = [execution(number) for number in (1, 2, 3)]
    spans = [child(number, rows[0]) for number in range(1, 6)]
    store.write([*rows, *spans, child(1, rows[1])])
    cut = TraceRequest(trace_ids=(TRACE,), max_executions=1)
    assert found(store.trace(cut)) == ([1], [f"call {number}" for number in range(1, 6)], False)
    assert found(store.trace(msgspec.structs.replace(cut, max_spans=5)))[2] is False
    fits = TraceRequest(trace_ids=(TRACE,), max_executions=3, max_spans=6)
    assert found(store.trace(fits))[2] is True
    few = TraceRequest(trace_ids=(TRACE,), max_spans=2)
    assert found(store.trace(few)) == ([1, 2, 3], ["call 1", "call 2"], False)


def test_the_bytes_of_spans_are_bounded(store: ExecutionStore) -> None:
    one = execution(1)
    spans = [child(number, one, attributes='{"a":"' + "x" * 1000 + '"}') for number in (1, 2, 3)]
    store.write([one, *spans])
    rows = store.trace(TraceRequest(trace_ids=(TRACE,), max_span_bytes=2500))
    assert found(rows) == ([1], ["call 1", "call 2"], False)
    assert rows.spans == spans[:2]


def test_an_execution_whose_payload_was_deleted_is_there(store: ExecutionStore) -> None:
    store.write([execution(1, input="x" * 3000)])
    store.prune(max_bytes=1000)
    (read,) = store.trace(TraceRequest(trace_ids=(TRACE,), payload_characters=10)).executions
    assert (read.payload_deleted, read.input, read.span, read.metadata) == (True, "", "", "{}")


def test_the_plugins_that_have_executions_are_named(store: ExecutionStore) -> None:
    assert store.plugin_names() == []
    store.write([execution(1), execution(2, plugin_name="bill"), execution(3)])
    assert store.plugin_names() == ["bill", "greet"]
    store.prune(started_before=NOON + 10 * SECOND)
    assert store.plugin_names() == []
