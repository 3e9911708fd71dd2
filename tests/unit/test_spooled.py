"""From a span into the spool: what enters it and when, and how one that is on its way is found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from exporters.account import Settled
from exporters.spool import Spool
from exporters.spooled import Frame, SpooledSpanExporter
from exporters.sql import ExecutionRecordExporter
from otel_tracker.conventions import EXECUTION_ID
from otel_tracker.conversion import record_from_span
from otel_tracker.processor import ExecutionProcessor
from otel_tracker.provider import ExecutionTracerProvider
from otel_tracker.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_tracker.execution import Execution


class Names:
    """Encodes an execution as `name` or `name running`."""

    def encode(self, span: ReadableSpan) -> Frame | None:
        record = record_from_span(span)
        if record is None:
            return None
        return Frame(data=(record.plugin_name + ("" if span.end_time else " running")).encode(), record=record)


class Bench:
    """A spooled exporter and a tracker that feeds it. Its thread runs only where the test starts it."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 30) -> None:
        self.spool = Spool.open(folder, instance_id="one", max_bytes=max_bytes, sync=False)
        self.exporter = SpooledSpanExporter(Names(), self.spool)
        provider = ExecutionTracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(ExecutionProcessor(self.exporter))
        self.tracker = Tracker(provider.execution_tracer())

    def frames(self, count: int) -> list[bytes]:
        """The first frames of the spool, once there are so many."""
        assert self.spool.wait(count, timeout_seconds=10)
        return self.spool.reader().read(max_frames=99, max_bytes=1 << 20).frames

    def drain(self) -> None:
        assert self.spool.flush(timeout_seconds=10)
        reader = self.spool.reader()
        reader.commit(reader.read(max_frames=99, max_bytes=1 << 20))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.exporter.shutdown(timeout_seconds=10)


def test_an_execution_that_ends_soon_costs_one_frame(bench: Bench) -> None:
    bench.tracker.start("quick").end()
    assert (bench.frames(1), bench.spool.depth.frames) == ([b"quick"], 1)


def test_an_execution_that_goes_on_is_announced_as_running(bench: Bench) -> None:
    bench.exporter.start()
    execution = bench.tracker.start("slow")
    assert bench.frames(1) == [b"slow running"]
    execution.end()
    assert bench.frames(2) == [b"slow running", b"slow"]


class Fails(Names):
    """So many times it cannot encode an end."""

    def __init__(self, times: int) -> None:
        self.left = times

    def encode(self, span: ReadableSpan) -> Frame | None:
        if span.end_time is not None and self.left:
            self.left -= 1
            raise ValueError("planted")
        return super().encode(span)


@pytest.mark.parametrize(("times", "told"), [(1, Settled(0, 1, {})), (2, Settled(0, 0, {"not_encoded": 1}))])
def test_an_end_that_cannot_be_encoded_is_tried_again_and_then_counted(bench: Bench, times: int, told: Settled) -> None:
    bench.exporter._encoder = Fails(times)
    bench.tracker.start("quick").end()
    assert bench.exporter.account.settle(0) == told
    assert bench.exporter.young == 0


class EndsMeanwhile(Names):
    """The execution ends while its start is being encoded."""

    def __init__(self) -> None:
        self.ends: list[Execution] = []

    def encode(self, span: ReadableSpan) -> Frame | None:
        if span.end_time is None and self.ends:
            self.ends.pop().end()
        return super().encode(span)


def test_an_end_during_the_announcement_is_accounted_for_once(bench: Bench) -> None:
    bench.exporter._encoder = encoder = EndsMeanwhile()
    encoder.ends.append(bench.tracker.start("slow"))
    bench.exporter.start()
    assert bench.frames(2) == [b"slow", b"slow"]
    assert bench.exporter.account.settle(0) == Settled(0, 1, {})


def test_each_end_is_accounted_for_once_and_no_start_is(bench: Bench) -> None:
    bench.exporter.start()
    slow = bench.tracker.start("slow")
    assert bench.frames(1) == [b"slow running"]
    bench.tracker.start("quick").end()
    assert bench.exporter.account.settle(bench.spool.delivered) == Settled(0, 1, {})
    slow.end()
    bench.drain()
    assert bench.exporter.account.settle(bench.spool.delivered) == Settled(2, 0, {})
    bench.spool.close(timeout_seconds=10)
    bench.tracker.start("late").end()
    assert bench.exporter.account.settle(bench.spool.delivered) == Settled(2, 0, {"closed": 1})


def test_one_that_has_just_begun_can_be_found(bench: Bench) -> None:
    execution = bench.tracker.start("young")
    young = bench.exporter.starting(lambda span: span.name == "execute young")
    assert young
    assert (young.attributes or {})[EXECUTION_ID] == execution.id
    assert bench.exporter.starting(lambda span: span.name == "execute old") is None
    execution.end()
    assert bench.exporter.starting(lambda _: True) is None


def test_one_on_its_way_can_be_read_until_it_was_delivered(bench: Bench) -> None:
    bench.exporter.start()
    execution = bench.tracker.start("a")
    execution.end()
    assert bench.exporter.unsettled.get(execution.id)
    bench.drain()
    deadline = time.monotonic() + 10
    while bench.exporter.unsettled.get(execution.id) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert bench.exporter.unsettled.get(execution.id) is None


def test_what_is_no_execution_is_not_kept(bench: Bench) -> None:
    tracer = ExecutionTracerProvider(shutdown_on_exit=False).get_tracer("other")
    span = tracer.start_span("other")
    span.end()
    assert bench.exporter.export([span]) is SpanExportResult.SUCCESS  # type: ignore[list-item]  # the SDK's span is one
    assert bench.spool.depth.frames == 0


def test_a_receipt_says_the_number_of_the_last_frame(bench: Bench) -> None:
    bench.tracker.start("other").end()
    execution = bench.tracker.start("a")
    receipt = bench.exporter.expect(execution.id)
    assert receipt.sequence is None
    execution.end()
    assert receipt.sequence == 2


def test_a_flush_waits_for_the_drain(bench: Bench) -> None:
    bench.tracker.start("a").end()
    assert not bench.exporter.force_flush(20)
    bench.drain()
    assert bench.exporter.force_flush(10_000)


def test_a_full_spool_is_a_failure_that_the_spool_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_bytes=8)
    execution = bench.tracker.start("too long for it")
    receipt = bench.exporter.expect(execution.id)
    execution.end()
    assert (receipt.sequence, bench.spool.dropped) == (None, {"too_large": 1})
    bench.exporter.shutdown()


def test_after_shutdown_spans_are_refused_and_what_is_left_waits_for_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.exporter.start()
    bench.tracker.start("kept").end()
    bench.exporter.shutdown()
    bench.tracker.start("late").end()
    assert bench.spool.dropped == {"closed": 1}
    again = Bench(tmp_path)
    assert again.spool.reader().read(max_frames=9, max_bytes=1 << 20).frames == [b"kept"]
    again.exporter.shutdown()


def test_the_bytes_of_a_record_are_the_record(tmp_path: Path) -> None:
    """The encoder of the history, behind the same exporter."""
    spool = Spool.open(tmp_path, instance_id="one", sync=False)
    exporter = SpooledSpanExporter(ExecutionRecordExporter(), spool)
    provider = ExecutionTracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(ExecutionProcessor(exporter))
    execution = Tracker(provider.execution_tracer()).start("a", input={"n": 1})
    execution.end()
    record = exporter.unsettled.get(execution.id)
    assert record
    assert (record.plugin_name, record.input) == ("a", '{"n":1}')
    exporter.shutdown()
