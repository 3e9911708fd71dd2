"""`webhook-bridge serve`: the one command that imports the web server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import click
import msgspec

from bridge_app.app import Application
from bridge_app.cli.command import Command, config_option, load_config
from bridge_app.config import require_safe_bind
from bridge_app.errors import StartupError
from bridge_app.logs import set_up_logging
from bridge_app.plugins.pool import PoolStartError
from bridge_app.server import ServerBindError, ServerSettings
from bridge_app.server import serve as serve_app

if TYPE_CHECKING:
    from pathlib import Path

    from bridge_app.config import Config
    from bridge_app.config_sections import ServerConfig

logger = logging.getLogger("bridge_app.server")


@click.command(
    cls=Command,
    examples=("webhook-bridge serve", "webhook-bridge serve --port 9000 --config /etc/bridge/config.yaml"),
)
@click.option("--host", metavar="ADDRESS", help="Listen there; server.host by default.")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="Listen there; 0 is any free port; server.port by default.",
)
@config_option
@click.option("--json", "as_json", is_flag=True, help="Log JSON, an object a line.")
def serve(host: str | None, port: int | None, config_path: Path | None, *, as_json: bool) -> None:
    """Start the bridge; SIGTERM or Ctrl-C stop it.

    Deliveries to /api/v1/webhook/PLUGIN run the plugins of the plugin folders. The log goes to standard error. A stop
    that was asked for ends with exit status 0, a start that fails with one line and 2.
    """
    config = _with_options(load_config(config_path).config, host=host, port=port, as_json=as_json)
    require_safe_bind(config)
    set_up_logging(config.logging)
    application = Application(config)
    announce = _log_address if config.logging.format == "json" else _echo_address
    try:
        serve_app(application.asgi(), _settings(config.server), on_stop=application.begin_stop, on_bound=announce)
    except ServerBindError as error:
        raise StartupError(str(error)) from error
    except SystemExit:
        _tell_why(application)
        raise


def _with_options(config: Config, *, host: str | None, port: int | None, as_json: bool) -> Config:
    replace = msgspec.structs.replace
    server = replace(
        config.server,
        host=config.server.host if host is None else host,
        port=config.server.port if port is None else port,
    )
    log = replace(config.logging, format="json") if as_json else config.logging
    return replace(config, server=server, logging=log)


def _settings(server: ServerConfig) -> ServerSettings:
    return ServerSettings(
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


def _tell_why(application: Application) -> None:
    """Raise what the start failed of: a line for what we know of, else the traceback."""
    match application.start_error:
        case None:
            return
        case PoolStartError() as error:
            raise StartupError(str(error)) from error
        case error:
            raise error


def _echo_address(host: str, port: int) -> None:
    click.echo(_address_line(host, port), err=True)


def _log_address(host: str, port: int) -> None:
    logger.info("%s", _address_line(host, port))


def _address_line(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"Webhook bridge on http://{shown}:{port}  (history: /api/v1/executions, API: /schema)"
