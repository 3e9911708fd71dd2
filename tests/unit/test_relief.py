"""What is written while a sync hangs goes into a file of its own; and nothing is appended to an earlier one after that.

A drain that has seen the later file looks at no earlier one any more. The turns of the threads that take part are made
one by one here; a busy machine makes them by chance.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from exporters.segments import encode
from exporters.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporters.loans import Loan
    from exporters.relief import Relief
    from exporters.segments import Segment

LIMIT = 1 << 20


class Nobody:
    """A lane that leaves everything to the writer."""

    def ask(self) -> bool:
        return False


class Bench:
    """A spool whose frames are lent whenever it asks, and written and synced when the test says so."""

    def __init__(self, root: Path) -> None:
        self.spool = Spool.open(root, instance_id="one")
        self._reader = self.spool.reader()
        self.keep(b"the first makes the segment, which is the writer's work")
        self.spool.use_lane(self)
        self.drained: list[bytes] = []

    def ask(self) -> bool:
        """See `TakesLoans`: whoever asks is told yes, and the test lends."""
        return True

    def append(self, frame: bytes) -> int:
        sequence = self.spool.append(frame)
        assert sequence
        return sequence

    def keep(self, frame: bytes) -> None:
        assert self.spool.wait(self.append(frame), timeout_seconds=10)

    def lend(self) -> Loan | None:
        return self.spool.lend(max_bytes=LIMIT)

    def write(self, loan: Loan) -> None:
        os.write(loan.descriptor, encode(loan.frames))
        loan.wrote = lambda: True

    def settle(self) -> None:
        """Have everything written and synced, by whom the spool will."""
        deadline = time.monotonic() + 10
        while self.spool.depth.frames and not self.spool.flush(timeout_seconds=0.01):
            assert time.monotonic() < deadline
            if (loan := self.lend()) is not None:
                self.write(loan)
                self.spool.repay(loan)

    def drain(self) -> None:
        batch = self._reader.read(max_frames=100, max_bytes=LIMIT)
        self.drained += batch.frames
        self._reader.commit(batch)

    def relief(self) -> Relief:
        return self.spool._stand_in._relief

    def close(self) -> None:
        self._reader.close()
        self.spool.close(timeout_seconds=10)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def hanging(bench: Bench) -> Loan:
    """A loan that is written, and whose sync takes its time."""
    bench.append(b"lent")
    loan = bench.lend()
    assert loan
    bench.write(loan)
    return loan


def test_a_file_that_is_lent_is_not_deleted_where_a_drain_has_read_what_was_there_before(bench: Bench) -> None:
    bench.drain()
    loan = hanging(bench)
    bench.append(b"relieved")
    bench.spool.relieve()
    assert bench.spool.delivered == 1  # which looks at the drain, and deletes what it has passed
    bench.spool.repay(loan)
    bench.settle()
    bench.drain()
    assert bench.drained[1:] == [b"lent", b"relieved"]


def test_what_is_in_its_file_stays_there_until_it_is_in_another(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waited was told that it survives a kill; and the appender, which synced it, is dead."""
    loan = hanging(bench)
    file = bench.spool._writer._file
    write = file.write
    found: list[bytes] = []

    def look_and_write(group: list[bytes]) -> int:
        bench.drain()
        found.extend(bench.drained[1:])
        return write(group)

    monkeypatch.setattr(file, "write", look_and_write)
    bench.spool.take_back(loan, is_written=True)
    assert bench.spool.flush(timeout_seconds=10)
    bench.drain()
    assert (found, bench.drained[1:]) == ([b"lent"], [b"lent", b"lent"])
    assert bench.spool.depth.frames == 0


def test_what_may_not_be_in_its_file_is_cut_off(bench: Bench) -> None:
    loan = hanging(bench)
    bench.spool.take_back(loan, is_written=False)
    assert bench.spool.flush(timeout_seconds=10)
    bench.drain()
    assert bench.drained[1:] == [b"lent"]


def test_nothing_is_lent_while_a_relief_is_being_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hang ends just then; and the drain has passed the relief's file before the loan would be written."""
    loan = hanging(bench)
    bench.append(b"relieved")
    relief = bench.relief()
    write = relief.write
    lent: list[Loan] = []

    def and_meanwhile(frames: list[bytes]) -> None:
        bench.spool.repay(loan)
        bench.append(b"later")
        if (another := bench.lend()) is not None:
            lent.append(another)
        write(frames)

    monkeypatch.setattr(relief, "write", and_meanwhile)
    bench.spool.relieve()
    bench.drain()
    for another in lent:
        bench.write(another)
        bench.spool.repay(another)
    assert bench.spool.flush(timeout_seconds=10)
    bench.drain()
    assert sorted(bench.drained[1:]) == [b"later", b"lent", b"relieved"]


def test_a_writer_whose_sync_failed_waits_for_the_relief(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would have its next file before, and write into it after the drain has passed the relief's."""
    hangs, created, relieved = threading.Event(), threading.Event(), threading.Event()
    file, relief = bench.spool._writer._file, bench.relief()
    create, sync, write = file._create, file.sync, relief.write

    def hang_and_fail(*, size: int, frames: int) -> None:
        monkeypatch.setattr(file, "sync", sync)
        hangs.set()
        assert created.wait(10)
        monkeypatch.setattr(os, "fdatasync", failing)
        sync(size=size, frames=frames)

    def failing(_: int) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(file, "_create", and_wait)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def and_wait() -> Segment:
        made = create()
        created.set()
        assert relieved.wait(10)
        return made

    def late(frames: list[bytes]) -> None:
        created.set()
        time.sleep(0.3)
        write(frames)
        bench.drain()
        relieved.set()

    monkeypatch.setattr(file, "sync", hang_and_fail)
    bench.spool.use_lane(Nobody())
    bench.append(b"hangs")
    assert hangs.wait(10)
    bench.append(b"relieved")
    monkeypatch.setattr(relief, "write", late)
    bench.spool.relieve()
    assert bench.spool.flush(timeout_seconds=10)
    bench.drain()
    assert sorted(set(bench.drained[1:])) == [b"hangs", b"relieved"]


@pytest.fixture
def no_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A relief gets its file, and not a byte into it; while the block lasts."""
    file = bench.relief()._file

    def and_fail(_: list[bytes]) -> int:
        file._create()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(file, "write", and_fail)
        yield


@pytest.mark.usefixtures("no_room")
def test_after_a_relief_that_failed_nothing_is_added_to_an_earlier_file(bench: Bench) -> None:
    loan = hanging(bench)
    bench.append(b"relieved")
    bench.spool.relieve()
    bench.drain()
    bench.spool.repay(loan)
    bench.settle()
    bench.drain()
    assert bench.drained[1:] == [b"lent", b"relieved"]


def test_the_relief_after_one_that_failed_is_in_a_later_file(bench: Bench, no_room: None) -> None:
    loan = hanging(bench)
    bench.append(b"relieved")
    bench.spool.relieve()
    bench.spool.repay(loan)
    bench.settle()
    loan = hanging(bench)
    bench.drain()
    bench.append(b"relieved, too")
    bench.spool.relieve()
    bench.drain()
    bench.spool.repay(loan)
    bench.settle()
    bench.drain()
    assert bench.drained[1:] == [b"lent", b"relieved", b"lent", b"relieved, too"]
