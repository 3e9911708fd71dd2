"""The spool on a healthy disk, inside one process."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from exporters.dead_frames import DeadFrames
from exporters.spool import Spool, SpoolOwnedError, orphans
from exporters.spool_reader import SpoolReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 1 << 30


def put(spool: Spool, *frames: bytes) -> None:
    seq = [spool.append(frame) for frame in frames][-1]
    assert seq is not None
    assert spool.wait(seq, timeout_seconds=10)


def drain(spool: Spool, *, max_frames: int = 9) -> list[bytes]:
    reader = spool.reader()
    batch = reader.read(max_frames=max_frames, max_bytes=LIMIT)
    reader.commit(batch)
    reader.close()
    return batch.frames


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool.open(tmp_path, instance_id="one")
    yield opened
    opened.close(timeout_seconds=10)


def test_frames_are_numbered_from_one_and_read_in_order(spool: Spool) -> None:
    assert [spool.append(b"a"), spool.append(b"b")] == [1, 2]
    assert spool.wait(2, timeout_seconds=10)
    assert (spool.written, spool.synced) == (2, 2)
    assert spool.reader().read(max_frames=9, max_bytes=LIMIT).frames == [b"a", b"b"]


def test_reading_repeats_until_the_commit(spool: Spool) -> None:
    put(spool, b"a", b"b", b"c")
    reader = spool.reader()
    first = reader.read(max_frames=2, max_bytes=LIMIT)
    assert reader.read(max_frames=2, max_bytes=LIMIT) == first
    reader.commit(first)
    assert reader.read(max_frames=2, max_bytes=LIMIT).frames == [b"c"]


def test_depth_counts_what_is_not_committed(spool: Spool) -> None:
    put(spool, b"aaaa", b"bb")
    assert (spool.depth.frames, spool.depth.bytes) == (2, 38)
    drain(spool, max_frames=1)
    assert (spool.depth.frames, spool.depth.bytes) == (1, 18)
    drain(spool, max_frames=1)
    assert (spool.depth.frames, spool.depth.bytes, spool.depth.oldest_age_seconds) == (0, 0, 0.0)


def test_an_old_commit_does_not_move_the_cursor_back(spool: Spool) -> None:
    put(spool, b"a", b"b")
    reader = spool.reader()
    old = reader.read(max_frames=1, max_bytes=LIMIT)
    reader.commit(reader.read(max_frames=2, max_bytes=LIMIT))
    reader.commit(old)
    assert reader.read(max_frames=2, max_bytes=LIMIT).frames == []


def test_the_next_owner_goes_on_behind_the_cursor(tmp_path: Path) -> None:
    first = Spool.open(tmp_path, instance_id="one")
    put(first, b"a", b"b", b"c")
    drain(first, max_frames=1)
    first.close(timeout_seconds=10)
    second = Spool.open(tmp_path, instance_id="one")
    assert second.depth.frames == 2
    put(second, b"d")
    assert second.reader().read(max_frames=9, max_bytes=LIMIT).frames == [b"b", b"c", b"d"]
    second.close(timeout_seconds=10)


def test_segments_roll_and_go_when_consumed(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one", segment_bytes=100)
    frames = [bytes([65 + number]) * 50 for number in range(6)]
    for frame in frames:
        put(spool, frame)
    assert len(list((tmp_path / "one").glob("*.seg"))) == 6
    assert drain(spool) == frames
    assert spool.depth.frames == 0
    assert [path.name for path in (tmp_path / "one").glob("*.seg")] == ["00000006.seg"]
    spool.close(timeout_seconds=10)


def test_numbers_of_deleted_segments_are_not_used_again(tmp_path: Path) -> None:
    """Or the cursor would lie in a file it never saw."""
    for turn in (b"a", b"b", b"c"):
        spool = Spool.open(tmp_path, instance_id="one")
        put(spool, turn)
        assert drain(spool) == [turn]
        spool.close(timeout_seconds=10)


def test_a_full_spool_refuses_counts_and_takes_again_after_a_commit(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one", max_bytes=8000)
    accepted = []
    while (seq := spool.append(b"x" * 484)) is not None:
        accepted.append(seq)
        assert spool.wait(seq, timeout_seconds=10)
    assert (len(accepted), spool.dropped) == (14, {"spool_full": 1})
    assert sum(path.stat().st_size for path in (tmp_path / "one").glob("*.seg")) <= 8000
    drain(spool, max_frames=9)
    put(spool, b"again")
    spool.close(timeout_seconds=10)


def test_a_closed_spool_refuses_and_counts(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one")
    spool.close(timeout_seconds=10)
    assert (spool.append(b"late"), spool.dropped) == (None, {"closed": 1})
    assert not spool.wait(1, timeout_seconds=10)


def test_close_writes_what_is_queued(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one")
    for _ in range(1000):
        spool.append(b"frame")
    spool.close(timeout_seconds=10)
    assert (spool.synced, spool.dropped) == (1000, {})


def test_an_empty_spool_can_go_with_its_owner(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one")
    put(spool, b"a")
    drain(spool, max_frames=9)
    spool.close(timeout_seconds=10, remove_if_empty=True)
    assert list(tmp_path.iterdir()) == []


def test_a_spool_with_frames_stays_for_the_next_owner(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one")
    put(spool, b"a")
    spool.close(timeout_seconds=10, remove_if_empty=True)
    (orphan,) = orphans(tmp_path)
    assert (
        orphan.instance_id,
        SpoolReader(orphan.path, is_growing=False).read(max_frames=9, max_bytes=LIMIT).frames,
    ) == ("one", [b"a"])
    orphan.remove()
    assert list(tmp_path.iterdir()) == []


def test_one_process_cannot_own_a_directory_twice(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(SpoolOwnedError, match="owned by a running process"):
        Spool.open(tmp_path, instance_id="one")
    assert orphans(tmp_path) == []


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a\n", "ü"])
def test_a_name_that_is_no_plain_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="instance_id is"):
        Spool.open(tmp_path, instance_id=name)


def test_nobody_else_may_read_the_files(spool: Spool, tmp_path: Path) -> None:
    put(spool, b"a")
    spool.reader().bury(b"bad", reason="too_big")
    home = tmp_path / "one"
    modes = {
        path.relative_to(home).parts[0]: stat.S_IMODE(path.stat().st_mode)
        for path in (home, *home.iterdir())
        if path != home
    }
    assert modes == {"lock": 0o600, "cursor": 0o600, "00000001.seg": 0o600, "dead": 0o700}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home / "dead").iterdir()] == [0o600]


def test_a_refused_frame_is_kept_raw(spool: Spool, tmp_path: Path) -> None:
    reader = spool.reader()
    reader.bury(b"\x00bad", reason="Not / JSON")
    (path,) = (tmp_path / "one" / "dead").iterdir()
    assert path.read_bytes() == b"\x00bad"
    assert path.name.endswith("-not_json.frame")
    assert reader.dead.kept == {"Not / JSON": 1}


def test_dead_frames_are_bounded_and_the_rest_counted(tmp_path: Path) -> None:
    dead = DeadFrames(tmp_path / "dead", max_bytes=8192)
    for _ in range(3):
        dead.bury(b"bad", reason="bad")
    assert (dead.kept, dead.lost) == ({"bad": 2}, {"dead_full": 1})


def test_a_damaged_frame_is_skipped_and_counted_once(tmp_path: Path) -> None:
    first = Spool.open(tmp_path, instance_id="one")
    put(first, b"aaaa", b"bbbb", b"cccc")
    first.close(timeout_seconds=10)
    path = tmp_path / "one" / "00000001.seg"
    raw = bytearray(path.read_bytes())
    raw[37] ^= 1
    path.write_bytes(raw)
    second = Spool.open(tmp_path, instance_id="one")
    assert second.reader().read(max_frames=9, max_bytes=LIMIT).frames == [b"aaaa", b"cccc"]
    drain(second, max_frames=9)
    assert (second.corrupt_frames, second.depth.frames) == (1, 0)
    second.close(timeout_seconds=10)


def test_a_damaged_cursor_repeats_frames_and_loses_none(tmp_path: Path) -> None:
    first = Spool.open(tmp_path, instance_id="one")
    put(first, b"a", b"b")
    drain(first, max_frames=1)
    first.close(timeout_seconds=10)
    (tmp_path / "one" / "cursor").write_bytes(b"\xff" * 44)
    second = Spool.open(tmp_path, instance_id="one")
    assert second.reader().read(max_frames=9, max_bytes=LIMIT).frames == [b"a", b"b"]
    second.close(timeout_seconds=10)


def test_a_failed_sync_writes_the_frames_again_in_a_new_file(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(5, "Input/output error")]
    real = os.fdatasync

    def fdatasync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    put(spool, b"a")
    assert [path.name for path in spool._directory.path.glob("*.seg")] == ["00000002.seg"]
    assert spool.reader().read(max_frames=9, max_bytes=LIMIT).frames == [b"a"]
    assert (spool.written, spool.dropped) == (1, {})


def test_progress_is_told_once_a_group_commit(spool: Spool) -> None:
    told: list[int] = []
    spool.on_progress(told.append)
    put(spool, b"a")
    put(spool, b"b")
    spool.close(timeout_seconds=10)
    assert told == [1, 2]


def test_a_failing_listener_does_not_stop_the_writer(spool: Spool) -> None:
    def listener(synced: int) -> None:
        raise ValueError(synced)

    spool.on_progress(listener)
    put(spool, b"a")
    put(spool, b"b")
    assert spool.synced == 2


def test_many_threads_lose_and_repeat_nothing(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, instance_id="one", segment_bytes=4096, sync=False)
    threads = [
        threading.Thread(target=lambda name=name: [spool.append(b"%d-%d" % (name, n)) for n in range(500)])
        for name in range(4)
    ]
    for thread in threads:
        thread.start()
    frames: list[bytes] = []
    reader = spool.reader()
    while len(frames) < 2000:
        batch = reader.read(max_frames=64, max_bytes=1000)
        frames += batch.frames
        reader.commit(batch)
    for thread in threads:
        thread.join()
    spool.close(timeout_seconds=10)
    assert sorted(frames) == sorted(b"%d-%d" % (name, n) for name in range(4) for n in range(500))
