"""Giving SQLite's free pages back to the disk, a bounded step at a time. Outside of transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

LEAST_PAGES: Final = 64
MOST_PAGES: Final = 4_096


def give_back_slice(connection: sqlite3.Connection, *, pages: int) -> int:
    """At most so many pages; the bytes that they were, 0 where none is free."""
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    (before,) = connection.execute("PRAGMA page_count").fetchone()
    # Every step of the statement frees one page, and `execute` takes a single step: a script runs to its end.
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")
    (after,) = connection.execute("PRAGMA page_count").fetchone()
    return int((before - after) * page_size)


def truncate_log(connection: sqlite3.Connection) -> bool:
    """Empty the write-ahead log, once all of it is in the file; False where a reader is still in it.

    It does not wait for that reader: writers would wait with it.
    """
    (timeout,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout=0")
    try:
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout={timeout}")
    return not is_busy
