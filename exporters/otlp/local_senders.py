"""OTLP/JSON to a file or to standard error: one line for each request, as the collector's file exporter writes it.

In: encoded spans. Out: an `Answer`; nothing is raised. A line is whole and synced before its spans count as sent.
Source: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.otlp.answers import Answer, Verdict
from exporters.segments import FILE_MODE, write_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporters.forwarding.messages import DestinationSettings
    from exporters.otlp.wire import EncodedSpan, RequestEncoder


class FileSender:
    """Appends to `path`, which is opened anew each time: whoever rotates it need tell nobody."""

    def __init__(self, settings: DestinationSettings, encoder: RequestEncoder) -> None:
        self._path = Path(settings.path)
        self._encoder = encoder

    def send(self, spans: Sequence[EncodedSpan]) -> Answer:
        """Append them, and say how that went."""
        line = self._encoder.json(spans) + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
            try:
                self._append(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            return Answer(Verdict.RETRY, f"{self._path}: {error.strerror}", "io_error")
        return Answer(Verdict.TAKEN, f"{len(line)} bytes appended to {self._path}")

    def close(self) -> None:
        """Nothing is open."""

    def _append(self, descriptor: int, line: bytes) -> None:
        size = os.fstat(descriptor).st_size
        try:
            write_all(descriptor, line)
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)  # a torn line would spoil the next one
            raise


class ConsoleSender:
    """Prints to standard error, which the bridge and its processes share."""

    def __init__(self, settings: DestinationSettings, encoder: RequestEncoder) -> None:
        self._name = settings.name
        self._encoder = encoder

    def send(self, spans: Sequence[EncodedSpan]) -> Answer:
        """Print them."""
        try:
            write_all(sys.stderr.fileno(), self._encoder.json(spans) + b"\n")
        except OSError as error:
            return Answer(Verdict.RETRY, f"standard error: {error.strerror}", "io_error")
        return Answer(Verdict.TAKEN, "printed")

    def close(self) -> None:
        """Nothing is open."""
