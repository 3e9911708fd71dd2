"""The whole configuration: the sections of `config_sections` as one tree, loaded and checked.

In: a YAML file (or none) and an environment. Out: a `Config` whose paths are absolute, and where each value came from.
Wrong input raises `ConfigError` with one message. Nothing here is global, and no secret appears in a `repr`, a message
or `effective_tree`. docs/configuration.md describes every key; a test holds the two together.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge_app import config_metrics, config_source, links
from bridge_app.config_binding import Binder
from bridge_app.config_fields import fields, struct_of_items
from bridge_app.config_forwarding import (
    DestinationConfig,
    ForwardingConfig,
    from_environment,
    require_sound,
    with_absolute_paths,
)
from bridge_app.config_metrics import MetricsConfig, PushConfig
from bridge_app.config_otlp import FROM_ENVIRONMENT, resource
from bridge_app.config_sections import (
    AuthConfig,
    Links,
    LoggingConfig,
    OtlpInConfig,
    PluginsConfig,
    Section,
    ServerConfig,
    SqliteConfig,
    StorageConfig,
    TrackingConfig,
)
from bridge_app.errors import ConfigError
from bridge_app.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration. After `load`, every path in it is absolute."""

    server: ServerConfig = ServerConfig()
    auth: AuthConfig = AuthConfig()
    plugins: PluginsConfig = PluginsConfig()
    storage: StorageConfig = StorageConfig()
    execution_tracking: TrackingConfig = TrackingConfig()
    otlp_in: OtlpInConfig = OtlpInConfig()
    forwarding: ForwardingConfig = ForwardingConfig()
    metrics: MetricsConfig = MetricsConfig()
    logging: LoggingConfig = LoggingConfig()
    links: Links = msgspec.field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None, environ: Mapping[str, str]) -> LoadedConfig:
        """The file's values under the environment's, defaults elsewhere. Raises `ConfigError`.

        Without `path`, `config.yaml` of the working directory is read where there is one. Relative paths are relative
        to the file's directory, without a file to the working directory.
        """
        if path is None and Path("config.yaml").is_file():
            path = Path("config.yaml")
        root = config_source.read_file(path) if path else config_source.Mapping(entries={}, line=1)
        binder = Binder(file=str(path), short_file=path.name if path else "", environ=environ)
        config = binder.bind(cls, root)
        _require_fitting_buckets(config, origins=binder.origins)
        _require_known_placeholders(config, origins=binder.origins)
        require_sound(config.forwarding.destinations, origins=binder.origins)
        config = _with_destination_of(environ, config, origins=binder.origins)
        config = _with_metrics_of(environ, config, origins=binder.origins)
        base = path.absolute().parent if path else Path.cwd()
        return LoadedConfig(config=_with_absolute_paths(config, base), origins=binder.origins, path=path)

    def retention_days(self) -> int:
        """How long records are kept: the tracking section's word wins over the store's."""
        return self.execution_tracking.retention_days or self.storage.selected.retention_days

    def storage_url(self) -> str:
        """The selected store as an SQLAlchemy URL, password included: mask it before it is shown."""
        selected = self.storage.selected
        if isinstance(selected, SqliteConfig):
            path = str(Path(selected.database_path).absolute())
            # Only what would end or bend the URL is quoted: SQLAlchemy 2.0 leaves the rest of a database's name as is.
            return "sqlite:///" + path.replace("%", "%25").replace("?", "%3F")
        return selected.url()

    def forward_directory(self) -> Path:
        """Where spans wait for their destinations: `forward` beside the spool."""
        return self.spool_directory().parent / "forward"

    def spool_directory(self) -> Path:
        """The configured folder, or `spool` beside the SQLite database (whichever store is used)."""
        given = self.execution_tracking.spool.directory
        return Path(given) if given else Path(self.storage.sqlite.database_path).parent / "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedConfig:
    """A configuration and where each value came from."""

    config: Config
    origins: dict[str, str]
    """Dotted path → "default", "config.yaml line 12" or "environment BRIDGE__SERVER__PORT"."""
    path: Path | None
    """The file that was read, as given; None where there was none."""


def effective_tree(loaded: LoadedConfig) -> list[tuple[str, str, str]]:
    """`(path, value as text, origin)` of every key, in the order of the file, secrets masked."""
    rows = []
    for leaf in fields(Config):
        value: object = loaded.config
        for name in leaf.path.split("."):
            value = getattr(value, name)
        kind = struct_of_items(leaf.type)
        if kind is None or not isinstance(value, tuple) or not value:
            rows.append((leaf.path, leaf.show(value), loaded.origins[leaf.path]))
            continue
        for number, item in enumerate(value):
            rows += _rows(item, kind, f"{leaf.path}[{number}].", loaded.origins)
    return rows


def _rows(
    item: object, kind: type[msgspec.Struct], prefix: str, origins: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Of one section of a list."""
    rows = []
    for leaf in fields(kind, prefix=prefix):
        value = item
        for name in leaf.path.removeprefix(prefix).split("."):
            value = getattr(value, name)
        rows.append((leaf.path, leaf.show(value), origins[leaf.path]))
    return rows


def require_safe_bind(config: Config) -> None:
    """Raise `ConfigError` where others could reach the history without a token."""
    host = config.server.host
    if config.auth.token or _is_loopback(host):
        return
    raise ConfigError(
        f"server.host is {host!r} and auth.token is not set: everybody who reaches this port could read the history, "
        "which holds what senders sent. Set a token, such as "
        "BRIDGE__AUTH__TOKEN=$(openssl rand -hex 32), or bind to 127.0.0.1"
    )


def _require_fitting_buckets(config: Config, *, origins: Mapping[str, str]) -> None:
    """Raise `ConfigError` for an interval that days cannot be made of."""
    seconds = config.execution_tracking.metrics_aggregation_interval
    if seconds < 60 or 86_400 % seconds:
        path = "execution_tracking.metrics_aggregation_interval"
        raise ConfigError(
            f"{path} is {format_duration(seconds)!r} ({origins[path]}): expected a whole fraction of a day, at least a "
            'minute, such as "1h"'
        )


def _require_known_placeholders(config: Config, *, origins: Mapping[str, str]) -> None:
    """Raise `ConfigError` for a link that could not be filled in."""
    for name, template in config.links.items():
        if wrong := links.fault(template):
            raise ConfigError(f"links.{name} is {template[:200]!r} ({origins['links']}): {wrong}")


def _is_loopback(host: str) -> bool:
    """Names other than localhost are not resolved: what they point to can change after the check."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _with_destination_of(environ: Mapping[str, str], config: Config, *, origins: dict[str, str]) -> Config:
    """The destination that OpenTelemetry's variables make comes last; one of that name in the file stands in its place.

    Raises `ConfigError` for a variable that does not fit.
    """
    resource(environ)
    given, made = config.forwarding.destinations, from_environment(environ)
    if made is None or any(one.name == made.name for one in given):
        return config
    prefix = f"forwarding.destinations[{len(given)}]."
    origins.update((leaf.path, FROM_ENVIRONMENT) for leaf in fields(DestinationConfig, prefix=prefix))
    forwarding = msgspec.structs.replace(config.forwarding, destinations=(*given, made))
    return msgspec.structs.replace(config, forwarding=forwarding)


def _with_metrics_of(environ: Mapping[str, str], config: Config, *, origins: dict[str, str]) -> Config:
    """Where metrics go, by OpenTelemetry's variables where the file does not say it. Raises `ConfigError`."""
    push = config_metrics.completed(config.metrics.otlp, environ, origins=origins)
    if push.endpoint != config.metrics.otlp.endpoint:
        origins.update((leaf.path, FROM_ENVIRONMENT) for leaf in fields(PushConfig, prefix="metrics.otlp."))
    return msgspec.structs.replace(config, metrics=MetricsConfig(otlp=push))


def _with_absolute_paths(config: Config, base: Path) -> Config:
    def absolute(text: str) -> str:
        return os.path.normpath(base / os.path.expanduser(text)) if text else text  # noqa: PTH111 - never raises

    replace = msgspec.structs.replace
    plugins, storage, tracking = config.plugins, config.storage, config.execution_tracking
    # A bare name such as python3.12 is looked up on PATH; only something with a slash is a path.
    python = absolute(plugins.python) if "/" in plugins.python else plugins.python
    sqlite = replace(storage.sqlite, database_path=absolute(storage.sqlite.database_path))
    return replace(
        config,
        plugins=replace(plugins, directories=tuple(absolute(item) for item in plugins.directories), python=python),
        storage=replace(storage, sqlite=sqlite),
        forwarding=replace(
            config.forwarding,
            destinations=tuple(with_absolute_paths(one, base) for one in config.forwarding.destinations),
        ),
        metrics=MetricsConfig(otlp=config_metrics.with_absolute_paths(config.metrics.otlp, base)),
        execution_tracking=replace(
            tracking, spool=replace(tracking.spool, directory=absolute(tracking.spool.directory))
        ),
    )
