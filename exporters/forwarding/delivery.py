"""Delivery: a thread that moves what waits for one destination to it, until it has it all.

In: spools of encoded spans, this process's own and those of dead ones. Out: requests to the destination, in order, each
span at least once. While the destination is away the spans stay on disk and it tries again, for ever; what it refuses
for good is kept in dead/ as OTLP/JSON, a file a request, and counted. Nothing that happens here concerns another one.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from exporters.backoff import delay_seconds
from exporters.forwarding.messages import DestinationReport
from exporters.otlp.answers import Answer, Verdict
from exporters.otlp.senders import open_sender
from exporters.otlp.wire import from_frame
from exporters.spool_reader import SpoolReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporters.forwarding.messages import DestinationSettings
    from exporters.otlp.senders import Sender
    from exporters.otlp.wire import EncodedSpan, RequestEncoder
    from exporters.spool import Spool
    from exporters.spool_directory import SpoolDirectory

_BATCH_SPANS: Final = 512
_BATCH_BYTES: Final = 2 << 20  # collectors take 4 MiB over gRPC by default
_LOOK_EVERY_SECONDS: Final = 1.0
_GATHER_SECONDS: Final = 0.1
"""How long spans gather after the first one that came: a request of one costs nearly as much as one of 512."""
_MAX_ERROR: Final = 500


@dataclass(slots=True, eq=False)
class _Source:
    """A spool of spans for the destination."""

    reader: SpoolReader
    directory: SpoolDirectory | None = None
    """Where a dead process left it."""
    settled: int = 0
    """Spans of the batch under way that were taken or refused: after a failure it is read again from its beginning."""


class Delivery:
    """For one destination; `own` is the spool that this process appends to."""

    def __init__(self, settings: DestinationSettings, *, own: Spool, path: Path, encoder: RequestEncoder) -> None:
        self.settings = settings
        self.last_error = ""
        self.is_retrying = False
        self._encoder = encoder
        self._own = own
        self._sources = [_Source(SpoolReader(path))]
        self._adopting = threading.Lock()
        self._sender: Sender | None = None
        self._sent = self._rejected = self._dead = self._moved = 0
        self._dropped: Counter[str] = Counter()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"forward-{settings.name}", daemon=True)
        own.on_progress(lambda _: self._woken.set())

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def adopt(self, directory: SpoolDirectory) -> None:
        """Deliver what a dead process left for the same destination, and delete it then."""
        with self._adopting:
            self._sources.insert(0, _Source(SpoolReader(directory.path, is_growing=False), directory))
        self._woken.set()

    def finish(self, *, deadline: float) -> None:
        """Deliver what waits until then, by the monotonic clock, unless the destination is away; then stop."""
        while self._has_spans() and not self.is_retrying and time.monotonic() < deadline:
            time.sleep(0.01)
        self._stopping.set()
        self._woken.set()

    def report(self) -> DestinationReport:
        """How it does."""
        depths = [self._own.depth, *(one.directory.depth for one in self._all_sources() if one.directory is not None)]
        return DestinationReport(
            state="retrying" if self.is_retrying else "ok",
            last_error=self.last_error,
            sent=self._sent,
            rejected=self._rejected,
            dead_letters=self._dead,
            dropped=dict(self._dropped + Counter(self._own.dropped)),
            waiting_spans=sum(depth.frames for depth in depths),
            waiting_bytes=sum(depth.bytes for depth in depths),
            waiting_seconds=round(max(depth.oldest_age_seconds for depth in depths), 1),
        )

    # --- its thread

    def _run(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                pause = self._once()
                if pause is None:
                    attempt = 0
                    moved, self._moved = self._moved, 0
                    # Without a look at what is there: a torn frame at the end of a spool is, and cannot be read.
                    if not moved and self._woken.wait(_LOOK_EVERY_SECONDS):
                        self._stopping.wait(_GATHER_SECONDS)
                    continue
            except BaseException as error:  # noqa: BLE001 - it must outlive a defect: the spans are kept
                pause = 0.0
                self._fail(f"{type(error).__name__}: {error}")
            attempt += 1
            backoff = delay_seconds(attempt, base=0.5, cap=30.0, jitter=random.random())  # noqa: S311 - spreads retries
            self._stopping.wait(pause or backoff)

    def _once(self) -> float | None:
        """One batch of each spool; None when all is well, else for how long to leave the destination alone, or 0."""
        for source in self._all_sources():
            pause = self._deliver(source)
            if pause is not None:
                return pause
            if source.directory is not None and not source.reader.has_frames():
                with self._adopting:
                    self._sources.remove(source)
                source.reader.close()
                source.directory.remove()
        return None

    def _all_sources(self) -> list[_Source]:
        with self._adopting:
            return list(self._sources)

    def _deliver(self, source: _Source) -> float | None:
        batch = source.reader.read(max_frames=_BATCH_SPANS, max_bytes=_BATCH_BYTES)
        spans = []
        for frame in batch.frames:
            with contextlib.suppress(msgspec.MsgspecError):
                spans.append(from_frame(frame))
        if source.settled < len(spans):
            answer = self._send(source, spans[source.settled :])
            if answer.verdict is Verdict.RETRY:
                self._fail(answer.text)
                return answer.retry_after_seconds or 0.0
        if batch.frames:
            if len(spans) < len(batch.frames):
                self._dropped["unreadable"] += len(batch.frames) - len(spans)
            source.reader.commit(batch)
            source.settled = 0
            self._moved += len(batch.frames)
            self.is_retrying = False
        return None

    def _send(self, source: _Source, spans: Sequence[EncodedSpan]) -> Answer:
        """Until each is settled, in halves where the destination does not take them together; or until RETRY."""
        answer = self._open_sender().send(spans)
        if answer.verdict is Verdict.SPLIT and len(spans) > 1:
            middle = len(spans) // 2
            answer = self._send(source, spans[:middle])
            return answer if answer.verdict is Verdict.RETRY else self._send(source, spans[middle:])
        match answer.verdict:
            case Verdict.RETRY:
                return answer
            case Verdict.TAKEN:
                self._sent += len(spans) - answer.rejected
                self._rejected += answer.rejected
                if answer.rejected:
                    self.last_error = answer.text[:_MAX_ERROR]
            case Verdict.SPLIT | Verdict.REFUSED:
                self._bury(source.reader, spans, answer)
            case _:
                assert_never(answer.verdict)
        source.settled += len(spans)
        return answer

    def _bury(self, reader: SpoolReader, spans: Sequence[EncodedSpan], answer: Answer) -> None:
        self._dead += len(spans)
        self.last_error = answer.text[:_MAX_ERROR]
        before = sum(reader.dead.lost.values())
        reader.bury(self._encoder.json(spans), reason=answer.reason or "refused")
        if sum(reader.dead.lost.values()) > before:
            self._dropped["dead_letter_not_kept"] += len(spans)

    def _open_sender(self) -> Sender:
        if self._sender is None:
            self._sender = open_sender(self.settings, self._encoder)
        return self._sender

    def _fail(self, text: str) -> None:
        self.last_error = text[:_MAX_ERROR]
        self.is_retrying = True

    def _has_spans(self) -> bool:
        return any(source.reader.has_frames() for source in self._all_sources())
