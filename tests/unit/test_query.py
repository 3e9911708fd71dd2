"""Cursors and filters as pure values: what a page cursor carries, and what is refused."""

from __future__ import annotations

import base64

import pytest

from otel_tracker.errors import CursorError
from otel_tracker.query import ExecutionFilter
from otel_tracker.record import Status
from otel_tracker.storage.query import conditions, decode_cursor, encode_cursor


def test_a_cursor_carries_start_time_and_id() -> None:
    cursor = encode_cursor(1_750_000_000_000_000_001, "0197-a")
    assert decode_cursor(cursor) == (1_750_000_000_000_000_001, "0197-a")


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "???",
        "é",
        "a" * 5000,
        _encoded("no colon"),
        _encoded("1:"),
        _encoded("9223372036854775808:a"),
        _encoded("\u0661:a"),
    ],
)
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(CursorError, match="is not one of ours"):
        decode_cursor(cursor)


def test_an_empty_filter_has_no_conditions() -> None:
    assert conditions(ExecutionFilter()) == []


def test_a_status_filter_names_what_the_partial_index_covers() -> None:
    """A planner cannot prove it of a bound value."""
    texts = [str(condition) for condition in conditions(ExecutionFilter(statuses=(Status.FAILED,)))]
    assert texts == ["executions.status = :status_1", "status <> 'completed'"]


def test_a_filter_for_completed_does_not_ask_for_the_partial_index() -> None:
    texts = [str(condition) for condition in conditions(ExecutionFilter(statuses=(Status.COMPLETED,)))]
    assert texts == ["executions.status = :status_1"]
