"""Collects what one call prints and logs, up to a bound, and says how much it left out. No I/O."""

from __future__ import annotations

import json


class LogBuffer:
    """Neighbouring pieces of the same stream become one entry; bytes are decoded at the end, invalid ones replaced."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._room = max_bytes
        self._dropped = 0
        self._entries: list[tuple[str, str, bytearray]] = []

    def output(self, stream: str, data: bytes) -> None:
        """Bytes of stdout or stderr, cut where the room ends."""
        kept = data[: self._room]
        self._dropped += len(data) - len(kept)
        self._room -= len(kept)
        if not kept:
            return
        if self._entries and self._entries[-1][0] == stream:
            self._entries[-1][2].extend(kept)
        else:
            self._entries.append((stream, "", bytearray(kept)))

    def line(self, level: str, text: str) -> None:
        """A log record, kept whole or not at all."""
        data = text.encode("utf-8", "replace")
        if len(data) > self._room:
            self._dropped += len(data)
            return
        self._room -= len(data)
        self._entries.append(("log", level, bytearray(data)))

    def drop(self, size: int) -> None:
        """Count bytes that somebody else left out already."""
        self._dropped += size

    def to_json(self) -> str:
        """A JSON list; its last entry says how many bytes are missing, if any are."""
        if not self._entries and not self._dropped:
            return "[]"
        entries: list[dict[str, object]] = []
        for stream, level, data in self._entries:
            text = data.decode("utf-8", "replace")
            entries.append(
                {"stream": stream, "level": level, "text": text} if level else {"stream": stream, "text": text}
            )
        if self._dropped:
            text = f"{self._dropped} bytes dropped: plugins.max_log_bytes is {self._max_bytes}"
            entries.append({"stream": "log", "level": "WARNING", "text": text, "dropped_bytes": self._dropped})
        return json.dumps(entries, ensure_ascii=False)
