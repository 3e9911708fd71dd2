r"""Any Python value → the same in plain JSON values: None, bool, int, float, str, list and dict, ready to encode.

In: any value, hostile objects included. Out: the plain value, and whether something of it was left out. Never modifies
the value, never iterates or calls anything of a user's class except one guarded `repr`, whose text is cut.

The one way odd values are written:
    NaN, Infinity, -Infinity      the strings "NaN", "Infinity", "-Infinity"
    NUL, lone surrogates          U+FFFD, as PostgreSQL takes no NUL and UTF-8 has no surrogates
    bytes                         UTF-8 text where they are that, else {"$bytes": base64}
    dataclasses, msgspec structs  objects by field; enums: their value; sets and tuples: lists (sets of strings sorted)
    datetime, UUID, Decimal, path their usual text; timedelta: seconds; exceptions: {"type", "message"}
    keys                          strings; null, true, 1, 1.5 as JSON spells them
    anything else                 its repr
    "[circular]", "[too deep]", "[... more]" stand where an object held itself, past 64 levels, past 100,000 nodes
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import math
import pathlib
import re
import uuid
from typing import Any, Final

import msgspec

from otel_tracker.redaction import TOO_DEEP

MAX_DEPTH: Final = 64
MAX_NODES: Final = 100_000
MAX_CHARACTERS: Final = 16 * 1024 * 1024
"""Of all long strings together."""
MAX_REPR: Final = 1000
LONG: Final = 4096
"""Characters; longer strings count as long."""

_UNSAFE = re.compile("[\x00\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode


def plain(value: Any) -> tuple[Any, bool]:
    """The value in plain JSON values, and whether it was too large or too deep to be whole.

    >>> plain({1: (float("inf"), b"text")})
    ({'1': ['Infinity', 'text']}, False)
    """
    builder = _Builder()
    return builder.build(value, 0), builder.cut


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
        text = str.__getitem__(value, slice(0, max(self._characters, 0))) if length > LONG else str.__str__(value)
        if length > LONG:
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
