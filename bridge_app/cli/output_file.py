"""A file that is there whole or not at all: written beside its place, synced, then renamed.

In: a path. Out: a binary file to write to. Where the writing fails, what was there before stays, and no half file is
left. A path that is no regular file (a pipe, a device) is written to directly: it cannot be renamed over.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO

from bridge_app.errors import BridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Raises `BridgeError` where the file cannot be written, and whatever is raised inside."""
    try:
        with _opened(path) as file:
            yield file
    except OSError as error:
        raise BridgeError(f"{path} cannot be written: {error.strerror or error}") from error


def _opened(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    if path.exists() and not path.is_file():
        return path.open("wb")
    return _renamed(path.resolve())


@contextlib.contextmanager
def _renamed(path: Path) -> Iterator[BinaryIO]:
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, beside)  # whoever closed the old file to others means the new one too
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
