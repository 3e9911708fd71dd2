"""Outlets: the spools in which spans wait for their destinations.

    root/<destination>/<slot>/  as any spool: see `spool_directory`

In: rows, and which destinations want them. Out: encoded spans in their spools. A slot is a number: a bridge takes the
first that nobody owns, so that after a restart it goes on with what it left there, within the same bound.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporters.otlp.resources import service_of
from exporters.otlp.span_bytes import span_bytes
from exporters.otlp.wire import EncodedSpan, to_frame
from exporters.spool import Spool, SpoolOwnedError
from otel_tracker.record import ExecutionRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.forwarding.messages import DestinationSettings, ForwardSettings
    from exporters.otlp.payloads import PayloadPolicy
    from otel_tracker.record import Row

_SLOTS: Final = 100
_SEGMENT_BYTES: Final = 4 << 20


class Outlet:
    """One destination's spool."""

    def __init__(self, settings: DestinationSettings, spool: Spool, *, path: Path) -> None:
        self.settings = settings
        self.spool = spool
        self.path = path
        self.variant = (settings.payload, settings.aliases)
        """Destinations of one variant get the same bytes."""
        self._last: int | None = None

    @classmethod
    def open(cls, settings: DestinationSettings, *, root: Path, sync: bool) -> Outlet:
        """In the first free slot. Raises OSError."""
        folder = root / settings.name
        for slot in range(1, _SLOTS):
            try:
                spool = Spool.open(
                    folder,
                    instance_id=str(slot),
                    max_bytes=settings.max_bytes,
                    segment_bytes=_SEGMENT_BYTES,
                    sync=sync,
                )
            except SpoolOwnedError:
                continue
            return cls(settings, spool, path=folder / str(slot))
        raise FileExistsError(f"all {_SLOTS} slots of {folder} are owned by running processes")

    def put(self, frame: bytes) -> None:
        """Append; what does not fit is counted by the spool."""
        sequence = self.spool.append(frame)
        if sequence is not None:
            self._last = sequence

    def is_safe(self, *, timeout_seconds: float) -> bool:
        """Whether everything that was put is on disk, in time."""
        return self._last is None or self.spool.wait(self._last, timeout_seconds=timeout_seconds)


class Outlets:
    """Of all destinations, in their order."""

    def __init__(self, settings: ForwardSettings) -> None:
        self.not_encoded: Counter[str] = Counter()
        """Spans that could not be made into a message, by destination; a defect of ours."""
        root = Path(settings.forward_root)
        self.all: list[Outlet] = []
        try:
            for one in settings.destinations:
                self.all.append(Outlet.open(one, root=root, sync=settings.sync))
        except OSError:
            for outlet in self.all:
                outlet.spool.close(timeout_seconds=1)
            raise

    def put(self, row: Row, wanted_by: int, *, instance_id: str) -> None:
        """Encode the row, once for each variant, and append it where it is wanted."""
        made: dict[tuple[PayloadPolicy, bool], bytes] = {}
        for number, outlet in enumerate(self.all):
            if not wanted_by >> number & 1:
                continue
            frame = made.get(outlet.variant)
            if frame is None:
                try:
                    frame = made[outlet.variant] = _encoded(row, outlet.variant, instance_id=instance_id)
                except Exception:  # noqa: BLE001 - one row that cannot be encoded must not stop the others
                    self.not_encoded[outlet.settings.name] += 1
                    continue
            outlet.put(frame)

    def make_safe(self, *, is_stopping: Callable[[], bool]) -> bool:
        """Wait until everything is on disk; False where that did not come about until the end."""
        for outlet in self.all:
            while not outlet.is_safe(timeout_seconds=0.5):
                if is_stopping():
                    return False
                time.sleep(0.01)
        return True


def _encoded(row: Row, variant: tuple[PayloadPolicy, bool], *, instance_id: str) -> bytes:
    policy, aliases = variant
    span = span_bytes(row, policy=policy, aliases=aliases)
    instance = row.instance_id if isinstance(row, ExecutionRecord) else instance_id
    return to_frame(EncodedSpan(instance or instance_id, span, service_of(row)))
