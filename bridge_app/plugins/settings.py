"""The configuration's section `plugins` → `RunnerSettings`. Pure.

Apart from the composition root, so that `webhook-bridge run` starts without a web server.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bridge_app.plugins.calls import Isolation, RunnerSettings

if TYPE_CHECKING:
    from bridge_app.config import Config


def runner_settings(config: Config) -> RunnerSettings:
    """How plugins run."""
    plugins = config.plugins
    options = {"python": plugins.python} if plugins.python else {}
    return RunnerSettings(
        directories=tuple(Path(one) for one in plugins.directories),
        timeout_seconds=plugins.timeout_seconds,
        isolation=Isolation(plugins.isolation),
        workers=plugins.workers,
        max_queue=plugins.max_queue,
        max_memory_bytes=plugins.max_memory_bytes,
        max_result_bytes=plugins.max_result_bytes,
        max_log_bytes=plugins.max_log_bytes,
        recycle_after=plugins.recycle_after,
        reload_interval_seconds=plugins.reload_interval_seconds,
        **options,
    )
