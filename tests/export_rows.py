"""A history to export, whose rows are known: some begin like formulas, some start at the same moment."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from pathlib import Path

START = 1_749_218_400_000_000_000
"""2025-06-06T14:00:00Z"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROWS = 1_234


def row(number: int, **more: Any) -> ExecutionRecord:
    """Every tenth failed; three start in each second."""
    failed = number % 10 == 0
    return ExecutionRecord(
        id=f"{number:036}",
        plugin_name="abc"[number % 3],
        status=Status.FAILED if failed else Status.COMPLETED,
        # Three start at the same moment: the order among them is that of their ids.
        start_time=START + number // 3 * 1_000_000_000,
        end_time=START + number // 3 * 1_000_000_000 + number,
        duration=number,
        error="=cmd|'/c calc'!A1" if failed else "",
        error_type="timeout" if failed else "",
        trace_id=TRACE if number % 100 == 0 else "",
        delivery_id=f"d-{number}",
        tags=json.dumps({"team": "ab"[number % 2]}),
        **more,
    )


def seed(folder: Path, rows: list[ExecutionRecord]) -> None:
    """A store with these rows in the folder."""
    with closing(open_store(f"sqlite:///{folder}/data/executions.db")) as store:
        for begin in range(0, len(rows), 500):
            assert store.write(rows[begin : begin + 500]).rejected == ()


def seed_small(folder: Path) -> None:
    """A store with `ROWS` small rows."""
    seed(folder, [row(number, input=json.dumps({"n": number})) for number in range(ROWS)])
