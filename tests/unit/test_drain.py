"""From the spool to a destination that may be away: in order, at least once, and nothing takes its neighbours along."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
import pytest

from exporters.drain import Delivered, Drain, pause_seconds
from exporters.drain_messages import DrainSettings
from exporters.isolation import Trial
from exporters.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from otel_tracker.query import SpoolPosition


class Destination:
    """Away while `error` is set; refuses the frame that `refuses` names."""

    name = "test"

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.error: Exception | None = None
        self.refuses = b""
        self.stored = 0
        self.fails_after_commit = False
        self.kept: SpoolPosition | None = None
        self.tried = threading.Event()

    def position(self, instance_id: str) -> SpoolPosition | None:
        return self.kept if self.kept and self.kept.instance_id == instance_id else None

    def deliver(
        self, frames: Sequence[bytes], *, until: SpoolPosition | None, settle: Callable[[Delivered], object]
    ) -> Delivered:
        self.tried.set()
        if self.error:
            raise self.error
        refused = [index for index, frame in enumerate(frames) if frame == self.refuses]
        self.got += [frame for frame in frames if frame != self.refuses]
        delivered = Delivered(rejected=tuple((index, "refused") for index in refused))
        settle(delivered)
        self.kept = until
        if self.fails_after_commit:
            self.fails_after_commit = False
            raise ConnectionError("cut in COMMIT")
        return delivered

    def may_be_a_frames_fault(self, error: Exception) -> bool:
        return not isinstance(error, ConnectionError)

    def is_a_lock(self, error: Exception) -> bool:
        return isinstance(error, BlockingIOError)

    def try_one(self, frame: bytes) -> Trial:
        return Trial(is_taken=bool(frame) and self.error is None)

    def lost_with(self, frame: bytes) -> int:
        return len(frame)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "one"
        self.spool = Spool.open(folder, instance_id="one", sync=False)
        self.destination = Destination()
        self.drain = Drain(self.destination, self.spool.reader())

    def put(self, *frames: bytes) -> None:
        for frame in frames:
            self.spool.append(frame)
        assert self.spool.flush(timeout_seconds=10)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.spool.close(timeout_seconds=10)


def test_frames_arrive_in_order(bench: Bench) -> None:
    bench.put(b"a", b"b", b"c")
    assert bench.drain.once() == 3
    assert bench.destination.got == [b"a", b"b", b"c"]
    assert (bench.spool.delivered, bench.spool.depth.frames) == (3, 0)


def test_a_destination_that_is_away_gets_the_frames_later(bench: Bench) -> None:
    bench.put(b"a")
    bench.destination.error = ConnectionError("away")
    with pytest.raises(ConnectionError):
        bench.drain.once()
    assert (bench.destination.got, bench.spool.depth.frames) == ([], 1)
    bench.destination.error = None
    assert bench.drain.once() == 1
    assert bench.destination.got == [b"a"]


def test_what_was_taken_although_its_delivery_failed_leaves_no_error_behind(bench: Bench) -> None:
    bench.put(b"a", b"b")
    bench.destination.fails_after_commit = True
    bench.drain.start()
    assert bench.drain.finish(timeout_seconds=10)
    assert (bench.destination.got, bench.drain.last_error) == ([b"a", b"b"], "")


def test_the_thread_survives_what_the_destination_raises(bench: Bench) -> None:
    bench.destination.error = ConnectionError("away")
    bench.drain.start()
    bench.put(b"a")
    assert bench.destination.tried.wait(10)
    bench.destination.error = None
    assert bench.drain.finish(timeout_seconds=10)
    assert (bench.destination.got, bench.drain.last_error) == ([b"a"], "")


def test_finishing_gives_up_in_time_and_loses_nothing(bench: Bench) -> None:
    bench.destination.error = ConnectionError("away")
    bench.drain.start()
    bench.put(b"a")
    assert not bench.drain.finish(timeout_seconds=0.2)
    assert bench.spool.depth.frames == 1


def test_a_refused_frame_goes_to_dead_and_takes_nobody_along(bench: Bench) -> None:
    bench.destination.refuses = b"b"
    bench.put(b"a", b"b", b"c")
    assert bench.drain.once() == 3
    assert bench.destination.got == [b"a", b"c"]
    assert bench.drain.rejected == 1
    (dead,) = (bench.folder / "dead").iterdir()
    assert dead.read_bytes() == b"b"


def test_a_torn_frame_waits_for_its_rest_while_its_owner_lives(bench: Bench) -> None:
    bench.put(b"a", b"b")
    (segment,) = bench.folder.glob("*.seg")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-1])
    assert bench.drain.once() == 1
    segment.write_bytes(whole)
    assert bench.drain.once() == 1
    assert (bench.destination.got, bench.drain.reader.cursor.corrupt) == ([b"a", b"b"], 0)


@pytest.mark.parametrize(("worked", "pause"), [(0.0, 0.1), (0.004, 0.1), (0.01, 0.2), (0.04, 0.35), (9.0, 0.35)])
def test_the_more_there_was_to_do_the_longer_frames_gather(worked: float, pause: float) -> None:
    assert pause_seconds(worked_seconds=worked) == pytest.approx(pause)


def test_a_whole_number_of_the_stores_arguments_stays_one_on_its_way_to_the_drain_process() -> None:
    settings = DrainSettings(store={"bucket_seconds": 3600}, spool_root="", instance_id="one")
    arrived = msgspec.json.decode(msgspec.json.encode(settings), type=DrainSettings)
    assert isinstance(arrived.store["bucket_seconds"], int)
