"""The two READMEs say the same, name only what there is, and what they tell people to type answers as they show."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess, until

from bridge_app.cli.lazy import LazyGroup
from bridge_app.cli.root import root
from bridge_app.config import Config
from bridge_app.config_fields import fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

ROOT = Path(__file__).parents[2]
FILES = ("README.md", "README.zh-CN.md")
TEXTS = {name: (ROOT / name).read_text() for name in FILES}
ENGLISH, CHINESE = TEXTS.values()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS: list[tuple[str, str]] = BLOCK.findall(ENGLISH)
FIGURES = re.compile(r"^<!-- figures -->\n(.*?)^<!-- /figures -->$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
NUMBER = re.compile(r"\d[\d,.]*(?<![,.])")
FILE_SUFFIXES = {".py", ".md", ".yaml", ".toml", ".lock"}
ADDRESS = "http://127.0.0.1:8001"
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
SPAN_ID = "00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]"
VARIES = {
    "date": ".+", "x-execution-id": ID, "x-trace-id": "[0-9a-f]{32}", "traceresponse": SPAN_ID,
    "server-timing": f'traceparent;desc="{SPAN_ID}"',
}  # fmt: skip
"""Headers whose values no two answers share."""

both = pytest.mark.parametrize("name", FILES)


def spans(text: str) -> list[str]:
    """What is set as code inside a sentence or a table."""
    return SPAN.findall(BLOCK.sub("", text))


def code(text: str) -> str:
    """Everything that is set as code, a line each."""
    return "\n".join([*spans(text), *(body for _, body in BLOCK.findall(text))])


def figures(text: str) -> list[list[str]]:
    """The cells of the table of figures, its two lines of heading left out."""
    (block,) = FIGURES.findall(text)
    return [line.strip("| ").split(" | ") for line in block.splitlines() if line.startswith("|")][2:]


def shown_after(command: str) -> str:
    """The block that follows the one with this command: its answer."""
    return BLOCKS[BLOCKS.index(("sh", f"{command}\n")) + 1][1]


CURL_CALLS = [body.removesuffix("\n") for language, body in BLOCKS if language == "sh" and body.startswith("curl ")]
SEND, LIST = CURL_CALLS
((PLUGIN_NAME, PLUGIN),) = (
    (match[1], body) for _, body in BLOCKS if (match := re.match(r"# plugins/(\w+)\.py\n", body))
)
(PROGRAM,) = (body for language, body in BLOCKS if language == "python" and body != PLUGIN)


def with_examples(bridge: BridgeProcess) -> BridgeProcess:
    """A bridge that serves the example plugins and has an empty history."""
    for path in (ROOT / "plugins").glob("*.py"):
        bridge.plugin(path.stem, path.read_text())
    return bridge.start()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    """One for all the tests that do not mind each other's records."""
    process = BridgeProcess(tmp_path_factory.mktemp("readme"))
    yield with_examples(process)
    process.close()


def typed(bridge: BridgeProcess, command: str) -> str:
    """What a command of the README prints, sent to this bridge; without curl, the same request by other means."""
    command = command.replace(ADDRESS, bridge.url.rstrip("/"))
    if shutil.which("curl") is None:
        return _sent(bridge, command)
    call = ["/bin/bash", "-euc", command.replace("curl ", "curl --silent --show-error ", 1)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.replace("\r\n", "\n")


def _sent(bridge: BridgeProcess, command: str) -> str:
    url = re.search(r"http://[^' ]+", command)
    body = re.search(r"-d '([^']*)'", command)
    assert url
    type_of_curl = {"content-type": "application/x-www-form-urlencoded"}
    answer = bridge.client.post(url[0], content=body[1], headers=type_of_curl) if body else bridge.client.get(url[0])
    return _head(answer) + answer.text if " -i " in command else answer.text


def _head(answer: httpx.Response) -> str:
    lines = [f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"]
    lines += [f"{name.lower()}: {value}" for name, value in answer.headers.items()]
    return "\n".join([*lines, "", ""])


def pattern_of(shown: str) -> re.Pattern[str]:
    """Matches an answer that is the one shown, but for what no two answers share."""
    head, _, body = shown.partition("\n\n")
    lines = []
    for line in head.splitlines():
        name, colon, _ = line.partition(": ")
        lines.append(f"{name}{colon}{VARIES[name]}" if name in VARIES else re.escape(line))
    return re.compile("\n".join(lines) + "\n\n" + re.escape(body.removesuffix("\n")))


def steady(page: dict[str, Any]) -> dict[str, Any]:
    """A page of the history without what no two runs share."""
    for record in page["executions"]:
        assert re.fullmatch(ID, record["id"])
        assert record["duration"] > 0
        record |= {"id": "", "duration": 0}
    return page


def test_both_have_the_same_code_in_the_same_order() -> None:
    assert BLOCK.findall(CHINESE) == BLOCKS


def test_every_block_of_code_is_closed_and_has_a_language() -> None:
    fences = re.findall(r"^```.*$", ENGLISH, re.MULTILINE)
    assert len(fences) == 2 * len(BLOCKS)
    assert all(language for language, _ in BLOCKS)


def test_both_have_the_same_sections() -> None:
    levels = [re.findall(r"^(#+) ", BLOCK.sub("", text), re.MULTILINE) for text in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]


def test_both_set_the_same_things_as_code() -> None:
    """A name, a route or a key that one of them lacks, or spells in another way."""
    assert sorted(set(spans(ENGLISH))) == sorted(set(spans(CHINESE)))


def test_both_tables_of_figures_have_the_same_numbers() -> None:
    numbers = [[[NUMBER.findall(cell) for cell in row] for row in figures(text)] for text in (ENGLISH, CHINESE)]
    assert numbers[0] == numbers[1]


@both
def test_the_figures_are_one_table_of_sixteen_rows_and_the_command_that_measures_them(name: str) -> None:
    assert [len(row) for row in figures(TEXTS[name])] == [4] * 16
    assert "`make bench`" in FIGURES.findall(TEXTS[name])[0]


@both
def test_the_targets_are_those_that_the_benchmarks_print(name: str) -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "benchmarks").glob("bench_*.py")))
    printed = re.findall(r"\(must ([\d.]+), aim ([\d.]+)\)", sources)
    told = [tuple(NUMBER.findall(cell)[0] for cell in row[1:3]) for row in figures(TEXTS[name])]
    assert Counter(told) - Counter(printed) == Counter()


@both
def test_each_links_to_the_other_above_everything_else(name: str) -> None:
    (other,) = set(FILES) - {name}
    assert LINK.findall(TEXTS[name])[0] == other


def test_both_link_to_the_same_pages() -> None:
    assert LINK.findall(ENGLISH)[1:] == LINK.findall(CHINESE)[1:]


@both
def test_every_relative_link_leads_somewhere(name: str) -> None:
    targets = [target for target in LINK.findall(TEXTS[name]) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_every_page_of_the_docs_is_linked() -> None:
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")}
    assert pages - set(LINK.findall(ENGLISH)) == set()


@both
def test_every_file_and_folder_that_is_named_exists(name: str) -> None:
    plain = [span for span in spans(TEXTS[name]) if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span)]
    paths = [span for span in plain if "/" in span or Path(span).suffix in FILE_SUFFIXES]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@both
def test_every_make_target_that_is_named_exists(name: str) -> None:
    there_are = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make ([a-z]+)", code(TEXTS[name]), re.MULTILINE)
    assert {"run", "test", "bench"} <= set(named) <= set(there_are)


@both
def test_every_command_that_is_named_exists(name: str) -> None:
    named = re.findall(r"webhook-bridge((?: [a-z][a-z-]*)+)", code(TEXTS[name]))
    assert named
    for words in named:
        group: Any = root
        for word in words.split():
            if isinstance(group, LazyGroup):
                assert word in group.entries, f"webhook-bridge{words}"
                group = group.entries[word]


@both
def test_every_setting_that_is_named_exists(name: str) -> None:
    known = {leaf.path for leaf in fields(Config)}
    sections = {path.rpartition(".")[0] for path in known}
    tops = {path.partition(".")[0] for path in known}
    named = {span for span in spans(TEXTS[name]) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span)}
    assert {span for span in named if span.partition(".")[0] in tops} - known - sections == set()


def test_the_program_prints_what_it_shows(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    shown = re.findall(r"^print\(.*\)  # (.*)$", PROGRAM, re.MULTILINE)
    assert (ended.stderr, ended.stdout.splitlines()) == ("", shown)
    assert (tmp_path / "history.db").is_file()


def test_a_delivery_is_answered_as_shown(served: BridgeProcess) -> None:
    """A disk that is slow for a moment lets an answer say `process`, so it may take more than one."""
    expected, printed = pattern_of(shown_after(SEND)), ""

    def is_as_shown() -> bool:
        nonlocal printed
        printed = typed(served, SEND)
        return expected.fullmatch(printed) is not None

    assert until(is_as_shown), f"{printed}\nis not\n{expected.pattern}"


def test_the_history_shows_that_delivery(bridge: BridgeProcess) -> None:
    typed(with_examples(bridge), SEND)
    assert until(lambda: [each["status"] for each in bridge.get("/executions")["executions"]] == ["completed"])
    page = steady(json.loads(typed(bridge, LIST)))
    assert page == steady(json.loads(shown_after(LIST).replace("\n", "")))


def test_a_plugin_that_is_dropped_into_the_folder_is_served(served: BridgeProcess) -> None:
    served.plugin(PLUGIN_NAME, PLUGIN)
    assert until(lambda: served.post(PLUGIN_NAME, {}).status_code == 200)
    answer = served.post(PLUGIN_NAME, {"key": "value"})
    assert answer.json() == {"status": "success", "data": {"key": "value"}}
    assert "handling POST" in served.get(f"/executions/{answer.headers['X-Execution-Id']}")["logs"]


def test_every_route_that_is_named_is_served(served: BridgeProcess) -> None:
    named = {span for span in spans(ENGLISH) if span.startswith("/")}
    assert {route: served.client.get(route).status_code for route in named} == dict.fromkeys(named, 200)
    assert named
