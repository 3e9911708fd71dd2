"""A disk of a few megabytes, to be filled up."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIZES = (1 << 20, 4096, 1)


class NotOnThisMachine(Exception):  # noqa: N818 - no error, and said in the machine's words
    """What a fault needs is missing."""


class NeedsRoot(NotOnThisMachine):
    """Only root may do it."""


class SmallDisk:
    """A tmpfs that is mounted in `folder`, which takes root."""

    def __init__(self, folder: Path, *, size_bytes: int) -> None:
        """Mount it; raises NeedsRoot."""
        self.folder = folder
        self._ballast = folder / "ballast"
        mount = ["/bin/mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NeedsRoot(f"no small disk can be mounted: {error}") from error

    def fill(self) -> None:
        """Until nothing more fits."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in _SIZES:
                with contextlib.suppress(OSError):
                    while ballast.write(b"x" * size) == size:
                        pass

    def free(self) -> None:
        """Undo that."""
        self._ballast.unlink(missing_ok=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """While the block lasts."""
        self.fill()
        try:
            yield
        finally:
            self.free()

    def close(self) -> None:
        """Unmount it, whoever still has files open there."""
        subprocess.run(["/bin/umount", "--lazy", str(self.folder)], check=True, capture_output=True)
