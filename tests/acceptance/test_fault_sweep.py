"""Every call of tracking fails in turn, and no sender can tell: the plugins' answers stay what they were, byte by byte.

The real application in this process, real plugins, a real store; only the one fault is planted. Which functions there
are to fail is not listed here: they are found by watching webhooks run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import httpx
import pytest
from fault_sweep import Fault, Watch, functions, name_of, planted
from opentelemetry import trace
from opentelemetry.util._once import Once

import bridge_app.history
import exporters.drain
import exporters.lane
from bridge_app.app import Application
from bridge_app.config import Config
from bridge_app.config_sections import PluginsConfig, SqliteConfig, StorageConfig
from exporters.drain import Drain
from exporters.lane import Lane
from exporters.spool import Spool
from exporters.spooled import SpooledSpanExporter
from exporters.sql import ExecutionRecordExporter
from otel_tracker import configure
from otel_tracker.failsafe import failsafe
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path
    from types import CodeType, FunctionType

GOOD = "def handle(event):\n    event.logger.info('seen')\n    return {'got': event.data}\n"
BAD = "def handle(event):\n    raise ConnectionRefusedError('the shop is closed')\n"
CALLER = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "user-agent": "shop/1"}
DELIVERIES: dict[str, dict[str, Any]] = {
    "good": {"json": {"a": 1, "password": "hunter2"}, "headers": CALLER},
    "bad": {"json": {"a": 1}},
}
MAIN, DRAIN, WRITER = "MainThread", "drain-history", "spool-writer"
# What the sweeps must have failed at the least; the rest they find by themselves.
IN_DRAIN = {
    "exporters.spool_reader.SpoolReader.read",
    "exporters.sql.ExecutionRecordExporter.deliver",
    "storage.writer.Writer.write",
    "exporters.spool_reader.SpoolReader.commit",
}
IN_WRITER = {
    "exporters.spool_writer.SpoolWriter._write_group",
    "exporters.spool_queue.SpoolQueue.settle",
    "exporters.segments.encode",
    "exporters.segments.write_all",
    "exporters.segment_writer.SegmentWriter.sync",
    "bridge_app.durability.DurableAnswers._progressed",
}
IN_REQUEST = {
    "otel_tracker.capture.capture_json",
    "otel_tracker.redaction.Redactor.redact",
    "otel_tracker.tracking.Tracker.start",
    "otel_tracker.execution.Execution.set_captured_output",
    "otel_tracker.execution.Execution.set_metadata",
    "otel_tracker.execution.Execution.end",
    "otel_tracker.classification.classify_names",
    "otel_tracker.processor.ExecutionProcessor.on_start",
    "otel_tracker.processor.ExecutionProcessor.on_end",
    "otel_tracker.conversion.record_from_span",
    "exporters.sql.ExecutionRecordExporter.encode",
    "exporters.unsettled.Unsettled.add",
    "exporters.spool.Spool.append",
    "exporters.spool_queue.SpoolQueue.append",
    "exporters.spool.Spool.lend",
    "exporters.spool_queue.SpoolQueue.lend",
    "exporters.spool.Spool.repay",
    "exporters.spool_queue.SpoolQueue.repay",
    "exporters.lane.Lane.ask",
    "exporters.lane.Lane._push",
    "exporters.lane.Lane._receive",
    "exporters.appender.Appender.send",
    "exporters.appender.Appender.receive",
    "exporters.spooled.SpooledSpanExporter.expect",
    "bridge_app.realtime.Realtime.ended",
    "bridge_app.durability.DurableAnswers.keep",
    "bridge_app.durability.DurableAnswers.flush",
    "bridge_app.webhooks.Bridge._open",
    "bridge_app.webhooks.Bridge._told",
    "bridge_app.outcomes.captured_output",
    "bridge_app.outcomes.failure_of",
    "otel_tracker.spans.ExecutionSpan.end",
}


# Python 3.13 warns of what planting a fault is: a function that gets the code of another.
pytestmark = pytest.mark.filterwarnings("ignore:Assigning a code object of non-matching type:DeprecationWarning")


class Interrupt(BaseException):
    """What no `except Exception` catches."""


KINDS = (RuntimeError, Interrupt)


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


class Served:
    """A running bridge, and what it answered when nothing was wrong."""

    def __init__(self, app: Application, client: httpx.AsyncClient) -> None:
        assert app.history
        self.app = app
        self.history = app.history
        self.good: dict[str, tuple[Answer, dict[str, str]]] = {}
        self._client = client

    async def deliver(self, plugin: str) -> tuple[Answer, str]:
        """One webhook; what every sender sees of the answer, and the id of the record."""
        response = await self._client.post(f"/api/v1/webhook/{plugin}", **DELIVERIES[plugin])
        answer = Answer(response.status_code, response.headers["content-type"], response.content)
        return answer, response.headers.get("x-execution-id", "")

    async def learn(self) -> None:
        for plugin in DELIVERIES:
            answer, execution_id = await self.deliver(plugin)
            self.good[plugin] = answer, self.record(execution_id)

    def record(self, execution_id: str) -> dict[str, str]:
        """What of a record is the same each time."""
        record = self.history.get(execution_id) if execution_id else None
        names = ("plugin_name", "http_method", "status", "input", "output", "error", "error_type", "traceback", "logs")
        more = ("metadata", "user_agent", "remote_ip", "parent_span_id")
        return {name: getattr(record, name, "") for name in (*names, *more)}

    def wait_for(self, fault: Fault) -> None:
        """Until it struck, or the spool is empty."""
        while not fault.struck.wait(0.01) and self.history.spooled.spool.depth.frames:
            pass

    async def appender(self) -> None:
        """Until it is there and at rest: some faults cost it, or its attention, for a second."""
        lane = self.history._lane
        while lane is not None and (lane.pid is None or lane._is_asked):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)

    async def flush(self) -> bool:
        return await asyncio.to_thread(self.history.spooled.force_flush, 10_000)

    def lost(self) -> int:
        """Frames that the spool or the store did not take, by their own count."""
        return self.history.drain.rejected + sum(self.history.spooled.spool.dropped.values())

    def is_stored(self, execution_id: str) -> bool:
        record = self.history.store.get(execution_id)
        return record is not None and record.status.is_final


@contextlib.asynccontextmanager
async def serve(folder: Path, isolation: Literal["thread", "process"]) -> AsyncIterator[Served]:
    config = Config(
        plugins=PluginsConfig(directories=(str(folder),), isolation=isolation, reload_interval_seconds=3600),
        storage=StorageConfig(sqlite=SqliteConfig(database_path=str(folder / "data/executions.db"))),
    )
    app = Application(config)
    asgi: Any = app.asgi()  # httpx and Litestar spell the same protocol differently
    transport = httpx.ASGITransport(asgi, raise_app_exceptions=False)
    async with asgi.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
        served = Served(app, client)
        await served.learn()
        yield served


async def watched(served: Served, watch: Watch) -> dict[str, list[CodeType]]:
    """What runs on the tracking side while each plugin is called once, by thread."""
    assert await served.flush()
    watch.is_open = True
    for plugin in DELIVERIES:
        await served.deliver(plugin)
    watch.is_open = False
    request = list(watch.seen[MAIN])
    watch.is_open = True
    assert await served.flush()
    watch.is_open = False
    return {thread: list(codes) for thread, codes in watch.seen.items()} | {MAIN: request}


class Sweep:
    """What went wrong so far, and which functions were really made to fail."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.failed: set[str] = set()

    async def in_request(self, served: Served, function: FunctionType) -> None:
        """Fail it in each way, for each plugin."""
        name = name_of(function.__code__)
        for kind, (plugin, (expected, record)) in itertools.product(KINDS, served.good.items()):
            await served.appender()
            before = failsafe.failures.total()
            with planted(function, kind("planted"), threads=frozenset({MAIN})) as fault:
                answer, execution_id = await served.deliver(plugin)
            self._note(fault, name)
            if answer != expected:
                self.wrong.append(f"{kind.__name__} in {name}, {plugin}: the answer became {answer}")
            elif failsafe.failures.total() == before and served.record(execution_id) != record:
                now = served.record(execution_id)
                lost = {key: (value, now[key]) for key, value in record.items() if now[key] != value}
                self.wrong.append(f"{kind.__name__} in {name}, {plugin}: the record lost uncounted: {lost}")

    async def behind(self, served: Served, function: FunctionType, kind: type[BaseException], thread: str) -> None:
        """Fail it in a thread behind the answers, until it was reached once or all is delivered without it."""
        expected, _ = served.good["good"]
        before, name = served.lost(), name_of(function.__code__)
        told = f"{kind.__name__} in {name}"
        with planted(function, kind("planted"), threads=frozenset({thread})) as fault:
            answer, execution_id = await served.deliver("good")
            await asyncio.to_thread(served.wait_for, fault)
        self._note(fault, name)
        if answer != expected:
            self.wrong.append(f"{told}: the answer became {answer}")
        if not await served.flush():
            self.wrong.append(f"{told}: the spool is not drained any more")
        if served.lost() == before and not served.is_stored(execution_id):
            self.wrong.append(f"{told}: the record was lost and nothing counted")

    def _note(self, fault: Fault, name: str) -> None:
        if fault.struck.is_set():
            self.failed.add(name)


@pytest.fixture(autouse=True)
def global_provider_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that runs plugins in threads sets OpenTelemetry's, once a process: not for the tests after this one."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a fault cost is mended within moments, not within a second."""
    monkeypatch.setattr(bridge_app.history, "_KEEP_SECONDS", 0.02)
    monkeypatch.setattr(exporters.lane, "_STUCK_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """A bridge tunes the garbage collection of its process, which here is the tests'."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    return tmp_path


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_no_fault_on_the_way_of_a_request_reaches_its_answer(
    folder: Path, isolation: Literal["thread", "process"]
) -> None:
    """And none of them loses anything without being counted; afterwards everything is recorded as before."""
    sweep = Sweep()

    async def run() -> None:
        with Watch() as watch:
            async with serve(folder, isolation) as served:
                codes = (await watched(served, watch))[MAIN]
                watch.stop()
                known = functions()
                for code in codes:
                    if code in known:
                        await sweep.in_request(served, known[code])
                for plugin, (answer, record) in served.good.items():
                    last, execution_id = await served.deliver(plugin)
                    assert (last, served.record(execution_id)) == (answer, record)
                assert await served.flush()

    asyncio.run(run())
    assert sweep.wrong == []
    assert sweep.failed >= IN_REQUEST


def test_no_fault_of_the_drain_loses_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drain process does this; here it is a thread of ours, so that its functions can be made to fail."""
    monkeypatch.setattr(exporters.drain, "_LOOK_SECONDS", (0.002, 0.002))
    store = open_store(f"sqlite:///{tmp_path}/executions.db")
    spool = Spool.open(tmp_path / "spool", instance_id="one")
    exporter = SpooledSpanExporter(ExecutionRecordExporter(), spool)
    configured = configure(exporter, shutdown_on_exit=False)
    wrong, failed = [], set()
    with Watch() as watch:
        watch.is_open = True
        drain = Drain(ExecutionRecordExporter(store), spool.reader())
        drain.start()
        configured.tracker.start("watched").end()
        assert exporter.force_flush(10_000)
        watch.stop()
    known = functions()
    codes = [code for code in watch.seen[DRAIN] if code in known]
    # Each way of failing for every other function: a drain that failed waits before it tries again.
    for code, kind in zip(codes, itertools.cycle(KINDS)):
        function = known[code]
        with planted(function, kind("planted"), threads=frozenset({DRAIN})) as fault:
            execution = configured.tracker.start("a")
            execution.end()
            while not fault.struck.wait(0.002) and spool.depth.frames:
                pass
        if fault.struck.is_set():
            failed.add(name_of(code))
        if not exporter.force_flush(10_000):
            wrong.append(f"{kind.__name__} in {name_of(code)}: the spool is not drained any more")
        if store.get(execution.id) is None and not drain.rejected:
            wrong.append(f"{kind.__name__} in {name_of(code)}: the record was lost and nothing counted")
    configured.shutdown()
    assert drain.finish(timeout_seconds=10)
    store.close()
    assert wrong == []
    assert failed >= IN_DRAIN


def test_no_fault_of_the_spool_reaches_an_answer_or_loses_a_record_in_silence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one writer outlives them all. Here it has all the work: there is no appender."""
    monkeypatch.setattr(Lane, "keep", lambda _: None)
    sweep = Sweep()

    async def run() -> None:
        with Watch() as watch:
            async with serve(folder, "thread") as served:
                codes = (await watched(served, watch))[WRITER]
                watch.stop()
                known = functions()
                for code, kind in zip((code for code in codes if code in known), itertools.cycle(KINDS)):
                    await sweep.behind(served, known[code], kind, WRITER)
                assert served.lost() == 0

    asyncio.run(run())
    assert sweep.wrong == []
    assert sweep.failed >= IN_WRITER
