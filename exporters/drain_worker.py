"""The drain process: moves spools into the store, apart from the program that serves.

    python -P -m exporters.drain_worker        (started by `exporters.drain_process`, for it alone)

Why a process: in a thread the same work took 0.16 ms of CPU a record and 0.2 ms more of the serving thread, by taking
turns at the interpreter lock. It follows its parent's spool, takes in those of dead processes, ends what these left
running as interrupted, and reports by lines on standard output. It ends when its parent does.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from exporters.child_process import serve_parent, step_back, write_line
from exporters.drain import Drain, catch_up, drain_some
from exporters.drain_messages import DrainReport, DrainSettings
from exporters.follower import is_followed_up
from exporters.isolation import Isolation
from exporters.orphans import orphans
from exporters.spool_reader import SpoolReader
from exporters.sql import ExecutionRecordExporter
from exporters.worker_process import Finish
from otel_tracker.errors import StorageError
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.drain import Delivered
    from exporters.spool_directory import SpoolDirectory
    from otel_tracker.ports import ExecutionStore

_KEEP_SECONDS: Final = 1.0
_ADOPT_SECONDS: Final = 2.0
_ADOPT_AT_ONCE: Final = 16


class DrainWorker:
    """One parent's spool, and the orphans beside it."""

    def __init__(self, settings: DrainSettings, *, report: Callable[[DrainReport], object]) -> None:
        self._settings = settings
        self._say = report
        self._saying = threading.Lock()
        self._said: DrainReport | None = None
        self._why = "the store is not open yet"
        self._store: ExecutionStore | None = None
        self._exporter = ExecutionRecordExporter()
        self._root = Path(settings.spool_root)
        self._drain = Drain(self._exporter, SpoolReader(self._root / settings.instance_id), on_change=self._tell)
        self._adopted = self._rejected = self._corrupt = self._interrupted = 0
        self._isolations: dict[str, Isolation] = {}
        self._unburied: Counter[str] = Counter()
        self._left_to_follower: set[str] = set()
        self._tried = threading.Event()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="drain-keeper", daemon=True)

    def start(self) -> None:
        """Open the store, and keep trying; then drain and adopt."""
        self._keeper.start()

    def finish(self, *, timeout_seconds: float) -> None:
        """Deliver what there is, for so long."""
        deadline = time.monotonic() + timeout_seconds
        self._tried.wait(timeout_seconds)  # a process told to finish while it starts has something to deliver, too
        self._stopping.set()
        if self._store is not None:
            self._drain.finish(timeout_seconds=max(0.0, deadline - time.monotonic()))
        self._tell()

    def _keep(self) -> None:
        adopt_at = 0.0
        while not self._stopping.is_set():
            pause = _KEEP_SECONDS
            try:
                store = self._store or self._open()
                self._why = ""
                if time.monotonic() >= adopt_at:
                    adopt_at = time.monotonic() + _ADOPT_SECONDS
                    is_narrowing = any(isolation.is_narrowing for isolation in self._isolations.values())
                    if self._adopt(store) == _ADOPT_AT_ONCE or is_narrowing:
                        adopt_at, pause = 0.0, 0.05  # there are more
            except StorageError as error:
                self._why = str(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and tried again
                self._why = f"{type(error).__name__}: {error}"
            self._tell()
            self._stopping.wait(pause)

    def _open(self) -> ExecutionStore:
        arguments: dict[str, Any] = dict(self._settings.store)
        try:
            store = self._store = open_store(arguments.pop("url"), **arguments)
            self._exporter.use(store)
            self._drain.start()
        finally:
            self._tried.set()
        return store

    def _adopt(self, store: ExecutionStore) -> int:
        waiting = orphans(self._root, limit=_ADOPT_AT_ONCE, is_wanted=self._is_wanted)
        found = len(waiting)
        try:
            while waiting and not self._stopping.is_set():
                if self._take_in(waiting[0], store):
                    waiting.pop(0)
                else:  # the others need not wait for it
                    waiting.pop(0).release()
        finally:  # what was not taken in is anybody's again, this process's too
            for orphan in waiting:
                orphan.release()
        return found

    def _take_in(self, orphan: SpoolDirectory, store: ExecutionStore) -> bool:
        """Whether it is empty now; False where one frame holds it up, which `Isolation` sees to."""
        reader = SpoolReader(orphan.path, is_growing=False)
        isolation = self._isolations.setdefault(orphan.instance_id, Isolation(self._exporter))
        try:
            catch_up(reader, self._exporter)
            while frames := drain_some(reader, self._exporter, isolation, self._count):
                self._adopted += frames
                self._tell()
        except StorageError:
            if not isolation.is_suspicious:
                raise
            return False
        finally:
            reader.close()
        interrupted = store.interrupt(orphan.instance_id, now=orphan.last_alive_ns)
        self._interrupted += interrupted
        self._corrupt += reader.cursor.corrupt
        self._unburied.update(reader.dead.lost)
        is_new = orphan.instance_id not in self._left_to_follower
        self._tell([(orphan.instance_id, interrupted)] if is_new else None)
        del self._isolations[orphan.instance_id]
        if self._settings.keeps_for_follower and not is_followed_up(orphan.path):
            self._left_to_follower.add(orphan.instance_id)
            orphan.release()
        else:
            self._left_to_follower.discard(orphan.instance_id)
            orphan.remove()
        return True

    def _is_wanted(self, path: Path) -> bool:
        """Not one that was taken in and waits for its follower; it is taken once more, to be removed."""
        return path.name not in self._left_to_follower or is_followed_up(path)

    def _count(self, delivered: Delivered) -> None:
        self._rejected += len(delivered.rejected)

    def _tell(self, taken_in: list[tuple[str, int]] | None = None) -> None:
        report = DrainReport(
            is_open=self._store is not None,
            why=self._why or self._drain.last_error,
            rejected=self._rejected + self._drain.rejected,
            lost=self._drain.lost,
            corrupt_frames=self._corrupt,
            adopted=self._adopted,
            interrupted=self._interrupted,
            unburied=dict(self._unburied + Counter(self._drain.reader.dead.lost)),
            taken_in=taken_in or [],
        )
        with self._saying:
            if report != self._said:
                self._said = report
                self._say(report)


def main() -> None:
    """Serve the parent that started this process; it ends when the parent's end of the pipe does."""
    step_back()
    serve_parent(_begin)


def _begin(line: bytes) -> Callable[[bytes], None]:
    worker = DrainWorker(msgspec.json.decode(line, type=DrainSettings), report=write_line)
    worker.start()
    return lambda last: worker.finish(timeout_seconds=msgspec.json.decode(last, type=Finish).timeout_seconds)


if __name__ == "__main__":
    main()
