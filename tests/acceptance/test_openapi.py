"""The OpenAPI document is valid, whole and true: real answers fit it. Its viewer needs no other host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from bridge_process import BridgeProcess, until
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator

from bridge_app.api.schemas import field_texts
from bridge_app.api.shapes import PluginStats
from bridge_app.api.viewer import FILES, SWAGGER_UI_VERSION
from bridge_app.problems import known_problem_types
from otel_tracker.classification import ERROR_TYPES
from otel_tracker.record import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGIN = """
def handle(event):
    return 1 / event.data.get("by", 1)
"""
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
OPERATIONS = {
    "list_executions": ("get", "/api/v1/executions"),
    "export_executions": ("get", "/api/v1/executions/export"),
    "clean_up": ("delete", "/api/v1/executions/cleanup"),
    "get_stats": ("get", "/api/v1/executions/stats"),
    "get_timeseries": ("get", "/api/v1/executions/timeseries"),
    "get_plugin_stats": ("get", "/api/v1/executions/stats/{plugin}"),
    "get_storage_info": ("get", "/api/v1/executions/storage/info"),
    "get_execution": ("get", "/api/v1/executions/{execution_id}"),
    "list_spans": ("get", "/api/v1/executions/{execution_id}/spans"),
    "get_execution_trace": ("get", "/api/v1/executions/{execution_id}/trace"),
    "get_trace": ("get", "/api/v1/traces/{trace_id}"),
    "jaeger_services": ("get", "/api/services"),
    "jaeger_service_operations": ("get", "/api/services/{service}/operations"),
    "jaeger_operations": ("get", "/api/operations"),
    "jaeger_search": ("get", "/api/traces"),
    "jaeger_get_trace": ("get", "/api/traces/{trace_id}"),
    "jaeger_dependencies": ("get", "/api/dependencies"),
    "list_plugins": ("get", "/api/v1/plugins"),
    "get_plugin": ("get", "/api/v1/plugins/{plugin}"),
    "list_destinations": ("get", "/api/v1/destinations"),
    "run_plugin_get": ("get", "/api/v1/webhook/{plugin}"),
    "run_plugin_post": ("post", "/api/v1/webhook/{plugin}"),
    "run_plugin_put": ("put", "/api/v1/webhook/{plugin}"),
    "run_plugin_patch": ("patch", "/api/v1/webhook/{plugin}"),
    "run_plugin_delete": ("delete", "/api/v1/webhook/{plugin}"),
    "health": ("get", "/health"),
    "live": ("get", "/health/live"),
    "health_ready": ("get", "/health/ready"),
    "metrics": ("get", "/metrics"),
}

EXPORTED = {
    "text/csv",
    "application/json",
    "application/x-ndjson",
    "application/vnd.apache.parquet",
    "application/gzip",
}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path_factory.mktemp("openapi"))
    process.plugin("divide", PLUGIN)
    process.plugin("broken", "import no_such_module\n")
    process.start()
    newest = [process.post("divide", {"by": by}).headers["X-Execution-Id"] for by in (1, 0)][1]
    assert until(
        lambda: process.get("/executions", limit=1)["executions"][:1] == [process.get(f"/executions/{newest}")]
    )
    yield process
    process.close()


@pytest.fixture(scope="module")
def document(bridge: BridgeProcess) -> dict[str, Any]:
    answer = bridge.client.get("/schema/openapi.json")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation | {"method": method, "path": path}
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def faults(document: Any) -> list[str]:
    return [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]


def everything(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from everything(child)
    elif isinstance(value, list):
        for child in value:
            yield from everything(child)


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert faults(document) == []


def test_it_has_exactly_these_operations(document: dict[str, Any]) -> None:
    found = {name: (operation["method"], operation["path"]) for name, operation in operations(document).items()}
    assert found == OPERATIONS


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    known = {tag["name"] for tag in document["tags"]}
    for operation in operations(document).values():
        assert operation["summary"]
        assert operation["description"]
        assert set(operation["tags"]) <= known
        for parameter in operation.get("parameters", []):
            assert parameter["schema"], parameter
            assert parameter["description"]


def test_every_answer_has_a_shape_and_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        assert "default" in operation["responses"]
        for status, response in operation["responses"].items():
            if (name, status) == ("export_executions", "200"):
                assert response["content"].keys() == EXPORTED
                continue
            (media_type, content), *others = response["content"].items()
            assert not others
            if status == "200" or name.startswith("health"):
                assert media_type in {"application/json", "text/plain"} or status == "default"
            elif name.startswith("jaeger"):
                assert content["schema"] == {"$ref": "#/components/schemas/JaegerFailure"}
            else:
                assert media_type == "application/problem+json"
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_every_shape_is_used_and_its_fields_are_described_by_their_texts(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    used = {str(value["$ref"]).rpartition("/")[2] for value in everything(document) if "$ref" in value}
    assert set(schemas) == used
    assert all(schema["description"] for schema in schemas.values())
    assert schemas["ExecutionRecord"]["properties"]["duration"]["description"] == "Nanoseconds; 0 while it runs."
    assert schemas["PluginStats"]["required"][-2:] == ["plugin", "realtime"]
    assert schemas["Status"]["enum"] == sorted(Status)


def test_a_text_is_found_where_it_stands() -> None:
    texts = field_texts(PluginStats)
    assert texts["daily_stats"] == "Oldest day first; days without executions are left out."


def test_the_examples_fit_their_shapes(document: dict[str, Any]) -> None:
    checked = 0
    for value in everything(document["paths"]):
        for example in value.get("examples", {}).values() if "schema" in value else ():
            assert_fits(document, value["schema"], example["value"])
            checked += 1
        if "example" in value:
            assert_fits(document, value["schema"], value["example"])
    assert checked >= 10


def test_filters_name_their_values(document: dict[str, Any]) -> None:
    parameters = {one["name"]: one for one in document["paths"]["/api/v1/executions"]["get"]["parameters"]}
    assert list(parameters) == ["limit", "offset", "cursor", "plugin", "status", "error_type", "trace_id",
                                "delivery_id", "start_time", "end_time", "min_duration", "max_duration", "tags", "q",
                                "fields"]  # fmt: skip
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}
    assert parameters["status"]["schema"]["items"]["enum"] == list(Status)
    assert parameters["error_type"]["schema"]["items"]["enum"] == list(ERROR_TYPES)
    for name in ("start_time", "end_time"):
        assert parameters[name]["schema"]["anyOf"] == [{"format": "date-time"}, {"pattern": "^-[0-9]"}]
    assert parameters["q"]["schema"] == {"type": "string", "maxLength": 1000}
    assert not any(parameter["required"] for parameter in parameters.values())


def test_the_export_takes_the_filters_of_the_list(document: dict[str, Any]) -> None:
    listed, exported = (
        {one["name"]: one for one in document["paths"][path]["get"]["parameters"]}
        for path in ("/api/v1/executions", "/api/v1/executions/export")
    )
    assert list(exported)[:2] == ["format", "compress"]
    assert exported["format"]["schema"] == {
        "type": "string", "enum": ["csv", "json", "jsonl", "parquet"], "default": "csv"
    }  # fmt: skip
    own = {"format", "compress"}
    paging = {"limit", "offset", "cursor"}
    assert [exported[name] for name in exported if name not in own] == [
        listed[name] for name in listed if name not in paging
    ]


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("list_executions", "/api/v1/executions"),
        ("export_executions", "/api/v1/executions/export?format=json"),
        ("export_executions", "/api/v1/executions/export?format=xml"),
        ("get_execution", "/api/v1/executions/{newest}"),
        ("list_spans", "/api/v1/executions/{newest}/spans"),
        ("get_execution_trace", "/api/v1/executions/{newest}/trace"),
        ("get_execution_trace", "/api/v1/executions/{newest}/trace?format=svg"),
        ("get_trace", "/api/v1/traces/{trace_id}"),
        ("get_trace", "/api/v1/traces/abc"),
        ("jaeger_services", "/api/services"),
        ("jaeger_service_operations", "/api/services/webhook-bridge/operations"),
        ("jaeger_operations", "/api/operations?service=webhook-bridge"),
        ("jaeger_operations", "/api/operations"),
        ("jaeger_search", "/api/traces?service=webhook-bridge"),
        ("jaeger_search", "/api/traces"),
        ("jaeger_get_trace", "/api/traces/{trace_id}"),
        ("jaeger_get_trace", "/api/traces/1"),
        ("jaeger_dependencies", "/api/dependencies"),
        ("get_stats", "/api/v1/executions/stats"),
        ("get_stats", "/api/v1/executions/stats?days=1"),
        ("get_timeseries", "/api/v1/executions/timeseries?granularity=5m"),
        ("get_plugin_stats", "/api/v1/executions/stats/divide"),
        ("get_storage_info", "/api/v1/executions/storage/info"),
        ("clean_up", "/api/v1/executions/cleanup"),
        ("list_plugins", "/api/v1/plugins"),
        ("get_plugin", "/api/v1/plugins/broken"),
        ("list_destinations", "/api/v1/destinations"),
        ("health", "/health"),
        ("live", "/health/live"),
        ("run_plugin_get", "/api/v1/webhook/divide"),
        ("run_plugin_post", "/api/v1/webhook/divide?by=0"),
        ("run_plugin_post", "/api/v1/webhook/broken"),
        ("run_plugin_put", "/api/v1/webhook/nobody"),
        ("get_execution", "/api/v1/executions/nobody"),
        ("list_executions", "/api/v1/executions?limit=0"),
        ("list_executions", "/api/v1/executions?q=by&start_time=-1h&max_duration=1m"),
    ],
)
def test_real_answers_fit_the_document(
    bridge: BridgeProcess, document: dict[str, Any], operation: str, path: str
) -> None:
    newest = bridge.get("/executions", limit=1)["executions"][0]
    described = operations(document)[operation]
    answer = bridge.client.request(described["method"], path.format(newest=newest["id"], trace_id=newest["trace_id"]))
    content = described["responses"][str(answer.status_code)]["content"]
    assert_fits(document, content[answer.headers["content-type"]]["schema"], answer.json())


def test_a_webhook_is_described_with_its_headers_and_bodies(document: dict[str, Any]) -> None:
    operation = operations(document)["run_plugin_post"]
    assert set(operation["responses"]["200"]["headers"]) == {
        "X-Execution-Id", "X-Trace-Id", "X-Execution-Durable", "traceresponse", "Server-Timing",
    }  # fmt: skip
    assert set(operation["requestBody"]["content"]) == {
        "application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"
    }  # fmt: skip
    assert "requestBody" not in operations(document)["run_plugin_get"]


def test_the_examples_of_problems_are_kinds_that_there_are(document: dict[str, Any]) -> None:
    kinds = {f"/problems/{kind.slug}" for kind in known_problem_types()}
    found = {value["example"]["type"] for value in everything(document["paths"]) if "example" in value}
    assert found <= kinds


def test_json_and_yaml_say_the_same(bridge: BridgeProcess, document: dict[str, Any]) -> None:
    assert yaml.safe_load(bridge.client.get("/schema/openapi.yaml").text) == document
    assert bridge.client.get("/schema", headers={"Accept": "application/json"}).json() == document
    assert bridge.client.get("/schema").json() == document


def test_without_a_token_nothing_is_secured(document: dict[str, Any]) -> None:
    assert "security" not in document
    assert "securitySchemes" not in document["components"]


def test_with_a_token_all_but_webhooks_and_health_is_secured(tmp_path: Any) -> None:
    bridge = BridgeProcess(tmp_path, BRIDGE__AUTH__TOKEN="t")
    try:
        document = bridge.start().client.get("/schema", headers={"Authorization": "Bearer t"}).json()
    finally:
        bridge.close()
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert faults(document) == []
    open_to_all = {name for name, operation in operations(document).items() if operation.get("security") == []}
    assert open_to_all == {"health", "health_ready", "live", *(n for n in OPERATIONS if n.startswith("run_plugin"))}
    secured = OPERATIONS.keys() - open_to_all
    assert all("401" in operations(document)[name]["responses"] for name in secured)


class Page(HTMLParser):
    """What a page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.inline: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag in {"script", "style"}
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "srcset", "action", "data"}]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag not in {"script", "style"}

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)


def test_the_viewer_refers_to_files_of_this_host_only(bridge: BridgeProcess) -> None:
    answer = bridge.client.get("/schema", headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Page(answer.text)
    assert page.inline == []
    assert len(page.references) >= 5
    for reference in page.references:
        assert re.fullmatch(r"/schema/[\w./-]+", reference), reference
        assert bridge.client.get(reference).status_code == 200
    styles = "".join(bridge.client.get(one).text for one in page.references if one.endswith(".css"))
    for target in re.findall(r"""(?:url\(|@import)\s*["']?([^"')]+)""", styles):
        assert target.startswith("data:"), target
    script = bridge.client.get("/schema/viewer/start.js").text
    assert re.findall(r'"(/[^"]*)"', script) == ["/schema/openapi.json"]
    assert "validatorUrl: null" in script  # by default the bundle sends the document to a public validator
    assert "//" not in re.sub(r"^// .*$", "", script, flags=re.MULTILINE)


def test_the_viewers_policy_lets_the_browser_ask_no_other_host(bridge: BridgeProcess) -> None:
    policy = bridge.client.get("/schema", headers=BROWSER).headers["Content-Security-Policy"]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    assert {source for sources in allowed.values() for source in sources.split()} <= {
        "'none'", "'self'", "'unsafe-inline'", "data:"
    }  # fmt: skip
    assert allowed["script-src"] == allowed["connect-src"] == "'self'"


def test_the_viewers_files_are_those_of_the_version_that_is_named(bridge: BridgeProcess) -> None:
    bundle = (FILES / "swagger-ui" / "swagger-ui-bundle.js").read_text()
    assert re.findall(r'PACKAGE_VERSION:"([^"]+)"', bundle) == [SWAGGER_UI_VERSION]
    assert "Apache License" in (FILES / "swagger-ui" / "LICENSE").read_text()
    assert bridge.client.get("/schema/viewer/swagger-ui/swagger-ui-bundle.js").text == bundle


def assert_fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """The value is one of the schema, and has no field that the schema does not name."""
    strict = {"components": _strict(document["components"]), **schema}
    assert [error.message for error in Draft202012Validator(strict).iter_errors(value)] == []


def _strict(value: Any) -> Any:
    if isinstance(value, list):
        return [_strict(one) for one in value]
    if not isinstance(value, dict):
        return value
    closed = {"additionalProperties": False} if "properties" in value and value.get("type") == "object" else {}
    return {**{name: _strict(one) for name, one in value.items()}, **closed}
