"""The sections of `config.yaml` as frozen structs: every key, its bounds and its default stand here and nowhere else.

In: values that fit, by keyword. Out: frozen sections, and the URLs of the servers they name. The `description` of each
type is what an error message says was expected; `config_binding` reads it, and checks the bounds. Nothing here reads a
file or the environment, and no secret appears in a `repr`.
"""

from __future__ import annotations

from typing import Annotated, Literal, assert_never
from urllib.parse import quote

import msgspec
from msgspec import Meta

from bridge_app.config_fields import MASK, fields

Port = Annotated[int, Meta(ge=0, le=65535, description="a port from 0 (any free one) to 65535, such as 8001")]
RemotePort = Annotated[int, Meta(ge=1, le=65535, description="a port from 1 to 65535, such as 5432")]
Bytes = Annotated[
    int, Meta(ge=1, le=2**53, description="a size in bytes as a whole number of at least 1, such as 1048576")
]
OptionalSize = Annotated[
    Annotated[int, Meta(ge=1_000_000, le=2**53)] | None,
    Meta(description='a size of at least 1MB with its unit, such as "10GB"', extra={"size": True}),
]
Count = Annotated[int, Meta(ge=1, le=10**9, description="a whole number of at least 1, such as 10")]
OptionalCount = Annotated[Count | None, Meta(description="a whole number of at least 1, such as 100000")]
Days = Annotated[int, Meta(ge=1, le=36_500, description="days as a whole number of at least 1, such as 30")]
OptionalDays = Annotated[Days | None, Meta(description="days as a whole number of at least 1, such as 30")]
Seconds = Annotated[float, Meta(gt=0, le=604_800, description="seconds as a number, such as 30")]
GraceSeconds = Annotated[float, Meta(ge=0, le=604_800, description="seconds as a number, 0 or more, such as 10")]
Duration = Annotated[
    int, Meta(ge=1, le=10**9, description='a duration with its unit, such as "24h"', extra={"duration": True})
]
Name = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00-\x1f]+\Z", description="a text of at least one character")]
File = Annotated[
    str,
    Meta(pattern=r"^(?!:memory:\Z)[^\x00]+\Z", description='the path of a file, such as "data/executions.db"'),
]
OptionalPath = Annotated[str, Meta(pattern=r"^[^\x00]*\Z", description='a path, or "" for the default')]
Folders = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[^\x00]+\Z")], ...],
    Meta(min_length=1, description='a list of at least one folder, such as ["plugins"]'),
]
Words = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...], Meta(description='a list of words, such as ["session_id"]')
]
Links = Annotated[
    dict[Annotated[str, Meta(min_length=1)], str],
    Meta(description='names with URLs, such as {jaeger: "http://localhost:16686/trace/{trace_id}"}'),
]
ContextPolicies = Annotated[
    tuple[Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}=(continue|link|ignore)\Z")], ...],
    Meta(description='a list of NAME=POLICY, the policy continue, link or ignore, such as ["github=link"]'),
]
Password = Annotated[
    str, Meta(description='a text, best a reference such as "${DATABASE_PASSWORD}"', extra={"secret": True})
]
Token = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]*\Z",
        description="printable ASCII without spaces, such as what `openssl rand -hex 32` prints",
        extra={"secret": True, "reference_only": True},
    ),
]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the tree; its `repr` masks secrets."""

    def __repr__(self) -> str:
        secrets = {leaf.path for leaf in fields(type(self)) if leaf.secret}
        shown = (
            f"{name}={MASK if name in secrets and getattr(self, name) else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class ServerConfig(Section, frozen=True, kw_only=True):
    """The listening socket, and what one sender may take of it."""

    host: Name = "127.0.0.1"
    port: Port = 8001
    max_body_bytes: Bytes = 26_214_400
    max_header_bytes: Bytes = 65_536
    max_headers: Count = 100
    header_timeout_seconds: Seconds = 10
    body_timeout_seconds: Seconds = 30
    keep_alive_seconds: Seconds = 75
    max_connections: Count = 1000
    max_scans: Count = 4
    shutdown_grace_seconds: GraceSeconds = 10


class AuthConfig(Section, frozen=True, kw_only=True):
    """Who may read the history and administer."""

    token: Token = ""


class PluginsConfig(Section, frozen=True, kw_only=True):
    """Where plugins are, and the bounds each call runs in."""

    directories: Folders = ("plugins",)
    timeout_seconds: Seconds = 30
    isolation: Literal["process", "thread"] = "process"
    workers: Annotated[int, Meta(ge=1, le=256, description="a whole number from 1 to 256, such as 2")] = 2
    max_queue: Count = 1000
    max_memory_bytes: Bytes = 536_870_912
    max_result_bytes: Bytes = 8_388_608
    max_log_bytes: Bytes = 65_536
    recycle_after: Count = 10_000
    reload_interval_seconds: Seconds = 1.0
    python: OptionalPath = ""
    trace_context: Literal["continue", "link", "ignore"] = "continue"
    trace_context_of: ContextPolicies = ()


class OtlpInConfig(Section, frozen=True, kw_only=True):
    """Spans of other programs, sent to `/v1/traces`."""

    enabled: bool = True
    max_unpacked_bytes: Bytes = 67_108_864
    max_held_spans: Count = 10_000
    hold_seconds: Seconds = 60


class LoggingConfig(Section, frozen=True, kw_only=True):
    """The bridge's own log, on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    format: Literal["text", "json"] = "text"


class SqliteConfig(Section, frozen=True, kw_only=True):
    """The embedded store."""

    database_path: File = "data/executions.db"
    max_connections: Count = 10
    retention_days: Days = 30
    enable_wal: bool = True
    enable_foreign_keys: bool = True


class MysqlConfig(Section, frozen=True, kw_only=True):
    """MySQL or MariaDB."""

    host: Name = "localhost"
    port: RemotePort = 3306
    database: Name = "webhook_bridge"
    username: Name = "webhook_user"
    password: Password = ""
    ssl_mode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    ssl_root_cert: OptionalPath = ""
    max_connections: Count = 20
    retention_days: Days = 90
    connect_timeout_seconds: Seconds = 3
    statement_timeout_seconds: Seconds = 5

    def url(self) -> str:
        """`mysql+pymysql://…`, every part quoted; a host that starts with / is a socket."""
        return _server_url("mysql+pymysql", self, socket_option="unix_socket")


class PostgresqlConfig(Section, frozen=True, kw_only=True):
    """PostgreSQL."""

    host: Name = "localhost"
    port: RemotePort = 5432
    database: Name = "webhook_bridge"
    username: Name = "webhook_user"
    password: Password = ""
    ssl_mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    ssl_root_cert: OptionalPath = ""
    max_connections: Count = 20
    retention_days: Days = 90
    connect_timeout_seconds: Seconds = 3
    statement_timeout_seconds: Seconds = 5

    def url(self) -> str:
        """`postgresql+psycopg://…`, every part quoted; a host that starts with / is a socket's folder."""
        return _server_url("postgresql+psycopg", self, socket_option="host")


class StorageConfig(Section, frozen=True, kw_only=True):
    """Where the history is kept; only the section that `type` names is used."""

    type: Literal["sqlite", "mysql", "postgresql"] = "sqlite"
    auto_migrate: bool = True
    sqlite: SqliteConfig = SqliteConfig()
    mysql: MysqlConfig = MysqlConfig()
    postgresql: PostgresqlConfig = PostgresqlConfig()

    @property
    def selected(self) -> SqliteConfig | MysqlConfig | PostgresqlConfig:
        """The section that `type` names."""
        match self.type:
            case "sqlite":
                return self.sqlite
            case "mysql":
                return self.mysql
            case "postgresql":
                return self.postgresql
            case _:
                assert_never(self.type)


class SpoolConfig(Section, frozen=True, kw_only=True):
    """The durable files between an execution and the store."""

    directory: OptionalPath = ""
    max_bytes: Bytes = 1_073_741_824


class TrackingConfig(Section, frozen=True, kw_only=True):
    """What of an execution is kept, and for how long."""

    enabled: bool = True
    track_input: bool = True
    track_output: bool = True
    track_errors: bool = True
    max_input_size: Bytes = 1_048_576
    max_output_size: Bytes = 1_048_576
    cleanup_interval: Duration = 86_400
    metrics_aggregation_interval: Duration = 3_600
    retention_days: OptionalDays = None
    max_executions_per_plugin: OptionalCount = None
    max_bytes: OptionalSize = None
    rollup_retention_days: Days = 400
    durability: Literal["disk", "process", "off"] = "disk"
    redact_keys: Words = ()
    spool: SpoolConfig = SpoolConfig()


def _server_url(driver: str, store: MysqlConfig | PostgresqlConfig, *, socket_option: str) -> str:
    options: dict[str, str] = {"sslmode": store.ssl_mode}
    if store.ssl_root_cert:
        options["sslrootcert"] = store.ssl_root_cert
    credentials = quote(store.username, safe="")
    if store.password:
        credentials += ":" + quote(store.password, safe="")
    host = f"[{store.host}]" if ":" in store.host and not store.host.startswith("[") else store.host
    address = f"{quote(host, safe='[]:%')}:{store.port}"
    if store.host.startswith("/"):
        address, options = "", {socket_option: store.host, **options}
    database = store.database.replace("%", "%25").replace("?", "%3F")
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    return f"{driver}://{credentials}@{address}/{database}?{query}"
