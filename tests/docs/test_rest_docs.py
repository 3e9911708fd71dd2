"""docs/rest.md and the server say the same, and what it tells people to type works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bridge_process import BridgeProcess

from bridge_app.api.filters import MAX_TEXT
from bridge_app.api.shapes import ExecutionRecord
from bridge_app.api.times import UNITS
from bridge_app.problems import known_problem_types
from bridge_app.webhooks import METHODS
from otel_tracker.query import SearchBudget

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/rest.md").read_text()
SECTIONS = {
    match[1]: match[2] for match in re.finditer(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
}
COMMANDS = [
    pytest.param(block, id=f"line-{TEXT[: match.start()].count(chr(10)) + 2}")
    for match in re.finditer(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for block in (match[1],)
]
ALL_FILTERS = "every parameter of the list but `limit`, `offset` and `cursor`"
PAGING = {"limit", "offset", "cursor"}
CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "plugins", folder / "plugins")
    process = BridgeProcess(folder)
    yield process.start()
    process.close()


@pytest.fixture(scope="module")
def document(bridge: BridgeProcess) -> dict[str, Any]:
    found: dict[str, Any] = bridge.client.get("/schema/openapi.json").json()
    return found


def test_each_route_is_in_the_docs_and_vice_versa(bridge: BridgeProcess, document: dict[str, Any]) -> None:
    served = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    documented = {
        f"{method} {path}" for heading in SECTIONS for *methods, path in [heading.split()] for method in methods
    }
    schema = {heading for heading in documented if heading.startswith("GET /schema")}
    assert documented - schema == served
    assert all(bridge.client.get(heading.split()[1]).status_code == 200 for heading in schema)


def test_each_parameter_is_in_the_docs_and_vice_versa(document: dict[str, Any]) -> None:
    for heading, text in SECTIONS.items():
        method, path = heading.split()[0].lower(), heading.split()[-1]
        if "/webhook/" in path or path.startswith("/schema"):
            continue
        taken = {one["name"]: one for one in document["paths"][path][method].get("parameters", [])}
        rows = dict(_rows(heading))
        if ALL_FILTERS in text:
            rows |= {name: default for name, default in _rows("GET /api/v1/executions") if name not in PAGING}
        told = {name: _text(one["schema"].get("default", "")) for name, one in taken.items() if one["in"] == "query"}
        assert rows == told, heading


def _text(default: object) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def _rows(heading: str) -> list[tuple[str, str]]:
    """Names and defaults of the parameters in a section's table."""
    return re.findall(r"^\| `(\w+)` \| (\S*) ?\| ", SECTIONS[heading], re.MULTILINE)


def test_each_problem_type_is_in_the_docs_and_vice_versa() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `/problems/([a-z-]+)` \| .+ \|$", TEXT, re.MULTILINE)
    assert sorted((int(status), slug) for status, slug in rows) == [
        (kind.status, kind.slug) for kind in known_problem_types()
    ]


def test_each_field_of_a_record_is_in_the_docs_and_vice_versa() -> None:
    table = TEXT.partition("An ExecutionRecord:")[2].partition("###")[0]
    told = [name for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(ExecutionRecord.__struct_fields__)


def test_the_bounds_of_a_search_are_in_the_docs() -> None:
    budget, text = SearchBudget(), TEXT.partition("#### Search")[2].partition("An ExecutionRecord:")[0]
    assert f"no more than {budget.rows:,} records and {budget.characters:,}\ncharacters" in text
    assert "for no more than one second" in text
    assert budget.seconds == 1.0
    assert f"at most {MAX_TEXT} characters" in SECTIONS["GET /api/v1/executions"]


def test_each_unit_of_a_length_is_in_the_docs() -> None:
    told = re.search(r"^Units are (.+?) is one length", SECTIONS["GET /api/v1/executions"], re.MULTILINE | re.DOTALL)
    assert told is not None
    assert re.findall(r"`([a-z]+)`", told[1]) == list(UNITS)


def test_each_header_of_a_webhooks_answer_is_in_the_docs(document: dict[str, Any]) -> None:
    heading = f"{' '.join(METHODS)} /api/v1/webhook/{{plugin}}"
    told = re.findall(r"^\| `(X-[A-Za-z-]+|traceresponse|Server-Timing)` \|", SECTIONS[heading], re.MULTILINE)
    responses = document["paths"]["/api/v1/webhook/{plugin}"]["post"]["responses"]
    assert told == list(responses["200"]["headers"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the docs need curl")
@pytest.mark.parametrize("commands", COMMANDS)
def test_the_commands_of_the_docs_work(bridge: BridgeProcess, tmp_path: Path, commands: str) -> None:
    """Each is answered with success, or with the error that stands behind it."""
    (tmp_path / "README.md").write_text("a report")
    done = subprocess.run(
        ["/bin/bash", "-euc", CURL + commands.replace("http://127.0.0.1:8001", bridge.url)],
        cwd=tmp_path,
        env={**os.environ, "BRIDGE_TOKEN": "any"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    expected = re.findall(r"# (\d{3})$", commands, re.MULTILINE)
    assert re.findall(r"returned error: (\d{3})", done.stderr) == expected, done.stdout + done.stderr
    assert done.returncode == (22 if expected else 0), done.stderr
