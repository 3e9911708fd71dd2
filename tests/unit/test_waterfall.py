"""Spans as a waterfall: whatever comes in, each span once; and times that add up."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from bridge_app.analysis.waterfall import Timed, Waterfall, waterfall

if TYPE_CHECKING:
    from collections.abc import Sequence


def span(span_id: str, parent: str, start: int, end: int, *, owner: str = "") -> Timed:
    return Timed(span_id=span_id, parent_span_id=parent, start=start, end=end, owner_span_id=owner)


def told(spans: Sequence[Timed]) -> list[tuple[str, int, int, int]]:
    """Id, depth, self time, critical time of each, in the order of the waterfall."""
    return [(spans[bar.index].span_id, bar.depth, bar.self_time, bar.critical_time) for bar in waterfall(spans).bars]


def path(spans: Sequence[Timed]) -> list[tuple[str, int, int]]:
    """Id, from and to of each section."""
    made = waterfall(spans)
    return [(spans[one.index].span_id, one.offset, one.offset + one.duration) for one in made.critical_path]


def test_nothing_is_an_empty_waterfall() -> None:
    assert waterfall([]) == Waterfall(start=0, duration=0, bars=[], critical_path=[])


def test_children_in_sequence() -> None:
    spans = [span("r", "", 100, 200), span("b", "r", 150, 180), span("a", "r", 110, 140), span("c", "a", 120, 125)]
    assert told(spans) == [("r", 0, 40, 40), ("a", 1, 25, 25), ("c", 2, 5, 5), ("b", 1, 30, 30)]
    assert path(spans) == [
        ("r", 0, 10), ("a", 10, 20), ("c", 20, 25), ("a", 25, 40), ("r", 40, 50), ("b", 50, 80), ("r", 80, 100)
    ]  # fmt: skip


def test_of_children_side_by_side_the_one_that_ended_last_is_waited_for() -> None:
    """Self time knows no double counting: what two children cover together is covered once."""
    spans = [span("r", "", 0, 100), span("fast", "r", 10, 40), span("slow", "r", 20, 90)]
    assert told(spans) == [("r", 0, 20, 30), ("fast", 1, 30, 0), ("slow", 1, 70, 70)]
    assert path(spans) == [("r", 0, 20), ("slow", 20, 90), ("r", 90, 100)]


def test_a_child_that_outlives_its_parent_counts_as_far_as_the_parent_goes() -> None:
    spans = [span("r", "", 10, 100), span("late", "r", 60, 500), span("after", "r", 200, 300)]
    assert told(spans) == [("r", 0, 50, 50), ("late", 1, 440, 40), ("after", 1, 100, 0)]
    assert waterfall(spans).duration == 490


def test_of_those_that_ended_together_the_longest_is_waited_for() -> None:
    spans = [span("r", "", 0, 20), span("short", "r", 15, 20), span("long", "r", 0, 20)]
    assert path(spans) == [("long", 0, 20)]


def test_a_missing_parent_is_said_and_the_owner_stands_in() -> None:
    spans = [span("r", "caller", 0, 10), span("lost", "gone", 2, 4, owner="r"), span("stray", "gone", 5, 7)]
    made = waterfall(spans)
    assert [(bar.index, bar.depth, bar.is_parent_missing) for bar in made.bars] == [
        (0, 0, True), (1, 1, True), (2, 0, True)
    ]  # fmt: skip


def test_circles_are_cut_at_their_first_span() -> None:
    spans = [span("a", "b", 5, 9), span("b", "a", 1, 9), span("self", "self", 0, 2), span("below", "a", 6, 7)]
    found = [(spans[bar.index].span_id, bar.depth, bar.is_parent_missing) for bar in waterfall(spans).bars]
    assert found == [("self", 0, True), ("b", 0, True), ("a", 1, False), ("below", 2, False)]


def test_an_end_before_the_start_counts_as_the_start() -> None:
    assert told([span("r", "", 10, 3)]) == [("r", 0, 0, 0)]


def test_a_chain_of_calls_may_be_ten_thousand_deep() -> None:
    spans = [span(str(n), str(n - 1) if n else "", n, 30_000 - n) for n in range(10_000)]
    made = waterfall(spans)
    assert made.bars[-1].depth == 9_999
    assert sum(bar.self_time for bar in made.bars) == sum(bar.critical_time for bar in made.bars) == 30_000


@st.composite
def nested(draw: st.DrawFn) -> list[Timed]:
    """A tree whose children lie within their parents, one after the other."""
    spans = [span("0", "", 0, draw(st.integers(0, 1000)))]
    room = {0: 0}
    for number in range(1, draw(st.integers(1, 25))):
        parent = draw(st.integers(0, number - 1))
        begin, limit = room[parent], spans[parent].end
        start = draw(st.integers(begin, limit))
        end = draw(st.integers(start, limit))
        spans.append(span(str(number), str(parent), start, end))
        room[parent], room[number] = end, start
    return draw(st.permutations(spans))


ANY = st.lists(
    st.builds(
        span,
        st.sampled_from("abcdefgh"),
        st.sampled_from(["", *"abcdefghxy"]),
        st.integers(0, 50),
        st.integers(0, 50),
        owner=st.sampled_from(["", *"abcz"]),
    ),
    max_size=12,
)


@given(nested())
def test_where_children_nest_self_times_are_the_roots_duration(spans: list[Timed]) -> None:
    made = waterfall(spans)
    root = made.bars[0]
    assert sum(bar.self_time for bar in made.bars) == root.duration
    assert all(bar.critical_time == bar.self_time for bar in made.bars)


@given(ANY)
def test_whatever_comes_in_each_span_is_there_once_below_its_parent(spans: list[Timed]) -> None:
    made = waterfall(spans)
    assert sorted(bar.index for bar in made.bars) == list(range(len(spans)))
    depths = [bar.depth for bar in made.bars]
    assert depths[:1] in ([], [0])
    assert all(after <= before + 1 for before, after in pairwise(depths))
    for bar in made.bars:
        assert 0 <= bar.self_time <= bar.duration
        assert 0 <= bar.critical_time <= bar.duration
        assert 0 <= bar.offset <= made.duration


@given(ANY)
def test_the_critical_path_of_each_root_is_connected_and_as_long_as_the_root(spans: list[Timed]) -> None:
    made = waterfall(spans)
    sections = list(made.critical_path)
    for root in (bar for bar in made.bars if bar.depth == 0):
        at = root.offset
        while at < root.offset + root.duration:
            section = sections.pop(0)
            assert section.offset == at
            assert section.duration > 0
            at += section.duration
        assert at == root.offset + root.duration
    assert sections == []
