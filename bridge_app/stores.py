"""The configured store, as the arguments of `otel_tracker.storage.open_store`.

Apart from the composition root, so that the command line reads without importing a web server; as plain values, so that
the drain process can be handed them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from bridge_app.config import Config
    from otel_tracker.ports import ExecutionStore


def store_arguments(config: Config) -> dict[str, str | int | bool]:
    """What to call `open_store` with. The URL may hold a password."""
    sqlite = config.storage.sqlite
    return {
        "url": config.storage_url(),
        "max_connections": config.storage.selected.max_connections,
        "enable_wal": sqlite.enable_wal,
        "enable_foreign_keys": sqlite.enable_foreign_keys,
        "bucket_seconds": config.execution_tracking.metrics_aggregation_interval,
    }


def open_configured_store(config: Config) -> ExecutionStore:
    """Open it. Raises `StorageError`."""
    return open_store(**store_arguments(config))  # type: ignore[arg-type]  # its own arguments, by name
