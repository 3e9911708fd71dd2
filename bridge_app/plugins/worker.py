"""A warm worker process: runs one plugin call after the other, in whatever interpreter starts this file.

    python -I worker.py CHANNEL_FD PARENT_PID MAX_MEMORY_BYTES MAX_RESULT_BYTES MAX_LOG_BYTES

In, on the channel: u32 little-endian length, marshal (format 4, which every Python ≥ 3.4 reads) of
`(sequence, plugin, key, path, source or None, call or None)`; a call of None asks for a description only.
Out: u32 length, one kind byte, payload. Kinds: H hello; L a log line as JSON; S a span that ended, as JSON (see
`worker_spans`); R u32 header length, JSON header, result.
Nothing that comes out can run code in the reader. Standard library only. Descriptors 1 and 2 belong to the plugin and
are read by the parent; the channel lives on a high descriptor. Not a sandbox: a plugin that means harm can do harm.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import importlib.util
import json
import logging
import marshal
import os
import resource
import signal
import socket
import struct
import sys
import termios
import threading
import types
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from bridge_app.plugins.loader import LoadedPlugin

_HERE = Path(__file__).resolve().parent
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_HIGH_DESCRIPTOR = 512
_LENGTH = struct.Struct("<I")
_WATCHED = ("opentelemetry.trace", "httpx", "requests", "aiohttp", "urllib3")


class Channel:
    """The way to the parent. Only the process that opened it writes to it: a forked child must not answer."""

    def __init__(self, fd: int, *, max_log_bytes: int) -> None:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_DESCRIPTOR)
        os.close(fd)
        self._socket = socket.socket(fileno=high)
        self._socket.settimeout(None)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._max_log_bytes = max_log_bytes
        self._log_room = 0
        self.dropped_log_bytes = 0
        self._buffer = bytearray()

    def begin(self) -> None:
        """A new call: its log lines have all the room again."""
        self._log_room, self.dropped_log_bytes = self._max_log_bytes, 0

    def receive(self) -> Any:
        """The next message; None at the parent's end."""
        while len(self._buffer) < 4 or len(self._buffer) < 4 + _LENGTH.unpack_from(self._buffer)[0]:
            chunk = self._socket.recv(1 << 16)  # below malloc's mmap threshold
            if not chunk:
                return None
            self._buffer += chunk
        end = 4 + _LENGTH.unpack_from(self._buffer)[0]
        message = marshal.loads(memoryview(self._buffer)[4:end])  # noqa: S302 - from the parent that started us
        del self._buffer[:end]
        return message

    def send(self, kind: bytes, payload: bytes) -> None:
        """One frame; nothing in a forked child."""
        if os.getpid() == self._owner:
            with self._lock:
                self._socket.sendall(_LENGTH.pack(len(payload)) + kind + payload)

    def log(self, level: str, text: str) -> None:
        """A log line, while there is room; what is left out is counted."""
        size = len(text)
        if size > self._log_room:
            self.dropped_log_bytes += size
            return
        self._log_room -= size
        self.send(b"L", json.dumps({"level": level, "text": text}).encode())


class ChannelHandler(logging.Handler):
    """Every log record of the process, sent the moment it is made: a crash does not take it along."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send at once."""
        try:
            self._channel.log(record.levelname, self.format(record))
        except Exception:  # noqa: BLE001 - logging must not raise into the plugin; stderr is kept too
            self.handleError(record)


class Worker:
    """The loop: a message in, an answer out, until the parent is gone or this process is no longer clean."""

    def __init__(self, channel: Channel, *, max_result_bytes: int) -> None:
        from bridge_app.plugins import answers, contract, imports, loader  # noqa: PLC0415 - after `_adopt_package` only

        self._answers, self._contract, self._loader = answers, contract, loader
        self._channel = channel
        self._max_result_bytes = max_result_bytes
        self._loaded: dict[str, LoadedPlugin] = {}
        self._loggers: dict[str, logging.Logger] = {}
        self._pid = os.getpid()
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._outputs = self._output_files()
        self._tracing: Any = None  # of `tracing`, which this file must not know
        self._trace_context: tuple[str, str, str] = ("", "", "")
        sys.meta_path.insert(0, imports.ImportWatch(_WATCHED, self._imported))

    def serve(self) -> None:
        """Answer until told to end."""
        self._channel.send(b"H", b"{}")
        while (message := self._channel.receive()) is not None:
            sequence, *request = message
            self._channel.begin()
            header: dict[str, Any] = {"sequence": sequence}
            body = b""
            try:
                body = self._perform(header, *request)
            except BaseException as error:  # noqa: BLE001 - SystemExit, MemoryError, all of it becomes the answer
                self._leave_if_forked()
                header |= self._answers.failure(error, skip_path=str(_HERE))
            self._leave_if_forked()
            header["retire"] = self._uncleanness(header)
            header["dropped_log_bytes"] = self._channel.dropped_log_bytes
            if self._tracing is not None and self._tracing.dropped:
                header["dropped_spans"] = self._tracing.dropped
            header["printed"] = _unread(1) or _unread(2)
            text = json.dumps(header).encode()
            self._channel.send(b"R", _LENGTH.pack(len(text)) + text + body)
            if header["retire"]:
                return

    def _perform(
        self, header: dict[str, Any], name: str, key: str, path: str, source: bytes | None, call: Any
    ) -> bytes:
        self._trace_context = call[-3:] if call else ("", "", "")
        if self._tracing is not None:
            self._tracing.begin(*self._trace_context)
        plugin = self._loaded.get(name)
        header["cold"] = plugin is None or plugin.key != key
        if plugin is None or plugin.key != key:
            header["phase"] = "load"
            if source is None:
                raise RuntimeError(f"worker {self._pid} was asked for {name} {key}, and never given its source")
            self._loggers[name] = self._contract.plugin_logger(name)  # once: setLevel clears logging's caches
            plugin = self._loaded[name] = self._loader.load(name, key=key, path=path, source=source)
        if call is None:
            header |= {"methods": plugin.methods, "doc": plugin.doc}
            return b""
        header["phase"] = "run"
        event = self._contract.Event(*(*call, self._loggers[name]))
        result = plugin.call(event, wait=self._wait)
        self._leave_if_forked()
        header["phase"] = "encode"
        body = self._answers.encode_result(result)
        if len(body) > self._max_result_bytes:
            header |= self._answers.too_large(len(body), limit=self._max_result_bytes)
            return b""
        return body

    def _imported(self, module: str) -> None:
        """The plugin uses OpenTelemetry, or a library that it may instrument. By name: this file imports none of it."""
        if self._tracing is None:
            name = "bridge_app.plugins.tracing"
            if name in sys.modules or not importlib.util.find_spec("opentelemetry"):
                return  # it is being imported, and with it opentelemetry.trace; or there is nothing to trace with
            self._tracing = importlib.import_module(name).Tracing(partial(self._channel.send, b"S"))
            self._tracing.begin(*self._trace_context)
        self._tracing.imported(module)

    def _wait(self, awaitable: Awaitable[Any]) -> Any:
        """Run a coroutine on the worker's own event loop (a new loop per call would cost 100 µs), end its tasks."""

        async def outcome() -> Any:
            return await awaitable

        if self._event_loop is None or self._event_loop.is_closed():
            self._event_loop = asyncio.new_event_loop()
        loop = self._event_loop
        try:
            return loop.run_until_complete(outcome())
        finally:
            self._leave_if_forked()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def _leave_if_forked(self) -> None:
        """A child that the plugin forked and that returned from it ends here, silently."""
        if os.getpid() != self._pid:
            os._exit(0)

    def _uncleanness(self, header: dict[str, Any]) -> str:
        """Why this process must serve no further call; empty where it may."""
        if header.get("error_type") == "memory_limit":
            return "memory limit reached"
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - whatever the plugin put there
            return "the plugin broke sys.stdout or sys.stderr"
        if self._output_files() != self._outputs:
            return "the plugin closed or replaced descriptor 1 or 2"
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # there are none
            return ""
        return "the plugin left child processes behind"

    @staticmethod
    def _output_files() -> list[int]:
        try:
            return [os.fstat(1).st_ino, os.fstat(2).st_ino]
        except OSError:
            return []


def _unread(fd: int) -> bool:
    """Whether the parent has something to read there, or that cannot be told."""
    try:
        return fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0") != b"\0\0\0\0"
    except OSError:
        return True


def _harden(parent_pid: int, max_memory_bytes: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of a plugin come to us, so that they are noticed
    if os.getppid() != parent_pid:  # it died before the prctl
        os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if max_memory_bytes:
        # DATA counts what is written to; AS would count the 64 MiB that malloc reserves per thread as well.
        resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))


def _adopt_package() -> None:
    """Make `bridge_app.plugin` and `bridge_app.plugins.*` importable from the files beside this one, and no more."""
    for name, directory in (("bridge_app", _HERE.parent), ("bridge_app.plugins", _HERE)):
        package = types.ModuleType(name)
        package.__path__ = [str(directory)]
        sys.modules[name] = package


def main() -> None:
    """Set the process up, then serve. Never returns."""
    fd, parent_pid, max_memory_bytes, max_result_bytes, max_log_bytes = map(int, sys.argv[1:6])
    _adopt_package()
    channel = Channel(fd, max_log_bytes=max_log_bytes)
    worker = Worker(channel, max_result_bytes=max_result_bytes)
    worker._loader.install_aliases()  # noqa: SLF001 - same file
    # Line buffering: what was printed before a crash is kept.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    logging.basicConfig(level=logging.INFO, handlers=[ChannelHandler(channel)], format="%(message)s")
    _harden(parent_pid, max_memory_bytes)
    try:
        worker.serve()
    except OSError:  # the plugin closed the channel: the parent sees it, ends us, and says so in the record
        while True:
            signal.pause()
    os._exit(0)  # without atexit and thread joins of the plugins: they had their time


if __name__ == "__main__":
    main()
