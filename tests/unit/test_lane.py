"""An event loop appends through a process of its own. The faults are real: killed, frozen, out of space, files gone."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporters.appender import MAX_BYTES
from exporters.lane import Lane
from exporters.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Bench:
    """A spool, an event loop in a thread, and a lane between them."""

    def __init__(self, root: Path, *, sync: bool = True) -> None:
        self.spool = Spool.open(root, instance_id="one", sync=sync)
        self._groups = self._looked = 0
        self._count_groups()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        ident = self._thread.ident
        assert ident
        self.lane = Lane(self.spool, sync=sync, loop=self.loop, thread=ident)
        self.spool.use_lane(self.lane)
        self.start_appender()
        assert self.keep(b"the first makes the segment, which is the writer's work")

    def start_appender(self) -> None:
        self.lane.keep()
        assert until(lambda: self.lane.pid is not None)

    def keep(self, *frames: bytes, timeout_seconds: float = 10) -> bool:
        """Whether these are synced in time."""
        sequence = 0
        for frame in frames:
            taken = self.spool.append(frame)
            assert taken
            sequence = taken
        return self.spool.wait(sequence, timeout_seconds=timeout_seconds)

    def signal(self, number: signal.Signals) -> None:
        assert self.lane.pid
        os.kill(self.lane.pid, number)

    def writer_rests(self) -> bool:
        """Whether the writer's thread wrote nothing since the last look."""
        before, self._looked = self._looked, self._groups
        return before == self._looked

    def _count_groups(self) -> None:
        write = self.spool._writer._file.write

        def counting(group: list[bytes]) -> int:
            self._groups += 1
            return write(group)

        self.spool._writer._file.write = counting  # type: ignore[method-assign]

    def frames(self) -> list[bytes]:
        reader = self.spool.reader()
        found = reader.read(max_frames=10_000, max_bytes=1 << 30).frames
        reader.close()
        return found

    def close(self) -> None:
        self.spool.close(timeout_seconds=10)
        self.lane.close()
        self.loop.call_soon_threadsafe(self.loop.call_later, 0.05, self.loop.stop)
        self._thread.join()
        self.loop.close()


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def numbered(start: int, stop: int) -> list[bytes]:
    return [b"frame %d" % number for number in range(start, stop)]


def test_everyday_work_does_not_wake_the_writer(bench: Bench) -> None:
    bench.writer_rests()
    frames = numbered(0, 200)
    for frame in frames:
        assert bench.keep(frame)
    assert bench.writer_rests()
    assert bench.frames()[1:] == frames
    assert (bench.spool.written, bench.spool.synced) == (201, 201)
    assert bench.spool.depth.frames == 201


def test_appends_of_many_threads_come_whole(bench: Bench) -> None:
    def append(name: int) -> None:
        for number in range(300):
            assert bench.spool.append(b"%d:%d" % (name, number))

    threads = [threading.Thread(target=append, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.spool.flush(timeout_seconds=10)
    found = bench.frames()[1:]
    assert len(found) == 1200
    for name in range(4):  # each thread's own in its order
        assert [f for f in found if f.startswith(b"%d:" % name)] == [b"%d:%d" % (name, n) for n in range(300)]


def test_what_is_too_large_for_a_packet_is_the_writers(bench: Bench) -> None:
    large = b"x" * MAX_BYTES
    assert bench.keep(b"before", large, b"after")
    assert bench.frames()[1:] == [b"before", large, b"after"]


def test_a_killed_appender_loses_nothing_and_another_takes_its_place(bench: Bench) -> None:
    first = bench.lane.pid
    frames = numbered(0, 500)
    for number, frame in enumerate(frames):
        if number == 250:
            bench.signal(signal.SIGKILL)
        bench.spool.append(frame)
    assert bench.spool.flush(timeout_seconds=10)
    assert sorted(set(bench.frames()[1:])) == sorted(frames)
    assert until(lambda: bench.lane.pid is None)
    bench.start_appender()
    assert bench.lane.pid != first
    assert bench.lane.restarts == 1
    assert bench.keep(b"one more")
    bench.writer_rests()
    assert bench.keep(b"and one")
    assert bench.writer_rests()


def test_while_the_appender_is_frozen_nothing_counts_as_synced(bench: Bench) -> None:
    bench.signal(signal.SIGSTOP)
    assert not bench.keep(b"a", b"b", timeout_seconds=0.3)
    assert bench.spool.written == bench.spool.synced == 1
    bench.signal(signal.SIGCONT)
    assert bench.spool.flush(timeout_seconds=10)
    assert bench.frames()[1:] == [b"a", b"b"]


def test_a_spool_closed_while_the_appender_is_frozen_writes_by_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.signal(signal.SIGSTOP)
    frames = numbered(0, 20)
    assert not bench.keep(*frames, timeout_seconds=0.2)
    bench.close()
    assert bench.spool.dropped == {}
    adopted = Spool.open(tmp_path, instance_id="one")
    assert adopted.reader().read(max_frames=100, max_bytes=1 << 20).frames[1:] == frames
    adopted.close(timeout_seconds=5)


def test_a_file_that_the_appender_may_not_grow_is_left_for_another(bench: Bench) -> None:
    """As on a disk that is full, for it alone: the torn end is cut, the writer goes on in a new segment."""
    (segment,) = (bench.spool._directory.path).glob("*.seg")
    assert bench.lane.pid
    room = segment.stat().st_size + 7
    resource.prlimit(bench.lane.pid, resource.RLIMIT_FSIZE, (room, room))
    frames = numbered(0, 50)
    assert bench.keep(*frames)
    assert bench.frames()[1:] == frames
    assert bench.spool.corrupt_frames == 0
    assert bench.spool.dropped == {}


def test_a_segment_that_somebody_deletes_is_noticed(bench: Bench) -> None:
    (segment,) = (bench.spool._directory.path).glob("*.seg")
    assert bench.keep(b"before")
    segment.unlink()
    assert bench.keep(b"after")
    assert bench.frames() == [b"after"]


def test_a_reply_that_comes_after_its_loan_was_taken_back_counts_for_nothing(bench: Bench) -> None:
    bench.signal(signal.SIGSTOP)
    assert not bench.keep(b"a", b"b", timeout_seconds=0.2)
    bench.spool.recall()
    assert bench.spool.flush(timeout_seconds=10)
    bench.signal(signal.SIGCONT)
    assert bench.keep(b"c")
    assert bench.spool.synced == bench.spool.written == 4
    assert bench.frames()[-3:] == [b"a", b"b", b"c"]


def test_a_loop_that_is_held_up_gets_one_appender_all_the_same(bench: Bench) -> None:
    bench.signal(signal.SIGKILL)
    assert until(lambda: bench.lane.pid is None)
    bench.loop.call_soon_threadsafe(time.sleep, 0.3)
    for _ in range(10):
        bench.lane.keep()
    assert until(lambda: bench.lane.pid is not None)
    assert bench.lane.restarts == 1
    assert bench.keep(b"goes on")


def test_the_appender_ends_with_its_program(bench: Bench) -> None:
    pid = bench.lane.pid
    bench.lane.close()
    assert until(lambda: not Path(f"/proc/{pid}").exists())
    assert bench.keep(b"the writer goes on")


def test_without_sync_written_is_all_there_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path, sync=False)
    assert bench.keep(*numbered(0, 10))
    assert bench.spool.synced == bench.spool.written == 11
    bench.close()
