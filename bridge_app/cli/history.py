"""What the reading commands share: the store, opened only where there is one, and the options that filter it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from bridge_app.api.filters import execution_filter
from bridge_app.api.times import moment
from bridge_app.config_binding import parse_duration
from bridge_app.errors import BridgeError
from bridge_app.problems import FieldError
from bridge_app.stores import open_configured_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge_app.config import Config
    from otel_tracker.ports import ExecutionStore
    from otel_tracker.query import ExecutionFilter

Function = TypeVar("Function", bound="Callable[..., Any]")


@contextlib.contextmanager
def opened_store(config: Config) -> Iterator[ExecutionStore]:
    """The configured store, which must be there. Raises `BridgeError`, `StorageError`."""
    _require_existing(config)
    with contextlib.closing(open_configured_store(config)) as store:
        yield store


def _require_existing(config: Config) -> None:
    """Opening makes what is missing: a look from the wrong folder would leave an empty database there."""
    if config.storage.type == "sqlite" and not Path(config.storage.sqlite.database_path).exists():
        raise BridgeError(
            f"there is no history in {config.storage.sqlite.database_path}: the bridge makes it when it first starts; "
            "is this the right folder, or --config FILE the right configuration?"
        )


def narrowing_options(function: Function) -> Function:
    """The options of `list` and `tail`: which executions."""
    for option in (
        click.option("--error-type", multiple=True, metavar="TYPE", help="Only this error type; may be repeated."),
        click.option("--status", multiple=True, metavar="STATUS", help="Only this status; may be repeated."),
        click.option("--plugin", multiple=True, metavar="NAME", help="Only this plugin; may be repeated."),
    ):
        function = option(function)
    return function


def wanted(  # noqa: PLR0913 - each is a filter of its own
    *,
    plugin: Sequence[str],
    status: Sequence[str],
    error_type: Sequence[str],
    trace_id: str | None = None,
    delivery_id: str | None = None,
    tag: Sequence[str] = (),
    since: str | None = None,
) -> ExecutionFilter:
    """The options as a filter. Raises `BridgeError` that names the option."""
    try:
        now = time.time_ns()
        chosen = execution_filter(
            now=now,
            plugin=plugin,
            status=status,
            error_type=error_type,
            trace_id=trace_id,
            delivery_id=delivery_id,
            tags=tag,
        )
        return msgspec.structs.replace(chosen, started_from=_started_from(since, now=now))
    except FieldError as error:
        option = {"tags": "tag"}.get(error.field, error.field).replace("_", "-")
        raise BridgeError(f"--{option} {error.detail.removeprefix(f'{error.field} ')}") from error


def _started_from(since: str | None, *, now: int) -> int | None:
    if not since:
        return None
    try:
        return now - parse_duration(since) * 1_000_000_000
    except ValueError:
        pass
    try:
        return moment("since", since, now=now)
    except FieldError:
        raise FieldError(
            f"is {since!r}: expected a duration such as 24h or 7d, or a time such as 2025-06-06T14:33:48Z",
            field="since",
        ) from None
