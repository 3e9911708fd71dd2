"""What a backend's answer to a request means. Pure.

Source: https://opentelemetry.io/docs/specs/otlp/, "OTLP/HTTP Response" and "OTLP/gRPC Response": 429, 502, 503 and 504
are to be tried again, other failures are not; a partial success is a success; of gRPC's statuses the table there.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final, NamedTuple

RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})
SPLIT_STATUSES: Final = frozenset({400, 413, 422})
"""What may be the fault of one span, or of how many there are: they are tried in halves."""
RETRIED_CODES: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
SPLIT_CODES: Final = frozenset({"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"})
MAX_RETRY_AFTER_SECONDS: Final = 3600.0


class Verdict(Enum):
    """What to do with the spans of a request."""

    TAKEN = "taken"
    RETRY = "retry"
    SPLIT = "split"
    """Send them in halves; a single one is refused."""
    REFUSED = "refused"


class Answer(NamedTuple):
    """What came back, or why nothing did."""

    verdict: Verdict
    text: str
    """As a person would want to read it."""
    reason: str = ""
    """Short, of letters, digits and _, such as http_400."""
    retry_after_seconds: float | None = None
    rejected: int = 0
    """Spans of a request that was taken otherwise."""


def of_status(status: int, *, text: str, retry_after: str | None, now: datetime) -> Answer:
    """Of an HTTP answer that is no 2xx."""
    reason = f"http_{status}"
    if status in RETRIED_STATUSES:
        return Answer(Verdict.RETRY, text, reason, retry_after_seconds(retry_after, now=now))
    return Answer(Verdict.SPLIT if status in SPLIT_STATUSES else Verdict.REFUSED, text, reason)


def of_code(code: str, *, text: str, retry_after_seconds: float | None) -> Answer:
    """Of a gRPC status that is not OK."""
    reason = f"grpc_{code.lower()}"
    if code in RETRIED_CODES or (code == "RESOURCE_EXHAUSTED" and retry_after_seconds is not None):
        bounded = None if retry_after_seconds is None else _bounded(retry_after_seconds)
        return Answer(Verdict.RETRY, text, reason, bounded)
    return Answer(Verdict.SPLIT if code in SPLIT_CODES else Verdict.REFUSED, text, reason)


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """Of the header, seconds or an HTTP date (RFC 9110, 10.2.3); None where it says nothing.

    >>> retry_after_seconds("7", now=datetime(2025, 6, 6, 14, 0, tzinfo=UTC))
    7.0
    >>> retry_after_seconds("Fri, 06 Jun 2025 14:01:00 GMT", now=datetime(2025, 6, 6, 14, 0, tzinfo=UTC))
    60.0
    """
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return _bounded(float(text[:12]))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return _bounded((at - now).total_seconds())


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)
