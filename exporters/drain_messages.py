"""What a program and its drain process say to each other: one JSON line each way. Values only."""

from __future__ import annotations

import msgspec


class DrainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that the drain process reads: what to drain, and into what."""

    store: dict[str, str | int | float | bool]
    """The arguments of `otel_tracker.storage.open_store`; the URL may hold a password, so it goes by pipe."""
    spool_root: str
    instance_id: str
    """Whose spool to follow; every other one below the root whose process is dead is taken in."""
    keeps_for_follower: bool = False
    """Whether a spool that was taken in stays until its follower has read it, too."""


class DrainReport(msgspec.Struct, frozen=True, kw_only=True):
    """A line that it writes whenever something changed. Counts are of this drain process's life."""

    is_open: bool = False
    """Whether it has the store."""
    why: str = ""
    """Why records do not reach the store now; empty while they do."""
    rejected: int = 0
    """Records that the store refused; they are in dead/."""
    lost: int = 0
    """Executions of the parent that ended and that the store has in no form; a frame that cannot be read is one."""
    corrupt_frames: int = 0
    """Damaged stretches in spools that were taken in."""
    adopted: int = 0
    """Frames of dead processes that were taken in."""
    interrupted: int = 0
    """Executions that were ended because their process is dead."""
    unburied: dict[str, int] = {}
    """Refused records that dead/ could not keep, by reason."""
    taken_in: list[tuple[str, int]] = []
    """Spools taken in since the line before, and how many executions of each were interrupted."""
