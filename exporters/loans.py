"""Loan: frames of a spool that somebody else appends to its segment and syncs, in the writer's place. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporters.segments import Segment


@dataclass(slots=True)
class Loan:
    """Until it is repaid or taken back the spool's writer rests, so that one only appends to a segment."""

    frames: list[bytes]
    size: int
    """Bytes that they take on disk."""
    segment: Segment
    descriptor: int
    wrote: Callable[[], bool] = bool
    """Whether they are in the file by now; set by who took the loan."""

    @property
    def path(self) -> Path:
        """Of the segment."""
        return self.segment.path


class Lends(Protocol):
    """A spool, as who takes its loans sees it."""

    def lend(self, *, max_bytes: int) -> Loan | None:
        """What is queued, to write and sync; None where there is nothing, or where the writer does it."""
        ...

    def repay(self, loan: Loan) -> None:
        """It is written and synced."""
        ...

    def take_back(self, loan: Loan, *, is_written: bool) -> None:
        """It is not, or nobody knows. `is_written`: it is in its file, and somebody may have been told so."""
        ...

    def recall(self) -> None:
        """Whatever was asked or lent, it will not be done."""
        ...


class TakesLoans(Protocol):
    """Who works in the writer's place."""

    def ask(self) -> bool:
        """Look at the queue, soon; False where the writer must."""
        ...
