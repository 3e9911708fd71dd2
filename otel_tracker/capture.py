"""Any Python value → bounded, redacted JSON text that every store takes, and what was done to it.

In: any value, hostile objects included; odd ones are written as `plain_values` has it. Out: `Captured`, whose text is
valid JSON of at most `max_bytes` bytes. Never raises (an interrupt of the process aside), never modifies the value.

What is longer than `max_bytes` becomes {"truncated": true, "size": N, "sha256": "...", "preview": "first bytes"}. Size
and hash are of the whole JSON after redaction; past the bounds on work (nodes, 16 Mi characters) of what was looked at.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otel_tracker.failsafe import failsafe
from otel_tracker.plain_values import LONG, MAX_DEPTH, MAX_NODES, plain
from otel_tracker.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otel_tracker.redaction import Redactor

MIN_BYTES: Final = 256
"""The smallest `max_bytes`; less is taken as this, so that a truncation notice fits."""
MAX_FACTS: Final = 65_536
"""Bytes of tags, and of metadata."""

_PLAIN = frozenset({str, int, bool, type(None)})
_AT, _BACKSLASH = b"@\\"  # a look for one byte costs a tenth of a look for several, and most texts have neither
_PASSWORD_IN_URL = re.compile(rb'://[^/\s"@]*:[^/\s"@]*@')
_JSON_IN_STRING = re.compile(rb'"(?:\\[nrt]| )*[\[{]')
_encode = msgspec.json.Encoder().encode


class CaptureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of inputs, outputs and errors."""

    track_input: bool = True
    track_output: bool = True
    track_errors: bool = True
    max_input_size: int = 1_048_576
    """Bytes of JSON; what is larger is cut and says so."""
    max_output_size: int = 1_048_576
    redact_keys: tuple[str, ...] = ()
    """Names to redact beside the built-in ones."""


class Captured(msgspec.Struct, frozen=True, gc=False):
    """A value as the history keeps it."""

    text: str
    """Valid JSON, at most `max_bytes` bytes of UTF-8."""
    size: int
    """Bytes of the full JSON after redaction."""
    sha256: str = ""
    """Of that full JSON, where it was cut; else empty."""
    truncated: bool = False
    redacted: bool = False


NOTHING: Final = Captured(text="", size=0)
"""No value was kept."""


def capture(value: Any, *, max_bytes: int, redactor: Redactor) -> Captured:
    """The value as JSON text within `max_bytes` (at least 256), secrets hidden.

    >>> from otel_tracker.redaction import Redactor
    >>> capture({"a": 1, "token": "x"}, max_bytes=1024, redactor=Redactor()).text
    '{"a":1,"token":"[redacted]"}'
    """
    encoded = _encode_plain(value, redactor)
    if encoded is not None:
        return _bounded(encoded, max_bytes, cut=False, redacted=False)
    return _capture_any(value, max_bytes, redactor)


def capture_json(raw: bytes, parsed: Any, *, max_bytes: int, redactor: Redactor) -> Captured:
    """The same for a body whose JSON bytes exist: they are kept as the sender spelled them, where that hides nothing.

    The bytes are not trusted alone: of a repeated key the parsed value shows only the last, so a secret under the
    first would slip through. As many colons in both texts (no escapes that spell one) means: nothing repeated.
    """
    encoded = _encode_plain(parsed, redactor)
    if encoded is None:
        return _capture_any(parsed, max_bytes, redactor)
    if len(raw) <= max_bytes and (raw == encoded or _is_faithful(raw, encoded)):
        try:
            return Captured(raw.decode(), len(raw))
        except UnicodeDecodeError:
            pass  # a lenient parser took it; what it understood is valid
    return _bounded(encoded, max_bytes, cut=False, redacted=False)


def _is_faithful(raw: bytes, encoded: bytes) -> bool:
    if _BACKSLASH in raw and (b"\\u" in raw or b":\\/" in raw):
        return False
    return raw.count(b":") == encoded.count(b":")


def facts_text(facts: Mapping[str, Any], *, redactor: Redactor) -> str:
    """Tags or metadata as a JSON object, bounded and redacted."""
    encoded = _encode_plain(facts, redactor)
    if encoded is not None and len(encoded) <= MAX_FACTS:
        return encoded.decode()
    text = capture(facts, max_bytes=MAX_FACTS, redactor=redactor).text
    return text if text.startswith("{") else "{}"  # what could not be captured is counted there


def _encode_plain(value: Any, redactor: Redactor) -> bytes | None:
    """The JSON of a value that needs no change at all, or None: then the slow way decides."""
    try:
        if redactor.has_paths or not _is_plain(value, redactor):
            return None
        encoded = _encode(value)
    except Exception:  # noqa: BLE001 - whatever fails here must not reach the code around it
        return None
    if _AT in encoded and _PASSWORD_IN_URL.search(encoded):
        return None
    if _BACKSLASH in encoded and (b"\\u0000" in encoded or (b'\\"' in encoded and _JSON_IN_STRING.search(encoded))):
        return None
    return encoded


def _is_plain(value: Any, redactor: Redactor) -> bool:  # noqa: C901 - one decision, read top to bottom
    """Whether the value is JSON as it stands, bounded, without a secret key. Level by level, so it has no recursion."""
    all_innocent, secret = redactor.verdicts.innocent.issuperset, redactor.verdicts.__getitem__
    level: list[Any] = [[value]]
    nodes = 0
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for container in level:
            nodes += len(container)
            if nodes > MAX_NODES:
                return False
            items: Iterable[Any] = container
            if type(container) is dict:
                # A key that is no string raises: the slow way then.
                if not all_innocent(container) and any(secret(k) and container[k] is not REDACTED for k in container):
                    return False
                items = container.values()
            for item in items:
                kind = type(item)
                if kind is str:
                    if len(item) > LONG:
                        return False
                elif kind is dict or kind is list:
                    below.append(item)
                elif kind not in _PLAIN and (kind is not float or item - item != 0.0):
                    return False
        if not below:
            return True
        level = below
    return False


def _capture_any(value: Any, max_bytes: int, redactor: Redactor) -> Captured:
    """The slow way: rebuilt as plain JSON values, then redacted, then encoded."""
    try:
        rebuilt, cut = plain(value)
        hidden, redacted = redactor.redact(rebuilt)
        return _bounded(_encode(hidden), max_bytes, cut=cut, redacted=redacted)
    except Exception as error:  # noqa: BLE001 - whatever fails here must not reach the code around it
        failsafe.caught("capture", error)
        text = f'"[not captured: {type(error).__name__}]"'
        return Captured(text, len(text), truncated=True)


def _bounded(encoded: bytes, max_bytes: int, *, cut: bool, redacted: bool) -> Captured:
    limit = max(max_bytes, MIN_BYTES)
    size = len(encoded)
    if size <= limit and not cut:
        return Captured(encoded.decode(), size, redacted=redacted)
    digest = hashlib.sha256(encoded).hexdigest()
    text = encoded.decode() if size <= limit else _notice(encoded, digest, limit)
    return Captured(text, size, digest, truncated=True, redacted=redacted)


def _notice(encoded: bytes, digest: str, limit: int) -> str:
    """The truncation notice; its preview shrinks until quoting it fits (quotes in it take a second byte)."""
    head = {"truncated": True, "size": len(encoded), "sha256": digest}
    room = limit - len(_encode({**head, "preview": ""}))
    take = room
    while True:
        preview = encoded[:take].decode(errors="ignore")
        quoted = len(_encode(preview)) - 2
        if quoted <= room:
            return _encode({**head, "preview": preview}).decode()
        take = min(take - 1, take * room // quoted)
