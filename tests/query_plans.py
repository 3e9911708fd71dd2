"""How a server goes about a page of the history: its own EXPLAIN, of the very statement that the store sends.

In: a store and a request. Out: a `Plan`, the same for PostgreSQL, MySQL and MariaDB.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import event, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

    from otel_tracker.query import PageRequest
    from otel_tracker.storage.store import SqlStore


@dataclass
class Plan:
    """What a database says that it does, and what it did."""

    text: str
    """As the database prints it."""
    indexes: set[str] = field(default_factory=set)
    whole_tables: set[str] = field(default_factory=set)
    """Tables of ours that are read from one end to the other, by no index."""
    is_sorted: bool = False
    """Whether anything is sorted, or grouped by sorting: the order comes from no index."""
    rows_read: int = 0
    """Rows and index entries that were looked at when it ran."""


def statements_of(store: SqlStore, request: PageRequest) -> list[tuple[str, Any]]:
    """The SQL of a page without total and payloads, and its parameters, as the driver got them."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _k: object, sql: str, values: object, _x: object, _m: object) -> None:
        seen.append((sql, values))

    engine = store._database._reader
    event.listen(engine, "before_cursor_execute", note)
    try:
        store.page(msgspec.structs.replace(request, with_total=False, with_payloads=False))
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return seen


def plan_of(store: SqlStore, request: PageRequest) -> Plan:
    """The plan of that page: of all its statements together."""
    explain = {"postgresql": _of_postgresql, "mysql": _of_mysql}[store._database.dialect.name]
    whole = Plan("")
    with store._database.read() as connection:
        for sql, values in statements_of(store, request):
            plan = explain(connection, sql, values)
            whole.text += f"{sql}\n{plan.text}\n"
            whole.indexes |= plan.indexes
            whole.whole_tables |= plan.whole_tables
            whole.is_sorted |= plan.is_sorted
            whole.rows_read += plan.rows_read
    return whole


def analyze(store: SqlStore) -> None:
    """Let the database count what it has, as it does by itself now and then."""
    how = {"postgresql": "VACUUM ANALYZE", "mysql": "ANALYZE TABLE"}[store._database.dialect.name]
    with store._database.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"{how} executions, execution_tags").close()


def _of_postgresql(connection: Connection, sql: str, values: Any) -> Plan:
    answer = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}", values).scalar_one()
    plan = Plan(json.dumps(answer, indent=1))
    for node in _objects(answer):
        kind = node.get("Node Type", "")
        plan.is_sorted |= "Sort" in kind
        if "Index Name" in node:
            plan.indexes.add(node["Index Name"])
        if kind == "Seq Scan":
            plan.whole_tables.add(node["Relation Name"])
        if "Scan" in kind and ("Relation Name" in node or "Index Name" in node):
            counts = (node.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter"))
            plan.rows_read += round(sum(counts) * node["Actual Loops"])
    return plan


def _of_mysql(connection: Connection, sql: str, values: Any) -> Plan:
    answer = json.loads(connection.exec_driver_sql(f"EXPLAIN FORMAT=JSON {sql}", values).scalar_one())
    plan = Plan(json.dumps(answer, indent=1))
    for node in _objects(answer):
        plan.is_sorted |= "filesort" in node or node.get("using_filesort") is True
        if "access_type" in node:
            if node.get("key", "").startswith("execution") or node.get("key") == "PRIMARY":
                plan.indexes.add(node["key"])
            elif node["access_type"] == "ALL" and node["table_name"].startswith("execution"):
                plan.whole_tables.add(node["table_name"])
    before = _handled(connection)
    connection.exec_driver_sql(sql, values).all()
    plan.rows_read = _handled(connection) - before
    return plan


def _handled(connection: Connection) -> int:
    """Rows that this session has asked the tables for."""
    return sum(int(row[1]) for row in connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read_%'")))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in it."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)
