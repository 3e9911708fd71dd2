"""Text searched in the history: candidates by keyset, a few at a time, compared here, until page or budget is full.

In: a connection and a request whose filter has a `text`. Out: what was found, and where the scan stopped. The other
filters are the database's; text never is: no two of them fold the case of `É` alike, and here one budget rules all.

A text matches where its `str.casefold` (Unicode's full case folding) stands in that of input, output or error, as they
are stored. Nothing is normalised: `é` as one code point does not match `e` with a combining accent.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import select

from otel_tracker.storage import keyset, scan
from otel_tracker.storage.query import Position, decode_cursor
from otel_tracker.storage.scan import Found
from otel_tracker.storage.tables import executions, payloads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy.engine import Connection

    from otel_tracker.query import PageRequest, SearchBudget

POSITIONS: Final = 500
"""Positions in one read: small, and of several plugins dear to ask for."""
FIRST_READ: Final = 10
MOST_OF_READ: Final = 50
"""Texts in one read: with an input and an output of a megabyte each, a hundred megabytes of memory."""
READ_CHARACTERS: Final = 4 * 1024 * 1024
"""What a read aims at: fewer executions where they are big."""


class _Candidate(NamedTuple):
    position: Position
    texts: Sequence[str]


def search(connection: Connection, request: PageRequest, *, clock: Callable[[], float] = time.monotonic) -> Found:
    """Scan on behind the request's cursor. `clock` gives seconds."""
    wanted = request.filter.text
    meter = _Meter(request.budget, clock)
    matches: list[Position] = []
    for candidate in _candidates(connection, request):
        if is_in(wanted, candidate.texts):
            if len(matches) == request.limit:
                return Found(matches=matches, goes_on_behind=matches[-1], scan_complete=True)
            matches.append(candidate.position)
        if meter.is_spent_by(candidate.texts):
            return Found(matches=matches, goes_on_behind=candidate.position, scan_complete=False)
    return Found(matches=matches, goes_on_behind=None, scan_complete=True)


def is_in(wanted: str, texts: Iterable[str]) -> bool:
    """Whether it stands in one of these, upper and lower case alike."""
    folded = wanted.casefold()
    return any(folded in text.casefold() for text in texts)


class _Meter:
    """What is left of a budget."""

    def __init__(self, budget: SearchBudget, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows, self._characters = budget.rows, budget.characters
        self._deadline = clock() + budget.seconds

    def is_spent_by(self, texts: Sequence[str]) -> bool:
        self._rows -= 1
        self._characters -= sum(map(len, texts))
        return self._rows <= 0 or self._characters <= 0 or self._clock() >= self._deadline


def _candidates(connection: Connection, request: PageRequest) -> Iterator[_Candidate]:
    size = FIRST_READ
    for found, last in _reads(connection, request):
        positions = iter(found)
        while some := list(islice(positions, size)):
            texts = _texts(connection, [execution_id for _, execution_id in some])
            yield from (_Candidate(position, texts.get(position[1], ())) for position in some)
            size = _next_size(texts)
        if last:
            yield _Candidate(last, ())  # nothing between, which took its time


def _reads(connection: Connection, request: PageRequest) -> Iterator[tuple[list[Position], Position | None]]:
    """The next that fit the other filters; and where few do, how far was looked for them."""
    wanted, after = request.filter, decode_cursor(request.cursor) if request.cursor else None
    while True:
        last = scan.candidate_at(connection, wanted, after, request.budget.candidates)
        statement = keyset.positions(wanted, after, limit=POSITIONS, last=last)
        found = [(row.start_time, row.id) for row in connection.execute(statement)]
        is_full = len(found) == POSITIONS
        yield found, None if is_full else last
        after = found[-1] if is_full else last
        if after is None:
            return


def _texts(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if not ids:
        return {}
    columns = (executions.c.error, payloads.c.input, payloads.c.output)
    statement = select(executions.c.id, *columns).outerjoin(payloads).where(executions.c.id.in_(ids))
    return {row[0]: tuple(text for text in row[1:] if text) for row in connection.execute(statement)}


def _next_size(texts: dict[str, tuple[str, ...]]) -> int:
    mean = sum(len(text) for some in texts.values() for text in some) // max(1, len(texts))
    return max(1, min(MOST_OF_READ, READ_CHARACTERS // max(1, mean)))
