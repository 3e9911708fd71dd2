"""Delays between tries."""

from __future__ import annotations

import pytest

from exporters.backoff import delay_seconds


def test_the_delay_doubles_until_the_cap() -> None:
    delays = [delay_seconds(attempt, base=1.0, cap=10.0, jitter=0.0) for attempt in (1, 2, 3, 4, 5, 6)]
    assert delays == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_jitter_picks_a_point_in_the_upper_half() -> None:
    assert [delay_seconds(1, base=2.0, cap=9.0, jitter=jitter) for jitter in (0.0, 0.5)] == [1.0, 1.5]


def test_a_million_failures_do_not_overflow() -> None:
    assert delay_seconds(1_000_000, base=0.1, cap=30.0, jitter=0.0) == 15.0


def test_tries_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="attempt is 0"):
        delay_seconds(0, base=1.0, cap=1.0, jitter=0.0)
