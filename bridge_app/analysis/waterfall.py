"""Spans of one or more traces as a waterfall: depth, self time, and the critical path. Pure.

In: spans with a beginning, an end and the id of a parent that may be missing, be themselves, or go round in a circle.
Out: every span once, parents before their children, and the sections of the critical path.

- *Self time* is what none of a span's children covers: its duration without the union of theirs, each cut to it.
- *The critical path* of a root is what its end waited for, followed backwards: of a span's children the one that ended
  last, then the one that ended last before that one began, and so on; in between it is the span itself. A child counts
  as far as it lies within its parents. So the sections of a root follow each other without a gap and are as long as it.
  Jaeger's UI marks the same: https://github.com/jaegertracing/jaeger-ui, TracePage/CriticalPath.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """A span, as far as time is concerned."""

    span_id: str
    parent_span_id: str = ""
    start: int
    """Nanoseconds since the epoch."""
    end: int
    """The same; before the start it counts as the start. Of a running span: now."""
    owner_span_id: str = ""
    """Below which span it hangs where its parent is not there; empty: below none."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A span in its place."""

    index: int
    """Which of the spans that were given."""
    depth: int
    """0 for a root."""
    offset: int
    """Nanoseconds after the first span's start."""
    duration: int
    self_time: int
    critical_time: int
    """How much of it lies on the critical path."""
    is_parent_missing: bool
    """It names a parent that is not among the spans, or that is below it."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the critical path."""

    index: int
    offset: int
    duration: int


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """All spans, and what their ends waited for."""

    start: int
    """Nanoseconds since the epoch: of the first span; 0 where there is none."""
    duration: int
    """To the last end."""
    bars: list[Bar]
    """Parents before children, these by start."""
    critical_path: list[Section]
    """Of each root in turn, each by time."""


def waterfall(spans: Sequence[Timed]) -> Waterfall:
    """Put spans in their places.

    >>> made = waterfall([Timed(span_id="a", start=0, end=10), Timed(span_id="b", parent_span_id="a", start=2, end=5)])
    >>> [(bar.depth, bar.self_time, bar.critical_time) for bar in made.bars]
    [(0, 7, 7), (1, 3, 3)]
    """
    order = sorted(range(len(spans)), key=lambda index: (spans[index].start, -spans[index].end, index))
    begin = spans[order[0]].start if order else 0
    ends = [max(span.start, span.end) for span in spans]
    tree = _Tree(spans, order)
    sections = [section for root in tree.roots for section in _critical_path(root, spans, ends, tree.children)]
    critical = [0] * len(spans)
    for index, low, high in sections:
        critical[index] += high - low
    bars = [
        Bar(
            index=index,
            depth=depth,
            offset=spans[index].start - begin,
            duration=ends[index] - spans[index].start,
            self_time=_self_time(spans[index].start, ends[index], _intervals(tree.children[index], spans, ends)),
            critical_time=critical[index],
            is_parent_missing=index in tree.without_parent,
        )
        for index, depth in tree.walk()
    ]
    path = [Section(index=index, offset=low - begin, duration=high - low) for index, low, high in sections]
    return Waterfall(start=begin, duration=max(ends, default=0) - begin, bars=bars, critical_path=path)


class _Tree:
    """Who is below whom. Spans are told by their index."""

    def __init__(self, spans: Sequence[Timed], order: Sequence[int]) -> None:
        self.without_parent: set[int] = set()
        parents = self._parents(spans, order)
        self._cut_circles(parents, order)
        self.roots = [index for index in order if parents[index] is None]
        self.children: list[list[int]] = [[] for _ in spans]
        for index in order:
            parent = parents[index]
            if parent is not None:
                self.children[parent].append(index)

    def walk(self) -> Iterator[tuple[int, int]]:
        """Index and depth, parents before their children."""
        waiting = [(index, 0) for index in reversed(self.roots)]
        while waiting:
            index, depth = waiting.pop()
            yield index, depth
            waiting += [(child, depth + 1) for child in reversed(self.children[index])]

    def _parents(self, spans: Sequence[Timed], order: Sequence[int]) -> list[int | None]:
        by_id: dict[str, int] = {}
        for index in order:
            by_id.setdefault(spans[index].span_id, index)
        found: list[int | None] = [None] * len(spans)
        for index in order:
            span = spans[index]
            parent = by_id.get(span.parent_span_id) if span.parent_span_id else None
            if span.parent_span_id and parent in (None, index):
                self.without_parent.add(index)
                parent = None
            if parent is None and span.owner_span_id:
                parent = by_id.get(span.owner_span_id)
            found[index] = None if parent == index else parent
        return found

    def _cut_circles(self, parents: list[int | None], order: Sequence[int]) -> None:
        """The first span of each circle becomes a root."""
        place = {index: number for number, index in enumerate(order)}
        settled: set[int] = set()
        for begin in order:
            path: dict[int, None] = {}
            at: int | None = begin
            while at is not None and at not in settled and at not in path:
                path[at] = None
                at = parents[at]
            if at is not None and at in path:
                on_path = list(path)
                first = min(on_path[on_path.index(at) :], key=place.__getitem__)
                parents[first] = None
                self.without_parent.add(first)
            settled.update(path)


def _intervals(indexes: Iterable[int], spans: Sequence[Timed], ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """By start, as the indexes are."""
    return ((spans[index].start, ends[index]) for index in indexes)


def _self_time(start: int, end: int, children: Iterable[tuple[int, int]]) -> int:
    uncovered, at = 0, start
    for child_start, child_end in children:
        uncovered += max(0, min(child_start, end) - at)
        at = max(at, min(child_end, end))
    return uncovered + end - at


class _Frame:
    """A span on the way back from its end: from `at` on its section of the path is told."""

    __slots__ = ("at", "children", "high", "index", "low")

    def __init__(self, index: int, low: int, high: int, children: Iterator[int]) -> None:
        self.index, self.low, self.high, self.at, self.children = index, low, high, high, children


def _critical_path(
    root: int, spans: Sequence[Timed], ends: Sequence[int], children: Sequence[Sequence[int]]
) -> list[tuple[int, int, int]]:
    """`(index, from, to)`, by time. Without recursion: a chain of calls may be thousands deep."""
    found: list[tuple[int, int, int]] = []

    def frame(index: int, low: int, high: int) -> _Frame:
        last_first = sorted(children[index], key=lambda child: (-min(ends[child], high), spans[child].start))
        return _Frame(index, low, high, iter(last_first))

    def tell(index: int, low: int, high: int) -> None:
        if high > low:
            found.append((index, low, high))

    opened = [frame(root, spans[root].start, ends[root])]
    while opened:
        top = opened[-1]
        child = next(top.children, None)
        if child is None:
            tell(top.index, top.low, top.at)
            opened.pop()
            continue
        low, high = max(spans[child].start, top.low), min(ends[child], top.high)
        if low < high <= top.at:
            tell(top.index, high, top.at)
            top.at = low
            opened.append(frame(child, low, high))
    return found[::-1]
