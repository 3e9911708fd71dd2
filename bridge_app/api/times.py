"""Text → nanoseconds: a moment (RFC 3339, or so long ago), and a length of time. Pure; `now` is an argument.

What cannot be read raises FieldError, which names the field, what was given, what is expected and an example. What 64
bits of nanoseconds cannot tell (years before 1677 and after 2262) becomes the nearest that they can.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from bridge_app.problems import FieldError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INT64: Final = 2**63 - 1
# An unescaped + of an offset arrives as a space. A second may have any number of decimals.
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([-+ ])(\d\d:\d\d))?", re.ASCII
)
UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
"""Nanoseconds of each."""
_PART: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18}))?(ns|us|ms|s|m|h|d|w)")
_PARTS: Final = re.compile(rf"(?:{_PART.pattern})+")
_WHOLE: Final = re.compile(r"[0-9]{1,19}")


def moment(field: str, text: str, *, now: int) -> int:
    """Nanoseconds since the epoch. RFC 3339, without an offset UTC; or `-24h`, `-1h30m`: so long before `now`.

    >>> moment("start_time", "2025-06-06T16:33:48+02:00", now=0)
    1749220428000000000
    >>> moment("start_time", "-15m", now=1749220428000000000)
    1749219528000000000
    """
    length = _length(text[1:]) if text.startswith("-") else None
    found = _rfc3339(text) if length is None else now - length
    if found is None:
        raise _wrong(field, text, "an RFC 3339 time, such as 2025-06-06T14:33:48Z, or how long ago, such as -24h")
    return max(-_INT64, min(_INT64, found))


def duration(field: str, text: str) -> int:
    """Nanoseconds: a whole number of them, or numbers with units. What is finer than a nanosecond is cut off.

    >>> duration("min_duration", "1.5s")
    1500000000
    """
    found = int(text) if _WHOLE.fullmatch(text) else _length(text)
    if found is None:
        raise _wrong(
            field, text, f"nanoseconds, such as 250000000, or a number with a unit ({', '.join(UNITS)}), such as 250ms"
        )
    return min(_INT64, found)


def _length(text: str) -> int | None:
    if _PARTS.fullmatch(text) is None:
        return None
    return sum(
        int(whole) * UNITS[unit] + int(fraction or "0") * UNITS[unit] // int(10 ** len(fraction))
        for whole, fraction, unit in _PART.findall(text)
    )


def _rfc3339(text: str) -> int | None:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    date, clock, fraction, sign, offset = match.groups()
    try:
        found = datetime.fromisoformat(f"{date}T{clock}{(sign or '').replace(' ', '+')}{offset or '+00:00'}")
        since_epoch = found - _EPOCH
    except (ValueError, OverflowError):
        return None
    seconds = since_epoch.days * 86_400 + since_epoch.seconds
    return seconds * 1_000_000_000 + int((fraction or "0")[:9].ljust(9, "0"))


def _wrong(field: str, text: str, expected: str) -> FieldError:
    return FieldError(f"is {text[:80]!r}: expected {expected}", field=field)
