"""Lock files: which process owns a directory.

In: a path. Out: a descriptor that holds a POSIX record lock, or None. Unlike `flock`, such a lock does not pass to a
forked child, and the kernel drops it with the process; but it also goes when the process closes *any* descriptor of the
file, so the caller must not lock one file twice. Never waits.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING

from exporters.segments import FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path


def lock_file(path: Path) -> int | None:
    """A descriptor that holds the lock on `path`, or None while another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return None
            raise
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # its last owner removed it between our open and our lock
