"""Plugins that do harm, in real worker processes: each harms its own execution only, and the record says the truth."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import pytest

from bridge_app.plugins import pool
from bridge_app.plugins.calls import Call, Isolation, Outcome, OutcomeKind, RunnerSettings
from bridge_app.plugins.registry import PluginState
from bridge_app.plugins.runner import PluginRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

SOURCES = """
### good
def handle(event):
    return {'got': event.data}
### prints
import sys
def handle(event):
    print('out')
    sys.stderr.write('err')
    event.logger.warning('logged %d', 1)
    import logging
    logging.getLogger('lib').info('from a library')
### loops
def handle(event):
    print('before')
    while True:
        pass
### stubborn
import signal, time
def handle(event):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
### sys_exit
import sys
def handle(event):
    sys.exit(3)
### os_exit
import os
def handle(event):
    print('last words')
    os._exit(3)
### segfault
import os, signal
def handle(event):
    os.kill(os.getpid(), signal.SIGSEGV)
    while True: pass
### floods
import sys
def handle(event):
    block = 'x' * 1_000_000
    for _ in range(100):
        sys.stdout.write(block)
    return 'done'
### log_floods
def handle(event):
    for _ in range(1000):
        event.logger.info('y' * 1000)
    return 'done'
### recursive
def handle(event):
    circle = {'a': [1]}
    circle['a'].append(circle)
    return circle
### unserializable
def handle(event):
    return {'items': [1, {'when': object()}]}
### nan
def handle(event):
    return [float('nan'), float('-inf'), 1.5, '\\ud800']
### huge
def handle(event):
    return 'x' * 2_000_000
### closes_all
import os
def handle(event):
    os.closerange(0, 65536)
    return 'closed'
### closes_low
import os
def handle(event):
    os.closerange(0, 256)
    return 'closed'
### forks
import os, time
def handle(event):
    if os.fork() == 0:
        time.sleep(60)
    return 'parent'
### fork_returns
import os
def handle(event):
    pid = os.fork()
    return 'child' if pid == 0 else 'parent'
### fork_raises
import os
def handle(event):
    if os.fork() == 0:
        raise ValueError('child')
    os.wait()
    return 'parent'
### forks_and_loops
import os, time
def handle(event):
    if os.fork() == 0:
        os.setsid()
        time.sleep(60)
    time.sleep(60)
### eats_memory
def handle(event):
    return len(bytearray(1 << 30))
### raises
def handle(event):
    try:
        {}['missing']
    except KeyError as e:
        raise ConnectionError('no route') from e
### slow
import time
def handle(event):
    time.sleep(event.data)
    return 'slept'
### asynchronous
import asyncio
async def handle(event):
    asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    return event.method
### helped
import _helper
def handle(event):
    return _helper.VALUE
### legacy
from webhook_bridge.plugin import BasePlugin
class Plugin(BasePlugin):
    def get(self):
        self.set_result('name', self.get_data('name', 'nobody'))
### broken
import nowhere_to_be_found
### dies_on_import
import os
os._exit(9)
### who
import os
def handle(event):
    return os.getpid()
"""
PLUGINS = {name: source for name, _, source in (part.partition("\n") for part in SOURCES.split("### ")[1:])}


def settings(folder: Path, **changes: Any) -> RunnerSettings:
    defaults: dict[str, Any] = {
        "directories": (folder,),
        "timeout_seconds": 5.0,
        "workers": 1,
        "max_result_bytes": 1_000_000,
        "max_log_bytes": 10_000,
        "max_memory_bytes": 256 << 20,
        "reload_interval_seconds": 0.05,
    }
    return RunnerSettings(**(defaults | changes))


def write_plugins(folder: Path, *names: str) -> None:
    (folder / "_helper.py").write_text("VALUE = 1\n")
    for name in {*names, "good"}:
        (folder / f"{name}.py").write_text(PLUGINS[name])


@asynccontextmanager
async def running(folder: Path, *names: str, **changes: Any) -> AsyncIterator[PluginRunner]:
    """A started runner over the named plugins and `good`; afterwards no process of ours may be left."""
    write_plugins(folder, *names)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    runner = PluginRunner(settings(folder, **changes))
    await runner.start()
    try:
        yield runner
    finally:
        await runner.stop(0)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def run_one(folder: Path, name: str, *, data: Any = None, method: str = "POST", **changes: Any) -> Outcome:
    """One call, and after it a call of `good`, which must work as if nothing had happened."""

    async def scenario() -> Outcome:
        async with running(folder, name, **changes) as runner:
            outcome = await runner.run(Call(name, data=data, method=method))
            after = await runner.run(Call("good", data=[1]))
            assert (after.kind, after.body) == (OutcomeKind.COMPLETED, b'{"got":[1]}')
            assert after.logs == "[]"
            return outcome

    return asyncio.run(scenario())


async def until(fact: Callable[[], bool | Awaitable[bool]], *, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        held = fact()
        if held if isinstance(held, bool) else await held:
            return
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def test_a_result_comes_back_as_json(tmp_path: Path) -> None:
    outcome = run_one(tmp_path, "good", data={"é": [1, None, True]})
    assert (outcome.kind, outcome.body) == (OutcomeKind.COMPLETED, '{"got":{"é":[1,null,true]}}'.encode())


def test_what_a_plugin_prints_and_logs_is_kept(tmp_path: Path) -> None:
    entries = json.loads(run_one(tmp_path, "prints").logs)
    assert sorted(entries, key=str) == [
        {"stream": "log", "level": "INFO", "text": "from a library"},
        {"stream": "log", "level": "WARNING", "text": "logged 1"},
        {"stream": "stderr", "text": "err"},
        {"stream": "stdout", "text": "out\n"},
    ]


@pytest.mark.parametrize("name", ["loops", "stubborn", "forks_and_loops"])
def test_a_timeout_kills_for_real(tmp_path: Path, name: str) -> None:
    outcome = run_one(tmp_path, name, timeout_seconds=0.5)
    assert outcome.kind is OutcomeKind.TIMEOUT
    assert (outcome.error_type, outcome.error) == ("timeout", "no answer within 0.5 s: the plugin was killed")
    assert 0.4e9 < outcome.run_ns < 1.5e9


def test_what_was_printed_before_a_timeout_is_kept(tmp_path: Path) -> None:
    outcome = run_one(tmp_path, "loops", timeout_seconds=0.5)
    assert outcome.logs == '[{"stream": "stdout", "text": "before\\n"}]'


@pytest.mark.parametrize(
    ("name", "error_type", "error"),
    [
        ("sys_exit", "plugin_exited", "the plugin called sys.exit(3)"),
        ("os_exit", "plugin_exited", "the plugin ended its worker process with exit code 3"),
        ("segfault", "worker_crashed", "the worker process died of SIGSEGV"),
        ("closes_all", "worker_crashed", "the plugin closed the descriptors of its worker, which was ended"),
        ("recursive", "unserializable_result", "result['a'][1] contains itself"),
        ("unserializable", "unserializable_result", "result['items'][1]['when'] is a object"),
        ("huge", "result_too_large", "the result is 2000002 bytes of JSON; plugins.max_result_bytes is 1000000"),
        ("eats_memory", "memory_limit", "MemoryError"),
        ("raises", "", "ConnectionError: no route"),
    ],
)
def test_a_failure_is_told_truthfully(tmp_path: Path, name: str, error_type: str, error: str) -> None:
    outcome = run_one(tmp_path, name)
    assert (outcome.kind, outcome.error_type, outcome.body) == (OutcomeKind.FAILED, error_type, b"")
    assert error in outcome.error


def test_last_words_before_a_crash_are_kept(tmp_path: Path) -> None:
    assert run_one(tmp_path, "os_exit").logs == '[{"stream": "stdout", "text": "last words\\n"}]'


def test_causes_are_part_of_the_error_types(tmp_path: Path) -> None:
    outcome = run_one(tmp_path, "raises")
    assert outcome.error_type_chain == (
        "builtins.ConnectionError",
        "builtins.OSError",
        "builtins.Exception",
        "builtins.KeyError",
        "builtins.LookupError",
    )
    assert "raise ConnectionError('no route') from e" in outcome.traceback
    assert "worker.py" not in outcome.traceback


def test_100_mb_of_output_is_read_and_dropped(tmp_path: Path) -> None:
    """The server's memory does not grow with it."""
    before = psutil.Process().memory_info().rss
    outcome = run_one(tmp_path, "floods", timeout_seconds=20)
    assert (outcome.kind, outcome.body) == (OutcomeKind.COMPLETED, b'"done"')
    assert json.loads(outcome.logs)[-1]["dropped_bytes"] == 100_000_000 - 10_000
    assert psutil.Process().memory_info().rss - before < 30_000_000


def test_log_lines_beyond_the_bound_are_counted(tmp_path: Path) -> None:
    entries = json.loads(run_one(tmp_path, "log_floods").logs)
    assert (len(entries), entries[-1]["dropped_bytes"]) == (11, 990_000)


def test_nan_becomes_null_and_a_lone_surrogate_is_replaced(tmp_path: Path) -> None:
    assert run_one(tmp_path, "nan").body == '[null,null,1.5,"\ufffd"]'.encode()


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("closes_low", b'"closed"'),
        ("forks", b'"parent"'),
        ("fork_returns", b'"parent"'),
        ("fork_raises", b'"parent"'),
        ("asynchronous", b'"POST"'),
        ("helped", b"1"),
    ],
)
def test_an_untidy_plugin_gets_its_answer(tmp_path: Path, name: str, body: bytes) -> None:
    outcome = run_one(tmp_path, name)
    assert (outcome.kind, outcome.body, outcome.error) == (OutcomeKind.COMPLETED, body, "")


def test_a_known_hook_file_runs_unchanged(tmp_path: Path) -> None:
    assert run_one(tmp_path, "legacy", data={"name": "Ada"}, method="GET").body == b'{"name":"Ada"}'


def test_a_method_that_is_not_handled_is_refused(tmp_path: Path) -> None:
    outcome = run_one(tmp_path, "legacy", method="POST")
    assert (outcome.kind, outcome.allowed) == (OutcomeKind.NOT_ALLOWED, ("GET",))


@pytest.mark.parametrize(("name", "why"), [("broken", "nowhere_to_be_found"), ("dies_on_import", "exit code 9")])
def test_a_broken_plugin_is_unavailable_and_says_why(tmp_path: Path, name: str, why: str) -> None:
    outcome = run_one(tmp_path, name)
    assert (outcome.kind, outcome.error_type) == (OutcomeKind.UNAVAILABLE, "plugin_broken")
    assert why in outcome.error
    assert why in outcome.traceback


def test_an_unknown_name_is_not_found(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as runner:
            assert (await runner.run(Call("../good"))).kind is OutcomeKind.NOT_FOUND

    asyncio.run(scenario())


def test_calls_beyond_the_workers_wait_and_beyond_the_queue_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, "slow", workers=2, max_queue=1) as runner:
            calls = [runner.run(Call("slow", data=0.3)) for _ in range(4)]
            kinds = sorted(outcome.kind for outcome in await asyncio.gather(*calls))
            assert kinds == ["completed", "completed", "completed", "overloaded"]

    asyncio.run(scenario())


def test_the_workers_that_wait_are_not_harmed_by_a_neighbour(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, "slow", "os_exit", workers=2) as runner:
            slow, dead = await asyncio.gather(runner.run(Call("slow", data=0.3)), runner.run(Call("os_exit")))
            assert (slow.kind, dead.kind) == (OutcomeKind.COMPLETED, OutcomeKind.FAILED)

    asyncio.run(scenario())


def test_a_canceled_caller_ends_its_plugin(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, "loops") as runner:
            task = asyncio.create_task(runner.run(Call("loops")))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await runner.run(Call("good"))).kind is OutcomeKind.COMPLETED

    asyncio.run(scenario())


def test_stop_waits_for_the_grace_and_interrupts_the_rest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, "slow", workers=2) as runner:
            quick = asyncio.create_task(runner.run(Call("slow", data=0.2)))
            late = asyncio.create_task(runner.run(Call("slow", data=4)))
            await asyncio.sleep(0.05)
            await runner.stop(0.6)
            assert (await quick).kind is OutcomeKind.COMPLETED
            assert ((await late).kind, (await late).error_type) == (OutcomeKind.CANCELED, "interrupted")
            assert (await runner.run(Call("good"))).kind is OutcomeKind.CANCELED
            assert runner.worker_pids() == []

    asyncio.run(scenario())


def test_a_worker_is_replaced_after_its_share_of_calls(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, "who", recycle_after=3) as runner:
            pids = {(await runner.run(Call("who"))).body for _ in range(9)}
            assert len(pids) >= 3

    asyncio.run(scenario())


def test_a_changed_file_serves_at_once_and_a_broken_one_leaves_the_old_serving(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as runner:
            file = tmp_path / "good.py"

            async def answers(body: bytes) -> bool:
                return (await runner.run(Call("good"))).body == body

            def state(expected: PluginState) -> bool:
                info = runner.registry.get("good")
                return info is not None and info.state is expected

            file.write_text("def handle(event):\n    return 'two'\n")
            await until(lambda: answers(b'"two"'))
            file.write_text("def handle(event:\n")
            await until(lambda: state(PluginState.STALE))
            info = runner.registry.get("good")
            assert info is not None
            assert "SyntaxError" in info.error
            assert await answers(b'"two"')
            file.write_text("def handle(event):\n    return 'three'\n")
            await until(lambda: answers(b'"three"'))
            assert state(PluginState.READY)

    asyncio.run(scenario())


def test_new_deleted_and_helped_plugins_are_noticed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, "helped") as runner:

            async def answers(name: str, body: bytes) -> bool:
                return (await runner.run(Call(name))).body == body

            (tmp_path / "new.py").write_text("def handle(event):\n    return 'new'\n")
            assert await answers("new", b'"new"')
            (tmp_path / "_helper.py").write_text("VALUE = 22\n")
            await until(lambda: answers("helped", b"22"))
            (tmp_path / "new.py").unlink()
            await until(lambda: runner.registry.get("new") is None)

    asyncio.run(scenario())


def test_a_reload_drops_no_running_call(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, "slow", workers=2) as runner:
            task = asyncio.create_task(runner.run(Call("slow", data=0.4)))
            await asyncio.sleep(0.05)
            (tmp_path / "slow.py").write_text("def handle(event):\n    return 'new'\n")
            assert (await runner.run(Call("slow"))).body in {b'"new"', b""}
            assert (await task).body == b'"slept"'

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'what is this?' >&2; echo >&2; exit 3", "exit code 3 before it was ready and said 'what is this?'"),
        ("kill -9 $$", "signal 9 before it was ready;"),
        ("exec sleep 60", "none was ready within 1 s;"),
    ],
)
def test_a_start_that_fails_says_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setattr(pool, "_START_SECONDS", 1.0)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)

    async def scenario() -> None:
        with pytest.raises(pool.PoolStartError) as raised:
            await PluginRunner(settings(tmp_path, python=str(python))).start()
        assert why in str(raised.value)
        assert ("within" in str(raised.value)) == ("sleep" in script)
        assert f"no plugin worker came up with '{python}'" in str(raised.value)

    asyncio.run(scenario())


def test_workers_die_with_the_server(tmp_path: Path) -> None:
    """SIGKILL of the server leaves none of its workers."""
    program = (
        "import asyncio, pathlib, sys, os\n"
        "from bridge_app.plugins.calls import RunnerSettings\n"
        "from bridge_app.plugins.runner import PluginRunner\n"
        "async def main():\n"
        "    runner = PluginRunner(RunnerSettings(directories=(pathlib.Path(sys.argv[1]),)))\n"
        "    await runner.start()\n"
        "    print(*runner.worker_pids(), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )

    async def scenario() -> None:
        server = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            str(tmp_path),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "."},
        )
        assert server.stdout is not None
        pids = [int(pid) for pid in (await server.stdout.readline()).split()]
        assert len(pids) == 3
        server.kill()
        await server.wait()
        await until(lambda: not any(_lives(pid) for pid in pids))

    asyncio.run(scenario())


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_thread_isolation_keeps_the_contract_and_abandons_at_the_timeout(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(
            tmp_path, "legacy", "slow", "asynchronous", "sys_exit", isolation=Isolation.THREAD, timeout_seconds=0.5
        ) as runner:
            assert (await runner.run(Call("legacy", method="GET"))).body == b'{"name":"nobody"}'
            assert (await runner.run(Call("asynchronous"))).body == b'"POST"'
            assert (await runner.run(Call("sys_exit"))).error_type == "plugin_exited"
            late = await runner.run(Call("slow", data=0.8))
            assert (late.kind, late.error_type) == (OutcomeKind.TIMEOUT, "timeout")
            assert "abandoned" in late.error
            assert (await runner.run(Call("good"))).kind is OutcomeKind.COMPLETED

    asyncio.run(scenario())
