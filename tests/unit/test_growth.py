"""Bytes a day, from the sizes that were seen, and how long a disk lasts."""

from __future__ import annotations

import pytest

from bridge_app.growth import DAY_SECONDS, Growth, days_until_full

HOUR = 3600.0


def test_less_than_an_hour_says_nothing() -> None:
    growth = Growth()
    assert growth.per_day is None
    growth.see(100, now=5.0)
    growth.see(900, now=5.0 + HOUR - 1)
    assert growth.per_day is None
    growth.see(1100, now=5.0 + HOUR)
    assert growth.per_day == 24_000


def test_what_is_older_than_a_day_is_forgotten() -> None:
    """A store that grew by 1000 an hour and now stands still."""
    growth = Growth()
    for minute in range(4 * 24 * 60):
        growth.see(min(minute, 24 * 60) * 1000 // 60, now=minute * 60.0)
    assert growth.per_day == 0
    assert len(growth._seen) <= DAY_SECONDS / 600 + 2


def test_a_store_that_shrinks_grows_by_less_than_nothing() -> None:
    growth = Growth()
    growth.see(1000, now=0.0)
    growth.see(0, now=DAY_SECONDS)
    assert growth.per_day == -1000


@pytest.mark.parametrize(
    ("free_bytes", "per_day", "days"),
    [(1000, 300, 3.3), (1000, 0, None), (1000, -5, None), (1000, None, None), (None, 300, None), (0, 300, 0.0)],
)
def test_how_long_the_disk_lasts(free_bytes: int | None, per_day: int | None, days: float | None) -> None:
    assert days_until_full(free_bytes, per_day) == days
