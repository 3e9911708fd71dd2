"""Isolation: finds the one frame that keeps a destination from taking its batch, while the destination is there.

In: batches that fail. Out: smaller ones, down to a single frame, which is given up once it has failed often enough and
others of its size are seen to be taken right then. A destination that is away, full, read-only or that lets nobody
write costs no frame: it does not answer, says so, or takes no other frame either. Asks no clock and sleeps nowhere.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from exporters.spool_reader import SpoolReader

logger = logging.getLogger("exporters.drain")

BATCH_FRAMES: Final = 2048
BATCH_BYTES: Final = 4 << 20
BATCH_ATTEMPTS: Final = 3
"""After so many failures in a row of one batch, one of its frames may be at fault."""
FRAME_ATTEMPTS: Final = 5
"""A frame by itself; the drain waits between them, and a statement that takes too long makes each take seconds."""
UNPROVEN_ATTEMPTS: Final = 100
"""So often where all others are smaller, or of other spools: a disk that is almost full has room for the small ones.

And where a lock is in the way: whoever holds it is given some ten minutes.
"""
WITNESSES: Final = 4
"""Other frames that are tried each time, spread over what the spool holds: where none is taken, all are refused."""


class Trial(NamedTuple):
    """What became of a single frame."""

    is_taken: bool
    """As something new: a destination that has it already may take it without being able to write."""
    refused: str = ""
    """Why it could only be taken repaired, which it will not tell again; else empty."""


class Judge(Protocol):
    """What a destination knows of a failure."""

    stored: int
    """Frames, or what is in them, that it took as something new: whoever delivered them."""

    def may_be_a_frames_fault(self, error: Exception) -> bool:
        """Whether it is there all the same, and does not refuse everybody."""
        ...

    def is_a_lock(self, error: Exception) -> bool:
        """Whether somebody holds what the frame needs, and may let go of it at any time."""
        ...

    def try_one(self, frame: bytes) -> Trial:
        """Take this one now; it is given again in its turn. Raises nothing."""
        ...

    def lost_with(self, frame: bytes) -> int:
        """How many executions that ended it then has in no form, where the frame is given up."""
        ...


class Isolation:
    """For one spool and its destination."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._failures = 0
        self._suspects = 0
        self._stored_before = 0

    @property
    def is_suspicious(self) -> bool:
        """Whether the failure seems to be a frame's, and not the destination's."""
        return self._suspects > 0

    @property
    def is_narrowing(self) -> bool:
        """Whether the next batch is a part of the one that failed, and need not wait."""
        return self._suspects > 1

    @property
    def batch_frames(self) -> int:
        """How many frames the next batch may have."""
        return max(1, self._suspects // 2) if self._suspects else BATCH_FRAMES

    def move(
        self, reader: SpoolReader, *, batch: Callable[[int], int], refuse: Callable[[bytes, str, int], object]
    ) -> int:
        """Move one by `batch`, which is told how many frames it may have; as many as it had.

        Raises what it raises, and nothing was moved. `refuse` is to keep a frame in dead/, and is told why and how many
        executions are lost with it.
        """
        try:
            moved = batch(self.batch_frames)
        except Exception as error:
            self._note(error, reader)
            enough = UNPROVEN_ATTEMPTS if self._judge.is_a_lock(error) else FRAME_ATTEMPTS
            if self._suspects != 1 or self._failures < enough or not self._others_are_taken(reader, refuse):
                raise
            return self._give_up(reader, batch, refuse)
        self._suspects = max(0, self._suspects - moved)
        self._failures = 0
        return moved

    def _note(self, error: Exception, reader: SpoolReader) -> None:
        if not self._judge.may_be_a_frames_fault(error):
            self._failures = self._suspects = 0
            return
        self._failures += 1
        if self._failures < BATCH_ATTEMPTS and not self._suspects:
            return
        failed = len(_frames(reader, self.batch_frames))
        if failed != self._suspects:
            self._suspects, self._failures = failed, 1
        if self._suspects == self._failures == 1:
            self._stored_before = self._judge.stored
            logger.warning("One record of %s is not taken, and the store answers: %s", reader.path, _cause(error))

    def _others_are_taken(self, reader: SpoolReader, refuse: Callable[[bytes, str, int], object]) -> bool:
        """Others of its size; after long, any: it may be larger than all, or the last that there is in its spool."""
        is_late = self._failures >= UNPROVEN_ATTEMPTS
        if is_late and self._judge.stored > self._stored_before:
            return True
        suspect, *behind = _frames(reader, BATCH_FRAMES)
        others = [frame for frame in behind if is_late or len(frame) >= len(suspect)]
        step = max(1, -(-len(others) // WITNESSES))
        for frame in others[self._failures % step :: step]:  # others each time
            trial = self._judge.try_one(frame)
            if trial.refused:
                refuse(frame, trial.refused, 0)
            if trial.is_taken:
                return True
        return False

    def _give_up(
        self, reader: SpoolReader, batch: Callable[[int], int], refuse: Callable[[bytes, str, int], object]
    ) -> int:
        """Another was taken this moment. Now the one once more, for the last time."""
        self._suspects = 0
        self._failures = BATCH_ATTEMPTS - 1  # where there is one there may be more: the next is looked for at once
        try:
            return batch(1)
        except Exception as error:
            if not self._judge.may_be_a_frames_fault(error):
                raise
            reason = f"given up: {_cause(error)}"
        logger.warning("Others are taken, and that one goes to %s: %s", reader.path / "dead", reason)
        given_up = reader.read(max_frames=1, max_bytes=BATCH_BYTES)
        (frame,) = given_up.frames
        refuse(frame, reason, self._judge.lost_with(frame))
        reader.commit(given_up)
        return 1


def _frames(reader: SpoolReader, count: int) -> Sequence[bytes]:
    return reader.read(max_frames=count, max_bytes=BATCH_BYTES).frames


def _cause(error: BaseException) -> str:
    """What began it, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
