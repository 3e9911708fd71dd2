"""Realtime figures: counts and durations per plugin since this process started, in memory. Thread-safe, bounded.

Labels are registered plugins only, so what callers send cannot make this grow.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from bridge_app.histograms import Described, Durations
from otel_tracker.conventions import ERROR_TYPE

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric

    from otel_tracker.record import Status

_SECOND: Final = 1e9
_RECENT: Final = 256
DURATION: Final = Described(
    "webhook_bridge.execution.duration",
    ("plugin", "status", ERROR_TYPE),
    "From a delivery to the plugin's answer, the wait for a worker included",
)
PHASES: Final = Described(
    "webhook_bridge.execution.phase.duration",
    ("phase",),
    "Its parts: queue, the wait for a worker, and run; and keep, until the record is safe",
)


class _Figures:
    __slots__ = ("by_status", "recent", "running", "total_duration")

    def __init__(self) -> None:
        self.by_status: Counter[str] = Counter()
        self.recent: deque[int] = deque(maxlen=_RECENT)
        self.running = 0
        self.total_duration = 0


class Realtime:
    """What happens now, plugin by plugin. What ends is told by one thread."""

    def __init__(self) -> None:
        self._durations = Durations(DURATION)
        self._phases = Durations(PHASES)
        self._plugins: dict[str, _Figures] = {}
        self._lock = threading.Lock()

    def started(self, plugin: str) -> None:
        """An execution began."""
        with self._lock:
            self._figures(plugin).running += 1

    def ended(self, plugin: str, *, status: Status, error_type: str, queue: int, run: int) -> None:
        """It ended, after so many nanoseconds in the queue and in the plugin."""
        with self._lock:
            figures = self._figures(plugin)
            figures.running -= 1
            figures.by_status[status.value] += 1
            figures.total_duration += run
            figures.recent.append(run)
        self._durations.record((queue + run) / _SECOND, plugin, status.value, error_type)
        self._phases.record(queue / _SECOND, "queue")
        self._phases.record(run / _SECOND, "run")

    def kept(self, duration: int) -> None:
        """An answer waited for so many nanoseconds until its record was safe."""
        self._phases.record(duration / _SECOND, "keep")

    def _figures(self, plugin: str) -> _Figures:
        figures = self._plugins.get(plugin)
        if figures is None:
            figures = self._plugins[plugin] = _Figures()
        return figures

    def of(self, plugin: str) -> dict[str, Any]:
        """One plugin's figures; durations in nanoseconds, the percentiles over its last 256 executions."""
        with self._lock:
            figures = self._plugins.get(plugin) or _Figures()
            recent = sorted(figures.recent)
            counts = dict(figures.by_status)
            running, total = figures.running, figures.total_duration
        ended = sum(counts.values())
        return {
            "running": running,
            "ended": ended,
            "by_status": counts,
            "avg_duration": total // ended if ended else 0,
            "p50_duration": recent[len(recent) // 2] if recent else 0,
            "p95_duration": recent[min(len(recent) - 1, len(recent) * 95 // 100)] if recent else 0,
        }

    def histograms(self) -> list[Metric]:
        """How long executions took."""
        return [self._durations.metric(), self._phases.metric()]

    def running(self) -> dict[str, int]:
        """Executions that run now, by plugin."""
        with self._lock:
            return {name: figures.running for name, figures in self._plugins.items()}

    def totals(self) -> dict[tuple[str, str], int]:
        """Ended executions by plugin and status."""
        with self._lock:
            return {
                (name, status): count
                for name, figures in self._plugins.items()
                for status, count in figures.by_status.items()
            }
