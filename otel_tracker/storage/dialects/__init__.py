"""The only place that knows databases apart: opening, upserts, error kinds, deadlines, giving space back.

In: a URL. Out: a `Dialect`, which makes engines and answers what differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from otel_tracker.errors import ConfigurationError
from otel_tracker.storage.dialects.base import Batch, Dialect, driver_error, rolled_back_by
from otel_tracker.storage.dialects.mysql import MySQL
from otel_tracker.storage.dialects.postgresql import PostgreSQL
from otel_tracker.storage.dialects.server import Timeouts
from otel_tracker.storage.dialects.sqlite import SQLite

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = ["Batch", "Dialect", "Timeouts", "dialect_from_url", "driver_error", "rolled_back_by"]


def dialect_from_url(
    url: str,
    *,
    max_connections: int,
    enable_wal: bool,
    enable_foreign_keys: bool,
    timeouts: Timeouts,
    auto_migrate: bool,
) -> Dialect:
    """The dialect for `url`. Raises `ConfigurationError` for a URL that names no database we know."""
    parsed = _parsed(url)
    if max_connections < 1:
        raise ConfigurationError(f"max_connections is {max_connections}: at least 1 connection is needed to read")
    match parsed.get_backend_name():
        case "sqlite":
            return SQLite(parsed, max_connections=max_connections, wal=enable_wal, foreign_keys=enable_foreign_keys)
        case "postgresql":
            return PostgreSQL(
                parsed.set(drivername="postgresql+psycopg"),
                max_connections=max_connections,
                timeouts=timeouts,
                auto_migrate=auto_migrate,
            )
        case "mysql" | "mariadb":
            return MySQL(
                parsed.set(drivername="mysql+pymysql"),
                max_connections=max_connections,
                timeouts=timeouts,
                auto_migrate=auto_migrate,
            )
        case other:
            shown = parsed.set(query={}).render_as_string(hide_password=True)
            raise ConfigurationError(
                f"the storage URL {shown!r} names the database {other!r}: known are sqlite, postgresql and mysql, "
                "as in sqlite:////path/file.db or postgresql://user@host/database"
            )


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:  # a password with a slash is taken for a port, which its error quotes
        raise ConfigurationError("the storage URL cannot be read: write one like sqlite:////path/file.db") from error
