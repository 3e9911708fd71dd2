"""What a bridge and its cleanup process say to each other: one JSON line each way. Values only."""

from __future__ import annotations

import msgspec

from otel_tracker.query import PruneResult, RetentionPolicy


class CleanupOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The only line that the process reads."""

    store: dict[str, str | int | float | bool]
    """The arguments of `otel_tracker.storage.open_store`; the URL may hold a password, so it goes by pipe."""
    policy: RetentionPolicy
    rollups_before: int | None = None
    """Statistics whose buckets ended before that nanosecond go, too; None leaves them."""
    dry_run: bool = False


class CleanupReport(msgspec.Struct, frozen=True, kw_only=True):
    """The only line that it writes, at its end."""

    result: PruneResult | None = None
    """None where it could not be done."""
    holder: str = ""
    """Who cleans the store already."""
    seconds: int = 0
    """How long its lease lasts if it does not renew it."""
    why: str = ""
    """Why else it could not be done."""
