"""Values as people read them. Pure.

What senders and plugins wrote reaches a terminal only through `visible`: a control character there could hide lines,
or type for the reader.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def visible(text: str) -> str:
    r"""The text with its control characters spelled out; line ends and tabs stay.

    >>> visible("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def one_line(text: str) -> str:
    """The visible text with its white space folded, for a cell of a table."""
    return " ".join(visible(text).split())


def last_line(text: str) -> str:
    """What a traceback says in the end."""
    lines = text.strip().splitlines()
    return one_line(lines[-1]) if lines else ""


def duration_text(nanoseconds: int) -> str:
    """`850 µs`, `12.3 ms`, `4.56 s`, `3 min 20 s`."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds // 1000} µs"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1e6:.1f} ms"
    if nanoseconds < 60_000_000_000:
        return f"{nanoseconds / 1e9:.2f} s"
    minutes, seconds = divmod(nanoseconds // 1_000_000_000, 60)
    return f"{minutes} min {seconds} s"


def size_text(size: int) -> str:
    """`512 B`, `88.0 KiB`, `1.2 GiB`."""
    if size < 1024:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{size / 1024**power:.1f} {_UNITS[power]}"


def count_text(count: int, noun: str) -> str:
    """`1 execution`, `2 executions`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def time_text(rfc3339: str | None) -> str:
    """`2025-06-06T14:33:48.123456Z` → `2025-06-06 14:33:48`; "" for None. UTC stays UTC."""
    return rfc3339[:19].replace("T", " ") if rfc3339 else ""


def json_lines(text: str) -> list[str]:
    """JSON with an indentation of two; what is no JSON (a cut value) as it is."""
    try:
        return msgspec.json.format(text, indent=2).split("\n")
    except msgspec.MsgspecError:
        return text.split("\n")


class LogEntry(msgspec.Struct, frozen=True):
    """One entry of an execution's logs."""

    stream: str
    text: str
    level: str = ""

    def lines(self) -> list[str]:
        """`INFO: text`, `stdout: text`; every line of it."""
        return [f"{self.level or self.stream}: {line}" for line in self.text.rstrip("\n").split("\n")]
