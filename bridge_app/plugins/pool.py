"""Warm worker processes, several at once: hands each call to one of them, replaces those that end, bounds the queue.

In: a version and a call. Out: a `PoolReply`. One spare worker is kept warm beyond `workers`, so that the call after a
killed one need not wait for a start. For one asyncio event loop; nothing here survives a cancelled `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge_app.plugins.process import Reply, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge_app.plugins.calls import RunnerSettings, Version

logger = logging.getLogger(__name__)
SPARE_WORKERS = 1
_START_SECONDS = 15.0


class PoolOverloadedError(Exception):
    """The call found no place in the queue, or waited there too long."""


class PoolStoppedError(Exception):
    """The pool takes no calls any more."""


class PoolStartError(Exception):
    """No worker came up: the interpreter named by `plugins.python` cannot run workers."""


def _how_it_ended(worker: WorkerProcess) -> str:
    """Of one that ended before it was ready: its exit code or signal, and the last line that it printed."""
    status = worker._process.returncode  # noqa: SLF001 - known to nobody else, and wanted here only
    how = f"exit code {status}" if status >= 0 else f"signal {-status}"
    printed = "".join(entry["text"] for entry in json.loads(worker._logs.to_json()))  # noqa: SLF001 - likewise
    last = next((line for line in reversed(printed.splitlines()) if line.strip()), "")
    return f"one ended with {how} before it was ready" + (f" and said {last.strip()[:200]!r}" if last else "")


@dataclass(frozen=True, slots=True)
class PoolReply:
    """A reply with its circumstances."""

    reply: Reply
    logs: str
    worker_pid: int
    queue_ns: int
    run_ns: int


class WorkerPool:
    """At most `settings.workers` calls run at once; up to `settings.max_queue` more wait, first come first served."""

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings
        self._workers: set[WorkerProcess] = set()
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._queue: deque[tuple[asyncio.Future[WorkerProcess], Version]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._released = asyncio.Event()
        self._stopping = False
        self._failed_starts = 0
        self.restarts = 0

    async def start(self) -> None:
        """Return when a first worker is warm; the others follow. Raises `PoolStartError`."""
        try:
            workers = [self._add_worker() for _ in range(self._settings.workers + SPARE_WORKERS)]
        except OSError as error:
            raise PoolStartError(
                f"plugins.python is {self._settings.python!r}: it cannot be started: {error}"
            ) from error
        done, _ = await asyncio.wait([w.ready for w in workers], timeout=_START_SECONDS)
        if not any(future.result() for future in done):
            ended = next((w for w in workers if w.ready.done()), None)
            why = _how_it_ended(ended) if ended else f"none was ready within {_START_SECONDS:g} s"
            await self.stop(0)
            raise PoolStartError(
                f"no plugin worker came up with {self._settings.python!r}: {why}; "
                "try to run it with -c pass, and see plugins.max_memory_bytes",
            )

    async def execute(
        self,
        version: Version,
        fields: tuple[Any, ...] | None,
        *,
        timeout_seconds: float,
        on_span: Callable[[bytes], None] | None = None,
    ) -> PoolReply:
        """Run a call (`fields` of its `Event`), or describe the version (None). Raises the errors above."""
        begun = time.perf_counter_ns()
        worker = await self._acquire(version)
        sent = time.perf_counter_ns()
        known = worker.versions.get(version.name) == version.key
        source = None if known else version.source
        try:
            reply, logs = await worker.ask(
                version.name,
                version.key,
                version.path,
                source,
                fields,
                timeout_seconds=timeout_seconds,
                on_span=on_span,
            )
            # The worker keeps a version only when it loaded; one that did not load is sent again.
            if reply.header is not None and reply.header.get("phase") != "load":
                worker.versions[version.name] = version.key
            if reply.header is None or reply.header["retire"]:
                worker.kill()
        finally:
            self._release(worker)
        return PoolReply(reply, logs.to_json(), worker.pid, sent - begun, time.perf_counter_ns() - sent)

    async def stop(self, grace_seconds: float) -> None:
        """Let running calls end within the grace, interrupt the rest, leave no process behind."""
        self._stopping = True
        for future, _ in self._queue:
            if not future.done():
                future.set_exception(PoolStoppedError())
        self._queue.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._all_idle()
        for worker in list(self._busy):
            worker.interrupt()
        workers = list(self._workers)
        for worker in workers:
            worker.kill()
        for task in self._tasks:
            task.cancel()
        if workers:
            await asyncio.wait([w.exited for w in workers], timeout=5)

    async def _all_idle(self) -> None:
        while self._busy:
            self._released = asyncio.Event()
            await self._released.wait()

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return len(self._queue)

    def worker_pids(self) -> list[int]:
        """Every live worker's process id, the spare included. From any thread."""
        return sorted(worker.pid for worker in list(self._workers))

    async def _acquire(self, version: Version) -> WorkerProcess:
        if self._stopping:
            raise PoolStoppedError
        if not self._queue and (worker := self._take(version)):
            return worker
        if len(self._queue) >= self._settings.max_queue:
            raise PoolOverloadedError(f"{len(self._queue)} calls wait already; plugins.max_queue is that many")
        future: asyncio.Future[WorkerProcess] = asyncio.get_running_loop().create_future()
        self._queue.append((future, version))
        self._serve_queue()
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await future
        except TimeoutError:
            self._return_unused(future)
            raise PoolOverloadedError(
                f"no worker was free within {self._settings.timeout_seconds:g} s; plugins.workers is "
                f"{self._settings.workers}",
            ) from None
        except asyncio.CancelledError:
            self._return_unused(future)
            raise

    def _return_unused(self, future: asyncio.Future[WorkerProcess]) -> None:
        if future.done() and not future.cancelled() and future.exception() is None:
            self._release(future.result())
            return
        future.cancel()
        self._queue = deque(item for item in self._queue if item[0] is not future)

    def _take(self, version: Version) -> WorkerProcess | None:
        if len(self._busy) >= self._settings.workers:
            return None
        while self._idle:
            warm = (w for w in reversed(self._idle) if w.versions.get(version.name) == version.key)
            worker = next(warm, self._idle[-1])
            self._idle.remove(worker)
            if worker.alive:
                self._busy.add(worker)
                return worker
        return None

    def _release(self, worker: WorkerProcess) -> None:
        self._busy.discard(worker)
        self._released.set()
        if worker.alive and worker.calls >= self._settings.recycle_after:
            worker.kill()
        if worker.alive:
            self._idle.append(worker)
        self._serve_queue()

    def _serve_queue(self) -> None:
        while self._queue:
            future, version = self._queue[0]
            if future.done():
                self._queue.popleft()
                continue
            worker = self._take(version)
            if worker is None:
                return
            self._queue.popleft()
            future.set_result(worker)

    def _add_worker(self) -> WorkerProcess:
        worker = WorkerProcess(self._settings, on_exit=self._on_exit)
        self._workers.add(worker)
        worker.ready.add_done_callback(lambda _: self._on_ready(worker))
        return worker

    def _on_ready(self, worker: WorkerProcess) -> None:
        if worker.alive and worker.ready.result():
            self._failed_starts = 0
            self._idle.insert(0, worker)
            self._serve_queue()

    def _on_exit(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if self._stopping:
            return
        self.restarts += 1
        if not worker.ready.result():
            self._failed_starts += 1
        task = asyncio.get_running_loop().create_task(self._replace())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _replace(self) -> None:
        while not self._stopping:
            if self._failed_starts:
                await asyncio.sleep(min(5.0, 0.1 * 2 ** min(self._failed_starts, 10)))
            try:
                self._add_worker()
            except OSError:
                self._failed_starts += 1
                logger.exception("a plugin worker could not be started with %s; trying again", self._settings.python)
            else:
                return
