"""`webhook-bridge`: the command line. Reading commands open the store themselves, so they work with the bridge down.

Every command takes `--json`; without it people get tables. Errors are one line on standard error and exit status 2.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge_app.errors import BridgeError
from otel_tracker.errors import TrackerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge_app.config import Config, LoadedConfig
    from otel_tracker.ports import ExecutionStore

_config_option = click.option(
    "--config", "-c", "config_path", type=click.Path(path_type=Path), help="The file; ./config.yaml by default."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def main() -> None:
    """Run the command line; our own errors are a message and exit status 2, not a traceback."""
    try:
        cli(standalone_mode=True)
    except (BridgeError, TrackerError) as error:
        click.echo(f"webhook-bridge: {error}", err=True)
        sys.exit(2)


@click.group()
@click.version_option(package_name="otel-webhook-bridge")
def cli() -> None:
    """A webhook bridge whose execution history is an OpenTelemetry trace."""


@cli.command()
@_config_option
def serve(config_path: Path | None) -> None:
    """Start the bridge."""
    from bridge_app.app import Application  # noqa: PLC0415 - imported late: keeps the command line quick
    from bridge_app.config import require_safe_bind  # noqa: PLC0415 - imported late: keeps the command line quick
    from bridge_app.logs import set_up_logging  # noqa: PLC0415 - imported late: keeps the command line quick
    from bridge_app.server import ServerSettings  # noqa: PLC0415 - imported late: keeps the command line quick
    from bridge_app.server import serve as serve_app  # noqa: PLC0415 - imported late: keeps the command line quick

    config = _load(config_path).config
    require_safe_bind(config)
    set_up_logging(config.logging)
    application = Application(config)
    server = config.server
    settings = ServerSettings(
        host=server.host,
        port=server.port,
        max_header_bytes=server.max_header_bytes,
        max_headers=server.max_headers,
        header_timeout_seconds=server.header_timeout_seconds,
        body_timeout_seconds=server.body_timeout_seconds,
        keep_alive_seconds=server.keep_alive_seconds,
        max_connections=server.max_connections,
        shutdown_grace_seconds=server.shutdown_grace_seconds,
    )
    serve_app(application.asgi(), settings, on_stop=application.begin_stop, on_bound=_announce)


@cli.command("check-config")
@_config_option
@_json_option
def check_config(config_path: Path | None, *, as_json: bool) -> None:
    """Print the effective configuration, secrets masked, and where each value came from."""
    from bridge_app.config import effective_tree, require_safe_bind  # noqa: PLC0415 - imported late: keeps the command line quick

    loaded = _load(config_path)
    require_safe_bind(loaded.config)
    rows = effective_tree(loaded)
    if as_json:
        _print_json([{"key": key, "value": value, "origin": origin} for key, value, origin in rows])
    else:
        _print_table(("key", "value", "origin"), rows)


@cli.command()
@_config_option
@_json_option
def plugins(config_path: Path | None, *, as_json: bool) -> None:
    """List the plugins: which there are, what each handles, which are broken and why."""
    config = _load(config_path).config
    infos = asyncio.run(_plugin_infos(config))
    if as_json:
        _print_json(infos)
    else:
        rows = [(i["name"], ", ".join(i["methods"]), i["state"], _last_line(i["error"]) or i["doc"]) for i in infos]
        _print_table(("plugin", "methods", "state", "about"), rows)


@cli.command()
@click.argument("plugin")
@click.option("--data", default="{}", show_default=True, help="The JSON body.")
@click.option("--method", default="POST", show_default=True, help="The HTTP method.")
@_config_option
@_json_option
def run(plugin: str, data: str, method: str, config_path: Path | None, *, as_json: bool) -> None:
    """Run a plugin once, here, without the bridge; nothing is recorded."""
    import msgspec  # noqa: PLC0415 - imported late: keeps the command line quick

    try:
        parsed = msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise click.BadParameter(f"is not JSON: {error}", param_hint="--data") from None
    outcome = asyncio.run(_run_once(_load(config_path).config, plugin, method.upper(), parsed, data.encode()))
    if as_json:
        _print_json(outcome)
    else:
        for line in outcome["logs"]:
            click.echo(line.get("text", "").rstrip("\n"), err=True)
        click.echo(outcome["result"] if outcome["kind"] == "completed" else outcome["traceback"] or outcome["error"])
    if outcome["kind"] != "completed":
        sys.exit(1)


@cli.group()
def executions() -> None:
    """Look at the history."""


@executions.command("list")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@click.option("--plugin", multiple=True, help="Only this plugin; may be repeated.")
@click.option("--status", multiple=True, help="Only this status; may be repeated.")
@_config_option
@_json_option
def list_executions(
    limit: int, plugin: Sequence[str], status: Sequence[str], config_path: Path | None, *, as_json: bool
) -> None:
    """The newest executions."""
    from bridge_app.api.rendering import execution_json  # noqa: PLC0415 - imported late: keeps the command line quick

    records = _newest(_store(_load(config_path).config), limit, plugin, status)
    rows = [execution_json(record) for record in records]
    if as_json:
        _print_json(rows)
    else:
        _print_executions(rows)


@executions.command()
@click.argument("execution_id")
@_config_option
@_json_option
def show(execution_id: str, config_path: Path | None, *, as_json: bool) -> None:
    """One execution, whole."""
    from bridge_app.api.rendering import execution_json  # noqa: PLC0415 - imported late: keeps the command line quick

    record = _store(_load(config_path).config).get(execution_id)
    if record is None:
        raise BridgeError(f"there is no execution {execution_id!r}; `webhook-bridge executions list` shows the newest")
    shown = execution_json(record)
    if as_json:
        _print_json(shown)
    else:
        _print_table(
            ("field", "value"), [(name, str(value)) for name, value in shown.items() if value not in ("", None)]
        )


@executions.command()
@click.option("--interval", default=0.5, show_default=True, help="Seconds between looks.")
@click.option("--count", default=0, help="Stop after so many; 0: go on until Ctrl-C.")
@_config_option
@_json_option
def tail(interval: float, count: int, config_path: Path | None, *, as_json: bool) -> None:
    """Print executions as they end."""
    from bridge_app.api.rendering import encode_json, execution_json  # noqa: PLC0415 - imported late: keeps the command line quick

    store = _store(_load(config_path).config)
    seen = {record.id for record in _newest(store, 200, (), ())}
    printed = 0
    while not count or printed < count:
        for record in reversed(_newest(store, 200, (), ())):
            if record.id in seen or not record.status.is_final:
                continue
            seen.add(record.id)
            printed += 1
            row = execution_json(record)
            click.echo(encode_json(row).decode() if as_json else "  ".join(_execution_cells(row)))
        time.sleep(interval)


@cli.group()
def storage() -> None:
    """Look at the store."""


@storage.command()
@_config_option
@_json_option
def info(config_path: Path | None, *, as_json: bool) -> None:
    """Kind, place, size and bounds of the store."""
    from bridge_app.api.rendering import storage_json  # noqa: PLC0415 - imported late: keeps the command line quick

    shown = storage_json(_store(_load(config_path).config).info())
    if as_json:
        _print_json(shown)
    else:
        _print_table(("field", "value"), [(name, str(value)) for name, value in shown.items()])


@cli.command()
@click.option("--dry-run", is_flag=True, help="Only count.")
@_config_option
@_json_option
def cleanup(config_path: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete what is older than the retention."""
    config = _load(config_path).config
    before = time.time_ns() - config.retention_days() * 86_400_000_000_000
    result = _store(config).prune(started_before=before, dry_run=dry_run)
    if as_json:
        _print_json({"deleted": result.deleted, "freed_bytes": result.freed_bytes, "dry_run": dry_run})
    else:
        verb = "would be deleted" if dry_run else "deleted"
        click.echo(f"{result.deleted} executions {verb}, {result.freed_bytes} bytes given back")


def _load(path: Path | None) -> LoadedConfig:
    from bridge_app.config import Config  # noqa: PLC0415 - imported late: keeps the command line quick

    return Config.load(path, os.environ)


def _store(config: Config) -> ExecutionStore:
    from bridge_app.app import store_opener  # noqa: PLC0415 - imported late: keeps the command line quick

    return store_opener(config)()


def _newest(store: ExecutionStore, limit: int, plugin: Sequence[str], status: Sequence[str]) -> list[Any]:
    from bridge_app.api.filters import execution_filter  # noqa: PLC0415 - imported late: keeps the command line quick
    from otel_tracker.query import PageRequest  # noqa: PLC0415 - imported late: keeps the command line quick

    chosen = execution_filter(
        plugin=plugin,
        status=status,
        error_type=None,
        trace_id=None,
        delivery_id=None,
        start_time=None,
        end_time=None,
        tags=None,
    )
    return store.page(PageRequest(filter=chosen, limit=limit, with_total=False)).executions


async def _plugin_infos(config: Config) -> list[dict[str, Any]]:
    from bridge_app.api.system import plugin_json  # noqa: PLC0415 - imported late: keeps the command line quick
    from bridge_app.app import runner_settings  # noqa: PLC0415 - imported late: keeps the command line quick
    from bridge_app.plugins.runner import PluginRunner  # noqa: PLC0415 - imported late: keeps the command line quick

    runner = PluginRunner(runner_settings(config))
    await runner.start()
    try:
        return [plugin_json(item) for item in runner.registry.list()]
    finally:
        await runner.stop(1.0)


async def _run_once(config: Config, plugin: str, method: str, data: object, body: bytes) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - imported late: keeps the command line quick

    from bridge_app.app import runner_settings  # noqa: PLC0415 - imported late: keeps the command line quick
    from bridge_app.plugins.calls import Call  # noqa: PLC0415 - likewise
    from bridge_app.plugins.runner import PluginRunner  # noqa: PLC0415 - imported late: keeps the command line quick

    runner = PluginRunner(runner_settings(config))
    await runner.start()
    try:
        if runner.registry.get(plugin) is None:
            raise BridgeError(f"there is no plugin {plugin!r}; `webhook-bridge plugins` lists those there are")
        outcome = await runner.run(
            Call(
                plugin=plugin,
                method=method,
                data=data,
                headers={"content-type": "application/json"},
                query={},
                path=f"/api/v1/webhook/{plugin}",
                body=body,
                delivery_id="",
                execution_id="",
                traceparent="",
            )
        )
    finally:
        await runner.stop(1.0)
    return {
        "kind": outcome.kind.value,
        "result": outcome.body.decode(),
        "error": outcome.error,
        "error_type": outcome.error_type,
        "traceback": outcome.traceback,
        "logs": msgspec.json.decode(outcome.logs) if outcome.logs else [],
    }


def _announce(host: str, port: int) -> None:
    click.echo(f"Webhook bridge on http://{host}:{port}  (history: /api/v1/executions, API: /schema)", err=True)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def _execution_cells(row: dict[str, Any]) -> tuple[str, ...]:
    took = f"{row['duration'] / 1e6:.1f} ms"
    return (row["start_time"], row["plugin_name"], row["status"], took, row["error_type"], row["id"])


def _print_executions(rows: Sequence[dict[str, Any]]) -> None:
    header = ("started", "plugin", "status", "took", "error", "id")
    _print_table(header, [_execution_cells(row) for row in rows])


def _print_json(value: object) -> None:
    import msgspec  # noqa: PLC0415 - imported late: keeps the command line quick

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - imported late: keeps the command line quick
    from rich.table import Table  # noqa: PLC0415 - imported late: keeps the command line quick
    from rich.text import Text  # noqa: PLC0415 - imported late: keeps the command line quick

    table = Table(*header)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
