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
from bridge_app.errors import BridgeError
from bridge_app.problems import FieldError
from bridge_app.stores import open_configured_store
from bridge_app.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bridge_app.config import Config
    from otel_tracker.query import ExecutionFilter
    from otel_tracker.storage.store import SqlStore

Function = TypeVar("Function", bound="Callable[..., Any]")


@contextlib.contextmanager
def opened_store(config: Config) -> Iterator[SqlStore]:
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
    """The options of `list`, `tail` and `export`: what is known of an execution that has ended."""
    for option in (
        click.option("--q", metavar="TEXT", help="Text in input, output or error, upper and lower case alike."),
        click.option("--max-duration", metavar="LENGTH", help="Ended, and took no longer; written alike."),
        click.option(
            "--min-duration",
            metavar="LENGTH",
            help="Ended, and took so long or longer: 1.5s, 250ms, or nanoseconds.",
        ),
        click.option("--error-type", multiple=True, metavar="TYPE", help="Only this error type; may be repeated."),
        click.option("--status", multiple=True, metavar="STATUS", help="Only this status; may be repeated."),
        click.option("--plugin", multiple=True, metavar="NAME", help="Only this plugin; may be repeated."),
    ):
        function = option(function)
    return function


def choosing_options(function: Function) -> Function:
    """The options of `list` and `export`: all filters."""
    for option in (
        click.option("--tag", multiple=True, metavar="NAME:VALUE", help="Only with this tag; may be repeated."),
        click.option("--delivery-id", metavar="ID", help="Only of this delivery: the sender's own id."),
        click.option("--trace-id", metavar="ID", help="Only of this trace: 32 hexadecimal digits."),
        click.option("--until", metavar="WHEN", help="Started before; written as for --since."),
        click.option("--since", metavar="WHEN", help="Started since: 24h, 90m, 7d, or an RFC 3339 time."),
    ):
        function = option(function)
    return narrowing_options(function)


@contextlib.contextmanager
def errors_of_options() -> Iterator[None]:
    """A wrong parameter as a `BridgeError` that names the option."""
    try:
        yield
    except FieldError as error:
        option = {"tags": "tag"}.get(error.field, error.field).replace("_", "-")
        raise BridgeError(f"--{option} {error.detail.removeprefix(f'{error.field} ')}") from error


def wanted(  # noqa: PLR0913 - each is a filter of its own
    *,
    plugin: Sequence[str],
    status: Sequence[str],
    error_type: Sequence[str],
    trace_id: str | None = None,
    delivery_id: str | None = None,
    tag: Sequence[str] = (),
    min_duration: str | None = None,
    max_duration: str | None = None,
    q: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> ExecutionFilter:
    """The options as a filter. Raises `BridgeError` that names the option."""
    with errors_of_options():
        now = time.time_ns()
        chosen = execution_filter(
            now=now,
            plugin=plugin,
            status=status,
            error_type=error_type,
            trace_id=trace_id,
            delivery_id=delivery_id,
            min_duration=min_duration,
            max_duration=max_duration,
            tags=tag,
            q=q,
        )
        return msgspec.structs.replace(
            chosen,
            started_from=_moment("since", since, now=now),
            started_before=_moment("until", until, now=now),
        )


def _moment(option: str, text: str | None, *, now: int) -> int | None:
    if not text:
        return None
    try:
        return now - parse_duration(text) * 1_000_000_000
    except ValueError:
        pass
    try:
        return moment(option, text, now=now)
    except FieldError:
        raise FieldError(
            f"is {text!r}: expected a duration such as 24h or 7d, or a time such as 2025-06-06T14:33:48Z",
            field=option,
        ) from None
