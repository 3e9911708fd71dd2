"""PostgreSQL and MySQL serve each common filter from an index, in order; SQLite's plans are in `test_store_sqlite`.

What is asserted is what a planner decides with statistics of a history like a real one: twenty plugins, some used
rarely, one execution in twenty failed, a tag on one in twenty.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import databases
import msgspec
import pytest
from query_plans import Plan, analyze, plan_of

from benchmarks.seed import record
from otel_tracker.query import ExecutionFilter, PageRequest
from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage import open_store
from otel_tracker.storage.query import encode_cursor
from otel_tracker.storage.scan import COUNTED, is_needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_tracker.storage.store import SqlStore

COUNT = 20_000
STEP = 130_000_000_000
BEGIN = 20_000 * 86_400_000_000_000
MIDDLE, END = BEGIN + COUNT // 2 * STEP, BEGIN + COUNT * STEP
LIMIT = 50
TRACE, DELIVERY = "4bf92f3577b34da6a3ce929d0e0e4736", "a delivery"


def history() -> Iterator[ExecutionRecord]:
    """Thirty days; three executions of one trace, two of one delivery; a plugin that is called no more."""
    chance = random.Random(1)  # noqa: S311 - the same history every time
    for number in range(COUNT):
        row = record(chance, BEGIN + number * STEP)
        if number < COUNT // 4 and number % 2:
            row = msgspec.structs.replace(row, plugin_name=ONCE)
        if number in (2000, 9000, 18_000):
            row = msgspec.structs.replace(row, trace_id=TRACE)
        if number in (3000, 9500):
            row = msgspec.structs.replace(row, delivery_id=DELIVERY)
        yield row


@pytest.fixture(scope="module", params=["postgresql", "mysql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    with databases.made(request.param, folder=tmp_path_factory.mktemp("data")) as url:
        opened = open_store(url)
        rows = list(history())
        for start in range(0, COUNT, 2000):
            opened.write(rows[start : start + 2000])
        analyze(opened)
        yield opened
        opened.close()


FAILING = (Status.FAILED, Status.TIMEOUT)
OFTEN, SELDOM, ONCE = "plugin_00", "plugin_15", "plugin_once"
PLUGINS = (OFTEN, "plugin_05", SELDOM)
DAY = 86_400_000_000_000
Wanted = ExecutionFilter

SERVED: dict[str, tuple[ExecutionFilter, str, int]] = {
    "newest": (Wanted(), "executions_by_start", 1),
    "a time range": (Wanted(started_from=MIDDLE - 5 * DAY, started_before=MIDDLE + DAY), "executions_by_start", 1),
    "a narrow time range": (Wanted(started_from=MIDDLE - DAY, started_before=MIDDLE), "executions_by_start", 1),
    "completed": (Wanted(statuses=(Status.COMPLETED,)), "executions_by_start", 1),
    "completed or failed": (Wanted(statuses=(Status.COMPLETED, Status.FAILED)), "executions_by_start", 1),
    "a duration range": (Wanted(min_duration=10_000_000, max_duration=50_000_000), "executions_by_start", 1),
    "a duration range in a time range": (
        Wanted(min_duration=10_000_000, max_duration=50_000_000, started_from=MIDDLE - 5 * DAY, started_before=END),
        "executions_by_start",
        1,
    ),
    "a plugin": (Wanted(plugins=(OFTEN,)), "executions_by_plugin", 1),
    "a plugin that is seldom called": (Wanted(plugins=(SELDOM,)), "executions_by_plugin", 1),
    "a plugin that is called no more": (Wanted(plugins=(ONCE,)), "executions_by_plugin", 1),
    "plugins": (Wanted(plugins=PLUGINS), "executions_by_plugin", 3),
    "a plugin in a time range": (
        Wanted(plugins=(OFTEN,), started_from=MIDDLE - 5 * DAY, started_before=END),
        "executions_by_plugin",
        1,
    ),
    "a plugin's completed": (Wanted(plugins=(OFTEN,), statuses=(Status.COMPLETED,)), "executions_by_plugin", 1),
    "a plugin's long ones": (Wanted(plugins=(OFTEN,), min_duration=20_000_000), "executions_by_plugin", 1),
    "failed": (Wanted(statuses=(Status.FAILED,)), "executions_by_status", 1),
    "failed in a time range": (
        Wanted(statuses=(Status.FAILED,), started_from=MIDDLE - 5 * DAY, started_before=END),
        "executions_by_status",
        1,
    ),
    "failing statuses": (Wanted(statuses=FAILING), "executions_by_status", 2),
    "running": (Wanted(statuses=(Status.PENDING, Status.RUNNING)), "executions_by_status", 2),
    "a plugin's failed": (Wanted(plugins=(OFTEN,), statuses=(Status.FAILED,)), "executions_by_plugin_status", 1),
    "a seldom called plugin's failed": (
        Wanted(plugins=(SELDOM,), statuses=(Status.FAILED,)),
        "executions_by_plugin_status",
        1,
    ),
    "failing statuses of plugins": (Wanted(plugins=PLUGINS, statuses=FAILING), "executions_by_plugin_status", 6),
    "an error type": (Wanted(error_types=("timeout",)), "executions_by_error_type", 1),
    "error types": (Wanted(error_types=("timeout", "connection_error")), "executions_by_error_type", 2),
    "an error type of failed ones": (
        Wanted(error_types=("connection_error",), statuses=(Status.FAILED,)),
        "executions_by_error_type or executions_by_status",
        1,
    ),
    "a trace": (Wanted(trace_id=TRACE), "executions_by_trace", 1),
    "a delivery": (Wanted(delivery_id=DELIVERY), "executions_by_delivery", 1),
    "a tag": (Wanted(tags=(("team", "engine"),)), "execution_tags_by_value", 1),
    "a tag in a time range": (
        Wanted(tags=(("team", "engine"),), started_from=MIDDLE - 5 * DAY, started_before=END),
        "execution_tags_by_value",
        1,
    ),
    "a tag of a plugin": (Wanted(tags=(("team", "engine"),), plugins=(OFTEN,)), "execution_tags_by_value", 1),
}
"""Filter, the index that serves it, and in how many of its ranges."""


def assert_is_served(plan: Plan, index: str, *, ranges: int, is_scanned: bool) -> None:
    """Off that index, in its order; several ranges are merged, and that is all there is to sort."""
    assert plan.indexes & set(index.split(" or ")), plan.text
    assert plan.whole_tables == set(), plan.text
    assert ranges > 1 or not plan.is_sorted, plan.text
    # Each range gives a page at the most, what is found is looked up by id; where an index knows a part, some
    # hundreds of candidates are looked at.
    assert plan.rows_read <= (4 * COUNTED if is_scanned else 10 * (LIMIT + 1) * ranges), plan.text


@pytest.mark.parametrize("name", SERVED)
def test_the_newest_page_is_read_off_an_index(store: SqlStore, name: str) -> None:
    wanted, index, ranges = SERVED[name]
    plan = plan_of(store, PageRequest(filter=wanted, limit=LIMIT))
    assert_is_served(plan, index, ranges=ranges, is_scanned=is_needed(wanted))


@pytest.mark.parametrize("name", SERVED)
def test_a_page_in_the_middle_is_found_in_the_index(store: SqlStore, name: str) -> None:
    wanted, index, ranges = SERVED[name]
    plan = plan_of(store, PageRequest(filter=wanted, limit=LIMIT, cursor=encode_cursor(MIDDLE, "z")))
    assert_is_served(plan, index, ranges=ranges, is_scanned=is_needed(wanted))
