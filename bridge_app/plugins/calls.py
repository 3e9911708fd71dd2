"""The words between the program and its plugins: a call, its outcome, the runner's settings. Frozen values, no I/O."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MEBIBYTE = 1 << 20


class Isolation(enum.StrEnum):
    """Where plugins run."""

    PROCESS = "process"
    THREAD = "thread"


class OutcomeKind(enum.StrEnum):
    """How a call ended, or why it did not begin."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELED = "canceled"
    UNAVAILABLE = "unavailable"  # the plugin's only version is broken
    NOT_ALLOWED = "not_allowed"  # the plugin does not handle the method; `Outcome.allowed` says which it does
    NOT_FOUND = "not_found"
    OVERLOADED = "overloaded"  # the queue is full, or the wait in it took too long


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Mirrors the section `plugins` of the configuration. Sizes in bytes; `max_memory_bytes` 0 means no limit."""

    directories: tuple[Path, ...]
    timeout_seconds: float = 30.0
    isolation: Isolation = Isolation.PROCESS
    workers: int = 2
    max_queue: int = 1000
    max_memory_bytes: int = 512 * MEBIBYTE
    max_result_bytes: int = 8 * MEBIBYTE
    max_log_bytes: int = 64 * 1024
    recycle_after: int = 10_000
    reload_interval_seconds: float = 1.0
    python: str = sys.executable


@dataclass(frozen=True, slots=True)
class Call:
    """One delivery for one plugin. `data` is JSON-like and already parsed; header names are lower-case."""

    plugin: str
    method: str = "POST"
    data: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    body: bytes = b""
    delivery_id: str = ""
    execution_id: str = ""
    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""

    def fields(self) -> tuple[Any, ...]:
        """What `contract.Event` takes, in its order."""
        return (
            self.data,
            self.method,
            self.headers,
            self.query,
            self.path,
            self.body,
            self.delivery_id,
            self.execution_id,
            self.traceparent,
            self.tracestate,
            self.baggage,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call. `body` is the result as UTF-8 JSON, to be sent as it is; empty unless completed.

    `error_type` is empty where the caller is to classify by `error_type_chain` (qualified class names, the exception's
    own first, then its bases, then those of its causes). `logs` is a JSON list of `{"stream", "level"?, "text"}`;
    streams are not ordered among each other beyond what the pipes tell.
    """

    kind: OutcomeKind
    body: bytes = b""
    error_type_chain: tuple[str, ...] = ()
    error: str = ""
    error_type: str = ""
    traceback: str = ""
    logs: str = "[]"
    worker_pid: int = 0
    cold: bool = False
    queue_ns: int = 0
    run_ns: int = 0
    dropped_spans: int = 0
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One text of a plugin file. `key` changes when the text, or a helper module beside it, does."""

    name: str
    key: str
    path: str
    source: bytes


@dataclass(frozen=True, slots=True)
class Description:
    """What importing a version told: its methods, or why it is broken."""

    methods: tuple[str, ...] = ()
    doc: str = ""
    error: str = ""
