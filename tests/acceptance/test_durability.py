"""`X-Execution-Durable` tells the truth: what survives a kill, what survives a power cut, and what neither."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from bridge_process import until

if TYPE_CHECKING:
    import httpx
    from bridge_process import BridgeProcess

ECHO = "def handle(event):\n    return event.data\n"
# A disk whose syncs hang for as long as a file is there, or fail for as long as another one is.
BAD_DISK = """
import os, pathlib, time
def bad(really):
    def sync(descriptor):
        while pathlib.Path('hangs').exists():
            time.sleep(0.005)
        if pathlib.Path('fails').exists():
            raise OSError(5, 'Input/output error')
        really(descriptor)
    return sync
os.fsync, os.fdatasync = bad(os.fsync), bad(os.fdatasync)
"""
# The appender is a program of its own: it gets the same disk.
IN_THE_APPENDER_TOO = """
import pathlib, exporters.appender
worker = pathlib.Path('appender.py').absolute()
worker.write_text({disk!r} + f'exec(compile(open({{str(exporters.appender._WORKER)!r}}).read(), "appender", "exec"))')
exporters.appender._WORKER = worker
"""
NEVER_SYNCS = """
import os
def sync(descriptor):
    os.abort()
os.fdatasync = os.fsync = sync
"""


def on(disk: str, program: str) -> str:
    """The program, on that disk."""
    return disk + IN_THE_APPENDER_TOO.format(disk=disk) + program


@pytest.fixture
def echo(bridge: BridgeProcess) -> BridgeProcess:
    bridge.plugin("echo", ECHO)
    return bridge


def durable(answer: httpx.Response) -> str:
    assert answer.status_code == 200
    return answer.headers["X-Execution-Durable"]


def ids(bridge: BridgeProcess) -> set[str]:
    return {record["id"] for record in bridge.get("/executions", limit=1000)["executions"]}


@pytest.mark.parametrize("program", ["", NEVER_SYNCS], ids=["disk", "process"])
def test_what_an_answer_calls_durable_survives_the_kill_that_follows_it(echo: BridgeProcess, program: str) -> None:
    """`process` never syncs, so that it costs no more than a write."""
    wanted = "process" if program else "disk"
    if program:
        echo.program = on(program, echo.program)
    echo._environment["BRIDGE__EXECUTION_TRACKING__DURABILITY"] = wanted
    echo.start()
    echo.post("echo", {})
    answers = [echo.post("echo", {"n": number}) for number in range(20)]
    echo.kill()
    said = [durable(answer) for answer in answers]
    assert set(said) <= {wanted, "process"}  # a busy machine may need more than 50 ms for a sync
    assert said.count(wanted) >= 15
    echo.start()
    assert until(lambda: {answer.headers["X-Execution-Id"] for answer in answers} <= ids(echo))


@pytest.mark.parametrize(
    ("key", "value"), [("DURABILITY", "off"), ("ENABLED", "false")], ids=["durability off", "tracking off"]
)
def test_what_is_not_waited_for_is_called_none(echo: BridgeProcess, key: str, value: str) -> None:
    echo._environment[f"BRIDGE__EXECUTION_TRACKING__{key}"] = value
    echo.start()
    answers = [echo.post("echo", {"n": number}) for number in range(3)]
    assert [durable(answer) for answer in answers] == ["none"] * 3
    if key == "DURABILITY":
        assert until(lambda: len(ids(echo)) == 3)
    assert echo.stop() == 0


def test_on_a_disk_that_hangs_answers_wait_50_ms_and_say_process(echo: BridgeProcess) -> None:
    """Not only the first: all of them are in the file, and survive a kill while the disk still hangs."""
    echo.program = on(BAD_DISK, echo.program)
    echo.start()
    echo.post("echo", {})
    (echo.folder / "hangs").touch()
    seconds, answers = [], []
    for number in range(10):
        began = time.monotonic()
        answers.append(echo.post("echo", {"n": number}))
        seconds.append(time.monotonic() - began)
    with ThreadPoolExecutor(16) as pool:
        answers += pool.map(lambda number: echo.post("echo", {"n": number}), range(100, 150))
    echo.kill()
    said = [durable(answer) for answer in answers]
    assert set(said) <= {"process", "none"}  # a busy machine may need more than the 10 ms there are for the write
    assert said.count("process") >= 55
    assert min(seconds) > 0.03
    assert sorted(seconds)[5] < 0.1
    (echo.folder / "hangs").unlink()
    echo.start()
    assert until(lambda: {a.headers["X-Execution-Id"] for a in answers if durable(a) == "process"} <= ids(echo))


def test_a_disk_that_hung_is_trusted_again(echo: BridgeProcess) -> None:
    echo.program = on(BAD_DISK, echo.program)
    echo.start()
    (echo.folder / "hangs").touch()
    known = [echo.post("echo", {"n": number}).headers["X-Execution-Id"] for number in range(5)]
    (echo.folder / "hangs").unlink()
    assert until(lambda: durable(echo.post("echo", {})) == "disk")
    assert until(lambda: set(known) <= ids(echo))
    assert echo.stop() == 0
    assert "appender process ended" not in echo.log


def test_a_disk_that_fails_loses_nothing_and_doubles_nothing(echo: BridgeProcess) -> None:
    """A failed sync leaves it open what is on the disk: the frames are written again, elsewhere."""
    echo.program = on(BAD_DISK, echo.program)
    echo.start()
    (echo.folder / "fails").touch()
    answers = [echo.post("echo", {"n": number}) for number in range(5)]
    assert {durable(answer) for answer in answers} <= {"process", "none"}
    (echo.folder / "fails").unlink()
    assert until(lambda: durable(echo.post("echo", {})) == "disk")
    assert until(lambda: {answer.headers["X-Execution-Id"] for answer in answers} <= ids(echo))
    page = echo.get("/executions", limit=1000)
    assert len({record["id"] for record in page["executions"]}) == page["total"]
    assert echo.client.get("/health").json()["spool"]["dropped"] == {}
