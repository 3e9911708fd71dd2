"""The bytes that a worker sends, as frames: u32 little-endian length, one kind byte, payload. Pure."""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct("<I")


class FrameTooLargeError(ValueError):
    """A length that no worker writes."""


class Frames:
    """What came and was not taken yet.

    >>> frames = Frames(max_bytes=10)
    >>> frames.feed(HEADER.pack(2) + b"Lhi" + HEADER.pack(2))
    >>> frames.next(), frames.next()
    (('L', b'hi'), None)
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._received = bytearray()

    def feed(self, chunk: bytes) -> None:
        """More came."""
        self._received += chunk

    def next(self) -> tuple[str, bytes] | None:
        """Kind and payload of the next frame; None until it is whole. Raises `FrameTooLargeError`."""
        received = self._received
        if len(received) < HEADER.size + 1:
            return None
        size = HEADER.unpack_from(received)[0]
        if size > self._max_bytes:
            raise FrameTooLargeError(size)
        end = HEADER.size + 1 + size
        if len(received) < end:
            return None
        kind, payload = chr(received[HEADER.size]), bytes(received[HEADER.size + 1 : end])
        del received[:end]
        return kind, payload
