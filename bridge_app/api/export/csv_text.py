"""Records as CSV (RFC 4180): a line of names, then a line a record; UTF-8, commas, CRLF, quotes where needed.

Values are those of REST, but for one thing. A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a
formula, and senders decide what is in many cells. So a text that begins with one of these, with a tab or a line end,
or with an apostrophe, gets an apostrophe in front: whoever takes one leading apostrophe away from each cell has the
value back. Numbers are left alone. Source: OWASP, CSV Injection.
"""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import TYPE_CHECKING, Final

from bridge_app.api.rendering import execution

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_tracker.record import ExecutionRecord

GUARD: Final = "'"
_GUARDED: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20" + GUARD)
"""The full-width forms of the four signs are signs to a spreadsheet too. The apostrophe, so that it can be undone."""


def csv_chunks(parts: Iterator[Sequence[ExecutionRecord]], fields: Sequence[str]) -> Iterator[bytes]:
    """A piece for the names, and one a record. None, as of `end_time`, is an empty cell."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(fields)
    yield _taken(buffer)
    for record in map(execution, chain.from_iterable(parts)):
        writer.writerow([safe(getattr(record, name)) for name in fields])
        yield _taken(buffer)


def safe(value: object) -> object:
    """The cell of a value.

    >>> safe("=1+1"), safe("'quoted'"), safe("plain"), safe(-1), safe(True)
    ("'=1+1", "''quoted'", 'plain', -1, 'true')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return GUARD + value if isinstance(value, str) and value[:1] in _GUARDED else value


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()
