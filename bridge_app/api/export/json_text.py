"""Records as JSON, exactly as REST shows them: one array with a record a line, or JSON Lines.

The array is closed when everything is in it, and not before: what broke off is no JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge_app.api.rendering import FIELDS, encode_json, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_tracker.record import ExecutionRecord


def json_array_chunks(parts: Iterator[Sequence[ExecutionRecord]], fields: Sequence[str]) -> Iterator[bytes]:
    """A piece for each part, and the closing bracket."""
    before = b"["
    for records in parts:
        if records:
            yield before + b"\n" + b",\n".join(_objects(records, fields))
            before = b","
    yield b"[]\n" if before == b"[" else b"\n]\n"


def json_line_chunks(parts: Iterator[Sequence[ExecutionRecord]], fields: Sequence[str]) -> Iterator[bytes]:
    """A piece for each part. Source: jsonlines.org."""
    for records in parts:
        yield b"".join(line + b"\n" for line in _objects(records, fields))


def _objects(records: Sequence[ExecutionRecord], fields: Sequence[str]) -> Iterator[bytes]:
    return map(encode_json, shown(records, () if fields == FIELDS else fields))
