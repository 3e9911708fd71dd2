"""Any Python value → bounded, redacted JSON text that every store takes, and what was done to it.

In: any value, hostile objects included. Out: `Captured`, whose text is valid JSON of at most `max_bytes` bytes. Never
raises (an interrupt of the process aside), never modifies the value, never iterates or calls anything of a user's
class except one guarded `repr`, whose text is cut.

The one way odd values are written:
    NaN, Infinity, -Infinity      the strings "NaN", "Infinity", "-Infinity"
    NUL, lone surrogates          U+FFFD, as PostgreSQL takes no NUL and UTF-8 has no surrogates
    bytes                         UTF-8 text where they are that, else {"$bytes": base64}
    dataclasses, msgspec structs  objects by field; enums: their value; sets and tuples: lists (sets of strings sorted)
    datetime, UUID, Decimal, path their usual text; timedelta: seconds; exceptions: {"type", "message"}
    keys                          strings; null, true, 1, 1.5 as JSON spells them
    anything else                 its repr
    "[circular]", "[too deep]", "[... more]" stand where an object held itself, past 64 levels, past 100,000 nodes

What is longer than `max_bytes` becomes {"truncated": true, "size": N, "sha256": "...", "preview": "first bytes"}. Size
and hash are of the whole JSON after redaction; past the bounds on work (nodes, 16 Mi characters) of what was looked at.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import hashlib
import math
import pathlib
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otel_tracker.failsafe import failsafe
from otel_tracker.redaction import TOO_DEEP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_tracker.redaction import Redactor

MIN_BYTES = 256
"""The smallest `max_bytes`; less is taken as this, so that a truncation notice fits."""
MAX_DEPTH = 64
MAX_NODES = 100_000
MAX_CHARACTERS = 16 * 1024 * 1024
MAX_REPR = 1000

_PLAIN = frozenset({str, int, bool, type(None)})
_LONG = 4096
_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_PASSWORD_IN_URL = re.compile(rb'://[^/\s"@]*:[^/\s"@]*@')
_JSON_IN_STRING = re.compile(rb'"(?:\\[nrt]| )*[\[{]')
_encode = msgspec.json.Encoder().encode


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
    faithful = len(raw) <= max_bytes and b"\\u" not in raw and raw.count(b":") == encoded.count(b":")
    if faithful and b":\\/" not in raw:
        try:
            return Captured(raw.decode(), len(raw))
        except UnicodeDecodeError:
            pass  # a lenient parser took it; what it understood is valid
    return _bounded(encoded, max_bytes, cut=False, redacted=False)


def _encode_plain(value: Any, redactor: Redactor) -> bytes | None:
    """The JSON of a value that needs no change at all, or None: then the slow way decides."""
    try:
        if redactor.has_paths or not _is_plain(value, redactor.verdicts):
            return None
        encoded = _encode(value)
    except Exception:  # noqa: BLE001 - whatever fails here must not reach the code around it
        return None
    if b"\\u0000" in encoded or (b"://" in encoded and b"@" in encoded and _PASSWORD_IN_URL.search(encoded)):
        return None
    if b'\\"' in encoded and _JSON_IN_STRING.search(encoded):
        return None
    return encoded


def _is_plain(value: Any, verdicts: dict[str, bool]) -> bool:  # noqa: C901 - one decision, read top to bottom
    """Whether the value is JSON as it stands, bounded, without a secret key. Level by level, so it has no recursion."""
    secret = verdicts.__getitem__
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
                if any(map(secret, container)):  # a key that is no string raises: the slow way then
                    return False
                items = container.values()
            for item in items:
                kind = type(item)
                if kind is str:
                    if len(item) > _LONG:
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
        builder = _Builder()
        plain = builder.build(value, 0)
        hidden, redacted = redactor.redact(plain)
        return _bounded(_encode(hidden), max_bytes, cut=builder.cut, redacted=redacted)
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


class _Builder:
    """Rebuilds one value from None, bool, int, float, str, list and dict. Keeps count of what it may still do."""

    def __init__(self) -> None:
        self.cut = False
        self._nodes = MAX_NODES
        self._characters = MAX_CHARACTERS
        self._open: set[int] = set()

    def build(self, value: Any, depth: int) -> Any:  # noqa: PLR0911 - one return a case
        self._nodes -= 1
        kind = type(value)  # never value.__class__, which a class can fake with code of its own
        if value is None or kind is bool:
            return value
        if issubclass(kind, enum.Enum):
            return self.build(value._value_, depth + 1) if depth <= MAX_DEPTH else TOO_DEEP
        if issubclass(kind, str):
            return self._text(value)
        if issubclass(kind, int):
            return _integer(int.__int__(value))
        if issubclass(kind, float):
            return _number(float.__float__(value))
        text = _scalar_text(value, kind)
        if text is not None:
            return self._text(text) if type(text) is str else text
        if issubclass(kind, (bytes, bytearray, memoryview)):
            return self._bytes(value)
        return self._container(value, kind, depth)

    def _container(self, value: Any, kind: type, depth: int) -> Any:
        if id(value) in self._open:
            return "[circular]"
        items = _members(value, kind)
        if items is None:
            return self._text(_guarded_repr(value))
        if depth >= MAX_DEPTH:
            self.cut = True
            return TOO_DEEP
        self._open.add(id(value))
        try:
            return self._object(items, depth) if type(items) is dict else self._list(items, depth)
        finally:
            self._open.discard(id(value))

    def _object(self, items: dict[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in items.items():
            if self._nodes <= 0:
                self.cut = True
                result["[...]"] = "[... more]"
                break
            result[self._key(key)] = self.build(item, depth + 1)
        return result

    def _list(self, items: Any, depth: int) -> list[Any]:
        result: list[Any] = []
        for item in items:
            if self._nodes <= 0:
                self.cut = True
                result.append("[... more]")
                break
            result.append(self.build(item, depth + 1))
        return result

    def _key(self, key: Any) -> str:
        if issubclass(type(key), str):
            return self._text(key)
        built = self.build(key, MAX_DEPTH - 1)
        return built if type(built) is str else self._text(_encode(built).decode())

    def _text(self, value: str) -> str:
        length = str.__len__(value)
        text = str.__getitem__(value, slice(0, max(self._characters, 0))) if length > _LONG else str.__str__(value)
        if length > _LONG:
            self._characters -= length
            if len(text) < length:
                self.cut = True
                text += f"[... {length - len(text)} more]"
        return text if text.isascii() and "\x00" not in text else _UNSAFE.sub("\ufffd", text)

    def _bytes(self, value: bytes | bytearray | memoryview) -> Any:
        view = memoryview(value)
        room = max(self._characters, 0)
        data = view.tobytes() if view.nbytes <= room else view.cast("B")[:room].tobytes()
        self.cut = self.cut or len(data) < view.nbytes
        try:
            return self._text(data.decode())
        except UnicodeDecodeError:
            self._characters -= len(data)
            return {"$bytes": base64.b64encode(data).decode()}


def _members(value: Any, kind: type) -> Any:  # noqa: PLR0911 - one return a case
    """A dict or a sequence of what the value holds, read past any override of its class; None where it is opaque."""
    if issubclass(kind, dict):
        return dict(dict.items(value))
    for builtin in (list, tuple):
        if issubclass(kind, builtin):
            return builtin.__getitem__(value, slice(0, MAX_NODES + 1))
    for members in (set, frozenset):
        if issubclass(kind, members):
            held = list(members.__iter__(value))
            return sorted(held) if all(type(item) is str for item in held) else held
    if issubclass(kind, BaseException):
        return {"type": f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."), "message": _message(value)}
    if issubclass(kind, msgspec.Struct):
        return {name: _attribute(value, name) for name in kind.__struct_fields__}
    fields = kind.__dict__.get("__dataclass_fields__") or getattr(kind, "__dataclass_fields__", None)
    if type(fields) is dict:
        return {name: _attribute(value, name) for name, field in fields.items() if type(field) is dataclasses.Field}
    return None


def _attribute(value: Any, name: str) -> Any:
    try:
        return object.__getattribute__(value, name)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever fails here must not reach the code around it
        return "[unreadable]"


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_REPR]
    except (Exception, SystemExit):  # noqa: BLE001 - whatever fails here must not reach the code around it
        return "[unprintable]"


def _guarded_repr(value: Any) -> str:
    try:
        return repr(value)[:MAX_REPR]
    except (Exception, SystemExit):  # noqa: BLE001 - whatever fails here must not reach the code around it
        return f"[unprintable {type(value).__name__}]"


def _integer(value: int) -> Any:
    """JSON numbers have no bound, the encoder has: a wide integer is spliced in, an absurd one becomes hex text."""
    if -(2**63) <= value < 2**64:
        return value
    return msgspec.Raw(str(value).encode()) if value.bit_length() <= MAX_REPR else hex(value)[: MAX_REPR * 4]


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _scalar_text(value: Any, kind: type) -> str | float | None:  # noqa: PLR0911 - one return a case
    """The usual text of a standard library value, by the library's own method."""
    if issubclass(kind, dt.datetime):
        return dt.datetime.isoformat(value) if value.tzinfo is None else _guarded_iso(value)
    if issubclass(kind, dt.date):
        return dt.date.isoformat(value)
    if issubclass(kind, dt.time):
        return _guarded_iso(value)
    if issubclass(kind, dt.timedelta):
        return dt.timedelta.total_seconds(value)
    if issubclass(kind, uuid.UUID):
        return uuid.UUID.__str__(value)
    if issubclass(kind, decimal.Decimal):
        return decimal.Decimal.__str__(value)
    if issubclass(kind, pathlib.PurePath):
        return pathlib.PurePath.__str__(value)
    return None


def _guarded_iso(value: dt.datetime | dt.time) -> str:
    try:
        return dt.datetime.isoformat(value) if isinstance(value, dt.datetime) else dt.time.isoformat(value)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever fails here must not reach the code around it
        return "[unprintable time]"
