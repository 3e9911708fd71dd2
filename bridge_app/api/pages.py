"""A page of the history as JSON, read and sent in parts, so that no page is too big for the memory.

In: a reader and a `PageRequest`. Out: a response, in one piece as long as it is small. A record may have some megabytes
and a page a thousand records: in one go 300 records of 2 MB took 700 MB, in parts 80.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from litestar import Response
from msgspec.structs import replace

from bridge_app.api import shapes
from bridge_app.api.parts import PART_BYTES, parts
from bridge_app.api.rendering import encode_json, shown
from bridge_app.api.streaming import ByteStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_tracker.ports import RecordReader
    from otel_tracker.query import Page, PageRequest

MOST_OF_PART: Final = 50
_JSON: Final = "application/json"


def page_response(store: RecordReader, request: PageRequest, fields: tuple[str, ...]) -> Response[Any]:
    """In one piece, or as a stream where it is big. What is wrong with the request is told before anything is sent."""
    most = MOST_OF_PART if request.with_payloads else request.limit
    pages = (
        _search_parts(store, request)
        if request.filter.text
        else _up_to_bound(parts(store, request, most=most, rows=request.limit))
    )
    chunks = _chunks(pages, request, fields)
    made: list[bytes] = []
    for chunk in chunks:
        made.append(chunk)
        if sum(map(len, made)) > PART_BYTES:
            return ByteStream(chain(made, chunks), media_type=_JSON)
    return Response(b"".join(made), media_type=_JSON)


def _up_to_bound(pages: Iterator[Page]) -> Iterator[Page]:
    """No further than the first whose scan came to its bound: whoever asked goes on by its cursor."""
    for page in pages:
        yield page
        if not page.scan_complete:
            return


def _search_parts(store: RecordReader, request: PageRequest) -> Iterator[Page]:
    """A search is done once, under one budget; then what it found is read whole, one record after the other."""
    page = store.page(replace(request, with_payloads=False))
    if not request.with_payloads or not page.executions:
        yield page
        return
    for found in page.executions:
        yield replace(page, executions=[store.get(found.id) or found])


def _chunks(pages: Iterator[Page], request: PageRequest, fields: Sequence[str]) -> Iterator[bytes]:
    """The JSON of one `shapes.ExecutionPage`, made of consecutive pages of the store: a chunk for each, then the rest.

    `fields` narrows each record to these. The totals are those of the first page, the cursor is that of the last.
    """
    first = last = next(pages)
    yield b'{"executions":[' + _items(first, fields)
    for last in pages:
        if last.executions:
            yield b"," + _items(last, fields)
    envelope = shapes.ExecutionPage(
        executions=[],
        total=first.total,
        total_relation="eq" if first.total_is_exact else "gte",
        limit=request.limit,
        offset=request.offset,
        next_cursor=last.next_cursor or None,
        scan_complete=last.scan_complete,
    )
    yield encode_json(envelope).removeprefix(b'{"executions":[')


def _items(page: Page, fields: Sequence[str]) -> bytes:
    return encode_json(list(shown(page.executions, fields)))[1:-1]
