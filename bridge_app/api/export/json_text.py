"""Records as JSON, exactly as REST shows them: one array with a record a line, or JSON Lines.

The array is closed when everything is in it, and not before: what broke off is no JSON.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from bridge_app.api.rendering import FIELDS, encode_json, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_tracker.record import ExecutionRecord


def json_array_chunks(parts: Iterator[Sequence[ExecutionRecord]], fields: Sequence[str]) -> Iterator[bytes]:
    """A piece a record, and the closing bracket."""
    before = b"[\n"
    for one in _objects(parts, fields):
        yield before + one
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def json_line_chunks(parts: Iterator[Sequence[ExecutionRecord]], fields: Sequence[str]) -> Iterator[bytes]:
    """A piece a record. Source: jsonlines.org."""
    return (one + b"\n" for one in _objects(parts, fields))


def _objects(parts: Iterator[Sequence[ExecutionRecord]], fields: Sequence[str]) -> Iterator[bytes]:
    return map(encode_json, shown(chain.from_iterable(parts), () if fields == FIELDS else fields))
