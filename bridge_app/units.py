"""Lengths of time and sizes as people write them in a configuration, and back. Pure."""

from __future__ import annotations

import re

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?=[0-9])(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_SIZE = re.compile(r"([0-9]{1,15})(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_SIZE_UNITS: dict[str, int] = {"B": 1} | {
    f"{letter}{kind}": int(base**power)
    for power, letter in enumerate("KMGT", start=1)
    for kind, base in (("iB", 1024), ("B", 1000))
}


def parse_duration(text: str) -> int:
    """Seconds of "24h", "90m", "30s", "7d" or "1h30m". Raises `ValueError` for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration")
    return sum(int(number or 0) * seconds for number, seconds in zip(match.groups(), _UNITS.values(), strict=True))


def format_duration(seconds: int) -> str:
    """The shortest text that `parse_duration` reads back: whole hours stay hours, so a day is "24h"."""
    if seconds % 86_400 == 0 and seconds > 86_400:
        return f"{seconds // 86_400}d"
    parts = (("h", seconds // 3600), ("m", seconds % 3600 // 60), ("s", seconds % 60))
    return "".join(f"{number}{unit}" for unit, number in parts if number) or "0s"


def parse_size(text: str) -> int:
    """Bytes of "10GB" (10 * 10**9), "512MiB" (512 * 2**20) or "4096B". Raises `ValueError` for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads back.

    >>> format_size(10_000_000_000), format_size(2**30), format_size(1001)
    ('10GB', '1GiB', '1001B')
    """
    return min((f"{size // unit}{name}" for name, unit in _SIZE_UNITS.items() if size % unit == 0), key=len)
