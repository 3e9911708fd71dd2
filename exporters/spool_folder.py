"""The folder of a spool on the disk: made, dated and unlinked. Whose it is and what it holds is `spool_directory`'s."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from exporters.follower import FOLLOWER_FILES
from exporters.segments import list_segments

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY_MODE: Final = 0o700


def make_directory(path: Path) -> None:
    """Make `path`, the root above it and that one's folder where absent, for nobody else to read."""
    path.parent.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    path.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)


def last_sign_of_life(path: Path) -> int:
    """When somebody wrote into it last, in nanoseconds; not the cursor's: who adopts a directory moves it too."""
    signs = [path / "lock", *(segment.path for segment in list_segments(path))]
    return max(sign.stat().st_mtime_ns for sign in signs)


def unlink_directory(path: Path) -> None:
    """Remove it with its lock and cursor; not where dead/ holds something."""
    with contextlib.suppress(OSError):
        (path / "dead").rmdir()
    with contextlib.suppress(OSError):
        for name in ("cursor", *FOLLOWER_FILES):
            (path / name).unlink(missing_ok=True)
        (path / "lock").unlink(missing_ok=True)
        path.rmdir()
