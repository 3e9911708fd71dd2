"""`webhook-bridge run`: one delivery that did not come over HTTP, read as the bridge reads one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bridge_app.bodies import headers_as_dict, parse_body, parse_query
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.running import started_runner
from bridge_app.cli.text import LogEntry, json_lines, visible
from bridge_app.errors import BridgeError
from bridge_app.plugins.calls import Call, OutcomeKind
from bridge_app.plugins.contract import METHODS
from bridge_app.problems import BodyError
from otel_tracker.classification import classify_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge_app.config import Config
    from bridge_app.plugins.calls import Outcome


@click.command(
    cls=Command,
    examples=(
        """webhook-bridge run greet --data '{"name": "Ada"}'""",
        "webhook-bridge run github --header 'X-GitHub-Event: push' --data @push.json",
        "webhook-bridge run greet --method GET --query name=Ada",
    ),
)
@click.argument("plugin")
@click.option(
    "--data", "-d", metavar="JSON", help="The body; @FILE reads a file, - standard input. Without it the body is empty."
)
@click.option("--query", default="", metavar="NAME=VALUE", help="The query string; it is the data where no body is.")
@click.option("--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header; may be repeated.")
@click.option(
    "--method",
    metavar="METHOD",
    default="POST",
    show_default=True,
    type=click.Choice(METHODS, case_sensitive=False),
    help=f"The HTTP method: {', '.join(METHODS)}.",
)
@config_option
@json_option
def run(  # noqa: PLR0913 - each is an option of its own
    plugin: str,
    data: str | None,
    query: str,
    headers: Sequence[str],
    method: str,
    config_path: Path | None,
    *,
    as_json: bool,
) -> int:
    """Run a plugin once, here, without the bridge; nothing is recorded.

    The plugin runs in a worker process with the configured limits, as it would for a delivery. Its result is printed
    on standard output, what it logged and printed on standard error. Exit status 1 where the plugin failed or does not
    load.
    """
    call = _call(plugin, data, query, headers, method=method)
    outcome = asyncio.run(_outcome(load_config(config_path).config, call))
    if outcome.kind in {OutcomeKind.NOT_FOUND, OutcomeKind.NOT_ALLOWED}:
        hint = "; `webhook-bridge plugins` lists those there are" if outcome.kind is OutcomeKind.NOT_FOUND else ""
        raise BridgeError(f"{outcome.error}{hint}")
    if as_json:
        print_json(_outcome_json(outcome))
    else:
        _print(outcome)
    return 0 if outcome.kind is OutcomeKind.COMPLETED else 1


def _call(plugin: str, data: str | None, query: str, headers: Sequence[str], *, method: str) -> Call:
    body = b"" if data is None else _read(data)
    given = headers_as_dict(_header(text) for text in headers)
    if body:
        given.setdefault("content-type", "application/json")
    pairs = parse_query(query.encode())
    try:
        parsed = parse_body(body, content_type=given.get("content-type", ""), query=pairs)
    except BodyError as error:
        raise BridgeError(
            f"--data cannot be read: {error} Give JSON in single quotes, @FILE, or - for standard input"
        ) from error
    return Call(
        plugin=plugin,
        method=method,
        data=parsed.data,
        headers=given,
        query=dict(pairs),
        path=f"/api/v1/webhook/{plugin}",
        body=body,
    )


def _read(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode("utf-8", "surrogateescape")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise BridgeError(f"--data {data} cannot be read: {error.strerror}; @ is followed by a file's path") from error


def _header(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise BridgeError(f"--header is {text!r}: expected 'Name: value', such as 'X-GitHub-Event: push'")
    return name.strip().encode("latin-1", "replace"), value.strip().encode("latin-1", "replace")


async def _outcome(config: Config, call: Call) -> Outcome:
    async with started_runner(config) as runner:
        return await runner.run(call)


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    error_type = outcome.error_type
    if outcome.kind is not OutcomeKind.COMPLETED:
        error_type = error_type or classify_names(outcome.error_type_chain, outcome.error)
    return {
        "kind": outcome.kind.value,
        "result": msgspec.Raw(outcome.body or b"null"),
        "error": outcome.error,
        "error_type": error_type,
        "traceback": outcome.traceback,
        "logs": msgspec.Raw(outcome.logs.encode()),
        "duration": outcome.run_ns,
    }


def _print(outcome: Outcome) -> None:
    for entry in msgspec.json.decode(outcome.logs, type=list[LogEntry]):
        for line in entry.lines():
            click.echo(visible(line), err=True)
    if outcome.kind is OutcomeKind.COMPLETED:
        click.echo(visible("\n".join(json_lines(outcome.body.decode()))))
    else:
        click.echo(visible(outcome.traceback.rstrip("\n") or f"{outcome.kind}: {outcome.error}"), err=True)
