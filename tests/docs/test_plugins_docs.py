"""docs/plugins.md: its plugins run and answer as shown, its tables hold of a real server."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bridge_process import BridgeProcess

from bridge_app.cli.root import run
from bridge_app.config import Config
from bridge_app.config_fields import fields
from bridge_app.plugins.contract import BasePlugin, Event
from bridge_app.plugins.discovery import NAME_PATTERN
from bridge_app.plugins.registry import PluginState

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/plugins.md").read_text()
FILES = {
    match[1]: match[2] for match in re.finditer(r"^```python\n# (\S+\.py)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
}
CALLS = re.findall(r"^```sh\n(webhook-bridge run [^\n]*)\n```\n\n```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ENDINGS = re.findall(r"^\| (.+\.) \| (\d{3}) \| `(\w+)` \| (?:`(\w+)` |.*)\|$", TEXT, re.MULTILINE)

ENDING_PLUGINS = {
    "The handler returned.": "return 1",
    "It raised an exception.": "raise RuntimeError('no')",
    "It raised `TimeoutError`, or a library's.": "raise TimeoutError",
    "It took longer than `plugins.timeout_seconds`, and was killed.": "while True: pass",
    "It called `sys.exit` or `os._exit`.": "import os; os._exit(1)",
    "Its process died, as of a segmentation fault.": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "It wanted more than `plugins.max_memory_bytes`.": "bytearray(1 << 30)",
    "JSON cannot say the result.": "return object()",
    "The result is larger than `plugins.max_result_bytes`.": "return 'x' * 2000",
    "Its file does not load.": "return (",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples that are shipped, and those of the page."""
    made = tmp_path_factory.mktemp("plugins-docs")
    shutil.copytree(ROOT / "plugins", made / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for name, source in FILES.items():
        (made / name).write_text(source)
    return made


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    """Tight limits, and a plugin for each ending."""
    process = BridgeProcess(
        tmp_path_factory.mktemp("endings"),
        BRIDGE__PLUGINS__TIMEOUT_SECONDS="1",
        BRIDGE__PLUGINS__WORKERS="1",
        BRIDGE__PLUGINS__MAX_QUEUE="1",
        BRIDGE__PLUGINS__MAX_MEMORY_BYTES="268435456",
        BRIDGE__PLUGINS__MAX_RESULT_BYTES="1000",
    )
    for number, body in enumerate(ENDING_PLUGINS.values()):
        process.plugin(f"ending{number}", f"def handle(event):\n    {body}\n")
    process.plugin("sleeps", "import time\ndef handle(event): time.sleep(0.7)\n")
    process.plugin(
        "reader", "from bridge_app.plugin import BasePlugin\nclass Plugin(BasePlugin):\n    def get(self): 1\n"
    )
    yield process.start()
    process.close()


@pytest.mark.parametrize(("command", "shown"), CALLS, ids=[command[19:40] for command, _ in CALLS])
def test_a_call_answers_as_shown(
    folder: Path, command: str, shown: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`…` stands for lines that are left out."""
    monkeypatch.chdir(folder)
    status = run(shlex.split(command)[1:])
    pattern = re.escape(shown).replace(re.escape("  …\n"), "(?:  .*\n)*")
    printed = capfd.readouterr().out
    assert re.fullmatch(pattern, printed), printed
    assert status == ("failed" in shown)


def test_every_python_block_is_a_file_that_is_used(folder: Path) -> None:
    assert len(FILES) == TEXT.count("```python\n")
    assert len(CALLS) == TEXT.count("```sh\n")
    called = {shlex.split(command)[2] for command, _ in CALLS}
    assert {Path(name).stem for name in FILES} - called == {"_money", "test_plugins"}


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_plugins.py"]
    ended = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout.splitlines()[-1][:8]) == (0, "2 passed"), ended.stdout


def test_each_ending_that_a_plugin_can_bring_about_is_in_the_table() -> None:
    told = [what for what, *_ in ENDINGS]
    assert [what for what in told if what in ENDING_PLUGINS] == list(ENDING_PLUGINS)
    assert [what for what in told if what not in ENDING_PLUGINS] == [
        "It does not handle the method.",
        "No worker was free in time, or `plugins.max_queue` calls wait already.",
    ]


@pytest.mark.parametrize(("what", "http", "status", "error_type"), ENDINGS, ids=[what for what, *_ in ENDINGS])
def test_a_call_ends_as_the_table_says(
    bridge: BridgeProcess, what: str, http: str, status: str, error_type: str
) -> None:
    names = list(ENDING_PLUGINS)
    name = f"ending{names.index(what)}" if what in names else "sleeps" if "worker" in what else "reader"
    others = [threading.Thread(target=bridge.post, args=("sleeps", {})) for _ in range(2 if name == "sleeps" else 0)]
    for thread in others:
        thread.start()
        time.sleep(0.1)
    answer = bridge.post(name, {})
    for thread in others:
        thread.join()
    assert answer.status_code == int(http)
    record = bridge.get(f"/executions/{answer.headers['X-Execution-Id']}")
    assert record["status"] == status
    assert record["error_type"] == ("unknown_error" if what == "It raised an exception." else error_type)


def test_the_states_are_those_there_are() -> None:
    table = TEXT.partition("| state | meaning |\n| --- | --- |\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [state.value for state in PluginState]


def test_what_a_plugin_gets_is_told_whole() -> None:
    event = {field.name for field in dataclasses.fields(Event)}
    assert set(re.findall(r"`event\.(\w+)`", TEXT)) == event
    handlers = {"run", "handle", "get", "post", "put", "patch", "delete"}
    public = {name for name in vars(BasePlugin) if not name.startswith("_")} - handlers
    assert set(re.findall(r"`self\.(\w+)", TEXT)) == public | {"data", "http_method", "logger", "event", "result"}


def test_settings_that_are_named_exist() -> None:
    named = set(re.findall(r"`(plugins\.[a-z_]+)", TEXT))
    assert named == {leaf.path for leaf in fields(Config) if leaf.path.startswith("plugins.")}


def test_the_pattern_of_names_is_the_one_in_use() -> None:
    assert f"Names match `{NAME_PATTERN.pattern}`" in TEXT


def test_each_example_plugin_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+\.py)` \|", TEXT, re.MULTILINE)
    assert sorted(explained) == sorted(path.name for path in (ROOT / "plugins").glob("*.py"))
