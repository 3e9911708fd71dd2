"""Slots of durations: where they lie, how far off they tell, and what percentiles are made of them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_tracker.storage.buckets import MAX_DURATION
from otel_tracker.storage.histogram import SLOTS_PER_OCTAVE, duration_of, percentiles, slot_of

durations = st.integers(0, 60).flatmap(lambda bits: st.integers(0, min(2**bits, MAX_DURATION)))


@given(duration=durations)
def test_a_slot_tells_a_duration_with_at_most_4_43_percent_of_error(duration: int) -> None:
    """And the half nanosecond that rounding to a whole one costs."""
    assert abs(duration_of(slot_of(duration)) - duration) <= 0.0443 * duration + 0.5


@given(duration=durations)
def test_a_longer_duration_is_never_in_a_lower_slot(duration: int) -> None:
    assert slot_of(duration) <= slot_of(duration + 1)


@pytest.mark.parametrize("octave", range(53))
def test_an_octave_begins_exactly_at_a_power_of_two(octave: int) -> None:
    assert slot_of(2**octave) == octave * SLOTS_PER_OCTAVE
    assert slot_of(2**octave - 1) < octave * SLOTS_PER_OCTAVE


@given(taken=st.lists(durations, min_size=1, max_size=200), percent=st.sampled_from([50, 90, 95, 99]))
def test_a_percentile_is_that_of_the_sorted_durations(taken: list[int], percent: int) -> None:
    exact = sorted(taken)[-(-len(taken) * percent // 100) - 1]
    (told,) = percentiles(Counter(map(slot_of, taken)), [percent])
    assert told == duration_of(slot_of(exact))


def test_percentiles_of_nothing_are_zero() -> None:
    assert percentiles({}, [50, 99]) == [0, 0]
    assert percentiles({8: 0}, [50]) == [0]
