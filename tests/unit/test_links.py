"""Links into other tools: what the configuration takes, and what becomes of a template."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge_app.config import Config, effective_tree
from bridge_app.errors import ConfigError
from bridge_app.links import filled

if TYPE_CHECKING:
    from pathlib import Path

JAEGER = "http://localhost:16686/trace/{trace_id}"


def load(folder: Path, text: str, **environ: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return Config.load(path, environ).config


@pytest.mark.parametrize("text", ["", "links:\n", "links: {}\n", "links: null\n"])
def test_there_are_none_by_default(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).links == {}


def test_they_have_any_names_and_references_are_replaced(tmp_path: Path) -> None:
    text = f'links:\n  jaeger: "{JAEGER}"\n  Our logs: "${{LOGS}}/q?id={{execution_id}}"\n'
    found = load(tmp_path, text, LOGS="https://logs.example").links
    assert found == {"jaeger": JAEGER, "Our logs": "https://logs.example/q?id={execution_id}"}


def test_the_environment_gives_them_as_yaml(tmp_path: Path) -> None:
    loaded = Config.load(None, {"BRIDGE__LINKS": f'{{jaeger: "{JAEGER}"}}'})
    assert loaded.config.links == {"jaeger": JAEGER}
    assert ("links", f'{{"jaeger":"{JAEGER}"}}', "environment BRIDGE__LINKS") in effective_tree(loaded)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("http://x/{trace}", "only the placeholders {trace_id}, {span_id}, {execution_id}, {plugin}, not {trace}"),
        ("http://x/{}", "not {}"),
        ("http://x/{0}", "not {0}"),
        ("http://x/{trace_id!r}", "not {trace_id}"),
        ("http://x/{trace_id:>40}", "not {trace_id}"),
        ("http://x/{trace_id.__class__}", "not {trace_id.__class__}"),
        ("http://x/{trace_id", "every brace to be part of a placeholder"),
        ("javascript:alert(1)", "a URL that begins with http://, https:// or /"),
    ],
)
def test_what_could_not_be_filled_in_stops_the_start(tmp_path: Path, template: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'links:\n  jaeger: "{template}"\n')
    assert str(caught.value).startswith(f"links.jaeger is {template!r} (config.yaml line ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["links: [a]\n", "links: yes\n", "links: {a: 1}\n", "links: {a: {b: c}}\n"])
def test_what_is_no_section_of_texts_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"links is .+: expected names with URLs"):
        load(tmp_path, text)


def test_values_are_encoded_and_doubled_braces_stand_for_themselves() -> None:
    templates = {"a": "http://x/{plugin}?q={{{span_id}}}", "b": "/{execution_id}"}
    assert filled(templates, {"plugin": "a/b c&d", "span_id": "f1"}) == {"a": "http://x/a%2Fb%20c%26d?q={f1}", "b": "/"}
