"""A spool that is read beside its drain: nothing goes before both have it, nothing is kept without bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from otlp_receiver import HttpReceiver

from exporters.follower import FOLLOWER_CURSOR, FOLLOWER_PENDING, is_followed_up
from exporters.forwarding.feed import Feed
from exporters.forwarding.messages import DestinationSettings, ForwardSettings
from exporters.forwarding.outlets import Outlets
from exporters.forwarding.selection import Rule, Selector
from exporters.otlp.wire import from_frame
from exporters.spool import Spool
from exporters.spool_reader import SpoolReader
from otel_tracker.record import ExecutionRecord, SpanRecord, Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

FRAME = b"x" * 1000


def drain(reader: SpoolReader) -> int:
    total = 0
    while (batch := reader.read(max_frames=1000, max_bytes=1 << 20)).frames:
        total += len(batch.frames)
        reader.commit(batch)
    return total


def opened(root: Path, *, max_bytes: int = 1 << 20) -> Spool:
    return Spool.open(root, instance_id="a", max_bytes=max_bytes, segment_bytes=10_000, sync=False, is_followed=True)


def put(spool: Spool, count: int) -> None:
    for _ in range(count):
        assert spool.append(FRAME) is not None
    assert spool.flush(timeout_seconds=5)


def segments(root: Path) -> int:
    return len(list((root / "a").glob("*.seg")))


def test_segments_stay_until_both_have_passed_them(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, 50)
    assert drain(spool.reader()) == 50
    assert (spool.depth.frames, spool.depth.bytes, segments(tmp_path)) == (0, 0, 6)
    follower = SpoolReader(tmp_path / "a", cursor_name=FOLLOWER_CURSOR)
    assert drain(follower) == 50
    assert (spool.depth.frames, segments(tmp_path), spool.unfollowed) == (0, 1, 0)
    spool.close(timeout_seconds=5, remove_if_empty=True)
    assert not (tmp_path / "a").exists()


def test_the_follower_may_be_ahead_of_the_drain(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, 50)
    assert drain(SpoolReader(tmp_path / "a", cursor_name=FOLLOWER_CURSOR)) == 50
    assert (spool.depth.frames, segments(tmp_path)) == (50, 6)
    assert drain(spool.reader()) == 50
    assert (spool.depth.frames, segments(tmp_path)) == (0, 1)
    spool.close(timeout_seconds=5)


def test_what_stays_for_the_follower_alone_is_bounded_and_what_goes_is_counted(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=200_000)
    reader = spool.reader()
    for _ in range(10):
        put(spool, 50)
        assert drain(reader) == 50
        assert spool.depth.frames == 0
    assert segments(tmp_path) <= 7
    assert 0 < spool.unfollowed < 500
    follower = SpoolReader(tmp_path / "a", cursor_name=FOLLOWER_CURSOR)
    assert drain(follower) == 500 - spool.unfollowed
    spool.close(timeout_seconds=5)


def test_a_spool_that_was_not_followed_to_its_end_stays_when_it_is_closed(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    put(spool, 1)
    drain(spool.reader())
    spool.close(timeout_seconds=5, remove_if_empty=True)
    assert not is_followed_up(tmp_path / "a")
    assert drain(SpoolReader(tmp_path / "a", cursor_name=FOLLOWER_CURSOR)) == 1
    assert is_followed_up(tmp_path / "a")


# --- the forwarder's side


class Rig:
    """A history's spool, and a destination that wants failures only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.history = opened(root / "spool")
        receiver = HttpReceiver()
        receiver.close()
        settings = ForwardSettings(
            spool_root=str(root / "spool"),
            instance_id="a",
            forward_root=str(root / "forward"),
            destinations=(DestinationSettings(name="d", endpoint=receiver.url),),
            resource={},
            sync=False,
        )
        self.outlets = Outlets(settings)

    def feed(self) -> Feed:
        """As a new process would make it."""
        return Feed(
            self.root / "spool" / "a",
            selector=Selector([Rule(statuses=frozenset({"failed"}))]),
            outlets=self.outlets,
            is_stopping=lambda: False,
        )

    def put(self, row: ExecutionRecord | SpanRecord) -> None:
        self.history.append(msgspec.msgpack.encode(row))
        assert self.history.flush(timeout_seconds=5)

    def waiting(self) -> Iterator[bytes]:
        """Span ids that wait for the destination."""
        from opentelemetry.proto.trace.v1.trace_pb2 import Span  # noqa: PLC0415

        for frame in self.outlets.all[0].spool.reader().read(max_frames=100, max_bytes=1 << 20).frames:
            yield Span.FromString(from_frame(frame).data).span_id

    def close(self) -> None:
        self.history.close(timeout_seconds=5)
        self.outlets.all[0].spool.close(timeout_seconds=5)


CHILD = SpanRecord(
    execution_id="1",
    trace_id="1" * 32,
    span_id="c" * 16,
    parent_span_id="e" * 16,
    name="child",
    kind="internal",
    start_time=1,
    end_time=2,
)
END = ExecutionRecord(id="1", plugin_name="p", status=Status.FAILED, start_time=1, trace_id="1" * 32, span_id="e" * 16)


def test_a_child_that_waits_for_its_execution_survives_the_forwarder(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.put(CHILD)
    first = rig.feed()
    assert first.once(now=0) == 1
    assert (tmp_path / "spool/a" / FOLLOWER_PENDING).exists()
    assert list(rig.waiting()) == []
    rig.put(END)
    second = rig.feed()
    assert second.once(now=0) == 1
    assert list(rig.waiting()) == [bytes.fromhex("c" * 16), bytes.fromhex("e" * 16)]
    assert not (tmp_path / "spool/a" / FOLLOWER_PENDING).exists()
    rig.close()


def test_a_forwarder_killed_before_its_cursor_moved_repeats_one_batch_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    rig.put(CHILD)
    killed = rig.feed()
    monkeypatch.setattr(killed.reader, "commit", lambda _: None)
    killed.once(now=0)
    rig.put(END)
    again = rig.feed()
    assert again.once(now=0) == 2
    assert list(rig.waiting()) == [bytes.fromhex("c" * 16), bytes.fromhex("e" * 16)]
    rig.close()


def test_a_frame_that_is_no_record_is_counted_and_passed(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.history.append(b"\xff")
    rig.put(END)
    feed = rig.feed()
    assert (feed.once(now=0), feed.unreadable) == (2, 1)
    assert list(rig.waiting()) == [bytes.fromhex("e" * 16)]
    rig.close()
