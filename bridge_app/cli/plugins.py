"""`webhook-bridge plugins`: the plugin folders as the bridge would see them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from bridge_app.api.rendering import plugin_json
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.running import started_runner
from bridge_app.cli.tables import print_table
from bridge_app.cli.text import last_line, visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge_app.config import Config


@click.command(cls=Command, examples=("webhook-bridge plugins", "webhook-bridge plugins --json"))
@config_option
@json_option
def plugins(config_path: Path | None, *, as_json: bool) -> int:
    """List the plugins and import each, to see which are broken.

    Prints every plugin with the HTTP methods it handles, its state and the first line of its documentation; for a
    broken one the traceback. Exit status 1 where one is broken, so that it can guard a deployment.
    """
    config = load_config(config_path).config
    infos, problems = asyncio.run(_plugins(config))
    for problem in problems:
        click.echo(f"webhook-bridge: {problem}", err=True)
    if as_json:
        print_json(infos)
    elif infos:
        _print(infos)
    else:
        click.echo(f"no plugins in {', '.join(config.plugins.directories)}", err=True)
    return 1 if any(info["error"] for info in infos) else 0


async def _plugins(config: Config) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    async with started_runner(config) as runner:
        # Every import is bounded by the plugin's timeout, and so is this.
        await runner.registry.checked(timeout_seconds=config.plugins.timeout_seconds)
        return [plugin_json(info) for info in runner.registry.list()], runner.registry.problems


def _print(infos: Sequence[dict[str, Any]]) -> None:
    rows = [
        (info["name"], ", ".join(info["methods"]), info["state"], last_line(info["error"]) or _summary(info["doc"]))
        for info in infos
    ]
    print_table(("plugin", "methods", "state", "about"), rows)
    for info in infos:
        if info["error"]:
            click.echo(f"\n{info['name']}: {info['path']}\n{visible(info['error']).rstrip()}")


def _summary(doc: str) -> str:
    return doc.partition("\n")[0]
