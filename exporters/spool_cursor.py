"""The cursor of a spool: how far it was drained. The drain writes it, the spool's owner reads it.

36 bytes, integers little-endian: segment u64 | offset u64 | index u64 | corrupt u64 | CRC-32 of these.
It is not synced: after a power cut a destination that keeps its place tells where to go on, and to another one frames
that come again do no harm. A damaged cursor counts as none: everything that is still there is read again.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.segments import FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path

_FIELDS = struct.Struct("<QQQQ")
_CRC = struct.Struct("<I")
_SIZE = _FIELDS.size + _CRC.size


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """Where a spool was read up to, and what was passed on the way there."""

    segment: int = 0
    offset: int = 0
    index: int = 0
    """Frames passed in this segment."""
    corrupt: int = 0
    """Damaged stretches passed in all."""


def decode_cursor(raw: bytes) -> Cursor | None:
    """What stands in a cursor file; None where that cannot be trusted."""
    fields, checksum = raw[: _FIELDS.size], raw[_FIELDS.size :]
    if len(raw) != _SIZE or _CRC.unpack(checksum)[0] != zlib.crc32(fields):
        return None
    return Cursor(*_FIELDS.unpack(fields))


class CursorFile:
    """The file, held open. One process writes it at a time; any number may read it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def _find(self) -> None:
        """Open it anew where somebody deleted it: what was written into a deleted file, nobody would read."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._descriptor), self._path.stat()):
                return
        descriptor, self._descriptor = self._descriptor, self._open()
        os.close(descriptor)

    def load(self) -> Cursor | None:
        """What stands there; None where nothing does, or nothing that can be trusted. Raises OSError."""
        self._find()
        return decode_cursor(os.pread(self._descriptor, _SIZE, 0))

    def store(self, cursor: Cursor) -> None:
        """Write it. Raises OSError; the old one repeats frames then, which is harmless."""
        self._find()
        fields = _FIELDS.pack(cursor.segment, cursor.offset, cursor.index, cursor.corrupt)
        os.pwrite(self._descriptor, fields + _CRC.pack(zlib.crc32(fields)), 0)

    def close(self) -> None:
        """Let go of the file. Once."""
        os.close(self._descriptor)
