"""An appender process seen from the program that started it: one group of bytes at a time, written and synced apart.

In: an open file and bytes. Out: whether they are written (`wrote`), and a reply when they are synced. Nothing here
blocks; it is for one thread, an event loop's.

Why a process: a thread that writes and syncs takes some ten turns at the interpreter lock a group, and each costs the
serving thread a sleep and a wake-up: a fifth of a busy server's requests, measured by `benchmarks/bench_tracking.py`.
"""

from __future__ import annotations

import array
import mmap
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from exporters.appender_worker import MAX_PACKET, NUMBER, REPLY

MAX_BYTES: Final = MAX_PACKET - 1 - NUMBER.size
"""The largest group that it takes."""
_WORKER: Final = Path(__file__).with_name("appender_worker.py")


class Appender:
    """One process, from `start` to `close`. OSError where it cannot be started."""

    def __init__(self, *, sync: bool) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("appender")
        try:
            os.ftruncate(memory, NUMBER.size)
            self._mark = mmap.mmap(memory, NUMBER.size)
            self._process = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-I", "-S", str(_WORKER), str(theirs.fileno()), str(memory), str(int(sync))],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), memory),
                start_new_session=True,
            )
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
            os.close(memory)
        self._channel.settimeout(0)
        self._number = 0
        self._path = b""

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def fileno(self) -> int:
        """Readable when a reply is there, or the process is gone."""
        return self._channel.fileno()

    def send(self, file: int, path: Path, data: bytes) -> int:
        """Have `data` appended to the open `file`, which is `path`; gives the reply's number. OSError: not taken."""
        name = os.fsencode(path)
        if name != self._path:  # a segment's name never comes again, a descriptor's number does
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
            self._channel.sendmsg([b"S" + name], rights)
            self._path = name
        self._number += 1
        self._channel.sendmsg([b"D" + NUMBER.pack(self._number), data])
        return self._number

    def wrote(self, number: int) -> bool:
        """Whether that group reached its file: it survives the death of this process, whatever the sync does."""
        return bool(NUMBER.unpack(self._mark[:])[0] >= number)

    def receive(self) -> tuple[int, int] | None:
        """A reply: number and errno, 0 for done. None: the process is gone. BlockingIOError: nothing is there."""
        try:
            packet = self._channel.recv(REPLY.size)
        except ConnectionError:
            return None
        return REPLY.unpack(packet) if len(packet) == REPLY.size else None

    def close(self) -> None:
        """Let it end; it finishes what it is doing. Does not wait for that."""
        self._channel.close()
        threading.Thread(target=self._process.wait, name="appender-end", daemon=True).start()  # so that it is reaped
