"""Track executions as OpenTelemetry spans, and keep them as records.

The whole public API: `track` what runs, `configure` where it goes, and the shape of what is kept.
"""

from otel_tracker.decorator import track
from otel_tracker.provider import configure
from otel_tracker.record import ExecutionRecord, Status

__all__ = ["ExecutionRecord", "Status", "configure", "track"]
