"""Query parameters → the structs a reader takes. Pure; a wrong value raises FieldError, which names the field."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from bridge_app.api.rendering import FIELDS
from bridge_app.api.times import duration, moment
from bridge_app.problems import FieldError
from otel_tracker.classification import ERROR_TYPES
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_VALUES: Final = 100
"""Of one filter: what a database takes in one statement is bounded too."""
MAX_TAGS: Final = 10
MAX_TEXT: Final = 1000
"""Characters of a text that is searched for."""


def execution_filter(  # noqa: PLR0913 - each is a separate fact, named at the call
    *,
    now: int,
    plugin: Sequence[str] = (),
    status: Sequence[str] = (),
    error_type: Sequence[str] = (),
    trace_id: str | None = None,
    delivery_id: str | None = None,
    start_time: str | None = None,
    end_time: str | None = None,
    min_duration: str | None = None,
    max_duration: str | None = None,
    tags: Sequence[str] = (),
    q: str | None = None,
) -> ExecutionFilter:
    """All filters of the history, as their text. Relative times count from `now`, nanoseconds since the epoch."""
    shortest = duration("min_duration", min_duration) if min_duration else None
    longest = duration("max_duration", max_duration) if max_duration else None
    if shortest is not None and longest is not None and shortest > longest:
        raise FieldError(
            f"is {min_duration!r}: expected no more than max_duration, {max_duration!r}", field="min_duration"
        )
    return ExecutionFilter(
        plugins=_names("plugin", plugin),
        statuses=tuple(Status(one) for one in _known("status", status, [s.value for s in Status])),
        error_types=_known("error_type", error_type, ERROR_TYPES),
        trace_id=trace_id_of("trace_id", trace_id) if trace_id else "",
        delivery_id=delivery_id or "",
        started_from=moment("start_time", start_time, now=now) if start_time else None,
        started_before=moment("end_time", end_time, now=now) if end_time else None,
        min_duration=shortest,
        max_duration=longest,
        tags=_tags(tags),
        text=q or "",
    )


def chosen_fields(values: Sequence[str]) -> tuple[str, ...]:
    """`fields=id,status` as names; empty means all."""
    return _known("fields", values, FIELDS)


def known_value(field: str, value: str | None, known: Sequence[str]) -> str:
    """The one value of a parameter that has a closed list of them; empty where it was not given."""
    if value:
        _require_known(field, value, known)
    return value or ""


def trace_id_of(field: str, text: str) -> str:
    """A trace id as it is stored: 32 hexadecimal digits in lower case; hyphens are left out."""
    value = text.replace("-", "").lower()
    if len(value) != 32 or not set(value) <= set("0123456789abcdef"):
        raise _wrong(field, text, "32 hexadecimal digits")
    return value


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


def _tags(values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    if len(values) > MAX_TAGS:
        raise FieldError(f"has {len(values)} values: expected at most {MAX_TAGS}", field="tags")
    return tuple(_tag(one) for one in values if one)


def _tag(text: str) -> tuple[str, str]:
    name, separator, value = text.partition(":")
    if not separator or not name:
        raise _wrong("tags", text, "name:value, such as job_id:job-123")
    return name, value


def _wrong(field: str, value: str, expected: str) -> FieldError:
    return FieldError(f"is {value[:80]!r}: expected {expected}", field=field)
