"""Between a span and a destination that may be away: what enters the spool, when, and what becomes of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from exporters.spool import Spool
from exporters.spooled import Delivered, Frame, SpooledSpanExporter
from otel_tracker.conventions import EXECUTION_ID
from otel_tracker.processor import ExecutionProcessor
from otel_tracker.provider import ExecutionTracerProvider
from otel_tracker.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan


class Interrupt(BaseException):
    pass


class Destination:
    """Takes spans as `name` or `name running`; away while `error` is set; refuses what `refuses` names."""

    name = "test"

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.error: BaseException | None = None
        self.refuses = b""
        self.tried = threading.Event()

    def encode(self, span: ReadableSpan) -> Frame | None:
        key = (span.attributes or {}).get(EXECUTION_ID)
        if not isinstance(key, str):
            return None
        text = span.name.removeprefix("execute ") + ("" if span.end_time else " running")
        return Frame(key=key, data=text.encode(), is_final=span.end_time is not None)

    def deliver(self, frames: Sequence[bytes]) -> Delivered:
        self.tried.set()
        if self.error:
            raise self.error
        refused = [index for index, frame in enumerate(frames) if frame == self.refuses]
        self.got += [frame for frame in frames if frame != self.refuses]
        return Delivered(rejected=tuple((index, "refused") for index in refused))


class Bench:
    """A spooled exporter and a tracker that feeds it. Its threads run only where the test starts them."""

    def __init__(self, folder: Path, *, max_bytes: int = 1 << 30) -> None:
        self.folder = folder / "one"
        self.spool = Spool.open(folder, instance_id="one", max_bytes=max_bytes, sync=False)
        self.destination = Destination()
        self.exporter = SpooledSpanExporter(self.destination, self.spool)
        provider = ExecutionTracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(ExecutionProcessor(self.exporter))
        self.tracker = Tracker(provider.get_tracer("test"))

    def frames(self, count: int) -> list[bytes]:
        """The first frames of the spool, once there are so many."""
        assert self.spool.wait(count, timeout_seconds=10)
        return self.spool.read(max_frames=99, max_bytes=1 << 20).frames

    def drain(self) -> int:
        assert self.spool.wait(self.spool.depth.frames, timeout_seconds=10)
        return self.exporter.drain_once()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.destination.error = None
    bench.exporter.shutdown(timeout_seconds=10)


def test_an_execution_that_ends_soon_costs_one_frame(bench: Bench) -> None:
    bench.tracker.start("quick").end()
    assert (bench.frames(1), bench.spool.depth.frames) == ([b"quick"], 1)


def test_an_execution_that_goes_on_is_announced_as_running(bench: Bench) -> None:
    bench.destination.error = ConnectionError()
    bench.exporter.start()
    execution = bench.tracker.start("slow")
    assert bench.frames(1) == [b"slow running"]
    execution.end()
    assert bench.frames(2) == [b"slow running", b"slow"]


def test_one_that_has_just_begun_can_be_found(bench: Bench) -> None:
    execution = bench.tracker.start("young")
    young = bench.exporter.starting(lambda span: span.name == "execute young")
    assert young
    assert (young.attributes or {})[EXECUTION_ID] == execution.id
    assert bench.exporter.starting(lambda span: span.name == "execute old") is None
    execution.end()
    assert bench.exporter.starting(lambda _: True) is None


def test_frames_arrive_in_order(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.tracker.start(name).end()
    assert bench.drain() == 3
    assert bench.destination.got == [b"a", b"b", b"c"]
    assert (bench.exporter.delivered, bench.spool.depth.frames) == (3, 0)


def test_what_the_destination_does_not_want_is_not_kept(bench: Bench) -> None:
    tracer = ExecutionTracerProvider(shutdown_on_exit=False).get_tracer("other")
    span = tracer.start_span("other")
    span.end()
    assert bench.exporter.export([span]) is SpanExportResult.SUCCESS  # type: ignore[list-item]  # the SDK's span is one
    assert bench.spool.depth.frames == 0


def test_a_destination_that_is_away_gets_the_frames_later(bench: Bench) -> None:
    bench.tracker.start("a").end()
    bench.destination.error = ConnectionError("away")
    with pytest.raises(ConnectionError):
        bench.drain()
    assert (bench.destination.got, bench.spool.depth.frames) == ([], 1)
    bench.destination.error = None
    assert bench.drain() == 1
    assert bench.destination.got == [b"a"]


@pytest.mark.parametrize("error", [ConnectionError("away"), Interrupt("away")])
def test_the_drain_survives_whatever_the_destination_raises(bench: Bench, error: BaseException) -> None:
    bench.destination.error = error
    bench.exporter.start()
    bench.tracker.start("a").end()
    assert bench.destination.tried.wait(10)
    bench.destination.error = None
    assert bench.exporter.force_flush(10_000)
    assert (bench.destination.got, bench.exporter.last_error) == ([b"a"], "")


def test_a_refused_frame_goes_to_dead_and_takes_nobody_along(bench: Bench) -> None:
    bench.destination.refuses = b"b"
    for name in ("a", "b", "c"):
        bench.tracker.start(name).end()
    assert bench.drain() == 3
    assert bench.destination.got == [b"a", b"c"]
    assert bench.exporter.rejected == 1
    (dead,) = (bench.folder / "dead").iterdir()
    assert dead.read_bytes() == b"b"


def test_a_receipt_says_the_number_of_the_last_frame(bench: Bench) -> None:
    bench.tracker.start("other").end()
    execution = bench.tracker.start("a")
    receipt = bench.exporter.expect(execution.id)
    assert receipt.sequence is None
    execution.end()
    assert receipt.sequence == 2


def test_a_full_spool_is_a_failure_that_the_spool_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_bytes=8)
    execution = bench.tracker.start("too long for it")
    receipt = bench.exporter.expect(execution.id)
    execution.end()
    assert (receipt.sequence, bench.spool.dropped) == (None, {"too_large": 1})
    bench.exporter.shutdown()


def test_after_shutdown_spans_are_refused_and_what_is_left_waits_for_the_next_start(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.destination.error = ConnectionError()
    bench.exporter.start()
    bench.tracker.start("kept").end()
    bench.exporter.shutdown(timeout_seconds=0.05)
    bench.tracker.start("late").end()
    assert bench.spool.dropped == {"closed": 1}
    again = Bench(tmp_path)
    assert again.exporter.drain_once() == 1
    assert again.destination.got == [b"kept"]
    again.exporter.shutdown()
