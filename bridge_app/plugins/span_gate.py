"""What a worker may send of spans in one call: so many, of so many bytes, and only until the call has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SPANS: Final = 1000
MAX_SPAN_BYTES: Final = 256 << 10
MAX_BYTES: Final = 1 << 20
"""Of JSON, of one call. An honest worker keeps to all three by itself; a plugin can make its process send anything."""


class SpanGate:
    """Of one call."""

    def __init__(self, on_span: Callable[[bytes], None] | None) -> None:
        self._on_span = on_span
        self._spans_left, self._bytes_left = MAX_SPANS, MAX_BYTES
        self.dropped = 0

    def take(self, payload: bytes) -> None:
        """Hand it on, while there is room."""
        if self._on_span is None:
            return
        self._spans_left -= 1
        self._bytes_left -= len(payload)
        if self._spans_left < 0 or self._bytes_left < 0 or len(payload) > MAX_SPAN_BYTES:
            self.dropped += 1
        else:
            self._on_span(payload)

    def close(self) -> None:
        """The call has ended: nobody takes what still comes."""
        self._on_span = None
