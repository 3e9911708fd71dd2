"""The same plugin contract in threads of the server (`plugins.isolation: thread`): cheaper, and without isolation.

A timeout can only abandon a thread, never stop it; a crash takes the server along; stdout and stderr go where the
server's go. What a plugin logs through its own logger is kept. Choose it for trusted plugins only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry import context

from bridge_app.plugins import answers, loader
from bridge_app.plugins.contract import LOGGER_PREFIX, Event, plugin_logger
from bridge_app.plugins.logs import LogBuffer
from bridge_app.plugins.pool import PoolOverloadedError, PoolReply, PoolStoppedError
from bridge_app.plugins.process import Reply
from bridge_app.plugins.tracing import call_context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge_app.plugins.calls import RunnerSettings, Version

_current_logs: ContextVar[LogBuffer | None] = ContextVar("plugin_logs", default=None)


class _ContextHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logs = _current_logs.get()
        if logs is None:
            return
        try:
            logs.line(record.levelname, self.format(record))
        except Exception:  # noqa: BLE001 - logging must not raise into the plugin
            self.handleError(record)


class ThreadPool:
    """A daemon thread per call, `settings.workers` at once. Abandoned threads are counted, and no longer limited."""

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings
        self._free = asyncio.Semaphore(settings.workers)
        self.waiting = 0
        """Calls that wait for a thread."""
        self._running: set[asyncio.Future[Reply]] = set()
        self._loaded: dict[str, loader.LoadedPlugin] = {}
        self._load_lock = threading.Lock()
        self._handler = _ContextHandler()
        self._stopping = False
        self.abandoned = 0

    async def start(self) -> None:
        """Make the contract importable and plugin loggers heard."""
        loader.install_aliases()
        logging.getLogger(LOGGER_PREFIX).addHandler(self._handler)

    async def stop(self, grace_seconds: float) -> None:
        """Give running calls the grace; abandon the rest."""
        self._stopping = True
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace_seconds)
            for future in late:
                _resolve(
                    future, Reply(None, ended="the bridge stopped before the plugin was done", error_type="interrupted")
                )
        logging.getLogger(LOGGER_PREFIX).removeHandler(self._handler)

    async def execute(
        self,
        version: Version,
        fields: tuple[Any, ...] | None,
        *,
        timeout_seconds: float,
        on_span: Callable[[bytes], None] | None = None,  # noqa: ARG002 - the signature is WorkerPool's
    ) -> PoolReply:
        """As `WorkerPool.execute`; spans of a thread are this process's own, so `on_span` is not called."""
        begun = time.perf_counter_ns()
        if self._stopping:
            raise PoolStoppedError
        if self.waiting >= self._settings.max_queue:
            raise PoolOverloadedError(f"{self.waiting} calls wait already; plugins.max_queue is that many")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise PoolOverloadedError(f"no thread was free within {self._settings.timeout_seconds:g} s") from None
        finally:
            self.waiting -= 1
        sent = time.perf_counter_ns()
        logs = LogBuffer(self._settings.max_log_bytes)
        try:
            reply = await self._run(version, fields, logs=logs, timeout_seconds=timeout_seconds)
        finally:
            self._free.release()
        return PoolReply(reply, logs.to_json(), os.getpid(), sent - begun, time.perf_counter_ns() - sent)

    async def _run(
        self, version: Version, fields: tuple[Any, ...] | None, *, logs: LogBuffer, timeout_seconds: float
    ) -> Reply:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        self._running.add(future)

        def work() -> None:
            _current_logs.set(logs)
            if fields is not None:
                context.attach(call_context(*fields[-3:]))  # of this thread, which serves no other call
            reply = self._perform(version, fields)
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, future, reply)

        threading.Thread(target=work, name=f"plugin {version.name}", daemon=True).start()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await future
        except TimeoutError:
            self.abandoned += 1
            text = f"no answer within {timeout_seconds:g} s: the thread was abandoned and may still run"
            return Reply(None, ended=f"{text} (plugins.isolation is thread)", error_type="timeout")
        finally:
            self._running.discard(future)

    def _perform(self, version: Version, fields: tuple[Any, ...] | None) -> Reply:
        header: dict[str, Any] = {"phase": "load", "cold": False}
        try:
            plugin = self._load(version, header)
            if fields is None:
                return Reply(header | {"methods": plugin.methods, "doc": plugin.doc})
            header["phase"] = "run"
            result = plugin.call(Event(*(*fields, plugin_logger(version.name))), wait=_wait)
            body = answers.encode_result(result)
        except BaseException as error:  # noqa: BLE001 - SystemExit included: it becomes the answer
            return Reply(header | answers.failure(error))
        limit = self._settings.max_result_bytes
        if len(body) > limit:
            return Reply(header | answers.too_large(len(body), limit=limit))
        return Reply(header, body)

    def _load(self, version: Version, header: dict[str, Any]) -> loader.LoadedPlugin:
        with self._load_lock:
            plugin = self._loaded.get(version.name)
            if plugin is None or plugin.key != version.key:
                header["cold"] = True
                plugin = loader.load(version.name, key=version.key, path=version.path, source=version.source)
                self._loaded[version.name] = plugin
            return plugin


def _resolve(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():
        future.set_result(reply)


def _wait(awaitable: Awaitable[Any]) -> Any:
    async def outcome() -> Any:
        return await awaitable

    return asyncio.run(outcome())
