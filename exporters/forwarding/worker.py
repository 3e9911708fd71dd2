"""The forwarder: a process that follows the history's spools and brings them to every destination.

    python -P -m exporters.forwarding.worker        (started by `exporters.forwarding.process`, for it alone)

Why a process: what it does would take turns with the serving thread at the interpreter lock, and a library that sends
may hang or leak. It follows its parent's spool and, to their end, those of dead processes; each destination has a spool
and a thread of its own. It reports by lines on standard output, and ends when its parent does.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from exporters.child_process import serve_parent, step_back, write_line
from exporters.follower import FOLLOWER_CURSOR, is_followed_up
from exporters.forwarding.delivery import Delivery
from exporters.forwarding.feed import Feed
from exporters.forwarding.messages import ForwardReport, ForwardSettings
from exporters.forwarding.outlets import Outlets
from exporters.forwarding.selection import Rule, Selector
from exporters.orphans import orphans
from exporters.otlp.wire import RequestEncoder
from exporters.worker_process import Finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.forwarding.messages import DestinationSettings
    from exporters.spool_directory import SpoolDirectory

_LOOK_EVERY_SECONDS: Final = 0.25
"""How long frames gather between two looks: each look that finds some costs a sync of each destination's spool."""
_ADOPT_EVERY_SECONDS: Final = 2.0
_REPORT_EVERY_SECONDS: Final = 1.0
_ADOPT_AT_ONCE: Final = 16


class Forwarder:
    """One parent's spool, the orphans beside it, and all destinations."""

    def __init__(self, settings: ForwardSettings, *, report: Callable[[ForwardReport], object]) -> None:
        self._settings = settings
        self._say = report
        self._said: ForwardReport | None = None
        self._why = "the forwarder is starting"
        self._root = Path(settings.spool_root)
        self._rules = [_rule(one) for one in settings.destinations]
        self._encoder = RequestEncoder(settings.resource)
        self._outlets: Outlets | None = None
        self._deliveries: list[Delivery] = []
        self._feed: Feed | None = None
        self._unreadable = self._undecided = 0
        self._finish_at: float | None = None
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forward-feed", daemon=True)

    def start(self) -> None:
        """Open the destinations' spools, and keep trying; then forward."""
        self._thread.start()
        threading.Thread(target=self._tell_on, name="forward-report", daemon=True).start()

    def finish(self, *, timeout_seconds: float) -> None:
        """Read what the history's spool holds, and deliver for so long; what is left waits for the next start."""
        self._finish_at = time.monotonic() + timeout_seconds
        self._stopping.set()
        self._done.wait(timeout_seconds)
        for delivery in self._deliveries:
            delivery.finish(deadline=self._finish_at)
        self._tell()

    def _run(self) -> None:
        adopt_at = 0.0
        while True:
            is_last = self._stopping.is_set()
            try:
                moved = self._move()
                self._why = ""
                if time.monotonic() >= adopt_at and not is_last:
                    adopt_at = time.monotonic() + _ADOPT_EVERY_SECONDS
                    self._adopt()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and tried again
                moved, self._why = 0, f"{type(error).__name__}: {error}"
            if is_last and not moved:
                break
            if not moved:
                self._stopping.wait(_LOOK_EVERY_SECONDS)
        self._done.set()

    def _move(self) -> int:
        if self._outlets is None:
            self._open()
        path = self._root / self._settings.instance_id
        if self._feed is None:
            if not path.is_dir():
                return 0
            self._feed = self._feed_of(path, is_growing=True)
        moved = self._feed.once(now=time.monotonic())
        return moved if moved >= 256 or self._stopping.is_set() else 0

    def _open(self) -> None:
        outlets = Outlets(self._settings)
        self._outlets = outlets
        self._deliveries = [
            Delivery(one.settings, own=one.spool, path=one.path, encoder=self._encoder) for one in outlets.all
        ]
        for delivery in self._deliveries:
            delivery.start()

    def _feed_of(self, path: Path, *, is_growing: bool) -> Feed:
        assert self._outlets is not None  # noqa: S101 - narrows a type; cannot be false
        return Feed(
            path,
            selector=Selector(self._rules),
            outlets=self._outlets,
            is_stopping=self._is_out_of_time,
            is_growing=is_growing,
        )

    def _is_out_of_time(self) -> bool:
        return self._finish_at is not None and time.monotonic() > self._finish_at

    # --- what dead processes left

    def _adopt(self) -> None:
        for orphan in orphans(self._root, limit=_ADOPT_AT_ONCE, is_wanted=_has_unread):
            try:
                self._follow_to_end(orphan)
            finally:
                orphan.release()  # the drain removes it, once it has it too
        for delivery in self._deliveries:
            folder = Path(self._settings.forward_root) / delivery.settings.name
            for left in orphans(folder, limit=_ADOPT_AT_ONCE):
                delivery.adopt(left)

    def _follow_to_end(self, orphan: SpoolDirectory) -> None:
        feed = self._feed_of(orphan.path, is_growing=False)
        try:
            while feed.once(now=time.monotonic()):
                if self._is_out_of_time():
                    return
            feed.end(died_ns=orphan.last_alive_ns)
        finally:
            self._unreadable += feed.unreadable
            self._undecided += feed.selector.undecided
            feed.reader.close()

    # --- reports

    def _tell_on(self) -> None:
        while not self._stopping.is_set():
            self._tell()
            self._stopping.wait(_REPORT_EVERY_SECONDS)

    def _tell(self) -> None:
        try:
            report = self._report()
        except Exception as error:  # noqa: BLE001 - a report that cannot be made is one, too
            report = ForwardReport(why=f"{type(error).__name__}: {error}")
        if report != self._said:
            self._said = report
            self._say(report)

    def _report(self) -> ForwardReport:
        feed, outlets = self._feed, self._outlets
        undecided = self._undecided + (feed.selector.undecided if feed else 0)
        destinations = {}
        for delivery in self._deliveries:
            name = delivery.settings.name
            more = {"undecided": undecided if not _rule(delivery.settings).wants_all else 0}
            more["not_encoded"] = outlets.not_encoded[name] if outlets else 0
            report = delivery.report()
            dropped = report.dropped | {reason: count for reason, count in more.items() if count}
            destinations[name] = msgspec.structs.replace(report, dropped=dropped)
        return ForwardReport(
            why=self._why,
            behind_bytes=feed.reader.bytes_behind if feed else 0,
            unreadable=self._unreadable + (feed.unreadable if feed else 0),
            destinations=destinations,
        )


def _rule(settings: DestinationSettings) -> Rule:
    return Rule(frozenset(settings.plugins), frozenset(settings.statuses), settings.sampling_ratio)


def _has_unread(path: Path) -> bool:
    return (path / FOLLOWER_CURSOR).exists() and not is_followed_up(path)


def main() -> None:
    """Serve the parent that started this process; it ends when the parent's end of the pipe does."""
    step_back()
    serve_parent(_begin)


def _begin(line: bytes) -> Callable[[bytes], None]:
    worker = Forwarder(msgspec.json.decode(line, type=ForwardSettings), report=write_line)
    worker.start()
    return lambda last: worker.finish(timeout_seconds=msgspec.json.decode(last, type=Finish).timeout_seconds)


if __name__ == "__main__":
    main()
