"""One worker process seen from the server: start it, ask it, kill it for real, reap it. For one asyncio event loop.

In: a request as a tuple of plain values. Out: a `Reply` with the worker's answer, or with how the process ended.
It never blocks the loop and never unpickles what a worker sends. Needs Linux 5.3 (pidfd).
The frame format is described in `worker.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
import signal
import socket
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge_app.plugins.endings import ending
from bridge_app.plugins.family import kill_family
from bridge_app.plugins.frames import HEADER, Frames, FrameTooLargeError
from bridge_app.plugins.logs import LogBuffer
from bridge_app.plugins.span_gate import SpanGate

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge_app.plugins.calls import RunnerSettings

WORKER_FILE = Path(__file__).with_name("worker.py")
_FRAME_SLACK = 1 << 20  # header with traceback and logs, beside the result
_READ_BYTES = 1 << 16  # below malloc's mmap threshold: a larger buffer costs a map and an unmap a read
_LOST_CHANNEL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Reply:
    """`header` is the worker's JSON header; None where the process ended first, and `ended` says how."""

    header: dict[str, Any] | None
    body: bytes = b""
    ended: str = ""
    error_type: str = ""


class WorkerProcess:
    """A spawned worker. `on_exit` is called once, when the process is gone and reaped."""

    def __init__(self, settings: RunnerSettings, *, on_exit: Callable[[WorkerProcess], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = settings
        self._on_exit = on_exit
        self.versions: dict[str, str] = {}
        self.calls = 0
        self.alive = True
        self.ready: asyncio.Future[str] = self._loop.create_future()
        self.exited: asyncio.Future[None] = self._loop.create_future()
        self._sequence = 0
        self._waiting: asyncio.Future[Reply] | None = None
        self._logs = LogBuffer(settings.max_log_bytes)
        self._spans = SpanGate(None)
        self._frames = Frames(max_bytes=settings.max_result_bytes + _FRAME_SLACK)
        self._unsent: memoryview | None = None
        self._channel, self._process, self._outputs = self._spawn()
        self.pid = self._process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._on_process_exit)
        self._loop.add_reader(self._channel.fileno(), self._on_readable)
        for fd, stream in self._outputs.items():
            self._loop.add_reader(fd, self._on_output, fd, stream)

    def _spawn(self) -> tuple[socket.socket, subprocess.Popen[bytes], dict[int, str]]:
        # From the loop's thread: the parent-death signal follows the thread that started the child, not the process.
        settings = self._settings
        ours, theirs = socket.socketpair()
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        limits = (settings.max_memory_bytes, settings.max_result_bytes, settings.max_log_bytes)
        command = [settings.python, "-I", "-X", "utf8", str(WORKER_FILE), str(theirs.fileno()), str(os.getpid())]
        try:
            process = subprocess.Popen(  # noqa: S603 - the interpreter that the configuration names
                [*command, *map(str, limits)],
                stdin=subprocess.DEVNULL,
                stdout=out_end,
                stderr=err_end,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")},
            )
        except OSError:
            for fd in (out, err):
                os.close(fd)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(out_end)
            os.close(err_end)
        for fd in (ours.fileno(), out, err):
            os.set_blocking(fd, False)
        return ours, process, {out: "stdout", err: "stderr"}

    async def ask(
        self, *request: Any, timeout_seconds: float, on_span: Callable[[bytes], None] | None = None
    ) -> tuple[Reply, LogBuffer]:
        """Send a request and wait for its reply, the process's end, or the timeout, which kills the process.

        `on_span` is called with each span that the plugin ended until then, as JSON; it must be quick.
        """
        self._spans = SpanGate(on_span)
        self._logs = logs = LogBuffer(self._settings.max_log_bytes)
        self._sequence += 1
        self.calls += 1
        message = marshal.dumps((self._sequence, *request), 4)
        future = self._waiting = self._loop.create_future()
        timer = self._loop.call_later(timeout_seconds, self._on_timeout, timeout_seconds)
        self._send(HEADER.pack(len(message)) + message)
        try:
            return await future, logs
        except asyncio.CancelledError:
            self.kill()  # the caller is gone; what the plugin does can no longer be told to anybody
            raise
        finally:
            timer.cancel()
            self._waiting = None
            self._spans.close()

    def _send(self, data: bytes) -> None:
        try:
            sent = self._channel.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # its end is noticed by pidfd
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._loop.add_writer(self._channel.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        try:
            assert self._unsent is not None  # noqa: S101 - the writer is registered only with something to send
            self._unsent = self._unsent[self._channel.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._unsent = None
        if not self._unsent:
            self._loop.remove_writer(self._channel.fileno())

    def _on_readable(self) -> None:
        try:
            chunk = self._channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._loop.remove_reader(self._channel.fileno())
            # Mostly the process's end, which pidfd tells with its reason. Else the plugin closed every descriptor.
            self._loop.call_later(_LOST_CHANNEL_SECONDS, self._on_lost_channel)
            return
        self._frames.feed(chunk)
        self._take_frames()

    def _take_frames(self) -> None:
        try:
            while (frame := self._frames.next()) is not None:
                self._on_frame(*frame)
        except FrameTooLargeError:
            self._end("the worker sent a frame that no worker sends", "worker_crashed")
        except (ValueError, KeyError, struct.error):
            self._end("the worker sent a frame that cannot be read", "worker_crashed")

    def _on_frame(self, kind: str, payload: bytes) -> None:
        match kind:
            case "H":
                if not self.ready.done():
                    self.ready.set_result("ready")
            case "L":
                entry = json.loads(payload)
                self._logs.line(str(entry["level"]), str(entry["text"]))
            case "S":
                self._spans.take(payload)
            case "R":
                end = 4 + HEADER.unpack_from(payload)[0]
                header = json.loads(payload[4:end])
                if header["sequence"] != self._sequence:
                    return
                self._logs.drop(header["dropped_log_bytes"])
                if self._spans.dropped:
                    header["dropped_spans"] = header.get("dropped_spans", 0) + self._spans.dropped
                if header["printed"]:
                    self._drain_outputs()
                self._resolve(Reply(header, payload[end:]))
            case _:
                raise ValueError(kind)

    def _on_output(self, fd: int, stream: str) -> None:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._logs.output(stream, data)
        else:
            self._loop.remove_reader(fd)

    def _drain_outputs(self) -> None:
        """What was printed before the answer is in the pipes now. Bounded: a forked child may print for ever."""
        for fd, stream in self._outputs.items():
            for _ in range(32):
                try:
                    data = os.read(fd, _READ_BYTES)
                except OSError:
                    break
                if not data:
                    break
                self._logs.output(stream, data)

    def _drain_spans(self) -> None:
        """What had been sent before the end; of all that only the spans, for the end is what it is by now."""
        with contextlib.suppress(OSError, FrameTooLargeError):
            for _ in range(32):
                if not (chunk := self._channel.recv(_READ_BYTES)):
                    break
                self._frames.feed(chunk)
                while (frame := self._frames.next()) is not None:
                    if frame[0] == "S":
                        self._spans.take(frame[1])

    def _resolve(self, reply: Reply) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(reply)

    def _end(self, why: str, error_type: str) -> None:
        self.kill()
        self._drain_outputs()
        self._drain_spans()
        self._resolve(Reply(None, ended=why, error_type=error_type))

    def _on_timeout(self, seconds: float) -> None:
        self._end(f"no answer within {seconds:g} s: the plugin was killed", "timeout")

    def _on_lost_channel(self) -> None:
        if self.alive:
            self._end("the plugin closed the descriptors of its worker, which was ended", "worker_crashed")

    def interrupt(self) -> None:
        """End the running call, because the bridge stops."""
        self._end("the bridge stopped before the plugin was done", "interrupted")

    def kill(self) -> None:
        """SIGKILL for the worker's session and for every descendant that left the session."""
        if not self.alive or self._process.returncode is not None:
            return
        self.alive = False
        kill_family(self.pid)

    def _on_process_exit(self) -> None:
        self.alive = False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # its children; before it is reaped, so that the id is still its own
        status = self._process.wait()
        with contextlib.suppress(OSError):  # an answer may have been sent just before the end
            while chunk := self._channel.recv(_READ_BYTES):
                self._frames.feed(chunk)
            self._take_frames()
        self._drain_outputs()
        self._resolve(Reply(None, ended=ending(status), error_type="worker_crashed" if status < 0 else "plugin_exited"))
        self._close()

    def _close(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())
        for fd in self._outputs:
            self._loop.remove_reader(fd)
            os.close(fd)
        os.close(self._pidfd)
        self._channel.close()
        self._outputs = {}
        if not self.ready.done():
            self.ready.set_result("")
        self.exited.set_result(None)
        self._on_exit(self)
