"""A plugin runner for the length of one command."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bridge_app.errors import StartupError
from bridge_app.plugins.pool import PoolStartError
from bridge_app.plugins.runner import PluginRunner
from bridge_app.plugins.settings import runner_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge_app.config import Config

_WORKERS: Final = 2
"""Enough: while one imports a slow neighbour, the other serves."""


@contextlib.asynccontextmanager
async def started_runner(config: Config) -> AsyncIterator[PluginRunner]:
    """A started runner. Raises `StartupError` where no plugin folder is there, or no worker comes up."""
    settings = runner_settings(config)
    settings = replace(settings, workers=min(settings.workers, _WORKERS))
    if not any(directory.is_dir() for directory in settings.directories):
        folders = ", ".join(map(str, settings.directories))
        raise StartupError(f"there is no plugin folder {folders}: make it, or correct plugins.directories")
    # What the registry logs for the server's operator, a command prints itself.
    logging.getLogger("bridge_app.plugins").addHandler(logging.NullHandler())
    runner = PluginRunner(settings)
    try:
        await runner.start()
    except PoolStartError as error:
        raise StartupError(str(error)) from error
    try:
        yield runner
    finally:
        await runner.stop(0)
