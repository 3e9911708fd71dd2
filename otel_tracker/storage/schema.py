"""Which revision the tables have, and bringing them to ours. Alembic does the work, and is imported for that only.

In: a connection. Out: tables as `tables.metadata` declares them, or an error that says what to run. Nothing here takes
a step back: a database that is newer than the program is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, select
from sqlalchemy.sql import column, table

from otel_tracker.errors import StorageNotMigratedError, StorageSchemaError
from otel_tracker.storage.tables import executions

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

HEAD: Final = "0001"
"""The newest revision in `migrations/versions`; a test compares the two."""
KNOWN: Final = ("0001",)
"""Every revision that this program can bring to the newest."""
_VERSION_TABLE: Final = "alembic_version"
_version: Final = table(_VERSION_TABLE, column("version_num"))


def revision(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none. Raises `StorageSchemaError` where they are not ours."""
    inspector = inspect(connection)
    if inspector.has_table(_VERSION_TABLE):
        found = connection.execute(select(_version.c.version_num)).scalars().all()
        return str(found[0]) if found else None
    if inspector.has_table(executions.name):
        raise StorageSchemaError(
            f"the database has a table {executions.name!r} without a revision: it is another program's, name another "
            "database"
        )
    return None


def is_at_head(connection: Connection, *, location: str, auto: bool) -> bool:
    """Whether there is nothing to do.

    Raises `StorageSchemaError` where the tables are newer than this program, `StorageNotMigratedError` where they are
    older or missing and `auto` is off.
    """
    found = _checked(connection, location)
    connection.rollback()
    if found != HEAD and not auto:
        state = f"has revision {found}" if found else "has no tables yet"
        raise StorageNotMigratedError(f"{location} {state}, this program needs {HEAD}: run `webhook-bridge migrate`")
    return found == HEAD


def upgrade(connection: Connection, *, location: str, first: Callable[[Connection], None] = lambda _: None) -> None:
    """Bring the tables to `HEAD`; `first` is called in the transaction that does. One process at a time."""
    connection.rollback()
    found = _checked(connection, location)
    connection.rollback()
    if found != HEAD:  # else another process was first
        _upgrade(connection, first)


def _checked(connection: Connection, location: str) -> str | None:
    found = revision(connection)
    if found is not None and found not in KNOWN:
        raise StorageSchemaError(
            f"{location} has revision {found}, which is newer than this program (it knows {HEAD}): "
            "install the newer release, as `webhook-bridge migrate` never goes back"
        )
    return found


def _upgrade(connection: Connection, first: Callable[[Connection], None]) -> None:
    from alembic import command  # noqa: PLC0415 - 80 ms that most starts do not need
    from alembic.config import Config  # noqa: PLC0415 - likewise

    with connection.begin():
        first(connection)
        config = Config()
        config.set_main_option("script_location", "otel_tracker.storage:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
