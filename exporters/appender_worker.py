"""The appender: writes and syncs what its parent hands over, so that the parent has no thread that does.

    python -I -S appender_worker.py CHANNEL_FD MARK_FD SYNC

In, on a SOCK_SEQPACKET socket: `S` and a path, with the descriptor of that file beside it: append to this one from now
on; or `D`, a u64 number and bytes to append. Out, one packet for each `D`: the number and a u32 errno, 0 for done.
Before it syncs it puts the number into the first 8 bytes of the shared memory MARK_FD: written, though not synced. It
ends when its parent does. Standard library only, so that it starts within 20 ms and stays small.
"""

from __future__ import annotations

import array
import contextlib
import errno
import mmap
import os
import socket
import struct
import sys

MAX_PACKET = 160 << 10
NUMBER = struct.Struct("<Q")
REPLY = struct.Struct("<QI")


class _File:
    """What is appended to."""

    def __init__(self, descriptor: int, path: bytes) -> None:
        self.descriptor = descriptor
        self._path = path

    def append(self, data: memoryview) -> None:
        """Write every byte, or raise OSError: on a filling disk less is taken than asked, without an error."""
        while data:
            data = data[os.write(self.descriptor, data) :]
        # Writes into a file that somebody deleted or moved away succeed, and nobody would find them.
        if not os.path.samestat(os.fstat(self.descriptor), os.stat(self._path)):  # noqa: PTH116 - starts faster without
            raise FileNotFoundError(errno.ENOENT, "another file has taken its place")


def main() -> None:
    """Serve until the channel ends."""
    channel_fd, mark_fd, sync = map(int, sys.argv[1:4])
    channel = socket.socket(fileno=channel_fd)
    mark = mmap.mmap(mark_fd, NUMBER.size)
    packet = bytearray(MAX_PACKET)
    view = memoryview(packet)
    file = _File(-1, b"")
    while True:
        size, ancillary, _, _ = channel.recvmsg_into([packet], socket.CMSG_SPACE(array.array("i").itemsize))
        if not size:
            return
        if packet[0] == ord("S"):
            if file.descriptor >= 0:
                os.close(file.descriptor)
            file = _File(array.array("i", ancillary[0][2])[0], bytes(view[1:size]))
            continue
        (number,) = NUMBER.unpack_from(packet, 1)
        problem = 0
        try:
            file.append(view[1 + NUMBER.size : size])
            mark[:] = NUMBER.pack(number)
            if sync:
                os.fdatasync(file.descriptor)
        except OSError as error:
            problem = error.errno or errno.EIO
        channel.send(REPLY.pack(number, problem))


if __name__ == "__main__":
    with contextlib.suppress(OSError):  # the parent is gone
        main()
