"""What there is to observe of a bridge, and how each figure is read off its parts, in whichever thread.

In: the parts. Out: values with their labels, from counters that are kept anyway. `instruments` says what they mean.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bridge_app.version import VERSION
from exporters.account import REJECTED

if TYPE_CHECKING:
    from bridge_app.accounting import Accounting, Ledger
    from bridge_app.history import History
    from bridge_app.otlp_in import OtlpReceiver
    from bridge_app.plugins.runner import PluginRunner
    from bridge_app.webhooks import Bridge
    from exporters.forwarding.messages import DestinationReport

Value = tuple[float, tuple[str, ...]]
"""A number and its labels, in the order of the instrument's."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What is observed; without tracking some of it is absent."""

    bridge: Bridge
    runner: PluginRunner
    history: History | None = None
    ledger: Ledger | None = None
    otlp: OtlpReceiver | None = None

    @property
    def accounting(self) -> Accounting | None:
        """Where the executions of this process are."""
        return self.ledger.read() if self.ledger else None

    def destinations(self) -> Iterator[tuple[str, DestinationReport]]:
        """Each by its name, and how it does."""
        forwarding = self.history.forwarding if self.history else None
        for one, report in forwarding.each() if forwarding else ():
            yield one.name, report

    def spool(self, name: str) -> Iterator[Value]:
        """One figure of the spool."""
        if self.history:
            yield self.history.spool_json()[name], ()


Read = Callable[[Parts], Iterator[Value]]


def executions(parts: Parts) -> Iterator[Value]:
    """Ended executions by plugin and status."""
    for labels, count in (parts.history.realtime.totals() if parts.history else {}).items():
        yield count, labels


def running(parts: Parts) -> Iterator[Value]:
    """Executions that run now, by plugin."""
    for plugin, count in (parts.history.realtime.running() if parts.history else {}).items():
        yield count, (plugin,)


def accounting(name: str) -> Callable[[Parts], Iterator[Value]]:
    """One figure of the account."""

    def read(parts: Parts) -> Iterator[Value]:
        if (account := parts.accounting) is not None:
            yield getattr(account, name), ()

    return read


def dropped(parts: Parts) -> Iterator[Value]:
    """Executions lost, by reason."""
    for reason, count in (account.dropped if (account := parts.accounting) else {}).items():
        yield count, (reason,)


def processed(parts: Parts) -> Iterator[Value]:
    """Ended spans that reached the spool ("") or did not, by reason."""
    if (account := parts.accounting) is not None:
        rejected = account.dropped.get(REJECTED, 0)
        yield account.stored + account.spooled + rejected, ("",)
        yield from ((count, (reason,)) for reason, count in account.dropped.items() if reason != REJECTED)


def exported(parts: Parts) -> Iterator[Value]:
    """Ended spans that reached the store ("") or that it would not have."""
    if (account := parts.accounting) is not None:
        yield account.stored, ("",)
        yield account.dropped.get(REJECTED, 0), (REJECTED,)


def frames_dropped(parts: Parts) -> Iterator[Value]:
    """Frames lost, by reason."""
    for reason, count in (parts.history.spool_json()["dropped"] if parts.history else {}).items():
        yield count, (reason,)


def forwarded(parts: Parts) -> Iterator[Value]:
    """Spans by destination and result."""
    for name, report in parts.destinations():
        yield report.sent, (name, "sent")
        yield report.rejected, (name, "rejected")
        yield report.dead_letters, (name, "dead_letter")
        yield sum(report.dropped.values()), (name, "dropped")


def forward_dropped(parts: Parts) -> Iterator[Value]:
    """Lost ones by destination and reason."""
    for name, report in parts.destinations():
        yield from ((count, (name, reason)) for reason, count in report.dropped.items())


def waiting(name: str) -> Callable[[Parts], Iterator[Value]]:
    """A figure of what waits, by destination."""

    def read(parts: Parts) -> Iterator[Value]:
        yield from ((getattr(report, name), (destination,)) for destination, report in parts.destinations())

    return read


def forwarder(name: Literal["behind_bytes", "unreadable"]) -> Callable[[Parts], Iterator[Value]]:
    """One figure of the forwarder."""

    def read(parts: Parts) -> Iterator[Value]:
        if parts.history and parts.history.forwarding:
            yield getattr(parts.history.forwarding.state, name), ()

    return read


def missed(parts: Parts) -> Iterator[Value]:
    """Frames that the forwarder did not get to read."""
    if parts.history and parts.history.forwarding:
        yield parts.history.unfollowed, ()


def cleaned(name: Literal["runs", "skipped", "deleted", "payloads_deleted", "freed_bytes"]) -> Read:
    """One figure of the cleanups."""

    def read(parts: Parts) -> Iterator[Value]:
        if parts.history:
            yield getattr(parts.history.cleaner, name), ()

    return read


def plugins(parts: Parts) -> Iterator[Value]:
    """How many there are, by state."""
    states = [info.state.value for info in parts.runner.registry.list()]
    for state in sorted(set(states)):
        yield states.count(state), (state,)


def build(_: Parts) -> Iterator[Value]:
    """Which version this is."""
    yield 1, (VERSION, platform.python_version())
