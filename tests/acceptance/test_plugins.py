"""Plugins seen from outside: what a file in the folder becomes, while a real server runs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess

from bridge_app.plugins import discovery, registry
from bridge_app.plugins.calls import Call, Description, Isolation, RunnerSettings
from bridge_app.plugins.discovery import discover
from bridge_app.plugins.registry import PluginRegistry
from bridge_app.plugins.runner import PluginRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bridge_app.plugins.calls import Version
    from bridge_app.plugins.discovery import Listing

KNOWN = """
import datetime
from webhook_bridge.plugin import BasePlugin

class Plugin(BasePlugin):
    "Written for the Webhook Bridge that users know."
    def handle(self):
        self.logger.info("handling %s", self.http_method)
        self.set_result("seen", self.get_data("name", "nobody"))
        return {"status": "success", "data": self.data, "so far": self.get_result()}
"""
EACH_METHOD = """
from bridge_app.plugin import BasePlugin

class Plugin(BasePlugin):
    def get(self): return "get"
    async def post(self): return "post"
    def put(self): return "put"
    def delete(self): return "delete"
    def patch(self): return "patch"
"""
OLDEST = """
from webhook_bridge.plugin import BasePlugin

class Plugin(BasePlugin):
    def run(self):
        self.result["method"] = self.http_method
    def handle(self): return "not this"
    def post(self): return "nor this"
"""
FUNCTION = """
def handle(event):
    "A plain function."
    return {
        "data": event.data, "body": event.body.decode(), "query": event.query, "header": event.headers["x-event"],
        "method": event.method, "path": event.path, "delivery": event.delivery_id, "execution": event.execution_id,
    }
"""
ASYNCHRONOUS = """
import asyncio
async def handle(event):
    await asyncio.sleep(0)
    return "waited"
"""
HELPED = """
import _words
from counted import numbers
def handle(event):
    return [_words.WORD, numbers.NUMBER]
"""
LOGS = """
def handle(event):
    event.logger.info("%d", "no number")
    try:
        {}["missing"]
    except KeyError:
        event.logger.exception("caught")
    return "done"
"""
SECRET = """
open({marker!r}, "w").close()
def handle(event): return "stolen"
"""


def answering(value: object) -> str:
    return f"def handle(event):\n    return {value!r}\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    """A server over a folder of plugins; each test changes those that are its own."""
    folder = tmp_path_factory.mktemp("served")
    bridge = BridgeProcess(folder, BRIDGE__PLUGINS__RELOAD_INTERVAL_SECONDS="0.2")
    plugins = folder / "plugins"
    (folder / "outside.py").write_text(SECRET.format(marker=str(folder / "imported-outside")))
    (plugins / "_unused.py").write_text(SECRET.format(marker=str(folder / "imported-helper")))
    (plugins / "no plugin.py").write_text(SECRET.format(marker=str(folder / "imported-odd-name")))
    (plugins / "notes.txt").write_text("not Python")
    (plugins / "_words.py").write_text("WORD = 1\n")
    (plugins / "counted").mkdir()
    (plugins / "counted" / "__init__.py").touch()
    (plugins / "counted" / "numbers.py").write_text("NUMBER = 1\n")
    for name, source in {
        "known": KNOWN,
        "each_method": EACH_METHOD,
        "oldest": OLDEST,
        "reader": "from bridge_app.plugin import BasePlugin\nclass Plugin(BasePlugin):\n    def get(self): return 1\n",
        "function": FUNCTION,
        "asynchronous": ASYNCHRONOUS,
        "helped": HELPED,
        "broken": "import nowhere_to_be_found\n",
        "unfinished": "def handle(event:\n",
        "neither": "x = 1\n",
        "stranger": "class Plugin:\n    def handle(self): return 1\n",
        "exits": "raise SystemExit(3)\n",
        "where": "import os\nWHERE = [os.getpid(), os.getppid()]\ndef handle(event): return WHERE\n",
        "changed": answering(1),
        "mended": "import nowhere_to_be_found\n",
        "damaged": answering("old"),
        "deleted": answering(1),
        "moved": answering(1),
    }.items():
        bridge.plugin(name, source)
    yield bridge.start()
    bridge.close()


def row(bridge: BridgeProcess, name: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = bridge.get("/plugins")["plugins"]
    return next((row for row in rows if row["name"] == name), None)


def state(bridge: BridgeProcess, name: str) -> str:
    found = row(bridge, name)
    return found["state"] if found else "gone"


def until(fact: Callable[[], bool], *, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


# The two forms


def test_a_hook_file_of_the_known_webhook_bridge_runs_unchanged(served: BridgeProcess) -> None:
    answer = served.post("known", {"name": "Ada"})
    assert answer.json() == {"status": "success", "data": {"name": "Ada"}, "so far": {"seen": "Ada"}}
    record = served.get(f"/executions/{answer.headers['X-Execution-Id']}")
    assert json.loads(record["logs"]) == [{"stream": "log", "level": "INFO", "text": "handling POST"}]


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_a_method_has_its_own_handler(served: BridgeProcess, method: str) -> None:
    assert served.client.request(method, "/api/v1/webhook/each_method").json() == method


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_run_is_the_oldest_spelling_and_wins(served: BridgeProcess, method: str) -> None:
    assert served.client.request(method, "/api/latest/webhook/oldest").json() == {"method": method}


def test_a_function_gets_the_whole_delivery(served: BridgeProcess) -> None:
    answer = served.client.put(
        "/api/v1/webhook/function?a=1",
        content='{"b": [2]}',
        headers={"Content-Type": "application/json", "X-Event": "push", "X-GitHub-Delivery": "72d3162e"},
    )
    assert answer.json() == {
        "data": {"b": [2]},
        "method": "PUT",
        "path": "/api/v1/webhook/function",
        "query": {"a": "1"},
        "body": '{"b": [2]}',
        "header": "push",
        "delivery": "72d3162e",
        "execution": answer.headers["X-Execution-Id"],
    }


def test_an_async_function_is_awaited(served: BridgeProcess) -> None:
    assert served.post("asynchronous", {}).json() == "waited"


def test_a_method_that_is_not_handled_is_refused_and_recorded(served: BridgeProcess) -> None:
    answer = served.post("reader", {})
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")
    until(lambda: served.get("/executions", error_type="method_not_allowed")["total"] == 1)


# What is found


def test_the_list_names_methods_documentation_and_state(served: BridgeProcess) -> None:
    shown = {name: row(served, name) for name in ("known", "function", "each_method", "_words", "no plugin", "counted")}
    assert {name: found and (found["methods"], found["doc"], found["state"]) for name, found in shown.items()} == {
        "known": (
            ["GET", "POST", "PUT", "PATCH", "DELETE"],
            "Written for the Webhook Bridge that users know.",
            "ready",
        ),
        "function": (["GET", "POST", "PUT", "PATCH", "DELETE"], "A plain function.", "ready"),
        "each_method": (["GET", "POST", "PUT", "PATCH", "DELETE"], "", "ready"),
        "_words": None,
        "no plugin": None,
        "counted": None,
    }


def test_the_server_itself_imports_no_plugin(served: BridgeProcess) -> None:
    worker, parent = served.post("where", {}).json()
    assert parent == served.process.pid
    assert worker != parent


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "..%2foutside",
        "%2e%2e%2foutside",
        "..%2Foutside.py",
        "..%5coutside",
        "%c0%ae%c0%ae%2foutside",
        "plugins%2Fknown",
        ".%2Fknown",
        "known.py",
        "KNOWN",
        "known%00",
        "known%0a",
        "known%20",
        "known;x",
        "_unused",
        "no%20plugin",
        "__init__",
        "counted",
        "counted.numbers",
        "counted%2Fnumbers",
        "n" * 65,
        "%F0%9F%92%A5",
    ],
)
def test_a_name_is_looked_up_and_never_joined_to_a_path(served: BridgeProcess, name: str) -> None:
    """Sent as raw bytes: a client library would tidy the path."""
    address = (served.client.base_url.host, served.client.base_url.port or 0)
    headers = "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(f"POST /api/v1/webhook/{name} HTTP/1.1\r\n{headers}".encode())
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert sorted(path.name for path in served.folder.glob("imported-*")) == []


# What is broken


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("unfinished", "SyntaxError: '(' was never closed"),
        ("neither", "has neither `class Plugin(BasePlugin)` nor `def handle(event)`"),
        ("stranger", "is no BasePlugin: write `from bridge_app.plugin import BasePlugin`"),
        ("exits", "SystemExit: 3"),
    ],
)
def test_a_file_that_does_not_import_is_a_row_with_its_traceback_and_503(
    served: BridgeProcess, name: str, why: str
) -> None:
    found = row(served, name)
    assert found is not None
    assert (found["state"], found["methods"]) == ("broken", [])
    assert why in found["error"]
    answer = served.post(name, {})
    assert (answer.status_code, answer.json()["error_type"]) == (503, "plugin_broken")
    until(lambda: served.get("/executions", error_type="plugin_broken", plugin=name)["total"] == 1)
    assert served.client.get("/health").status_code == 200


# What changes


def test_a_changed_file_serves_by_itself(served: BridgeProcess) -> None:
    assert served.post("changed", {}).json() == 1
    served.plugin("changed", answering(2))  # the same size
    until(lambda: served.post("changed", {}).json() == 2)
    replacement = served.folder / "replacement"
    replacement.write_text(answering(3))
    replacement.replace(served.folder / "plugins" / "changed.py")
    until(lambda: served.post("changed", {}).json() == 3)


def test_a_change_is_noticed_though_its_time_is_set_back(served: BridgeProcess) -> None:
    file = served.folder / "plugins" / "back.py"
    file.write_text(answering(1))
    before = file.stat()
    until(lambda: served.post("back", {}).text == "1")
    file.write_text(answering(2))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    until(lambda: served.post("back", {}).text == "2")


def test_a_broken_new_version_leaves_the_old_one_serving_and_says_so(served: BridgeProcess) -> None:
    served.plugin("damaged", "def handle(event):\n    return undefined(\n")
    until(lambda: state(served, "damaged") == "stale")
    found = row(served, "damaged")
    assert found is not None
    assert "SyntaxError: '(' was never closed" in found["error"]
    assert [served.post("damaged", {}).json() for _ in range(5)] == ["old"] * 5
    assert "the version before it goes on serving" in served.log
    served.plugin("damaged", answering("new"))
    until(lambda: served.post("damaged", {}).json() == "new" and state(served, "damaged") == "ready")


def test_a_mended_plugin_serves(served: BridgeProcess) -> None:
    assert served.post("mended", {}).status_code == 503
    served.plugin("mended", answering("mended"))
    until(lambda: served.post("mended", {}).text == '"mended"')


def test_a_deleted_plugin_is_not_found(served: BridgeProcess) -> None:
    assert served.post("deleted", {}).status_code == 200
    (served.folder / "plugins" / "deleted.py").unlink()
    until(lambda: served.post("deleted", {}).status_code == 404)
    assert state(served, "deleted") == "gone"


def test_a_new_file_is_served(served: BridgeProcess) -> None:
    assert served.post("new", {}).status_code == 404
    served.plugin("new", answering("new"))
    until(lambda: served.post("new", {}).status_code == 200)


def test_the_first_call_of_a_new_file_is_served_without_waiting_for_the_poll(bridge: BridgeProcess) -> None:
    bridge._environment["BRIDGE__PLUGINS__RELOAD_INTERVAL_SECONDS"] = "3600"
    bridge.start()
    bridge.plugin("new", answering("new"))
    assert bridge.post("new", {}).text == '"new"'
    bridge.plugin("newer", answering("newer"))
    assert bridge.post("newer", {}).status_code == 404  # the folder was looked at within this second
    time.sleep(1)
    assert bridge.post("newer", {}).text == '"newer"'


def test_a_renamed_plugin_is_served_under_its_new_name(served: BridgeProcess) -> None:
    plugins = served.folder / "plugins"
    (plugins / "moved.py").rename(plugins / "moved-on.py")
    until(lambda: served.post("moved-on", {}).status_code == 200 and served.post("moved", {}).status_code == 404)


def test_changed_helpers_reload_the_plugins_beside_them(served: BridgeProcess) -> None:
    """Also twice within a second and with the same size, where bytecode would not be made anew."""
    plugins = served.folder / "plugins"
    for number in (1, 2, 3):
        (plugins / "_words.py").write_text(f"WORD = {number}\n")
        (plugins / "counted" / "numbers.py").write_text(f"NUMBER = {number}\n")
        until(lambda number=number: served.post("helped", {}).json() == [number, number])  # type: ignore[misc]


def test_a_file_reloads_within_about_a_second_by_default(bridge: BridgeProcess) -> None:
    """Without being called: the list shows it."""
    bridge.plugin("changed", answering(1))
    bridge.start()
    bridge.plugin("changed", "broken(")
    until(lambda: state(bridge, "changed") == "stale", seconds=2.5)


def test_a_folder_that_is_swapped_while_it_is_looked_at_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list of its files and the look at each of them."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "kept.py").write_text("")
    assert set(discover((folder,)).plugins) == {"kept"}
    listed = discovery._entries

    def swapped(directory: Path) -> list[Path]:
        paths = listed(directory)
        folder.rename(tmp_path / "before")
        return paths

    monkeypatch.setattr(discovery, "_entries", swapped)
    assert discover((folder,)).unreadable == {folder}


def test_plugins_of_a_folder_that_is_swapped_go_on_serving(bridge: BridgeProcess) -> None:
    """As a deployment does it; where the folder is gone for a moment, it has lost nothing yet."""
    bridge._environment["BRIDGE__PLUGINS__RELOAD_INTERVAL_SECONDS"] = "0.05"
    bridge.plugin("kept", answering("old"))
    bridge.start()
    (bridge.folder / "plugins").rename(bridge.folder / "plugins-before")
    until(lambda: "cannot be read: No such file or directory" in bridge.log)
    assert [bridge.post("kept", {}).text for _ in range(3)] == ['"old"'] * 3
    (bridge.folder / "plugins-new").mkdir()
    (bridge.folder / "plugins-new" / "kept.py").write_text(answering("new"))
    (bridge.folder / "plugins-new").rename(bridge.folder / "plugins")
    until(lambda: bridge.post("kept", {}).text == '"new"')


# Several folders, and threads


def outcomes(*calls: str, **settings: Any) -> list[Any]:
    """What the plugins answer, each asked once, in one runner."""

    async def scenario() -> list[Any]:
        runner = PluginRunner(RunnerSettings(**settings))
        await runner.start()
        try:
            return [json.loads((await runner.run(Call(name, data={}))).body) for name in calls]
        finally:
            await runner.stop(0)

    return asyncio.run(scenario())


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The thread of each look at the folders."""
    threads: list[str] = []

    def noted(directories: tuple[Path, ...]) -> Listing:
        threads.append(threading.current_thread().name)
        return discover(directories)

    monkeypatch.setattr(registry, "discover", noted)
    return threads


async def described(_: Version) -> Description:
    return Description(methods=("GET",))


def test_a_flood_of_unknown_names_looks_at_the_folders_once_a_second(tmp_path: Path, looks: list[str]) -> None:
    """Who asks while a look is under way waits for it; a name that no plugin can have is not looked for at all."""

    async def scenario() -> None:
        plugins = PluginRegistry((tmp_path,), describe=described)
        assert await plugins.find("../new") is None
        assert looks == []
        (tmp_path / "new.py").write_text(answering("new"))
        names = [f"unknown{number}" for number in range(1000)]
        found = await asyncio.gather(*map(plugins.find, [*names, "new"]))
        assert [info.name for info in found if info] == ["new"]
        assert await asyncio.gather(*map(plugins.find, names)) == [None] * 1000
        assert len(looks) == 1
        plugins.close()

    asyncio.run(scenario())


def test_no_look_at_the_folders_holds_the_event_loop_up(tmp_path: Path, looks: list[str]) -> None:
    """A thousand files take 80 ms: at the start, at each poll, for a changed file and for an unknown name."""

    async def scenario() -> None:
        (tmp_path / "one.py").write_text(answering(1))
        plugins = PluginRegistry((tmp_path,), describe=described)
        plugins.scan()
        await plugins.checked(timeout_seconds=5)
        (tmp_path / "one.py").write_text(answering(22))
        await asyncio.sleep(0.11)
        version = await plugins.serving("one")
        assert version is not None
        assert b"22" in version.source
        await plugins.find("unknown")
        plugins.close()

    asyncio.run(scenario())
    assert len(looks) == 3
    assert threading.main_thread().name not in looks


def test_looks_that_were_asked_for_while_one_is_under_way_are_one_look_after_it(
    tmp_path: Path, looks: list[str]
) -> None:
    """So each sees what was in the folder when it was asked for."""

    async def scenario() -> None:
        plugins = PluginRegistry((tmp_path,), describe=described)
        first = plugins.scan()
        await asyncio.sleep(0)
        (tmp_path / "late.py").write_text(answering(1))
        asked = {plugins.scan() for _ in range(10)}
        assert len(asked) == 1
        await asyncio.wait({first, *asked})
        assert plugins.get("late") is not None
        assert len(looks) == 2
        plugins.close()

    asyncio.run(scenario())


def test_a_look_that_fails_is_logged_and_the_next_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        plugins = PluginRegistry((tmp_path,), describe=described)
        (tmp_path / "one.py").write_text(answering(1))
        with monkeypatch.context() as patched:
            patched.setattr(registry, "discover", None)
            await plugins.scan()
        assert "the plugin folders could not be looked at" in caplog.text
        await plugins.scan()
        assert plugins.get("one") is not None
        plugins.close()

    asyncio.run(scenario())


def test_more_files_than_the_queue_has_room_for_are_all_checked(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(20)]
    for name in names:
        (tmp_path / f"{name}.py").write_text(answering(name))
    assert outcomes(*names, directories=(tmp_path,), workers=1, max_queue=1) == names


@pytest.mark.parametrize("isolation", list(Isolation))
def test_each_folder_has_its_own_helpers(tmp_path: Path, isolation: Isolation) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "_own.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / f"{name}.py").write_text("import _own\ndef handle(event): return _own.NAME\n")
    folders = (tmp_path / "first", tmp_path / "second")
    assert outcomes("first", "second", "first", directories=folders, workers=1, isolation=isolation) == [
        "first",
        "second",
        "first",
    ]


def test_in_a_thread_what_is_logged_is_kept_with_its_traceback(bridge: BridgeProcess) -> None:
    """And a log line that cannot be formatted does not fail the plugin."""
    bridge._environment["BRIDGE__PLUGINS__ISOLATION"] = "thread"
    bridge.plugin("logs", LOGS)
    bridge.start()
    answer = bridge.post("logs", {})
    assert answer.json() == "done"
    (entry,) = json.loads(bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")["logs"])
    assert entry["level"] == "ERROR"
    assert entry["text"].startswith("caught\nTraceback (most recent call last):\n")
    assert entry["text"].endswith("KeyError: 'missing'")
