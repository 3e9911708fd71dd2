"""What SQLite's errors mean: a value's fault, the schema's, or the database's. Pure."""

from __future__ import annotations

import sqlite3
from typing import Final

from otel_tracker.storage.dialects.base import driver_error

_SCHEMA_WORDS: Final = ("no such table", "no such column", "has no column")
_REFUSALS: Final = frozenset((3, 5, 6, 7, 8, 10, 11, 13, 14, 23, 26))
"""PERM, BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, AUTH, NOTADB."""
_DATA_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    UnicodeEncodeError,
    OverflowError,
    TypeError,
    KeyError,
)


def is_data_error(error: BaseException) -> bool:
    """A value that cannot be bound or breaks a constraint; "locked", "full" and the like are not."""
    return isinstance(driver_error(error), _DATA_ERRORS)


def is_schema_error(error: BaseException) -> bool:
    """By the text: SQLite has one code for every error in SQL."""
    return any(words in str(driver_error(error)) for words in _SCHEMA_WORDS)


def is_locked(_: BaseException) -> bool:
    """Never: rows have no locks here, and a database that is locked as a whole refuses everybody."""
    return False


def is_refusal(error: BaseException) -> bool:
    """By the primary code; a busy database is locked as a whole."""
    code = getattr(driver_error(error), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _REFUSALS
