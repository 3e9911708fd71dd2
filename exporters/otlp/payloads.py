"""What of an execution's payloads leaves the house: none, a preview, or all. Pure.

Backends cut long attributes in their own ways (Tempo at 2 KiB); a preview is cut here, and says so: beside
`otel_tracker.input` stand `otel_tracker.input.size` (bytes), `.sha256` (of all of it, as the history has it) and
`.truncated`. A text is JSON in the history; a preview's beginning is not.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from otel_tracker import conventions as names

if TYPE_CHECKING:
    from otel_tracker.record import ExecutionRecord

PREVIEW_BYTES: Final = 2048
INPUT_ALIAS: Final = "input.value"
OUTPUT_ALIAS: Final = "output.value"
"""OpenInference's names, which Phoenix shows: https://github.com/Arize-ai/openinference, spec/semantic_conventions."""
KIND: Final = "openinference.span.kind"
"""Without it Phoenix calls a span's kind unknown; CHAIN is what leads from an input to an output."""
MIME_TYPE: Final = "application/json"
_FIELDS: Final = (
    ("input", names.INPUT),
    ("output", names.OUTPUT),
    ("traceback", names.TRACEBACK),
    ("logs", names.LOGS),
)


class PayloadPolicy(StrEnum):
    """How much of input, output, traceback and logs is sent."""

    NONE = "none"
    PREVIEW = "preview"
    FULL = "full"


def attributes(record: ExecutionRecord, policy: PayloadPolicy, *, aliases: bool) -> dict[str, str | int | bool]:
    """Span attributes for the payloads of `record`; with `aliases` also under the names that Phoenix shows."""
    found: dict[str, str | int | bool] = {}
    if policy is PayloadPolicy.NONE:
        return found
    for field, name in _FIELDS:
        text: str = getattr(record, field)
        if text:
            found |= {name: text} if policy is PayloadPolicy.FULL else _preview(name, text)
    if aliases:
        found[KIND] = "CHAIN"
        for alias, name in ((INPUT_ALIAS, names.INPUT), (OUTPUT_ALIAS, names.OUTPUT)):
            if name in found:
                found[alias] = found[name]
                found[f"{alias.removesuffix('.value')}.mime_type"] = MIME_TYPE
    return found


def _preview(name: str, text: str) -> dict[str, str | int | bool]:
    """The text whole, or its beginning and what there is to know of the rest.

    >>> _preview("x", "short")
    {'x': 'short'}
    >>> cut = _preview("x", "é" * 2000)
    >>> len(cut["x"]), cut["x.size"], cut["x.truncated"]
    (1024, 4000, True)
    """
    data = text.encode("utf-8", "replace")
    if len(data) <= PREVIEW_BYTES:
        return {name: text}
    return {
        name: data[:PREVIEW_BYTES].decode("utf-8", "ignore"),
        f"{name}.size": len(data),
        f"{name}.truncated": True,
        f"{name}.sha256": sha256(data).hexdigest(),
    }
