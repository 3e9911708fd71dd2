"""What became of each execution that ended: by its frame's number, and how far the drain has come."""

from __future__ import annotations

import random

from exporters.account import Account, Settled


def test_frames_that_are_no_ends_do_not_count() -> None:
    account = Account()
    for sequence in (2, 5, 6):
        account.accept(sequence)
    assert [account.settle(delivered)[:2] for delivered in range(8)] == [
        (0, 3), (0, 3), (1, 2), (1, 2), (1, 2), (2, 1), (3, 0), (3, 0),
    ]  # fmt: skip


def test_an_end_that_is_told_after_the_drain_passed_it_is_stored() -> None:
    """Between the append and the accept another thread may drain."""
    account = Account()
    account.settle(10)
    account.accept(4)
    account.accept(11)
    assert account.settle(10) == Settled(1, 1, {})
    assert account.settle(3) == Settled(1, 1, {})
    assert account.settle(11) == Settled(2, 0, {})


def test_in_whatever_order_threads_tell_nothing_is_lost_or_counted_twice() -> None:
    chance = random.Random(1)  # noqa: S311 - repeats, for a test
    ends = [sequence for sequence in range(1, 5001) if chance.random() < 0.7]
    told = sorted(ends, key=lambda sequence: sequence + chance.randrange(20))
    account = Account()
    for count, sequence in enumerate(told, 1):
        account.accept(sequence)
        stored, spooled, _ = account.settle(max(0, sequence - chance.randrange(200)))
        assert stored + spooled == count
    assert account.settle(5000) == Settled(len(ends), 0, {})


def test_what_the_store_would_not_have_is_dropped_and_never_counts_twice() -> None:
    """The report may come before the drain's cursor does."""
    account = Account()
    for sequence in (1, 2, 3):
        account.accept(sequence)
    account.reject(2)
    assert account.settle(0) == Settled(0, 1, {"rejected": 2})
    assert account.settle(3) == Settled(1, 0, {"rejected": 2})


def test_drops_are_counted_by_reason_and_are_news_for_a_while() -> None:
    now = 1000.0
    account = Account(clock=lambda: now)
    assert not account.has_dropped_within(300)
    for reason in ("spool_full", "disk_full", "spool_full"):
        account.drop(reason)
    assert account.settle(0).dropped == {"spool_full": 2, "disk_full": 1}
    now += 300
    assert account.has_dropped_within(300)
    now += 1
    assert not account.has_dropped_within(300)
