"""The configured store, as the arguments of `otel_tracker.storage.open_store`.

Apart from the composition root, so that the command line reads without importing a web server; as plain values, so that
the drain process can be handed them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bridge_app.config_sections import SqliteConfig
from otel_tracker.errors import StorageNotMigratedError, StorageUnavailableError
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from bridge_app.config import Config
    from otel_tracker.storage.store import SqlStore


def store_arguments(config: Config) -> dict[str, str | int | float | bool]:
    """What to call `open_store` with. The URL may hold a password."""
    selected = config.storage.selected
    arguments: dict[str, str | int | float | bool] = {
        "url": config.storage_url(),
        "max_connections": selected.max_connections,
        "bucket_seconds": config.execution_tracking.metrics_aggregation_interval,
    }
    if isinstance(selected, SqliteConfig):
        arguments["enable_wal"] = selected.enable_wal
        arguments["enable_foreign_keys"] = selected.enable_foreign_keys
    else:
        arguments["connect_timeout_seconds"] = selected.connect_timeout_seconds
        arguments["statement_timeout_seconds"] = selected.statement_timeout_seconds
        arguments["auto_migrate"] = config.storage.auto_migrate
    return arguments


def open_configured_store(config: Config) -> SqlStore:
    """Open it. Raises `StorageError`."""
    return open_store(**store_arguments(config))  # type: ignore[arg-type]  # its own arguments, by name


def state_of_configured_store(config: Config) -> str:
    """Reach it as the bridge would when it starts, but make and change nothing; a line that says what is there.

    Raises `StorageError` where the bridge could not use it.
    """
    if isinstance(config.storage.selected, SqliteConfig):
        path = Path(config.storage.sqlite.database_path)
        if not path.exists():
            return _state_of_missing(path)
    arguments = {**store_arguments(config), "auto_migrate": False}
    try:
        with contextlib.closing(open_store(**arguments)) as store:  # type: ignore[arg-type]  # its own arguments, by name
            store.ping()
            return f"{store.info().location} answers and has this version's tables"
    except StorageNotMigratedError as error:
        if not config.storage.auto_migrate:
            raise
        return f"{str(error).partition(',')[0]}: the bridge sees to that when it starts"


def _state_of_missing(path: Path) -> str:
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StorageUnavailableError(f"cannot make {path}: {folder} cannot be written")
    return f"{path} is not there yet: the bridge makes it when it starts"


def migrate_configured_store(config: Config) -> str:
    """Bring its tables to this version's, whatever `auto_migrate` says; its location. Raises `StorageError`."""
    arguments = {**store_arguments(config), "auto_migrate": True}
    with contextlib.closing(open_store(**arguments)) as store:  # type: ignore[arg-type]  # its own arguments, by name
        return store.info().location
