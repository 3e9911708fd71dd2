"""`webhook-bridge storage verify`: the statistics, compared with the records they count; and put right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from bridge_app.api.rendering import rfc3339
from bridge_app.cli.command import Command, config_option, json_option, load_config, print_json
from bridge_app.cli.history import opened_store
from bridge_app.cli.tables import print_table
from bridge_app.cli.text import count_text, size_text, time_text
from bridge_app.units import format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from otel_tracker.query import RollupCheck, RollupDifference

_HEADER = ("bucket (UTC)", "of", "figure", "stored", "counted", "group", "plugin")


@click.command(cls=Command, examples=("webhook-bridge storage verify", "webhook-bridge storage verify --repair"))
@click.option("--repair", is_flag=True, help="Recount what differs, and rebuild for a changed interval.")
@config_option
@json_option
def verify(config_path: Path | None, *, repair: bool, as_json: bool) -> None:
    """Compare the statistics with the records they count.

    A running bridge goes on meanwhile. Exit status 1 where something differs and is not repaired. What counts
    executions whose records are deleted cannot be compared, and is never changed.
    """
    with opened_store(load_config(config_path).config) as store:
        check = store.verify_rollups(repair=repair)
    if as_json:
        print_json({**asdict(check), "is_good": check.is_good})
    else:
        _print(check)
    if not check.is_good:
        raise click.exceptions.Exit(1)


def _print(check: RollupCheck) -> None:
    if check.differences:
        print_table(_HEADER, [_cells(one) for one in check.differences])
    if (more := check.total_differences - len(check.differences)) > 0:
        click.echo(f"… and {more} more")
    for line in _verdict(check):
        click.echo(line)


def _verdict(check: RollupCheck) -> list[str]:
    counted = count_text(check.checked_executions, "execution")
    differ = count_text(check.total_differences, "figure")
    kept, wanted = (format_duration(one) for one in (check.bucket_seconds, check.configured_bucket_seconds))
    lines = [f"{counted} recounted, {differ} wrong" if check.total_differences else f"{counted} recounted, all equal"]
    if check.repaired_buckets:
        lines.append(f"{count_text(check.repaired_buckets, 'bucket')} repaired")
    if check.rebuilt:
        lines.append(f"rebuilt in buckets of {kept}")
    if check.counted_bytes is None:
        lines.append("the bytes of the payloads could not be counted in the time that a read may take")
    elif check.counted_bytes != check.stored_bytes:
        told = f"max_bytes is compared with {size_text(check.stored_bytes)}, which are {size_text(check.counted_bytes)}"
        lines.append(told + (": repaired" if check.repaired_bytes else ""))
    if check.unchecked_executions:
        lines.append(f"{count_text(check.unchecked_executions, 'execution')} not compared: their records are deleted")
    if kept != wanted:
        lines.append(f"the buckets are of {kept}, metrics_aggregation_interval says {wanted}: --repair rebuilds them")
    return lines


def _cells(one: RollupDifference) -> tuple[str, ...]:
    bucket, length = time_text(rfc3339(one.bucket_start)), format_duration(one.bucket_seconds)
    return (bucket, length, one.figure, str(one.stored), str(one.counted), one.group, one.plugin_name)
