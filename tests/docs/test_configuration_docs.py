"""The struct tree, config.yaml and docs/configuration.md say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from bridge_app.config import Config
from bridge_app.config_binding import Field, fields

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


def _paths(tree: dict[str, object], *, prefix: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found += _paths(value, prefix=f"{prefix}{key}.") if value and isinstance(value, dict) else [prefix + key]
    return found
