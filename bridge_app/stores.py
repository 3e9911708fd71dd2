"""The configured store, opened.

Apart from the composition root, so that the command line reads without importing a web server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge_app.config import Config
    from otel_tracker.ports import ExecutionStore


def store_opener(config: Config) -> Callable[[], ExecutionStore]:
    """What opens the configured store; raises StorageError where it cannot."""
    selected = config.storage.sqlite
    return lambda: open_store(
        config.storage_url(),
        max_connections=config.storage.selected.max_connections,
        enable_wal=selected.enable_wal,
        enable_foreign_keys=selected.enable_foreign_keys,
    )
