"""A stretch of the history, read in consecutive parts of bounded size.

In: a reader and a `PageRequest`. Out: pages that follow each other by cursor, so that rows that arrive meanwhile shift
nothing. A record may have some megabytes: where records are big, parts are small. Never holds more than one part.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from otel_tracker.errors import StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_tracker.ports import RecordReader
    from otel_tracker.query import Page, PageRequest
    from otel_tracker.record import ExecutionRecord

PART_BYTES: Final = 4 * 1024 * 1024
FIRST_PART: Final = 10
"""Rows: how big they are is not known yet."""


def parts(store: RecordReader, request: PageRequest, *, most: int, rows: int = sys.maxsize) -> Iterator[Page]:
    """At least one page, of at most `most` rows each and `rows` together. Only the first is counted, if any is.

    A page that is not full, for its scan came to a bound, is followed by another, like any.

    Raises `StorageUnavailableError` also where the database was replaced between two parts: what it holds now is not
    the rest of what was read.
    """
    part = replace(request, limit=min(rows, most, FIRST_PART if request.with_payloads else most))
    generation: int | None = None
    while True:
        page = store.page(part)
        if generation not in {None, page.generation}:
            raise StorageUnavailableError("the store was replaced while the history was read; try again")
        generation = page.generation
        yield page
        rows -= len(page.executions)
        if not page.next_cursor or rows <= 0:
            return
        part = replace(part, offset=0, cursor=page.next_cursor, with_total=False)
        if page.executions:
            part = replace(part, limit=max(1, min(rows, most, PART_BYTES // max(1, _mean_size(page)))))


def _mean_size(page: Page) -> int:
    return sum(map(_size, page.executions)) // max(1, len(page.executions))


def _size(record: ExecutionRecord) -> int:
    return len(record.input) + len(record.output) + len(record.traceback) + len(record.logs) + len(record.metadata)
