"""`webhook-bridge destinations retry`: what a destination refused lies in dead/ of its folder; it is sent again."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click
import msgspec
from google.protobuf.json_format import ParseError

from bridge_app.api.rendering import rfc3339
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.destinations import opened
from bridge_app.cli.tables import print_table
from bridge_app.cli.text import count_text, one_line, time_text
from exporters.dead_frames import dead_frames
from exporters.otlp.answers import Verdict
from exporters.otlp.messages import of_json
from exporters.otlp.wire import spans_of

if TYPE_CHECKING:
    from pathlib import Path

    from exporters.dead_frames import DeadFrame
    from exporters.otlp.senders import Sender
    from exporters.otlp.wire import EncodedSpan

WAITING, TAKEN, REFUSED, AWAY = "waiting", "taken", "refused", "away"


@click.command(cls=Command, examples=("webhook-bridge destinations retry jaeger",))
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only list what would be sent.")
@config_option
@json_option
def retry(name: str, config_path: Path | None, *, dry_run: bool, as_json: bool) -> int:
    """Send the dead letters of a destination again.

    What the destination NAME refused for good lies in the folders dead/ below its own, a file for each request; what
    is taken is deleted there. For when the reason is gone: a wrong token, a path. A running bridge goes on meanwhile.
    Ends where the destination does not answer. Exit status 1 where a request is left.
    """
    config = load_config(config_path).config
    _, sender = opened(config, name)
    rows = []
    with contextlib.closing(sender):
        for one in dead_frames(config.forward_directory() / name):
            row = _row(one, _spans(one)) if dry_run else _tried(one, sender)
            rows.append(row)
            if row["outcome"] == AWAY:
                break
    if as_json:
        print_json(rows)
    else:
        _print(rows, name)
    return int(any(row["outcome"] in {REFUSED, AWAY} for row in rows))


def _tried(one: DeadFrame, sender: Sender) -> dict[str, Any]:
    spans = _spans(one)
    if spans is None:
        return _row(one, None, outcome=REFUSED, answer="the file holds no request")
    answer = sender.send(spans)
    row = _row(one, spans, outcome=REFUSED, answer=answer.text)
    if answer.verdict is Verdict.RETRY:
        return {**row, "outcome": AWAY}
    if answer.verdict is Verdict.TAKEN:
        one.forget()
        return {**row, "outcome": TAKEN, "rejected_spans": answer.rejected}
    return row


def _spans(one: DeadFrame) -> list[EncodedSpan] | None:
    try:
        return spans_of(of_json(one.path.read_bytes()))
    except (OSError, ValueError, TypeError, msgspec.MsgspecError, ParseError):
        return None


def _row(
    one: DeadFrame, spans: list[EncodedSpan] | None, *, outcome: str = WAITING, answer: str = ""
) -> dict[str, Any]:
    return {
        "file": str(one.path),
        "refused_at": rfc3339(one.refused_at),
        "reason": one.reason,
        "spans": len(spans or ()),
        "rejected_spans": 0,
        "outcome": outcome,
        "answer": answer,
    }


def _print(rows: list[dict[str, Any]], name: str) -> None:
    """Those that stay in dead/, a line each; then how many spans were taken, and what is left."""
    remaining = [row for row in rows if row["outcome"] != TAKEN]
    if remaining:
        print_table(
            ("refused (UTC)", "spans", "file", "reason"),
            [
                (
                    time_text(row["refused_at"]),
                    str(row["spans"]),
                    row["file"],
                    one_line(row["answer"]) or row["reason"],
                )
                for row in remaining
            ],
        )
    taken = [row for row in rows if row["outcome"] == TAKEN]
    if taken:
        spans = sum(row["spans"] - row["rejected_spans"] for row in taken)
        click.echo(f"{name} took {count_text(spans, 'span')} of {count_text(len(taken), 'request')}")
    if rejected := sum(row["rejected_spans"] for row in taken):
        click.echo(f"and rejected {count_text(rejected, 'span')} of them for good")
    if any(row["outcome"] == AWAY for row in rows):
        click.echo(f"{name} does not answer now: the rest waits for another try")
    if not rows:
        click.echo(f"{name} has refused nothing that is still kept")
