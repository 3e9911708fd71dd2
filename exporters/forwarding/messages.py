"""What a program and its forwarder say to each other: one JSON line each way. Values only."""

from __future__ import annotations

from typing import Literal

import msgspec

from exporters.otlp.payloads import PayloadPolicy

Protocol = Literal["otlp-http", "otlp-http-json", "otlp-grpc", "console", "file"]


class TlsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a destination is trusted, and how it trusts us."""

    ca_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    insecure: bool = False


class DestinationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One destination. Its headers may hold secrets, so it goes by pipe."""

    name: str
    protocol: Protocol = "otlp-http"
    endpoint: str = ""
    path: str = ""
    """The file that `file` appends to."""
    headers: dict[str, str] = {}
    tls: TlsSettings = TlsSettings()
    compression: Literal["none", "gzip"] = "none"
    timeout_seconds: float = 10.0
    max_bytes: int = 1 << 28
    """What may wait for it on disk."""
    plugins: tuple[str, ...] = ()
    """Only these; empty: all."""
    statuses: tuple[str, ...] = ()
    sampling_ratio: float = 1.0
    payload: PayloadPolicy = PayloadPolicy.PREVIEW
    aliases: bool = False

    @property
    def place(self) -> str:
        """Where that is, for people: of a URL no query, in which some backends want a key."""
        return self.endpoint.partition("?")[0] or self.path


class ForwardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that the forwarder reads."""

    spool_root: str
    instance_id: str
    """Whose spool to follow; every other one below the root whose process is dead is followed to its end."""
    forward_root: str
    """Below it each destination has a folder."""
    destinations: tuple[DestinationSettings, ...]
    resource: dict[str, str]
    """Attributes that all spans have in common, such as service.name."""
    sync: bool = True
    """Whether what waits for a destination is to survive a power cut."""


class DestinationReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one destination does. Counts are of this forwarder's life, and of spans."""

    state: Literal["ok", "retrying"] = "ok"
    last_error: str = ""
    """What it answered to the last request that was not a plain success."""
    sent: int = 0
    """Taken by the destination, without what it rejected of them."""
    rejected: int = 0
    """What it rejected of requests that it took: OTLP's partial success."""
    dead_letters: int = 0
    """What it refused for good; kept in the folder dead/ as far as there is room."""
    dropped: dict[str, int] = {}
    """Lost, by reason."""
    waiting_spans: int = 0
    waiting_bytes: int = 0
    waiting_seconds: float = 0.0
    """About how long the oldest has waited."""


class ForwardReport(msgspec.Struct, frozen=True, kw_only=True):
    """A line that it writes whenever something changed, at most once a second."""

    why: str = ""
    """Why records do not reach the destinations' spools now; empty while they do."""
    behind_bytes: int = 0
    """What the history's spool holds that it has not read."""
    unreadable: int = 0
    """Frames that could not be decoded."""
    destinations: dict[str, DestinationReport] = {}
