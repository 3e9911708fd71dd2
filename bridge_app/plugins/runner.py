"""Runs calls: finds the plugin's version, has a worker (or a thread) run it, and says truthfully what became of it.

In: a `Call`. Out: an `Outcome`, always; only `asyncio.CancelledError` is ever raised by `run`, and then the running
plugin has been killed. It knows nothing of HTTP, spans or records.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from bridge_app.plugins.calls import Call, Description, Isolation, Outcome, OutcomeKind, RunnerSettings, Version
from bridge_app.plugins.pool import PoolOverloadedError, PoolReply, PoolStoppedError, WorkerPool
from bridge_app.plugins.registry import PluginRegistry
from bridge_app.plugins.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)
_START_CHECK_SECONDS = 5.0
_CHECK_AGAIN_SECONDS = 0.1


class PluginRunner:
    """For one asyncio event loop (uvloop or asyncio's own): `start`, any number of `run`s at once, `stop`.

    runner = PluginRunner(RunnerSettings(directories=(Path("plugins"),)))
    await runner.start()
    outcome = await runner.run(Call("echo", data={"hello": "world"}))
    await runner.stop(5)
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self.settings = settings
        threads = settings.isolation is Isolation.THREAD
        self._pool: WorkerPool | ThreadPool = ThreadPool(settings) if threads else WorkerPool(settings)
        self.registry = PluginRegistry(settings.directories, describe=self._describe)
        self._checks = asyncio.Semaphore(settings.workers)  # a folder of many files must not fill the queue
        self._poll: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start workers and check every plugin; slow imports go on in the background. Raises `PoolStartError`."""
        await self._pool.start()
        self.registry.scan()
        await self.registry.checked(timeout_seconds=_START_CHECK_SECONDS)
        self._poll = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self, grace_seconds: float) -> None:
        """Running calls get the grace, the rest end as canceled; afterwards no worker process is left."""
        if self._poll is not None:
            self._poll.cancel()
        self.registry.close()
        await self._pool.stop(grace_seconds)

    def worker_pids(self) -> list[int]:
        """The live worker processes; none in thread mode."""
        return self._pool.worker_pids() if isinstance(self._pool, WorkerPool) else []

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return self._pool.waiting

    @property
    def restarts(self) -> int:
        """Worker processes that ended and were replaced."""
        return self._pool.restarts if isinstance(self._pool, WorkerPool) else 0

    async def run(self, call: Call, *, on_span: Callable[[bytes], None] | None = None) -> Outcome:
        """Run one call to its end. `on_span` gets each span that ends in a worker meanwhile; it must not raise."""
        try:
            return await self._run(call, on_span)
        except PoolOverloadedError as error:
            return Outcome(OutcomeKind.OVERLOADED, error=str(error), error_type="overloaded")
        except PoolStoppedError:
            return Outcome(OutcomeKind.CANCELED, error="the bridge is stopping", error_type="interrupted")
        except Exception as error:  # a caller's delivery must have an answer, whatever we did wrong
            logger.exception("the plugin runner failed at %s", call.plugin)
            return Outcome(OutcomeKind.FAILED, error=f"the plugin runner failed: {error!r}", error_type="unknown_error")

    async def _run(self, call: Call, on_span: Callable[[bytes], None] | None) -> Outcome:
        version = await self.registry.serving(call.plugin)
        info = self.registry.get(call.plugin)
        if info is None:
            return Outcome(
                OutcomeKind.NOT_FOUND, error=f"there is no plugin {call.plugin!r:.80}", error_type="not_found"
            )
        if version is None:
            return Outcome(
                OutcomeKind.UNAVAILABLE,
                error=f"plugin {info.name} does not load: {_last_line(info.error)}",
                error_type="plugin_broken",
                traceback=info.error,
            )
        if call.method not in info.methods:
            text = f"plugin {info.name} handles {', '.join(info.methods)}, not {call.method!r:.20}"
            return Outcome(OutcomeKind.NOT_ALLOWED, error=text, error_type="method_not_allowed", allowed=info.methods)
        reply = await self._pool.execute(
            version, call.fields(), timeout_seconds=self.settings.timeout_seconds, on_span=on_span
        )
        return _outcome(reply)

    async def _describe(self, version: Version) -> Description:
        async with self._checks:
            try:
                result = await self._import(version)
            except PoolStoppedError:
                return Description(error="the file could not be checked: the bridge is stopping")
        header: dict[str, Any] | None = result.reply.header
        if header is None:
            return Description(error=f"while it was imported: {result.reply.ended}")
        if "error" in header:
            return Description(error=header["traceback"] or header["error"])
        return Description(methods=tuple(header["methods"]), doc=str(header["doc"]))

    async def _import(self, version: Version) -> PoolReply:
        while True:
            try:
                return await self._pool.execute(version, None, timeout_seconds=self.settings.timeout_seconds)
            except PoolOverloadedError:  # deliveries fill the queue: that says nothing about the file
                await asyncio.sleep(_CHECK_AGAIN_SECONDS)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.reload_interval_seconds)
            with contextlib.suppress(OSError):  # a folder that vanishes for a moment is looked at again
                self.registry.scan()


def _outcome(result: PoolReply) -> Outcome:
    reply, header = result.reply, result.reply.header or {}
    kind = OutcomeKind.COMPLETED
    error, error_type = str(header.get("error", "")), str(header.get("error_type", ""))
    if reply.header is None:
        error, error_type = reply.ended, reply.error_type
        kind = _ENDED.get(error_type, OutcomeKind.FAILED)
    elif "error" in header:
        kind = OutcomeKind.FAILED
    return Outcome(
        kind=kind,
        body=reply.body if kind is OutcomeKind.COMPLETED else b"",
        error_type_chain=tuple(map(str, header.get("chain", ()))),
        error=error,
        error_type=error_type,
        traceback=str(header.get("traceback", "")),
        logs=result.logs,
        worker_pid=result.worker_pid,
        cold=bool(header.get("cold", False)),
        queue_ns=result.queue_ns,
        run_ns=result.run_ns,
        dropped_spans=int(header.get("dropped_spans", 0)),
    )


_ENDED = {"timeout": OutcomeKind.TIMEOUT, "interrupted": OutcomeKind.CANCELED}


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason is known"])[-1]
