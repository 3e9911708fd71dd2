"""Forwarding as the bridge runs it: destinations from the configuration, the forwarder in a process of its own.

In: a `Config` and the environment. Out: how each destination does. This process only starts the forwarder, hears its
reports and tells it to stop: what is forwarded is read from the history's spool. See `exporters.forwarding`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge_app.config_otlp import resource
from exporters.forwarding.messages import DestinationReport, ForwardReport, ForwardSettings
from exporters.forwarding.process import ForwardProcess
from exporters.spool_reader import bytes_waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bridge_app.config import Config
    from exporters.forwarding.messages import DestinationSettings


class Forwarding:
    """One bridge's forwarder."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.destinations = settings.destinations
        self._process = ForwardProcess(settings)

    @classmethod
    def from_config(cls, config: Config, environ: Mapping[str, str], *, instance_id: str) -> Forwarding | None:
        """As configured; None where there is no destination."""
        if not config.forwarding.destinations:
            return None
        return cls(
            ForwardSettings(
                spool_root=str(config.spool_directory()),
                instance_id=instance_id,
                forward_root=str(config.forward_directory()),
                destinations=tuple(one.settings() for one in config.forwarding.destinations),
                resource=resource(environ),
                sync=config.execution_tracking.durability == "disk",
            )
        )

    def start(self) -> None:
        """Begin to forward, once the history's spool is there."""
        self._process.start()

    def begin_stop(self, *, timeout_seconds: float) -> None:
        """Let the forwarder read what the spool holds, and deliver what it can in that time."""
        self._process.begin_stop(timeout_seconds=timeout_seconds)

    def end_stop(self, *, timeout_seconds: float) -> None:
        """Wait for it; what is left goes out after the next start."""
        self._process.end_stop(timeout_seconds=timeout_seconds)

    @property
    def state(self) -> ForwardReport:
        """What the forwarder said last, with what earlier ones had counted."""
        return self._process.state

    @property
    def restarts(self) -> int:
        """How often a forwarder was started again."""
        return self._process.restarts

    @property
    def pid(self) -> int | None:
        """The forwarder's process id, while there is one."""
        return self._process.pid

    def each(self) -> list[tuple[DestinationSettings, DestinationReport]]:
        """The destinations, in the order of the configuration, and how each does."""
        reports = self.state.destinations
        return [(one, reports.get(one.name, DestinationReport())) for one in self.destinations]


def waiting_in(folder: Path) -> int:
    """Bytes that wait for the destination of this folder, whether or not a bridge runs."""
    slots = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sum(map(bytes_waiting, slots))


def left_behind(root: Path, names: Iterable[str]) -> dict[str, int]:
    """What waits in folders of destinations that are none of these any more, by name."""
    known = set(names)
    folders = [path for path in root.iterdir() if path.is_dir() and path.name not in known] if root.is_dir() else []
    sizes = {folder.name: waiting_in(folder) for folder in sorted(folders)}
    return {name: size for name, size in sizes.items() if size}
