"""The section `forwarding`, and what OpenTelemetry's own variables make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge_app.config import Config, effective_tree
from bridge_app.config_forwarding import from_environment
from bridge_app.config_otlp import resource
from bridge_app.errors import ConfigError
from bridge_app.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = "endpoint: 'http://localhost:4318/v1/traces'"


def load(tmp_path: Path, text: str, **environ: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return Config.load(path, environ).config


def test_a_list_of_sections_has_defaults_references_and_origins(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "forwarding:\n  destinations:\n"
        f"    - {{name: a, {ENDPOINT}, headers: {{authorization: 'Bearer ${{TOKEN}}'}}}}\n"
        "    - name: b\n      protocol: file\n      path: out/spans.jsonl\n      tls: {ca_file: ca.pem}\n"
    )
    loaded = Config.load(path, {"TOKEN": "sesame"})
    one, two = loaded.config.forwarding.destinations
    assert (one.headers, one.payload, one.max_bytes) == ({"authorization": "Bearer sesame"}, "preview", 268_435_456)
    assert (two.path, two.tls.ca_file) == (str(tmp_path / "out/spans.jsonl"), str(tmp_path / "ca.pem"))
    assert "sesame" not in repr(loaded.config)
    rows = {path: (value, origin) for path, value, origin in effective_tree(loaded)}
    assert rows["forwarding.destinations[0].headers"] == ("***", "config.yaml line 3")
    assert rows["forwarding.destinations[1].path"][1] == "config.yaml line 6"
    assert rows["forwarding.destinations[1].payload"] == ('"preview"', "default")


def test_one_variable_holds_the_whole_list(tmp_path: Path) -> None:
    text = '[{name: a, endpoint: "http://h:1/v1/traces", statuses: [failed]}]'
    (found,) = load(tmp_path, "", BRIDGE__FORWARDING__DESTINATIONS=text).forwarding.destinations
    assert (found.name, found.statuses) == ("a", ("failed",))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{nam: a}", "forwarding.destinations[0].nam (FILE, line 1): no such key; did you mean name?"),
        (f"{{{ENDPOINT}}}", "destinations[0].name is '' (config.yaml line 1): each destination needs one"),
        (f"{{name: A, {ENDPOINT}}}", "destinations[0].name is 'A' (FILE, line 1): expected 1 to 63 of a-z"),
        (f"{{name: '../x', {ENDPOINT}}}", "destinations[0].name is '../x'"),
        ("{name: a}", "destinations[0].endpoint is '' (config.yaml line 1): expected a URL, such as http://localhost"),
        ("{name: a, endpoint: 'localhost:4318'}", "expected a URL, such as http://localhost:4318/v1/traces"),
        ("{name: a, endpoint: 'http://h:x/'}", "expected a URL"),
        ("{name: a, endpoint: 'http://u:p@h/'}", "who may see it would see the password"),
        ("{name: a, protocol: otlp-grpc, endpoint: ''}", "such as http://localhost:4317"),
        ("{name: a, protocol: otlp}", "expected one of"),
        ("{name: a, protocol: file}", "destinations[0].path is ''"),
        (f"{{name: a, {ENDPOINT}, sampling_ratio: 2}}", "expected a number from 0 to 1"),
        (f"{{name: a, {ENDPOINT}, statuses: [ok]}}", "expected a list of completed, failed, timeout, canceled"),
        (f'{{name: a, {ENDPOINT}, headers: {{a: "b\\n"}}}}', "destinations[0].headers is ***"),
        (f"{{name: a, {ENDPOINT}, headers: {{a: '${{NONE}}'}}}}", "NONE is not in the environment"),
        (f"{{name: a, {ENDPOINT}}}, {{name: a, {ENDPOINT}}}", "destinations[1].name is 'a'"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path: Path, item: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, f"forwarding: {{destinations: [{item}]}}")
    assert message.replace("FILE", str(tmp_path / "config.yaml")) in str(raised.value)


def test_what_is_no_list_of_sections_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a section .* expected a list of sections"):
        load(tmp_path, "forwarding: {destinations: {name: a}}")
    with pytest.raises(ConfigError, match=r"is 3 .* expected a list of sections"):
        load(tmp_path, "forwarding: {destinations: 3}")


def test_the_variables_of_traces_win_and_name_the_whole_url() -> None:
    assert from_environment({}) is None
    made = from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318/", "OTEL_EXPORTER_OTLP_TIMEOUT": "2500"})
    assert made is not None
    assert (made.name, made.protocol, made.endpoint) == ("env", "otlp-http", "http://h:4318/v1/traces")
    assert made.timeout_seconds == 2.5
    made = from_environment(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://other:4317",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_HEADERS": "a=1, b=x%20y",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "10",
        }
    )
    assert made is not None
    assert (made.protocol, made.endpoint, made.compression) == ("otlp-grpc", "https://other:4317", "gzip")
    assert (made.headers, made.tls.ca_file, made.timeout_seconds) == ({"a": "1", "b": "x y"}, "/ca.pem", 10)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "h:4318"),
    ],
)
def test_a_variable_that_does_not_fit_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", variable: value})


@pytest.mark.parametrize(("variable", "value"), [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")])
def test_the_variables_can_switch_it_off(variable: str, value: str) -> None:
    assert from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318", variable: value}) is None


def test_the_resource_is_what_the_standard_variables_say() -> None:
    assert resource({}) == {"service.name": "webhook-bridge", "service.version": VERSION}
    assert resource({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment.name=prod%2C1"}) == {
        "service.name": "a",
        "service.version": VERSION,
        "deployment.environment.name": "prod,1",
    }
    assert resource({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"})["service.name"] == "b"
