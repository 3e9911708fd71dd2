"""Moments and lengths of time as people write them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_app.api.times import UNITS, duration, moment
from bridge_app.problems import FieldError

NOW = 1_749_220_428_000_000_000  # 2025-06-06T14:33:48Z
HOUR = 3_600_000_000_000
DAY = 24 * HOUR
LAST = 2**63 - 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2025-06-06T14:33:48Z", NOW),
        ("2025-06-06T16:33:48+02:00", NOW),
        ("2025-06-06T16:33:48 02:00", NOW),
        ("2025-06-06t14:33:48.000000001z", NOW + 1),
        ("2025-06-06 14:33:48.1239999999999", NOW + 123_999_999),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("9999-12-31T23:59:59Z", LAST),
        ("0001-01-01T00:00:00+23:59", -LAST),
        ("-24h", NOW - DAY),
        ("-15m", NOW - HOUR // 4),
        ("-7d", NOW - 7 * DAY),
        ("-2w", NOW - 14 * DAY),
        ("-1h30m", NOW - HOUR - HOUR // 2),
        ("-0.5d", NOW - DAY // 2),
        ("-0s", NOW),
        ("-999999999999999999w", -LAST),
    ],
)
def test_a_moment_is_a_time_or_so_long_ago(text: str, found: int) -> None:
    assert moment("start_time", text, now=NOW) == found


@pytest.mark.parametrize(
    "text",
    ["yesterday", "24h", "-24", "-h", "--24h", "-24 h", "-24y", "+24h", "-1,5h", "-٢h", "2025-06-06", "1749220428", " ",
     "2025-06-31T00:00:00Z", "2025-06-06T14:33:48Z ", "2025-06-06T24:33:48Z", "-1h-30m", "-" + "9" * 19 + "h"],
)  # fmt: skip
def test_what_is_no_moment_says_what_was_given_and_what_is_expected(text: str) -> None:
    with pytest.raises(FieldError) as error:
        moment("end_time", text, now=NOW)
    assert error.value.field == "end_time"
    assert error.value.detail == (
        f"is {text!r}: expected an RFC 3339 time, such as 2025-06-06T14:33:48Z, or how long ago, such as -24h"
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0", 0),
        ("250000000", 250_000_000),
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("2m", 120_000_000_000),
        ("1m30s", 90_000_000_000),
        ("10us", 10_000),
        ("7ns", 7),
        ("0.9ns", 0),
        ("0.000000001s", 1),
        ("1w", 7 * DAY),
        ("9223372036854775807", LAST),
        ("9999999999999999999", LAST),
        ("999999999999999999w", LAST),
    ],
)
def test_a_duration_is_nanoseconds_or_numbers_with_units(text: str, found: int) -> None:
    assert duration("min_duration", text) == found


@pytest.mark.parametrize(
    "text", ["1.5", "-1s", "-1", "fast", "1 s", "1S", "1sec", ".5s", "1e9", "s", "1s2", "٣", "\n1"]
)
def test_what_is_no_duration_says_what_was_given_and_what_is_expected(text: str) -> None:
    with pytest.raises(FieldError) as error:
        duration("max_duration", text)
    assert error.value.detail == (
        f"is {text!r}: expected nanoseconds, such as 250000000, or a number with a unit "
        "(ns, us, ms, s, m, h, d, w), such as 250ms"
    )


@given(parts=st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(list(UNITS))), min_size=1, max_size=4))
def test_parts_of_a_length_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    length = sum(number * UNITS[unit] for number, unit in parts)
    assert duration("min_duration", text) == min(length, LAST)
    assert moment("start_time", f"-{text}", now=NOW) == max(NOW - length, -LAST)


@given(at=st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)))  # noqa: DTZ001 - told as UTC
def test_a_time_comes_back_to_the_microsecond(at: dt.datetime) -> None:
    found = moment("start_time", at.isoformat() + "Z", now=0)
    assert dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=found // 1000) == at  # noqa: DTZ001


def _read(field: str, text: str) -> int | None:
    """None where it is refused, by the name of the field."""
    try:
        return moment(field, text, now=NOW) if field == "start_time" else duration(field, text)
    except FieldError as error:
        return None if error.field == field else 2**64


@given(text=st.text(max_size=30) | st.text("0123456789.-:TZwdhmsnu ", max_size=30))
def test_any_text_is_read_within_64_bits_or_refused_by_name(text: str) -> None:
    assert -LAST <= (_read("start_time", text) or 0) <= LAST
    assert 0 <= (_read("min_duration", text) or 0) <= LAST
