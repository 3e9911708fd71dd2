"""Drain: a thread that moves a spool into a destination, until the destination has it all.

In: a `SpoolReader` and a `Destination`. Out: frames delivered in order, each exactly once to a destination that keeps
its position together with them, at least once to another; what the destination will never take is buried in dead/
before it is passed. While the destination is away the frames stay in the spool, and it tries again. See `isolation` for
the batch that keeps failing while the destination is there.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from exporters.backoff import delay_seconds
from exporters.isolation import BATCH_BYTES, BATCH_FRAMES, Isolation, Judge
from exporters.spool_cursor import Cursor
from exporters.spool_reader import Place
from otel_tracker.query import SpoolPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporters.spool_reader import SpoolReader

logger = logging.getLogger("exporters.drain")
_LOOK_SECONDS: Final = (0.1, 0.35)
"""How long frames gather between two looks, at least and at most: a start and its end then cost one row.

Few frames are looked for soon. The more work there is, the longer they gather: a batch of 300 costs two fifths less
a record than three of 100, on processors that the webhooks want too. A page shows within 0.5 s what ended.
"""
_SHARE_OF_TIME: Final = 0.05
"""Between two looks it rests so long that it works for this share of the time, within the bounds above."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of frames: the rest of them are delivered."""

    rejected: tuple[tuple[int, str], ...] = ()
    """Index, and why the destination will never take it."""
    lost: int = 0
    """Executions whose end is among these, and which the destination has in no form."""


class Destination(Judge, Protocol):
    """Where frames go."""

    name: str

    def position(self, instance_id: str) -> SpoolPosition | None:
        """The newest `until` of that spool which came with frames that were taken; None where it is not known."""
        ...

    def deliver(
        self,
        frames: Sequence[bytes],
        *,
        until: SpoolPosition | None,
        settle: Callable[[Delivered], object],
    ) -> Delivered:
        """Take the frames, in order, and keep `until` with them; raises to have them again later.

        `settle` is to be told the same as the caller, before they are taken for good: it keeps what is refused.
        """
        ...


class Drain:
    """For one spool and one destination; a thread of its own after `start`."""

    def __init__(
        self, destination: Destination, reader: SpoolReader, *, on_change: Callable[[], object] = lambda: None
    ) -> None:
        self.reader = reader
        self._is_caught_up = False
        self.rejected = self.lost = 0
        self.last_error = ""
        self._destination = destination
        self._on_change = on_change
        self._isolation = Isolation(destination)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"drain-{destination.name}", daemon=True)

    def start(self) -> None:
        """Begin to drain."""
        self._thread.start()

    def finish(self, *, timeout_seconds: float) -> bool:
        """Drain what there is for so long, then stop; whether the spool is empty. What is left stays there."""
        deadline = time.monotonic() + timeout_seconds
        while self.reader.has_frames() and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.01)
        self._stopping.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self.reader.has_frames()

    def once(self) -> int:
        """Deliver what the spool holds now; says how many frames. Raises what the destination raises."""
        total = 0
        is_caught_up, self._is_caught_up = self._is_caught_up, False  # after a failure the next look asks again
        if not is_caught_up:
            catch_up(self.reader, self._destination)
        while frames := drain_some(self.reader, self._destination, self._isolation, self._count):
            total += frames
            self.last_error = ""
            self._on_change()
            if self._stopping.is_set():
                break
        self._is_caught_up = True
        if self.last_error:  # what seemed to have failed was taken after all: there was nothing left to deliver
            self.last_error = ""
            self._on_change()
        return total

    def _count(self, delivered: Delivered) -> None:
        self.rejected += len(delivered.rejected)
        if delivered.lost:
            self.lost += delivered.lost
            self._on_change()  # before the cursor moves, so that nobody takes them for stored

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                self.once()
                attempt = 0
                pause = pause_seconds(worked_seconds=time.monotonic() - begun)
            except BaseException as error:  # noqa: BLE001 - a destination may raise anything; the frames are kept
                attempt = 1 if self._isolation.is_narrowing else attempt + 1
                pause = delay_seconds(attempt, base=0.1, cap=2.0, jitter=random.random())  # noqa: S311 - spreads retries
                self._note(error)
            self._stopping.wait(pause)

    def _note(self, error: BaseException) -> None:
        self.last_error = f"{type(error).__name__}: {error}"
        with contextlib.suppress(BaseException):  # who listens must not end the drain
            self._on_change()


def pause_seconds(*, worked_seconds: float) -> float:
    """How long to let frames gather after a look that took so long."""
    shortest, longest = _LOOK_SECONDS
    return min(max(worked_seconds / _SHARE_OF_TIME, shortest), longest)


def drain_some(
    reader: SpoolReader,
    destination: Destination,
    isolation: Isolation,
    on_delivered: Callable[[Delivered], object] = lambda _: None,
) -> int:
    """As `drain_batch`, but a frame that is at fault is given up in the end, and its neighbours are delivered."""

    def refuse(frame: bytes, reason: str, lost: int) -> None:
        on_delivered(Delivered(rejected=((0, reason),), lost=lost))
        reader.bury(frame, reason=reason)

    return isolation.move(
        reader, batch=lambda most: drain_batch(reader, destination, on_delivered, max_frames=most), refuse=refuse
    )


def drain_batch(
    reader: SpoolReader,
    destination: Destination,
    on_delivered: Callable[[Delivered], object] = lambda _: None,
    *,
    max_frames: int = BATCH_FRAMES,
) -> int:
    """Move one batch; says how many frames it had. Raises what the destination raises: see `catch_up` then."""
    batch = reader.read(max_frames=max_frames, max_bytes=BATCH_BYTES)

    def settle(delivered: Delivered) -> None:
        on_delivered(delivered)
        for index, reason in delivered.rejected:
            reader.bury(batch.frames[index], reason=reason)

    if batch.frames:
        place = reader.place(batch.last)
        until = None if place is None else _position(reader, place)
        destination.deliver(batch.frames, until=until, settle=settle)
        reader.commit(batch)
    return len(batch.frames)


def catch_up(reader: SpoolReader, destination: Destination) -> None:
    """Pass over what the destination took already, whatever the spool's own cursor says; at first, and after a failure.

    Raises what the destination raises.
    """
    position = destination.position(reader.instance_id)
    if position is not None:
        cursor = Cursor(position.segment, position.offset, position.frames, position.corrupt)
        reader.skip_to(Place(cursor, position.checksum))


def _position(reader: SpoolReader, place: Place) -> SpoolPosition:
    cursor = place.cursor
    return SpoolPosition(
        instance_id=reader.instance_id,
        segment=cursor.segment,
        offset=cursor.offset,
        frames=cursor.index,
        corrupt=cursor.corrupt,
        checksum=place.checksum,
    )
