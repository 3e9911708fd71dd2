"""What can happen to the database below a bridge, done for real and undone when the block ends.

A server stops, freezes and fills up by `OwnServer.stopped`, `frozen` and `full_disk`; the rest is here.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.faulty_proxy import FaultyProxy
    from benchmarks.own_servers import OwnServer

SECRET = "once-upon-a-midnight"  # noqa: S105 - of an account that lives as long as a test
_ACCOUNT = "w"


class Account:
    """Of a bridge, which owns nothing but its database."""

    user, password = _ACCOUNT, SECRET

    def __init__(self, server: OwnServer, database: str) -> None:
        """Make it."""
        self._server, self._database = server, database
        self._is_mysql = server.kind == "mysql"
        self._name = f"{_ACCOUNT}@'127.0.0.1'" if self._is_mysql else _ACCOUNT
        refusal = "Access denied for user '{}'" if self._is_mysql else 'password authentication failed for user "{}"'
        self.refusal = refusal.format(_ACCOUNT)
        grant = f"GRANT ALL ON {database}.*" if self._is_mysql else "GRANT ALL ON SCHEMA public"
        server.execute(f"CREATE USER {self._name}", f"{grant} TO {self._name}", database=database)
        self.set_password(SECRET)

    def url_of(self, url: str) -> str:
        """The same database with this account."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{self.user}:{self.password}@{parts.hostname}:{parts.port}").geturl()

    def set_password(self, password: str) -> None:
        """What the server takes from now on; connections that are open are cut, because they are asked for none."""
        how = "IDENTIFIED BY" if self._is_mysql else "PASSWORD"
        self._server.execute(f"ALTER USER {self._name} {how} '{password}'", self._cut)

    @contextlib.contextmanager
    def wrong_password(self) -> Iterator[None]:
        """The server takes another one."""
        self.set_password("another")
        try:
            yield
        finally:
            self.set_password(SECRET)

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """The server takes no writes from it."""
        if self._is_mysql:
            refuse, allow = ["SET GLOBAL read_only = 1"], ["SET GLOBAL read_only = 0"]
        else:
            refuse = [f"ALTER ROLE {_ACCOUNT} SET default_transaction_read_only = on", self._cut]
            allow = [f"ALTER ROLE {_ACCOUNT} RESET default_transaction_read_only", self._cut]
        self._server.execute(*refuse)
        try:
            yield
        finally:
            self._server.execute(*allow)

    def drop(self) -> None:
        """With what it owns."""
        owned = [] if self._is_mysql else [f"DROP OWNED BY {_ACCOUNT}"]
        self._server.execute(*owned, f"DROP USER {self._name}", database=self._database)

    @property
    def _cut(self) -> str:
        if self._is_mysql:
            return f"KILL USER {_ACCOUNT}"  # from whichever address
        return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{_ACCOUNT}'"  # noqa: S608


@contextlib.contextmanager
def missing_table(server: OwnServer, database: str, name: str = "execution_payloads") -> Iterator[None]:
    """One is called otherwise."""
    server.execute(f"ALTER TABLE {name} RENAME TO hidden", database=database)
    try:
        yield
    finally:
        server.execute(f"ALTER TABLE hidden RENAME TO {name}", database=database)


@contextlib.contextmanager
def slow(proxy: FaultyProxy, seconds: float = 2.0) -> Iterator[None]:
    """Each answer of the server takes so long."""
    proxy.delay_seconds = seconds
    try:
        yield
    finally:
        proxy.delay_seconds = 0.0


@contextlib.contextmanager
def cut_in(proxy: FaultyProxy, statement: str) -> Iterator[None]:
    """The connection is cut when one begins so; the server gets it, and its answer reaches nobody."""
    proxy.cut_at = statement.encode()
    try:
        yield
    finally:
        proxy.cut_at = b""


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """SQLite: another connection writes, and does not come to an end."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def missing_table_of_file(file: Path, name: str = "execution_payloads") -> Iterator[None]:
    """SQLite: see `missing_table`."""
    _rename(file, name, "hidden")
    try:
        yield
    finally:
        _rename(file, "hidden", name)


def _rename(file: Path, old: str, new: str) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
        other.execute(f"ALTER TABLE {old} RENAME TO {new}")
