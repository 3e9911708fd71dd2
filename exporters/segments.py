r"""The spool's frame format and the segment files made of it.

In: bytes of frames; out: bytes of a segment, and back. A frame on disk is 16 bytes of header and the body, integers
little-endian:

    magic "\xf5SP\x01" | body length u32 | CRC-32 of the body, seeded with the length | CRC-32 of the 12 bytes before

A frame counts only if its CRC fits. Anything else is skipped and counted, and reading goes on at the next place where a
magic starts an intact frame: a flipped bit costs one frame, a torn tail costs the torn frame. The checksums guard
against accidents, not against forgery. Never decides what to delete, knows no cursor and no lock.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAGIC = b"\xf5SP\x01"
HEADER_BYTES = 16
MAX_FRAME_BYTES = 64 << 20
FILE_MODE = 0o600

_HEADER = struct.Struct("<4sIII")
_CHECKED = struct.Struct("<4sII")
_CRC = struct.Struct("<I")
_NAME = re.compile(r"([0-9]{8,19})\.seg")


@dataclass(slots=True)
class Segment:
    """One segment file: how far it may be read, and how many frames that is. Changed under its directory's lock."""

    number: int
    path: Path
    size: int = 0
    frames: int = 0
    is_lent: bool = False
    """Somebody appends to it beyond `size` right now."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a block held: bodies in order, how many bytes they took, how many damaged stretches were skipped."""

    frames: list[bytes]
    consumed: int
    corrupt: int


def encode(frames: Iterable[bytes]) -> bytes:
    """The bytes that `scan` turns back into `frames`."""
    parts: list[bytes] = []
    crc32 = zlib.crc32
    for body in frames:
        checked = _CHECKED.pack(MAGIC, len(body), crc32(body, len(body)))
        parts += (checked, _CRC.pack(crc32(checked)), body)
    return b"".join(parts)


def scan(data: bytes, *, final: bool, max_frames: int, max_bytes: int) -> Scan:
    """Read frames from the start of `data` until a limit is reached; the first frame comes whatever its size.

    `final` says that nothing follows `data`. If more follows, a frame (or a damaged stretch) that the end of the block
    cuts is left for the next block: `consumed` stops in front of it, and is 0 if the block holds nothing else.
    """
    frames: list[bytes] = []
    position = corrupt = taken = 0
    while len(frames) < max_frames and position < len(data):
        body = _body_at(data, position)
        if body is not None:
            taken += len(body)
            if frames and taken > max_bytes:
                break
            frames.append(body)
            position += HEADER_BYTES + len(body)
            continue
        if not final and _is_cut(data, position):
            break
        resumed = _next_frame(data, position + 1, final=final)
        if resumed is None and not final:
            break
        corrupt += 1
        position = len(data) if resumed is None else resumed
    return Scan(frames, position, corrupt)


def count_frames(path: Path, *, start: int) -> int:
    """How many frames the file seems to hold from `start` on: headers are checked, bodies are not read."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= start:
            return 0
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _count_headers(data, start)


def list_segments(directory: Path) -> list[Segment]:
    """The segment files of a directory, oldest first, with their sizes; frames are not counted yet.

    None where there is no such directory: its owner removes an empty one.
    """
    segments = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            with contextlib.suppress(FileNotFoundError):  # its owner may delete it between the two looks
                if match and entry.is_file(follow_symlinks=False):
                    segments.append(Segment(int(match[1]), directory / entry.name, entry.stat().st_size))
    return sorted(segments, key=lambda segment: segment.number)


def segment_path(directory: Path, number: int) -> Path:
    """Of the segment of that number, whether or not it is there."""
    return directory / f"{number:08d}.seg"


def create_segment(directory: Path, *, number: int, sync: bool) -> tuple[Segment, int]:
    """A new empty segment and its descriptor for appending. Raises OSError and leaves no file when that fails."""
    path = segment_path(directory, number)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, FILE_MODE)
    try:
        if sync:
            sync_directory(directory)
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return Segment(number, path), descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte or raise OSError: on a filling disk os.write takes less than asked without an error."""
    written = os.write(descriptor, data)
    rest = memoryview(data)[written:]
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _body_at(data: bytes, position: int) -> bytes | None:
    """The body of the intact, whole frame at `position`, if there is one."""
    start = position + HEADER_BYTES
    if start > len(data):
        return None
    magic, length, checksum, _ = _HEADER.unpack_from(data, position)
    if magic != MAGIC or start + length > len(data):
        return None
    body = data[start : start + length]
    return body if zlib.crc32(body, length) == checksum else None


def _header_length(data: bytes | mmap.mmap, position: int) -> int | None:
    """The body length that an intact header at `position` announces; None without an intact header."""
    if position + HEADER_BYTES > len(data):
        return None
    magic, length, _, checksum = _HEADER.unpack_from(data, position)
    if magic != MAGIC or zlib.crc32(data[position : position + 12]) != checksum:
        return None
    return int(length)


def _is_cut(data: bytes, position: int) -> bool:
    """The block ends inside what looks like a good frame."""
    if position + HEADER_BYTES > len(data):
        return True
    length = _header_length(data, position)
    return length is not None and position + HEADER_BYTES + length > len(data)


def _next_frame(data: bytes, position: int, *, final: bool) -> int | None:
    """Where the next intact frame starts, or one the block cuts; None if there is none."""
    while (position := data.find(MAGIC, position)) >= 0:
        if _header_length(data, position) is not None and (
            _body_at(data, position) is not None or (not final and _is_cut(data, position))
        ):
            return position
        position += 1
    return None


def _count_headers(data: mmap.mmap, position: int) -> int:
    count = 0
    while 0 <= position < len(data):
        length = _header_length(data, position)
        if length is None:
            position = data.find(MAGIC, position + 1)
        else:
            position += HEADER_BYTES + length
            count += 1 if position <= len(data) else 0
    return count
