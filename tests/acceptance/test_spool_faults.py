"""The spool against real faults: kill -9, a full disk, two owners, a fork."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from outages import small_disk_in

from exporters.spool import Spool, orphans
from exporters.spool_reader import SpoolReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
LIMIT = 1 << 30
MEBIBYTE = 1 << 20

APPENDER = """
import sys, pathlib
from exporters.spool import Spool
spool = Spool.open(pathlib.Path(sys.argv[1]), instance_id="victim", segment_bytes=20_000)
spool.on_progress(lambda synced: print(synced, flush=True))
number = 0
while True:
    number += 1
    seq = spool.append(b"%d:" % number + b"x" * 200)
    if number % 50 == 0:
        spool.wait(seq, timeout_seconds=10)
"""


def start(program: str, root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(root)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def until(condition: Callable[[], bool], *, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def read_all(root: Path) -> list[bytes]:
    (orphan,) = orphans(root)
    frames: list[bytes] = []
    reader = SpoolReader(orphan.path, is_growing=False)
    while (batch := reader.read(max_frames=500, max_bytes=LIMIT)).frames:
        frames += batch.frames
        reader.commit(batch)
    assert reader.cursor.corrupt <= 1
    orphan.remove()
    return frames


@pytest.mark.parametrize("lines", [1, 40, 300])
def test_every_frame_reported_as_synced_survives_kill_9(tmp_path: Path, lines: int) -> None:
    with start(APPENDER, tmp_path) as victim:
        assert victim.stdout is not None
        synced = 0
        for _ in range(lines):
            synced = int(victim.stdout.readline())
        victim.kill()
        rest, _ = victim.communicate()
    told = rest.split(b"\n")[:-1]  # what stands after the last newline may be a torn number
    synced = int(told[-1]) if told else synced
    numbers = [int(frame.split(b":")[0]) for frame in read_all(tmp_path)]
    assert len(numbers) >= synced
    assert numbers == list(range(1, len(numbers) + 1))


OWNER = """
import sys, pathlib
from exporters.spool import Spool
spool = Spool.open(pathlib.Path(sys.argv[1]), instance_id="one")
spool.wait(spool.append(b"mine"), timeout_seconds=10)
print("open", flush=True)
sys.stdin.read()
"""

RIVAL = """
import sys, pathlib
from exporters.spool import Spool, SpoolOwnedError, orphans
assert orphans(pathlib.Path(sys.argv[1])) == []
try:
    Spool.open(pathlib.Path(sys.argv[1]), instance_id="one")
except SpoolOwnedError:
    print("refused")
"""


def test_two_processes_cannot_own_one_spool(tmp_path: Path) -> None:
    with start(OWNER, tmp_path) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        with start(RIVAL, tmp_path) as rival:
            assert rival.communicate(timeout=20)[0] == b"refused\n"
        assert orphans(tmp_path) == []
        owner.kill()
    assert read_all(tmp_path) == [b"mine"]


ADOPTER = """
import sys, pathlib
from exporters.spool import orphans
print("ready", flush=True)
sys.stdin.readline()
print(len(orphans(pathlib.Path(sys.argv[1]))), flush=True)
sys.stdin.readline()
"""


def test_of_several_adopters_one_gets_the_orphan(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one")
    spool.append(b"left")
    spool.close(timeout_seconds=10)
    adopters = [start(ADOPTER, tmp_path) for _ in range(3)]
    won = []
    for adopter in adopters:
        assert adopter.stdout is not None
        assert adopter.stdout.readline() == b"ready\n"
    for adopter in adopters:
        assert adopter.stdin is not None
        adopter.stdin.write(b"\n")
        adopter.stdin.flush()
    for adopter in adopters:
        assert adopter.stdout is not None
        won.append(int(adopter.stdout.readline()))
    for adopter in adopters:
        adopter.communicate(b"\n", timeout=20)
    assert sorted(won) == [0, 0, 1]


FORKER = """
import os, sys, pathlib, time
from exporters.spool import Spool
spool = Spool.open(pathlib.Path(sys.argv[1]), instance_id="one")
spool.wait(spool.append(b"parent"), timeout_seconds=10)
child = os.fork()
if child == 0:
    refused = spool.append(b"child") is None and spool.dropped == {"forked": 1}
    spool.close(timeout_seconds=1)
    os.write(1, b"%d %d\\n" % (os.getpid(), refused))
    time.sleep(60)
time.sleep(60)
"""


def test_a_forked_child_appends_nothing_and_does_not_keep_the_lock(tmp_path: Path) -> None:
    with start(FORKER, tmp_path) as parent:
        assert parent.stdout is not None
        child, refused = map(int, parent.stdout.readline().split())
        try:
            assert refused == 1
            assert orphans(tmp_path) == []  # the child's close took nothing away from its parent
            parent.kill()
            parent.wait(timeout=20)
            assert read_all(tmp_path) == [b"parent"]
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk_in(tmp_path) as disk:
        yield disk.folder


def test_a_full_disk_loses_nothing_accepted_and_recovers(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    spool = Spool.open(small_disk, instance_id="one", segment_bytes=MEBIBYTE)
    seq = 0
    ballast.write_bytes(b"x" * 2 * MEBIBYTE)
    while "disk_full" not in spool.dropped:  # memory may be full before the last bytes of the disk are
        accepted = spool.append(b"%06d" % (seq + 1) + b"x" * 500_000)
        seq = accepted or seq
        if seq == 2:
            assert spool.wait(2, timeout_seconds=10)
    assert 2 <= spool.synced < seq
    ballast.unlink()
    frames: list[bytes] = []
    reader = spool.reader()
    deadline = time.monotonic() + 20
    while len(frames) < seq and time.monotonic() < deadline:
        batch = reader.read(max_frames=9, max_bytes=LIMIT)
        frames += batch.frames
        reader.commit(batch)
    assert [int(frame[:6]) for frame in frames] == list(range(1, seq + 1))
    assert spool.wait(spool.append(b"again") or 0, timeout_seconds=10)
    assert spool.corrupt_frames == 0
    spool.close(timeout_seconds=10)


def test_close_on_a_full_disk_counts_what_it_gives_up(small_disk: Path) -> None:
    spool = Spool.open(small_disk, instance_id="one")
    (small_disk / "ballast").write_bytes(b"x" * (3 * MEBIBYTE))
    for _ in range(4):
        spool.append(b"x" * MEBIBYTE)
    spool.close(timeout_seconds=0.3)
    assert (spool.written, spool.dropped) == (0, {"disk_full": 4})


LIMITED = """
import resource, sys, pathlib
from exporters.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
spool = Spool.open(pathlib.Path(sys.argv[1]), instance_id="one")
for number in range(100):
    seq = spool.append(b"%d:" % number + b"x" * 990)
print(spool.wait(seq, timeout_seconds=1), spool.synced >= 1, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
reader = spool.reader()
print(spool.wait(seq, timeout_seconds=20), len(reader.read(max_frames=200, max_bytes=1 << 30).frames), flush=True)
spool.close(timeout_seconds=5)
"""


def test_short_writes_leave_no_torn_frame_behind(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes os.write take less than asked, then fail with EFBIG, as a full disk does."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    with start(LIMITED, tmp_path) as limited:
        out, _ = limited.communicate(timeout=60)
    assert out.splitlines()[1] == b"True 100"
    assert [int(frame.split(b":")[0]) for frame in read_all(tmp_path)] == list(range(100))
