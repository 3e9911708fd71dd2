"""Feed: one spool of the history, read beside its drain, into the spools of the destinations.

In: frames from the follower's cursor on. Out: spans where they are wanted, on disk before the cursor moves, so that a
kill costs nothing and repeats at most one batch. What is not decided yet (see `selection`) lies in `forward.pending`
beside the cursor, and is written before it: read again, it is known by its id.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import msgspec

from exporters.follower import FOLLOWER_CURSOR, FOLLOWER_PENDING
from exporters.segments import FILE_MODE, write_all
from exporters.spool_reader import SpoolReader
from otel_tracker.record import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from exporters.forwarding.outlets import Outlets
    from exporters.forwarding.selection import Decisions, Selector

_BATCH_FRAMES: Final = 2048
_BATCH_BYTES: Final = 4 << 20
_rows: Final[msgspec.msgpack.Decoder[Row]] = msgspec.msgpack.Decoder(Row)
_lists: Final = msgspec.msgpack.Decoder(list[Row])


class Feed:
    """For one spool; `is_growing=False` for one whose process is dead."""

    def __init__(
        self,
        path: Path,
        *,
        selector: Selector,
        outlets: Outlets,
        is_stopping: Callable[[], bool],
        is_growing: bool = True,
    ) -> None:
        self.reader = SpoolReader(path, is_growing=is_growing, cursor_name=FOLLOWER_CURSOR)
        self.unreadable = 0
        self.selector = selector
        self._outlets = outlets
        self._is_stopping = is_stopping
        self._pending = path / FOLLOWER_PENDING
        self._is_restored = False

    def once(self, *, now: float) -> int:
        """Move one batch; says how many frames it had. `now` is monotonic. Raises OSError."""
        self.restore(now=now)
        batch = self.reader.read(max_frames=_BATCH_FRAMES, max_bytes=_BATCH_BYTES)
        unreadable = 0
        for frame in batch.frames:
            try:
                row = _rows.decode(frame)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                unreadable += 1  # the drain keeps it in dead/
                continue
            self._put(self.selector.offer(row, now=now))
        self.selector.expire(now=now)
        if batch.frames and self._settle():
            self.unreadable += unreadable
            self.reader.commit(batch)
        return len(batch.frames)

    def restore(self, *, now: float) -> None:
        """Take up what was pending, where that was not done yet."""
        if not self._is_restored:
            self._is_restored = True
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
                for row in _lists.decode(self._pending.read_bytes()):
                    self.selector.hold(row, now=now)
            self.selector.has_changed = False

    def end(self, *, died_ns: int) -> None:
        """The process died then, and everything was read: what it left running ended as interrupted."""
        self._put(self.selector.interrupt(now_ns=died_ns))
        if self._outlets.make_safe(is_stopping=self._is_stopping):
            self._store([])

    def _put(self, decided: Iterable[Decisions]) -> None:
        for row, wanted_by in decided:
            self._outlets.put(row, wanted_by, instance_id=self.reader.instance_id)

    def _settle(self) -> bool:
        """Whether what was put is on disk; then what is pending is too."""
        if not self._outlets.make_safe(is_stopping=self._is_stopping):
            return False
        if self.selector.has_changed:
            self._store(self.selector.held())
            self.selector.has_changed = False
        return True

    def _store(self, held: list[Row]) -> None:
        if not held:
            self._pending.unlink(missing_ok=True)
            return
        made = self._pending.with_suffix(".new")
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            write_all(descriptor, msgspec.msgpack.encode(held))
        finally:
            os.close(descriptor)
        made.replace(self._pending)
