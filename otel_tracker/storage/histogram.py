"""Durations in logarithmic slots, eight to the octave: histograms that merge by adding, and the percentiles they tell.

In: durations in nanoseconds; counts by slot. Out: slots; a duration that stands for a slot. A slot holds the durations
of `[2**(slot / 8), 2**((slot + 1) / 8))` and is told as its geometric middle, so no duration is told more than 4.43 %
(`2**(1 / 16) - 1`) and the rounding to a whole nanosecond away from what it was. Slots are found with integers only:
they are the same on every machine. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SLOTS_PER_OCTAVE: Final = 8
ZERO_SLOT: Final = -1
"""Durations of 0 nanoseconds."""


def slot_of(duration: int) -> int:
    """The slot of a duration of 0 nanoseconds or more.

    >>> [slot_of(nanoseconds) for nanoseconds in (0, 1, 2, 1_000, 1_000_000_000)]
    [-1, 0, 8, 79, 239]
    """
    # floor(8 · log2(d)) is floor(log2(d ** 8)), which is a length in bits: exact where a logarithm rounds.
    return int(duration**SLOTS_PER_OCTAVE).bit_length() - 1


def duration_of(slot: int) -> int:
    """The duration that a slot is told as, in whole nanoseconds.

    >>> duration_of(slot_of(1_000_000_000))
    1028218693
    """
    return 0 if slot == ZERO_SLOT else round(2 ** ((slot + 0.5) / SLOTS_PER_OCTAVE))


def slots_in(octave: int, totals: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Slots and their totals, of those of an octave that are not 0.

    >>> list(slots_in(2, (0, 3, 0, 0, 0, 0, 0, 1)))
    [(17, 3), (23, 1)]
    """
    for slot, total in enumerate(totals, octave * SLOTS_PER_OCTAVE):
        if total:
            yield slot, total


def percentiles(totals: Mapping[int, int], percents: Iterable[int]) -> list[int]:
    """For each percent, rising: the duration that so many of all are not longer than (nearest rank); 0 of none.

    >>> percentiles({slot_of(1_000): 98, slot_of(2_000): 2}, (50, 99))
    [981, 1961]
    """
    slots = sorted(slot for slot, total in totals.items() if total > 0)
    whole, passed, place = sum(totals[slot] for slot in slots), 0, 0
    found = []
    for percent in percents:
        needed = -(-whole * percent // 100)
        while place < len(slots) and passed + totals[slots[place]] < needed:
            passed += totals[slots[place]]
            place += 1
        found.append(duration_of(slots[place]) if slots else 0)
    return found
