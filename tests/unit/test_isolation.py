"""The frame that keeps its batch from being taken is found, and given up only while others are taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporters.drain import Delivered, Drain
from exporters.isolation import BATCH_ATTEMPTS, FRAME_ATTEMPTS, UNPROVEN_ATTEMPTS, Trial
from exporters.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from otel_tracker.query import SpoolPosition


class OddError(Exception):
    """A database's own, of which nobody knows whether it will pass."""


class LockedError(OddError):
    """Somebody holds what the frame needs."""


class Destination:
    """Takes nothing while one of `bad` is in the batch; says that it is away, or full, where `is_away`."""

    name = "test"

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.bad: set[bytes] = set()
        self.locked: set[bytes] = set()
        self.repaired = b""
        self.is_away = False
        self.stored = 0
        self.batches: list[int] = []
        self.kept: SpoolPosition | None = None

    def position(self, instance_id: str) -> SpoolPosition | None:
        return self.kept if self.kept and self.kept.instance_id == instance_id else None

    def deliver(
        self, frames: Sequence[bytes], *, until: SpoolPosition | None, settle: Callable[[Delivered], object]
    ) -> Delivered:
        self.batches.append(len(frames))
        if self.locked & set(frames):
            raise LockedError
        if self.is_away or self.bad & set(frames):
            raise OddError("not now") from ValueError("because of that one")
        self.got += frames
        self.stored += len(frames)
        settle(Delivered())
        self.kept = until
        return Delivered()

    def may_be_a_frames_fault(self, error: Exception) -> bool:
        return isinstance(error, OddError) and not self.is_away

    def is_a_lock(self, error: Exception) -> bool:
        return isinstance(error, LockedError)

    def try_one(self, frame: bytes) -> Trial:
        is_new = not self.is_away and frame not in self.bad | set(self.got)
        return Trial(is_taken=is_new and frame != self.repaired, refused="repaired" if frame == self.repaired else "")

    def lost_with(self, frame: bytes) -> int:
        return int(frame.isdigit())


class Bench:
    def __init__(self, folder: Path) -> None:
        self.dead = folder / "one" / "dead"
        self.spool = Spool.open(folder, instance_id="one", sync=False)
        self.destination = Destination()
        self.drain = Drain(self.destination, self.spool.reader())

    def put(self, count: int, *, first: int = 0) -> list[bytes]:
        frames = [b"%03d" % number for number in range(first, first + count)]
        for frame in frames:
            self.spool.append(frame)
        assert self.spool.flush(timeout_seconds=10)
        return frames

    def try_again(self, times: int) -> int:
        """How often of so many times it failed before all was moved."""
        for failures in range(times):
            try:
                self.drain.once()
            except OddError:
                continue
            return failures
        return times

    def buried(self) -> list[bytes]:
        return sorted(path.read_bytes() for path in self.dead.iterdir()) if self.dead.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.spool.close(timeout_seconds=10)


@pytest.mark.parametrize("place", [0, 1, 499, 998])
def test_one_frame_of_a_thousand_is_found_and_given_up(bench: Bench, place: int) -> None:
    """In some twenty attempts: the batch, its halves, the frame itself."""
    frames = bench.put(1000)
    bench.destination.bad = {frames[place]}
    assert bench.try_again(100) <= BATCH_ATTEMPTS + 10 + FRAME_ATTEMPTS
    assert bench.destination.got == frames[:place] + frames[place + 1 :]
    assert (bench.buried(), bench.drain.rejected, bench.drain.lost) == ([frames[place]], 1, 1)
    assert not bench.drain.reader.has_frames()
    (path,) = bench.dead.iterdir()
    assert path.name.endswith("-given_up_valueerror_because_of_that_one.frame")


def test_one_frame_after_another_is_given_up(bench: Bench) -> None:
    frames = bench.put(100)
    bench.destination.bad = {frames[10], frames[11], frames[60]}
    bench.try_again(200)
    assert bench.buried() == [frames[10], frames[11], frames[60]]
    assert bench.destination.got == [frame for frame in frames if frame not in bench.destination.bad]


def test_what_passes_by_itself_costs_no_frame(bench: Bench) -> None:
    frames = bench.put(8)
    bench.destination.bad = {frames[3]}
    assert bench.try_again(BATCH_ATTEMPTS + 5) == BATCH_ATTEMPTS + 5
    bench.destination.bad = set()
    assert bench.try_again(1) == 0
    assert (bench.destination.got, bench.buried()) == (frames, [])


def test_a_frame_that_somebody_locks_is_given_twenty_times_as_long(bench: Bench) -> None:
    frames = bench.put(8)
    bench.destination.locked = {frames[3]}
    assert bench.try_again(UNPROVEN_ATTEMPTS) == UNPROVEN_ATTEMPTS
    assert bench.buried() == []
    bench.destination.locked = set()
    assert bench.try_again(1) == 0
    assert bench.destination.got == frames


def test_a_frame_that_stays_locked_is_given_up_in_the_end(bench: Bench) -> None:
    frames = bench.put(8)
    bench.destination.locked = {frames[3]}
    assert bench.try_again(2 * UNPROVEN_ATTEMPTS) < UNPROVEN_ATTEMPTS + 20
    assert bench.buried() == [frames[3]]


def test_a_destination_that_takes_nothing_costs_no_frame(bench: Bench) -> None:
    """It answers, and says not that it is full: all fail alike."""
    frames = bench.put(8)
    bench.destination.bad = set(frames)
    assert bench.try_again(100) == 100
    assert (bench.buried(), bench.drain.rejected, bench.spool.delivered) == ([], 0, 0)
    bench.destination.bad = set()
    assert bench.try_again(1) == 0
    assert bench.destination.got == frames


def test_a_destination_that_is_away_costs_no_frame(bench: Bench) -> None:
    frames = bench.put(8)
    bench.destination.is_away = True
    assert bench.try_again(100) == 100
    assert set(bench.destination.batches) == {8}
    bench.destination.is_away = False
    assert bench.try_again(1) == 0
    assert (bench.destination.got, bench.buried()) == (frames, [])


def test_a_frame_alone_waits_for_another_to_be_taken(bench: Bench) -> None:
    (only,) = bench.put(1)
    bench.destination.bad = {only}
    assert bench.try_again(50) == 50
    assert bench.buried() == []
    later = bench.put(1, first=1)
    assert bench.try_again(1) == 0
    assert (bench.buried(), bench.destination.got) == ([only], later)


def test_a_frame_alone_is_given_up_where_those_of_other_spools_are_taken(bench: Bench) -> None:
    frames = bench.put(3)
    bench.destination.bad = {frames[2]}
    assert bench.try_again(UNPROVEN_ATTEMPTS) == UNPROVEN_ATTEMPTS
    bench.destination.stored += 1
    assert bench.try_again(10) < 10
    assert bench.buried() == [frames[2]]


def test_smaller_frames_prove_little(bench: Bench) -> None:
    """They may fit where this one does not: so it is tried twenty times as often."""
    bench.put(3)
    assert bench.drain.once() == 3
    large = b"large" * 100
    bench.spool.append(large)
    small = bench.put(5, first=3)
    bench.destination.bad = {large}
    assert bench.try_again(UNPROVEN_ATTEMPTS) == UNPROVEN_ATTEMPTS
    assert bench.buried() == []
    assert bench.try_again(10) < 10
    assert (bench.buried(), bench.destination.got[3:]) == ([large], small)


def test_what_the_destination_has_already_is_no_witness(bench: Bench) -> None:
    """It takes that without writing anything, and may be full."""
    bad, known = bench.put(2)
    bench.destination.bad, bench.destination.got = {bad}, [known]
    assert bench.try_again(50) == 50
    assert bench.buried() == []


def test_a_witness_that_is_repaired_is_kept_in_dead_and_counted(bench: Bench) -> None:
    bad, repaired, _ = bench.put(3)
    bench.destination.bad, bench.destination.repaired = {bad}, repaired
    bench.try_again(50)
    assert (bench.buried(), bench.drain.rejected, bench.drain.lost) == ([bad, repaired], 2, 1)
