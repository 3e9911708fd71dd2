"""Where records are kept: `open_store(url)` gives an `ExecutionStore`.

In: a database URL, rows, questions. Out: answers as the structs of `otel_tracker.record` and `otel_tracker.query`.
It knows no spans and no web server, and is not imported by `from otel_tracker import track`.
"""

from __future__ import annotations

from otel_tracker.errors import ConfigurationError
from otel_tracker.storage.dialects import Timeouts, dialect_from_url
from otel_tracker.storage.engine import Database
from otel_tracker.storage.store import SqlStore

__all__ = ["open_store"]


def open_store(  # noqa: PLR0913 - each is a separate fact, named at the call
    url: str,
    *,
    max_connections: int = 10,
    enable_wal: bool = True,
    enable_foreign_keys: bool = True,
    connect_timeout_seconds: float = 3.0,
    statement_timeout_seconds: float = 5.0,
    auto_migrate: bool = True,
    bucket_seconds: int = 3600,
) -> SqlStore:
    """Open the store, making folder, file and tables where absent.

    Example: `open_store("sqlite:////var/lib/bridge/executions.db")`; three slashes for a relative path.
    `postgresql://user:password@host/database` and `mysql://…` name servers, whose database must exist.

    Args:
        url: A SQLAlchemy URL: `sqlite`, `postgresql` or `mysql`.
        max_connections: Readers at the same time; one writer comes on top.
        enable_wal: Readers and the writer do not wait for each other. Off only where the file system cannot do it.
        enable_foreign_keys: Let SQLite watch that payloads and tags have their execution; servers always do.
        connect_timeout_seconds: How long a server may take to be connected to.
        statement_timeout_seconds: How long it may take for one statement that writes; a read has 2.5 s in all.
        auto_migrate: Create and migrate a server's tables; off: refuse to work with others than this version's.
        bucket_seconds: How much time one bucket of the rollups covers: a whole fraction of a day, at least a minute. A
            store that has buckets keeps theirs, until `verify_rollups(repair=True)` recounts them; it logs that.

    Raises:
        ConfigurationError: The URL names no database that we know, or `bucket_seconds` does not fit a day.
        StorageUnavailableError: It cannot be opened now.
        StorageSchemaError: It is reachable and not ours.
    """
    dialect = dialect_from_url(
        url,
        max_connections=max_connections,
        enable_wal=enable_wal,
        enable_foreign_keys=enable_foreign_keys,
        timeouts=Timeouts(connect=connect_timeout_seconds, statement=statement_timeout_seconds),
        auto_migrate=auto_migrate,
    )
    if bucket_seconds < 60 or 86_400 % bucket_seconds:
        raise ConfigurationError(
            f"bucket_seconds is {bucket_seconds}: expected a whole fraction of a day, such as 3600"
        )
    database = Database(dialect)
    try:
        return SqlStore(database, bucket_nanoseconds=bucket_seconds * 1_000_000_000)
    except BaseException:
        database.close()
        raise
