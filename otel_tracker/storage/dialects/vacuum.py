"""Giving SQLite's free pages back to the disk, a bounded step at a time. Outside of transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

_SLICE_PAGES: Final = 512


def give_back_slice(connection: sqlite3.Connection) -> int:
    """Some pages; the bytes that they were, 0 where none is free."""
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    (before,) = connection.execute("PRAGMA page_count").fetchone()
    # Every step of the statement frees one page, and `execute` takes a single step: a script runs to its end.
    connection.executescript(f"PRAGMA incremental_vacuum({_SLICE_PAGES})")
    (after,) = connection.execute("PRAGMA page_count").fetchone()
    return int((before - after) * page_size)


def truncate_log(connection: sqlite3.Connection) -> int:
    """The write-ahead log, once all of it is in the file."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return 0
