"""The spools of dead processes: found below a root, and owned by whoever takes them in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.spool_directory import SpoolDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def orphans(root: Path, *, limit: int = 64, is_wanted: Callable[[Path], bool] = lambda _: True) -> list[SpoolDirectory]:
    """Own spools below `root` whose process is dead; of several who try, one gets it. See `SpoolDirectory`.

    The first `limit` by name: each takes two descriptors, and a bridge that kept crashing leaves thousands.
    """
    adopted: list[SpoolDirectory] = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if len(adopted) >= limit:
            break
        if not path.is_dir() or path.is_symlink():
            continue
        if not is_wanted(path):
            continue
        if not (path / "lock").exists() and not any(path.glob("*.seg")):
            continue  # an owner is just making it, or only evidence in dead/ is left, which is for people
        try:
            directory = SpoolDirectory.acquire(path)
        except OSError:  # it went away, or is not ours to read: the next look decides again
            continue
        if directory is not None:
            adopted.append(directory)
    return adopted
