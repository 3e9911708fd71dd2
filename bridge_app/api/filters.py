"""Query parameters → the structs a reader takes. Pure; a wrong value raises FieldError, which names the field."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from bridge_app.api.rendering import FIELDS
from bridge_app.problems import FieldError
from otel_tracker.classification import ERROR_TYPES
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_VALUES: Final = 100
"""Of one filter: what a database takes in one statement is bounded too."""
MAX_TAGS: Final = 10
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INT64: Final = 2**63 - 1
# An unescaped + of an offset arrives as a space. A second may have any number of decimals.
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:[Zz]|([-+ ])(\d\d:\d\d))?", re.ASCII
)


def nanoseconds(field: str, text: str | None) -> int | None:
    """An RFC 3339 time as nanoseconds since the epoch; None where there is none. Without an offset it is UTC.

    Years that 64 bits of nanoseconds cannot tell (before 1677, after 2262) become the nearest that they can.

    >>> nanoseconds("start_time", "2025-06-06T16:33:48+02:00")
    1749220428000000000
    """
    if not text:
        return None
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise _not_a_time(field, text)
    date, clock, fraction, sign, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock}{(sign or '').replace(' ', '+')}{offset or '+00:00'}")
        delta = moment - _EPOCH
    except (ValueError, OverflowError):
        raise _not_a_time(field, text) from None
    whole = (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + int((fraction or "0")[:9].ljust(9, "0"))
    return max(-_INT64, min(_INT64, whole))


def execution_filter(  # noqa: PLR0913 - each is a separate fact, named at the call
    *,
    plugin: Sequence[str],
    status: Sequence[str],
    error_type: Sequence[str],
    trace_id: str | None,
    delivery_id: str | None,
    start_time: str | None,
    end_time: str | None,
    tags: Sequence[str],
) -> ExecutionFilter:
    """All filters of the history's list."""
    return ExecutionFilter(
        plugins=_names("plugin", plugin),
        statuses=tuple(Status(one) for one in _known("status", status, [s.value for s in Status])),
        error_types=_known("error_type", error_type, ERROR_TYPES),
        trace_id=_trace_id(trace_id),
        delivery_id=delivery_id or "",
        started_from=nanoseconds("start_time", start_time),
        started_before=nanoseconds("end_time", end_time),
        tags=_tags(tags),
    )


def chosen_fields(values: Sequence[str]) -> tuple[str, ...]:
    """`fields=id,status` as names; empty means all."""
    return _known("fields", values, FIELDS)


def known_value(field: str, value: str | None, known: Sequence[str]) -> str:
    """The one value of a parameter that has a closed list of them; empty where it was not given."""
    if value:
        _require_known(field, value, known)
    return value or ""


def _names(field: str, values: Sequence[str]) -> tuple[str, ...]:
    names = (name.strip() for value in values for name in value.split(","))
    found = tuple(dict.fromkeys(name for name in names if name))
    if len(found) > MAX_VALUES:
        raise FieldError(f"has {len(found)} values: expected at most {MAX_VALUES}", field=field)
    return found


def _known(field: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    names = _names(field, values)
    for name in names:
        _require_known(field, name, known)
    return names


def _require_known(field: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    close = get_close_matches(name[:80], known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise _wrong(field, name, f"one of {', '.join(known)}{hint}")


def _trace_id(text: str | None) -> str:
    if not text:
        return ""
    value = text.replace("-", "").lower()
    if len(value) != 32 or not set(value) <= set("0123456789abcdef"):
        raise _wrong("trace_id", text, "32 hexadecimal digits")
    return value


def _tags(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    if len(values) > MAX_TAGS:
        raise FieldError(f"has {len(values)} values: expected at most {MAX_TAGS}", field="tags")
    return tuple(_tag(one) for one in values if one)


def _tag(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name:
        raise _wrong("tags", text, "name:value, such as job_id:job-123")
    return name, value


def _not_a_time(field: str, text: str) -> FieldError:
    return _wrong(field, text, "an RFC 3339 time, such as 2025-06-06T14:33:48Z")


def _wrong(field: str, value: str, expected: str) -> FieldError:
    return FieldError(f"is {value[:80]!r}: expected {expected}", field=field)
