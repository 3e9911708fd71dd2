"""The struct tree, config.yaml and docs/configuration.md say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bridge_app.config import Config
from bridge_app.config_fields import Field, fields
from bridge_app.config_forwarding import DestinationConfig

ROOT = Path(__file__).parents[2]
LEAVES = list(fields(Config))
ROW = re.compile(r"^\| `([a-z_.]+)` \| .+ \| `(.+)` \| .+ \|$", re.MULTILINE)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.path)
def test_each_key_is_documented_with_its_default(leaf: Field) -> None:
    rows = dict(ROW.findall((ROOT / "docs/configuration.md").read_text()))
    assert rows.get(leaf.path) == leaf.show(leaf.default)


def test_the_docs_name_no_key_that_does_not_exist() -> None:
    documented = [path for path, _ in ROW.findall((ROOT / "docs/configuration.md").read_text())]
    assert documented == sorted(set(documented), key=documented.index)
    assert set(documented) == {leaf.path for leaf in LEAVES}


def test_config_yaml_shows_every_key() -> None:
    """Three bounds of the tracking section are optional, so they stand there as comments."""
    text = (ROOT / "config.yaml").read_text()
    optional = {"retention_days": "90", "max_executions_per_plugin": "100000", "max_bytes": '"10GB"'}
    assert all(f"\n  # {name}: {value} " in text for name, value in optional.items())
    shown = set(_paths(yaml.safe_load(text))) | {f"execution_tracking.{name}" for name in optional}
    assert shown == {leaf.path for leaf in LEAVES}


def test_config_yaml_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded from the same folder, the shipped file and no file at all give the same configuration."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "shipped.yaml"
    copy.write_text((ROOT / "config.yaml").read_text())
    assert Config.load(copy, {}).config == Config.load(None, {}).config


def test_each_key_of_a_destination_is_in_the_docs_with_its_default() -> None:
    text = (ROOT / "docs/forwarding.md").read_text()
    rows = re.findall(r"^\| (`[a-z_.]+`(?:, `[a-z_.]+`)*) \| (.+?) \| .+ \|$", text, re.MULTILINE)
    told = {name: default for names, default in rows for name in re.findall(r"`([a-z_.]+)`", names)}
    leaves = {leaf.path: leaf.show(leaf.default).strip('"') for leaf in fields(DestinationConfig)}
    needed = {"name": "needed", "endpoint": "needed for OTLP"}
    assert told == {name: needed.get(name, f"`{default or chr(34) * 2}`") for name, default in leaves.items()}


def test_each_example_of_a_destination_is_a_configuration(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/forwarding.md").read_text(), re.MULTILINE | re.DOTALL)
    for block in blocks:
        (tmp_path / "config.yaml").write_text(block)
        loaded = Config.load(tmp_path / "config.yaml", {"COLLECTOR_TOKEN": "sesame"})
        assert len(loaded.config.forwarding.destinations) == 1
    assert len(blocks) > 4


def _paths(tree: dict[str, object], *, prefix: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found += _paths(value, prefix=f"{prefix}{key}.") if value and isinstance(value, dict) else [prefix + key]
    return found
