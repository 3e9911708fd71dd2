"""SQLite's statements for many rows at once: the driver's `executemany`, and lists as JSON arrays.

Facts rest on https://www.sqlite.org/lang_upsert.html and https://www.sqlite.org/json1.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import JSON, ColumnElement, Table, bindparam, func, select
from sqlalchemy.dialects import sqlite as sqlite_dialect

from otel_tracker.storage.dialects.base import Batch, values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection


def among(column: ColumnElement[str]) -> ColumnElement[bool]:
    """`IN` of a JSON array: one parameter, and one statement for any number of values.

    Five hundred ids that are not there take 0.8 ms so, and 1.4 ms with a parameter each.
    """
    values = func.json_each(bindparam("ids", type_=JSON)).table_valued("value")
    return column.in_(select(values.c.value))


def insert(table: Table) -> Batch:
    """By the driver's `executemany`."""
    return _for_many(sqlite_dialect.insert(table))


def upsert(table: Table, *, key: Sequence[str], guard: str | None) -> Batch:
    """`INSERT ... ON CONFLICT`, by the driver's `executemany`."""
    statement = sqlite_dialect.insert(table)
    if guard is None:
        return _for_many(statement.on_conflict_do_nothing(index_elements=key))
    return _for_many(
        statement.on_conflict_do_update(
            index_elements=key,
            set_={column.name: statement.excluded[column.name] for column in values_of(table, key)},
            where=statement.excluded[guard] > table.c[guard],
        )
    )


def merge(
    table: Table, *, key: Sequence[str], add: Sequence[str], least: Sequence[str], greatest: Sequence[str]
) -> Batch:
    """`INSERT ... ON CONFLICT DO UPDATE`, by the driver's `executemany`."""
    statement = sqlite_dialect.insert(table)
    old, new = table.c, statement.excluded
    merged: dict[str, ColumnElement[int]] = {name: old[name] + new[name] for name in add}
    merged |= {name: func.min(old[name], new[name]) for name in least}
    merged |= {name: func.max(old[name], new[name]) for name in greatest}
    return _for_many(statement.on_conflict_do_update(index_elements=key, set_=merged))


def _for_many(statement: sqlite_dialect.Insert) -> Batch:
    sql = str(statement.compile(dialect=sqlite_dialect.dialect()))

    def run(connection: Connection, rows: Sequence[tuple[object, ...]]) -> None:
        connection.exec_driver_sql(sql, list(rows))

    return run
