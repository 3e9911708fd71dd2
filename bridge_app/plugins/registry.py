"""Which plugins there are, in which version they serve, and what is wrong with them. Names are looked up, never joined.

In: what discovery lists, and what a worker says about each version. Out: `PluginInfo` rows, and the `Version` to run.
A new version serves only after a worker has imported it; until then, and if it is broken, the old one does.
A changed helper module makes new versions of all plugins beside it (its old text is not kept).
The folders are looked at in a thread, for that takes 80 ms where they hold 1000 files; all else is the event loop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import hashlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge_app.plugins.calls import Description, Version
from bridge_app.plugins.discovery import NAME_PATTERN, FoundPlugin, Listing, Signature, discover, file_signature

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

logger = logging.getLogger(__name__)
_STAT_INTERVAL_SECONDS = 0.1
_CHANGE_WAIT_SECONDS = 1.0
_UNKNOWN_INTERVAL_SECONDS = 1.0


class PluginState(enum.StrEnum):
    """`stale`: an old version serves because the new one is broken."""

    LOADING = "loading"
    READY = "ready"
    BROKEN = "broken"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A row of the plugin list. `error` is a traceback; `loaded_at` is in nanoseconds since 1970, 0 for never."""

    name: str
    path: str
    methods: tuple[str, ...]
    state: PluginState
    error: str
    loaded_at: int
    doc: str
    note: str


@dataclass(slots=True, eq=False)
class _Entry:
    found: FoundPlugin
    checked: asyncio.Event = field(default_factory=asyncio.Event)
    serving: Version | None = None
    description: Description = field(default_factory=Description)
    error: str = ""
    loaded_at: int = 0
    seen_at: float = 0.0
    task: asyncio.Task[None] | None = None

    def state(self) -> PluginState:
        if self.serving is None:
            return PluginState.BROKEN if self.error else PluginState.LOADING
        return PluginState.STALE if self.error else PluginState.READY


class PluginRegistry:
    """For one asyncio event loop. `describe` imports a version somewhere that may die of it."""

    def __init__(self, directories: tuple[Path, ...], *, describe: Callable[[Version], Awaitable[Description]]) -> None:
        self._directories = directories
        self._describe = describe
        self._entries: dict[str, _Entry] = {}
        self._listing = Listing({}, {}, ())
        self._helpers: dict[Path, frozenset[tuple[str, Signature]]] = {}
        self._generations: dict[Path, int] = {}
        self._look: asyncio.Task[None] | None = None  # the latest
        self._waiting_look: asyncio.Task[None] | None = None  # one that has not begun
        self.loads: dict[tuple[str, str], int] = {}
        """Versions that were looked at, by plugin and `loaded` or `broken`."""
        self._sought_at = -_UNKNOWN_INTERVAL_SECONDS

    @property
    def problems(self) -> tuple[str, ...]:
        """What people should know about the folders: duplicates, wrong names, unreadable files."""
        return self._listing.problems

    def list(self) -> list[PluginInfo]:
        """Every plugin, by name. From any thread."""
        return [self._info(entry) for _, entry in sorted(self._entries.items())]

    def get(self, name: str) -> PluginInfo | None:
        """The plugin of that name, or None."""
        entry = self._entries.get(name)
        return None if entry is None else self._info(entry)

    async def find(self, name: str) -> PluginInfo | None:
        """As `get`; of an unknown name only after a look at the folders: one a second at most, and a second for it."""
        if name not in self._entries and NAME_PATTERN.fullmatch(name):
            now = time.monotonic()
            if now - self._sought_at >= _UNKNOWN_INTERVAL_SECONDS:
                self._sought_at = now
                self.scan()
            if self._look is not None and not self._look.done():
                await asyncio.wait([self._look], timeout=_CHANGE_WAIT_SECONDS)
        return self.get(name)

    async def serving(self, name: str) -> Version | None:
        """The version to run: the newest that loads. None where the plugin is unknown or only broken.

        Looks at the file at most every 100 ms; waits up to a second for a look at the folders where it changed, and up
        to another for the changed file to be checked.
        """
        entry = self._entries.get(name)
        now = time.monotonic()
        if entry is None:
            await self.find(name)
        elif now - entry.seen_at > _STAT_INTERVAL_SECONDS:
            entry.seen_at = now
            if file_signature(entry.found.path) != entry.found.signature:
                await asyncio.wait([self.scan()], timeout=_CHANGE_WAIT_SECONDS)
        entry = self._entries.get(name)
        if entry is None:
            return None
        if not entry.checked.is_set():
            await self._wait_for(entry)
        return entry.serving

    async def _wait_for(self, entry: _Entry) -> None:
        if entry.serving is None:
            await entry.checked.wait()
            return
        try:
            async with asyncio.timeout(_CHANGE_WAIT_SECONDS):
                await entry.checked.wait()
        except TimeoutError:
            return  # the old version serves meanwhile

    def scan(self) -> asyncio.Task[None]:
        """Compare the folders with what is known, in the background; what is new or changed is then checked.

        Gives a task that ends with the comparison. Its look at the folders begins now, or after one that is under way;
        it is shared by all who ask before it begins.
        """
        if self._waiting_look is None:
            self._waiting_look = self._look = asyncio.get_running_loop().create_task(self._look_after(self._look))
        return self._waiting_look

    async def _look_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._waiting_look = None
        try:
            self._compare(await asyncio.to_thread(discover, self._directories))
        except Exception:  # whoever waits must be let go; the next look may do better
            logger.exception("the plugin folders could not be looked at")

    def _compare(self, listing: Listing) -> None:
        for problem in listing.problems:
            if problem not in self._listing.problems:
                logger.warning("%s", problem)
        self._listing = listing
        # A folder that cannot be read, as while it is swapped or mounted, has lost nothing yet: its plugins stay.
        kept = {name for name, entry in self._entries.items() if entry.found.path.parent in listing.unreadable}
        for name in self._entries.keys() - listing.plugins.keys() - kept:
            logger.info("plugin %s is gone: %s was deleted", name, self._entries[name].found.path)
            self._forget(name)
        for directory, files in listing.helpers.items():
            self._notice_helpers(directory, files)
        for name, found in listing.plugins.items():
            if name not in kept:
                self._notice(name, found)

    def _forget(self, name: str) -> None:
        entry = self._entries.pop(name)
        if entry.task is not None:
            entry.task.cancel()
        entry.checked.set()  # who waits for it must be let go

    def _notice_helpers(self, directory: Path, files: frozenset[tuple[str, Signature]]) -> None:
        if files == self._helpers.get(directory):
            return
        self._helpers[directory] = files
        self._generations[directory] = self._generations.get(directory, -1) + 1
        for entry in self._entries.values():
            if entry.found.path.parent == directory:
                self._check(entry)

    def _notice(self, name: str, found: FoundPlugin) -> None:
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = _Entry(found)
        elif entry.found == found:
            return
        entry.found = found
        self._check(entry)

    def _check(self, entry: _Entry) -> None:
        if entry.task is not None:
            entry.task.cancel()
        entry.checked.clear()
        entry.task = asyncio.get_running_loop().create_task(self._verify(entry))

    async def _verify(self, entry: _Entry) -> None:
        found = entry.found
        try:
            version = self._read(found)
            description = await self._describe(version)
        except OSError as error:
            version, description = None, Description(error=f"{found.path} cannot be read: {error.strerror}")
        except Exception as error:  # whoever waits for this check must be let go
            logger.exception("plugin %s could not be checked", found.name)
            version, description = None, Description(error=f"{found.path} could not be checked: {error!r}")
        counted = found.name, "broken" if description.error else "loaded"
        self.loads[counted] = self.loads.get(counted, 0) + 1
        if description.error:
            entry.error = description.error
            kept = "the version before it goes on serving" if entry.serving else "its route answers 503"
            logger.warning("plugin %s does not load; %s\n%s", found.name, kept, description.error)
        else:
            entry.serving, entry.description, entry.error = version, description, ""
            entry.loaded_at = time.time_ns()
            logger.info("plugin %s loaded from %s", found.name, found.path)
        entry.checked.set()

    def _read(self, found: FoundPlugin) -> Version:
        source = found.path.read_bytes()
        digest = hashlib.sha256(source).hexdigest()[:16]
        key = f"{digest}.{self._generations.get(found.path.parent, 0)}"
        return Version(found.name, key, str(found.path), source)

    async def checked(self, *, timeout_seconds: float) -> None:
        """Wait until everything that `scan` found has been checked, but no longer than the timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                if self._look is not None:
                    await asyncio.wait([self._look])
                tasks = [e.task for e in self._entries.values() if e.task is not None]
                if tasks:
                    await asyncio.wait(tasks)

    def close(self) -> None:
        """Stop looking and checking. The list stays readable."""
        for look in (self._look, self._waiting_look):
            if look is not None:
                look.cancel()
        for entry in self._entries.values():
            if entry.task is not None:
                entry.task.cancel()
            entry.checked.set()

    @staticmethod
    def _info(entry: _Entry) -> PluginInfo:
        return PluginInfo(
            name=entry.found.name,
            path=str(entry.found.path),
            methods=entry.description.methods,
            state=entry.state(),
            error=entry.error,
            loaded_at=entry.loaded_at,
            doc=entry.description.doc,
            note=entry.found.note,
        )
