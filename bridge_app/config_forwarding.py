"""The section `forwarding` of `config.yaml`: the destinations, and the one that OpenTelemetry's own variables make.

In: values that fit, and an environment. Out: frozen structs, and from them what the forwarder is to be told. The
variables are https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES of https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/; those of
traces alone win over the general ones. Nothing here opens a connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, cast
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta
from opentelemetry.semconv.attributes.service_attributes import SERVICE_INSTANCE_ID, SERVICE_VERSION

from bridge_app.config_sections import Bytes, OptionalPath, Seconds, Section
from bridge_app.errors import ConfigError
from bridge_app.version import VERSION
from exporters.forwarding.messages import DestinationSettings, TlsSettings
from exporters.otlp.payloads import PayloadPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

Slug = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?\Z",
        description="1 to 63 of a-z 0-9 - _, such as jaeger; its folder has this name",
    ),
]
Endpoint = Annotated[str, Meta(pattern=r"^[!-~]*\Z", description='a URL, such as "http://localhost:4318/v1/traces"')]
Ratio = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1, such as 0.1")]
PluginNames = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...], Meta(description='a list of plugins, such as ["billing"]')
]
Statuses = Annotated[
    tuple[Literal["completed", "failed", "timeout", "canceled"], ...],
    Meta(description="a list of completed, failed, timeout, canceled"),
]
Headers = Annotated[
    dict[
        Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")],
        Annotated[str, Meta(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f-\uffff]*\Z")],
    ],
    Meta(description='headers and their values, such as {authorization: "Bearer ${TOKEN}"}', extra={"secret": True}),
]
ENV_NAME: Final = "env"
FROM_ENVIRONMENT: Final = "environment OTEL_EXPORTER_OTLP_*"
SERVICE_NAME: Final = "webhook-bridge"
_LARGEST_SECONDS: Final = 600.0
_OTLP: Final = ("otlp-http", "otlp-http-json", "otlp-grpc")
_PROTOCOLS: Final = {"grpc": "otlp-grpc", "http/protobuf": "otlp-http", "http/json": "otlp-http-json"}


class TlsConfig(Section, frozen=True, kw_only=True):
    """How a destination is trusted, and how it trusts us."""

    ca_file: OptionalPath = ""
    client_cert_file: OptionalPath = ""
    client_key_file: OptionalPath = ""
    insecure: bool = False


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
    if one.protocol in _OTLP and one.tls.client_key_file and not one.tls.client_cert_file:
        return "tls", "a client key without its certificate: expected client_cert_file too"
    return _problem_of_endpoint(one) if one.protocol in _OTLP else None


def _problem_of_endpoint(one: DestinationConfig) -> tuple[str, str] | None:
    is_grpc = one.protocol == "otlp-grpc"
    try:
        parts = urlsplit(one.endpoint if "://" in one.endpoint or not is_grpc else f"//{one.endpoint}")
        is_fine = bool(parts.hostname) and parts.scheme in ({"", "http", "https"} if is_grpc else {"http", "https"})
        is_fine = is_fine and parts.port != 0
    except ValueError:  # a port that is none
        is_fine = False
    if not is_fine:
        example = "http://localhost:4317" if is_grpc else "http://localhost:4318/v1/traces"
        return "endpoint", f"expected a URL, such as {example}"
    if "@" in parts.netloc:
        return "endpoint", "who may see it would see the password: expected that among the headers"
    return None


def with_absolute_paths(one: DestinationConfig, base: Path) -> DestinationConfig:
    """Each file that it names, relative to `base`."""

    def absolute(text: str) -> str:
        return str((base / Path(text).expanduser()).absolute()) if text else text

    replace = msgspec.structs.replace
    files = {name: absolute(getattr(one.tls, name)) for name in ("ca_file", "client_cert_file", "client_key_file")}
    return replace(one, path=absolute(one.path), tls=replace(one.tls, **files))


def from_environment(environ: Mapping[str, str]) -> DestinationConfig | None:
    """The destination `env`; None without an endpoint. Raises `ConfigError` for a variable that does not fit."""

    def value(name: str) -> tuple[str, str]:
        """Of the variable for traces, else of the general one; and which it was."""
        for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
            if environ.get(variable, "").strip():
                return environ[variable].strip(), variable
        return "", f"OTEL_EXPORTER_OTLP_{name}"

    endpoint, source = value("ENDPOINT")
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not endpoint or is_off or environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return None
    protocol, variable = value("PROTOCOL")
    if protocol and protocol not in _PROTOCOLS:
        raise ConfigError(f"environment {variable} is {protocol!r}: expected one of {', '.join(_PROTOCOLS)}")
    kind = _PROTOCOLS[protocol or "http/protobuf"]
    if kind != "otlp-grpc" and source == "OTEL_EXPORTER_OTLP_ENDPOINT":
        endpoint = endpoint.rstrip("/") + "/v1/traces"
    compression, variable = value("COMPRESSION")
    if compression not in {"", "none", "gzip"}:
        raise ConfigError(f"environment {variable} is {compression!r}: expected none or gzip")
    made = DestinationConfig(
        name=ENV_NAME,
        protocol=cast("Literal['otlp-http', 'otlp-http-json', 'otlp-grpc']", kind),
        endpoint=endpoint,
        headers=_pairs(*value("HEADERS")),
        compression="gzip" if compression == "gzip" else "none",
        timeout_seconds=_seconds(*value("TIMEOUT")),
        tls=TlsConfig(
            ca_file=value("CERTIFICATE")[0],
            client_cert_file=value("CLIENT_CERTIFICATE")[0],
            client_key_file=value("CLIENT_KEY")[0],
            insecure=kind == "otlp-grpc" and value("INSECURE")[0].lower() == "true",
        ),
    )
    problem = _problem(made, set())
    if problem:
        raise ConfigError(f"environment {source} is {environ[source]!r}: {problem[1]}")
    return with_absolute_paths(made, Path.cwd())


def resource(environ: Mapping[str, str]) -> dict[str, str]:
    """Attributes of the resource; the instance's id is each span's own."""
    given = _pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES")
    given.pop(SERVICE_INSTANCE_ID, None)
    name = environ.get("OTEL_SERVICE_NAME", "").strip() or given.get("service.name") or SERVICE_NAME
    return {SERVICE_VERSION: VERSION} | given | {"service.name": name}


def _pairs(text: str, variable: str) -> dict[str, str]:
    """`a=1,b=2`, percent-encoded, as W3C Baggage has it."""
    found = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, separator, value = part.partition("=")
        if not separator or not name.strip():
            raise ConfigError(
                f"environment {variable} holds a pair without a name or =: expected name=value,name=value"
            )
        found[unquote(name.strip())] = unquote(value.strip())
    return found


def _seconds(text: str, variable: str) -> float:
    """The specification has milliseconds; what is below a second there was meant in seconds, as Python's SDK has it."""
    try:
        given = float(text or 10_000)
    except ValueError:
        raise ConfigError(f"environment {variable} is {text!r}: expected milliseconds, such as 10000") from None
    if not given > 0:
        raise ConfigError(f"environment {variable} is {text!r}: expected milliseconds, such as 10000")
    return min(given / 1000 if given >= 1000 else given, _LARGEST_SECONDS)
