"""The section `forwarding` of `config.yaml`: the destinations, and the one that OpenTelemetry's own variables make.

In: values that fit, and an environment. Out: frozen structs, and from them what the forwarder is to be told. Nothing
here opens a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from bridge_app.config_otlp import Endpoint, Headers, TlsConfig, absolute, absolute_tls, backend_of, problem_of
from bridge_app.config_sections import Bytes, OptionalPath, Seconds, Section
from bridge_app.errors import ConfigError
from exporters.forwarding.messages import DestinationSettings, TlsSettings
from exporters.otlp.payloads import PayloadPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Slug = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?\Z",
        description="1 to 63 of a-z 0-9 - _, such as jaeger; its folder has this name",
    ),
]
Ratio = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1, such as 0.1")]
PluginNames = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...], Meta(description='a list of plugins, such as ["billing"]')
]
Statuses = Annotated[
    tuple[Literal["completed", "failed", "timeout", "canceled"], ...],
    Meta(description="a list of completed, failed, timeout, canceled"),
]
ENV_NAME: Final = "env"
_OTLP: Final = ("otlp-http", "otlp-http-json", "otlp-grpc")


class DestinationConfig(Section, frozen=True, kw_only=True):
    """One place that spans are forwarded to."""

    name: Slug = ""
    protocol: Literal["otlp-http", "otlp-http-json", "otlp-grpc", "console", "file"] = "otlp-http"
    endpoint: Endpoint = ""
    path: OptionalPath = ""
    headers: Headers = msgspec.field(default_factory=dict)
    tls: TlsConfig = TlsConfig()
    compression: Literal["none", "gzip"] = "none"
    timeout_seconds: Seconds = 10
    max_bytes: Bytes = 268_435_456
    plugins: PluginNames = ()
    statuses: Statuses = ()
    sampling_ratio: Ratio = 1.0
    payload: Literal["none", "preview", "full"] = "preview"
    aliases: bool = False

    def settings(self) -> DestinationSettings:
        """For the forwarder."""
        tls = TlsSettings(**{name: getattr(self.tls, name) for name in self.tls.__struct_fields__})
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return DestinationSettings(**values | {"tls": tls, "payload": PayloadPolicy(self.payload)})


class ForwardingConfig(Section, frozen=True, kw_only=True):
    """Where executions go beside the history."""

    destinations: tuple[DestinationConfig, ...] = ()


def require_sound(destinations: tuple[DestinationConfig, ...], *, origins: Mapping[str, str]) -> None:
    """Raise `ConfigError` for the first destination whose keys do not go together."""
    seen: set[str] = set()
    for number, one in enumerate(destinations):
        path = f"forwarding.destinations[{number}]"
        problem = _problem(one, seen)
        if problem:
            key, what = problem
            origin = origins.get(f"{path}.{key}", "default")
            where = origins.get("forwarding.destinations", "default") if origin == "default" else origin
            raise ConfigError(f"{path}.{key} is {getattr(one, key)!r} ({where}): {what}")
        seen.add(one.name)


def _problem(one: DestinationConfig, seen: set[str]) -> tuple[str, str] | None:
    """The key, and what is expected of it."""
    if not one.name:
        return "name", "each destination needs one, such as jaeger"
    if one.name in seen:
        return "name", "another destination has that name; its folder is named after it"
    if one.protocol == "file" and not one.path:
        return "path", "the protocol file appends to a file: expected its path, such as data/spans.jsonl"
    if one.protocol in _OTLP:
        return problem_of(one.protocol, one.endpoint, one.tls, example="http://localhost:4318/v1/traces")
    return None


def with_absolute_paths(one: DestinationConfig, base: Path) -> DestinationConfig:
    """Each file that it names, relative to `base`."""
    return msgspec.structs.replace(one, path=absolute(one.path, base), tls=absolute_tls(one.tls, base))


def from_environment(environ: Mapping[str, str]) -> DestinationConfig | None:
    """The destination `env`; None without an endpoint. Raises `ConfigError` for a variable that does not fit."""
    found = backend_of(environ, "traces")
    if found is None:
        return None
    return DestinationConfig(
        name=ENV_NAME,
        protocol=found.protocol,
        endpoint=found.endpoint,
        headers=found.headers,
        compression=found.compression,
        timeout_seconds=found.timeout_seconds,
        tls=found.tls,
    )
