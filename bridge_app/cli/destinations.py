"""`webhook-bridge destinations`: where executions are forwarded to, and whether a place answers.

Reads the configuration and the folders in which spans wait, so it works with the bridge running and stopped. How much
each destination took is known to the running bridge alone: `GET /api/v1/destinations`.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Final

import click
import uuid_utils

from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.tables import print_table
from bridge_app.cli.text import size_text
from bridge_app.config_otlp import resource
from bridge_app.errors import BridgeError
from bridge_app.forwarding import left_behind, waiting_in
from exporters.otlp.answers import Verdict
from exporters.otlp.senders import SenderError, open_sender
from exporters.otlp.span_bytes import span_bytes
from exporters.otlp.wire import EncodedSpan, RequestEncoder
from otel_tracker.record import ExecutionRecord, Status

if TYPE_CHECKING:
    from pathlib import Path

    from bridge_app.config import Config
    from exporters.forwarding.messages import DestinationSettings
    from exporters.otlp.senders import Sender

TEST_PLUGIN: Final = "destination_test"
_SAID: Final = {Verdict.TAKEN: "taken", Verdict.RETRY: "to be tried again"}


@click.command("list", cls=Command, examples=("webhook-bridge destinations list",))
@config_option
@json_option
def list_destinations(config_path: Path | None, *, as_json: bool) -> None:
    """The destinations, and what waits for each.

    Those of the configuration and of the environment, with what waits on disk, and how many refused requests lie in
    the folder dead/; and those that are not there any more, as long as something waits for them.
    """
    config = load_config(config_path).config
    rows = [_row(config, one.name, one.protocol, one.settings().place) for one in config.forwarding.destinations]
    names = [one.name for one in config.forwarding.destinations]
    rows += [_row(config, name, "", "not configured") for name in left_behind(config.forward_directory(), names)]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("name", "protocol", "endpoint", "waiting", "refused requests", "folder"),
            [
                (
                    str(row["name"]),
                    str(row["protocol"]),
                    str(row["endpoint"]),
                    size_text(int(row["waiting_bytes"])),
                    str(row["refused_requests"]),
                    str(row["folder"]),
                )
                for row in rows
            ],
        )


def _row(config: Config, name: str, protocol: str, place: str) -> dict[str, str | int]:
    folder = config.forward_directory() / name
    return {
        "name": name,
        "protocol": protocol,
        "endpoint": place,
        "waiting_bytes": waiting_in(folder),
        "refused_requests": sum(1 for _ in folder.glob("*/dead/*.frame")),
        "folder": str(folder),
    }


@click.command("test", cls=Command, examples=("webhook-bridge destinations test jaeger",))
@click.argument("name")
@config_option
@json_option
def test(name: str, config_path: Path | None, *, as_json: bool) -> int:
    """Send one span to a destination and print its answer.

    To the destination NAME, now and past its spool; what it answers is printed exactly. The span is an execution of
    the plugin destination_test, with nothing of anybody's in it. Exit status 0 where it was taken, else 1.
    """
    settings, sender = opened(load_config(config_path).config, name)
    record = _record()
    data = span_bytes(record, policy=settings.payload, aliases=settings.aliases)
    begun = time.perf_counter()
    answer = sender.send([EncodedSpan(record.instance_id, data)])
    took = time.perf_counter() - begun
    sender.close()
    verdict = _SAID.get(answer.verdict, "refused") if not answer.rejected else "rejected"
    is_taken = verdict == "taken"
    place = settings.place or "standard error"
    if as_json:
        print_json(
            {
                "destination": name,
                "endpoint": place,
                "verdict": verdict,
                "answer": answer.text,
                "trace_id": record.trace_id,
                "milliseconds": round(took * 1000),
            }
        )
    else:
        click.echo(f"{name} ({settings.protocol}, {place}): {verdict} after {took * 1000:.0f} ms")
        click.echo(answer.text)
        click.echo(f"trace id {record.trace_id}")
    return 0 if is_taken else 1


def opened(config: Config, name: str) -> tuple[DestinationSettings, Sender]:
    """A configured destination, ready to be sent to. Raises `BridgeError`."""
    known = {one.name: one for one in config.forwarding.destinations}
    if name not in known:
        names = ", ".join(known) or "none: see forwarding.destinations in docs/configuration.md"
        raise BridgeError(f"there is no destination {name!r}: configured are {names}")
    settings = known[name].settings()
    try:
        return settings, open_sender(settings, RequestEncoder(resource(os.environ)))
    except SenderError as error:
        raise BridgeError(f"the destination {name} cannot be used: {error}") from error


def _record() -> ExecutionRecord:
    now = time.time_ns()
    return ExecutionRecord(
        id=str(uuid_utils.uuid7()),
        plugin_name=TEST_PLUGIN,
        status=Status.COMPLETED,
        start_time=now - 1_000_000,
        end_time=now,
        duration=1_000_000,
        input='{"test":true}',
        output='{"test":true}',
        trace_id=secrets.token_hex(16),
        span_id=secrets.token_hex(8),
        instance_id=f"{socket.gethostname()}-test",
    )
