"""An OTLP receiver that costs next to nothing, in a process of its own: reads requests, answers them, counts later.

    python -m benchmarks.receiver        prints its port

`POST /v1/traces` takes spans; `POST /freeze` and `POST /thaw` say whether it answers; `GET /report` decodes what came
and tells how many spans that were, how many different ones, and how many a second.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: "


class Receiver:
    """What came."""

    def __init__(self) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.bodies: list[tuple[float, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                sizes = [line.split(":")[1] for line in lines if line.lower().startswith("content-length:")]
                body = await reader.readexactly(int(sizes[0]) if sizes else 0)
                answer = await self.answer(lines[0].split()[1], body)
                writer.write(_HEAD + str(len(answer)).encode() + b"\r\n\r\n" + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str, body: bytes) -> bytes:
        """The body of the answer."""
        if path == "/freeze":
            self.flowing.clear()
        elif path == "/thaw":
            self.flowing.set()
        elif path == "/forget":
            self.bodies.clear()
        elif path == "/report":
            return json.dumps(self.report()).encode()
        else:
            await self.flowing.wait()
            self.bodies.append((time.monotonic(), body))
        return b""

    def report(self) -> dict[str, Any]:
        """Spans, different ones, and spans a second after the first request."""
        ids: list[bytes] = []
        counts = []
        for _, body in self.bodies:
            before = len(ids)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                ids += [span.trace_id + span.span_id for scope in resource.scope_spans for span in scope.spans]
            counts.append(len(ids) - before)
        seconds = self.bodies[-1][0] - self.bodies[0][0] if len(self.bodies) > 1 else 0.0
        rate = (len(ids) - counts[0]) / seconds if seconds else 0.0
        return {"spans": len(ids), "different": len(set(ids)), "rate": rate}


class Handle:
    """The process, seen by a benchmark."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self.url = f"{self._base}/v1/traces"

    def tell(self, word: str) -> None:
        """Say freeze, thaw or forget."""
        urllib.request.urlopen(urllib.request.Request(f"{self._base}/{word}", data=b""), timeout=30).read()

    def report(self) -> dict[str, Any]:
        """See `Receiver.report`."""
        with urllib.request.urlopen(f"{self._base}/report", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def wait_for(self, different: int, *, seconds: float) -> dict[str, Any]:
        """The report, once so many different spans came, or no more did for some time."""
        deadline = time.monotonic() + seconds
        while (found := self.report())["different"] < different and time.monotonic() < deadline:
            time.sleep(0.5)
        return found


@contextmanager
def receiver() -> Iterator[Handle]:
    """Start one, and end it."""
    command = [sys.executable, "-m", "benchmarks.receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield Handle(int(process.stdout.readline()))
        finally:
            process.terminate()


async def main() -> None:
    """Serve until killed; every other process goes first."""
    os.nice(19)
    server = await asyncio.start_server(Receiver().serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
