"""Databases made for a test: a file, or an empty database on a server of this machine.

Where a server is missing, its tests are skipped with one loud line; under CI=true that is a failure.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest

from otel_tracker.storage.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otel_tracker.storage.store import SqlStore

POSTGRESQL = os.environ.get("TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432")
MYSQL = os.environ.get("TEST_MYSQL", "mysql://root@127.0.0.1:3306")
KINDS = ("sqlite", "postgresql", "mysql")


@contextlib.contextmanager
def made(kind: str, *, folder: Path) -> Iterator[str]:
    """The URL of a database of its own, gone afterwards."""
    name = f"bridge_test_{uuid.uuid4().hex[:16]}"
    match kind:
        case "sqlite":
            yield f"sqlite:///{folder}/executions.db"
        case "postgresql":
            with _reached(kind, lambda: psycopg.connect(f"{POSTGRESQL}/postgres", autocommit=True)) as server:
                server.execute(f'CREATE DATABASE "{name}"')
                try:
                    yield f"{POSTGRESQL}/{name}"
                finally:
                    server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        case "mysql":
            with _reached(kind, mysql_server) as server, server.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE `{name}`")
                try:
                    yield f"{MYSQL}/{name}"
                finally:
                    cursor.execute(f"DROP DATABASE `{name}`")
        case unknown:
            raise AssertionError(unknown)


def settings(url: str) -> dict[str, str]:
    """The environment that has a bridge keep its history on that server."""
    parts = urlsplit(url)
    section = f"BRIDGE__STORAGE__{parts.scheme.upper()}__"
    values = {
        "HOST": parts.hostname or "", "PORT": str(parts.port), "DATABASE": parts.path.strip("/"),
        "USERNAME": parts.username or "", "PASSWORD": parts.password or "",
    }  # fmt: skip
    return {"BRIDGE__STORAGE__TYPE": parts.scheme, **{section + name: value for name, value in values.items()}}


def empty(store: SqlStore) -> None:
    """Delete every row of it."""
    with store._database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())


def mysql_server() -> pymysql.Connection[Any]:
    """A connection to the server, to no database."""
    url = urlsplit(MYSQL)
    return pymysql.connect(
        host=url.hostname or "", port=url.port or 3306, user=url.username or "", password=url.password or "",
        connect_timeout=3, autocommit=True,
    )  # fmt: skip


def _reached(kind: str, connect: Callable[[], Any]) -> Any:
    try:
        return connect()
    except (psycopg.OperationalError, pymysql.err.OperationalError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"NO {kind.upper()} SERVER: {' '.join(str(error).split())}")
