"""What the configuration takes, what it refuses and in which words, and what it never shows."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import make_url

from bridge_app.config import Config, LoadedConfig, effective_tree, require_safe_bind
from bridge_app.config_sections import LoggingConfig
from bridge_app.errors import ConfigError
from bridge_app.logs import OWN_LOGGERS, set_up_logging
from bridge_app.units import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that messages hold short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str | bytes, **environ: str) -> LoadedConfig:
    Path("config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Config.load(None, environ)


def refusal(text: str | bytes, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, **environ)
    return str(caught.value)


def test_without_a_file_everything_is_a_default() -> None:
    loaded = Config.load(None, {})
    assert loaded.path is None
    assert set(loaded.origins.values()) == {"default"}
    assert (loaded.config.server.port, loaded.config.execution_tracking.cleanup_interval) == (8001, 86_400)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "{}\n", "server:\n", "\ufeffserver:\n"])
def test_an_empty_file_or_section_is_fine(text: str) -> None:
    assert load(text).config == Config.load(None, {}).config


def test_origins_name_the_line_the_variable_or_the_default() -> None:
    loaded = load("server:\n  host: localhost\n  port: 1\n", BRIDGE__SERVER__PORT="9000")
    assert loaded.config.server.port == 9000
    assert loaded.origins["server.host"] == "config.yaml line 2"
    assert loaded.origins["server.port"] == "environment BRIDGE__SERVER__PORT"
    assert loaded.origins["server.max_headers"] == "default"


def test_a_misfit_is_told_in_one_exact_sentence() -> None:
    text = "server:\n  port: 80\n\nplugins:\n  workers: 3\n  timeout_seconds: soon\n"
    assert refusal(text) == (
        "plugins.timeout_seconds is 'soon' (config.yaml, line 6): expected seconds as a number, such as 30"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "plugins: {timeout_secs: 3}",
            "plugins.timeout_secs (config.yaml, line 1): no such key; did you mean timeout_s",
        ),
        ("storge: {}", "storge (config.yaml, line 1): no such key; did you mean storage?"),
        ("server: {port: 70000}", "server.port is 70000 (config.yaml, line 1): expected a port from 0"),
        ("server: {port: 0777}", "server.port is 0777 (config.yaml, line 1): expected a port from 0 (any free one) to"),
        ("server: {port: 0777}", "YAML reads a leading 0 as octal"),
        ("server: {port: 1e3}", "server.port is '1e3' (config.yaml, line 1)"),
        ("server: {port: 1e3}", "YAML reads this as text; write the digits out"),
        ("server: {port: 1:30}", "minutes and seconds"),
        ("server: {port: '80'}", "remove the quotes"),
        ("server: {port: true}", "server.port is true"),
        ("server: {port: 1.0}", "server.port is 1.0"),
        ("server: {port: }", "server.port is empty"),
        ("server: {port: [1]}", "server.port is a list"),
        ("server: {port: {a: 1}}", "server.port is a section"),
        ("server: {port: " + "9" * 5000 + "}", "this number cannot be read"),
        ("server: {host: no}", "server.host is no (config.yaml, line 1): expected a text of at least one character"),
        ("server: {host: no}", "YAML reads this as true or false; put it in quotes"),
        ("server: {host: ''}", "server.host is ''"),
        ('server: {host: "\\ud800"}', "half of a surrogate pair"),
        ("server: soon", "server is a single value (config.yaml, line 1): expected a section with the keys host, port"),
        ("server: !!python/object:os.system {}", "line 1: `!` starts a type tag"),
        ("server:\n  port: 1\n  port: 2", "config.yaml, line 3: the key 'port' stands in line 2 already"),
        ("server:\n\tport: 1", "config.yaml, line 2: not valid YAML: a tab; indent with spaces"),
        ("server: &a\n  <<: *a\n", "an anchor that contains itself"),
        ('server:\n  host: "open\n', "config.yaml, line 2: not valid YAML: a quote or bracket that opens here"),
        (
            "server:\n  host: a: b\n",
            "line 2: not valid YAML: a second `: ` in one line; put a value that holds a colon",
        ),
        ("server: {host: a: b}", "line 1: not valid YAML: expected ',' or '}', but got ':'"),
        ("a: 1\n---\nb: 2\n", "line 2: not valid YAML: a second document starts"),
        ("- server\n", "config.yaml, line 1: the file holds a list; expected sections, such as `server:`"),
        ("server\n", "the file holds a single value"),
        ("? [a]\n: 1\n", "a key that is a list or a mapping"),
        ("[" * 3000, "config.yaml is nested too deeply"),
        ("server:\n  host: \x01\n", "config.yaml, line 2: the character U+0001 is not allowed"),
        (b"server:\n  host: \xff\n", "config.yaml, line 2: byte 0xff is not UTF-8"),
        ("storage: {sqlite: {enable_wal: 'yes'}}", "expected true or false"),
        ("storage: {sqlite: {database_path: ':memory:'}}", "expected the path of a file"),
        ("storage: {sqlite: {retention_days: 0}}", "expected days as a whole number of at least 1"),
        ("plugins: {timeout_seconds: .nan}", "plugins.timeout_seconds is .nan"),
        ("plugins: {timeout_seconds: .inf}", "plugins.timeout_seconds is .inf"),
        ("plugins: {timeout_seconds: 0}", "plugins.timeout_seconds is 0 "),
        ("plugins: {directories: plugins}", 'expected a list of at least one folder, such as ["plugins"]'),
        ("plugins: {directories: []}", "plugins.directories is a list"),
        ("plugins: {directories: [no]}", "put it in quotes"),
        ("logging: {level: info}", "expected one of CRITICAL, DEBUG, ERROR, INFO, WARNING; did you mean INFO?"),
        ("execution_tracking: {cleanup_interval: 24}", "the unit is missing"),
        ("execution_tracking: {cleanup_interval: 0s}", 'expected a duration with its unit, such as "24h"'),
        ("execution_tracking: {cleanup_interval: 1 day}", "units are d, h, m and s"),
        ("execution_tracking: {max_bytes: 10 GB}", "units are B, KB, MB, GB, TB, and KiB, MiB, GiB, TiB"),
        ("execution_tracking: {max_bytes: 999KB}", 'expected a size of at least 1MB with its unit, such as "10GB"'),
        ("execution_tracking: {max_bytes: 1.5}", "max_bytes is 1.5 "),
        ("execution_tracking: {max_bytes: yes}", "max_bytes is yes "),
        ("execution_tracking: {max_executions_per_plugin: 0}", "expected a whole number of at least 1"),
        (
            "execution_tracking: {metrics_aggregation_interval: 7h}",
            "metrics_aggregation_interval is '7h' (config.yaml line 1): expected a whole fraction of a day",
        ),
        ("execution_tracking: {metrics_aggregation_interval: 30s}", 'at least a minute, such as "1h"'),
        ("execution_tracking: {metrics_aggregation_interval: 2d}", "is '2d' "),
    ],
)
def test_what_is_refused(text: str | bytes, words: str) -> None:
    assert words in refusal(text)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^nowhere\.yaml is not there: "):
        Config.load(Path("nowhere.yaml"), {})


def test_a_folder_is_no_file(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Config.load(folder, {})


def test_yaml_words_for_false_are_taken_where_a_boolean_or_a_choice_is_expected() -> None:
    config = load("storage: {sqlite: {enable_wal: no}}\nexecution_tracking: {durability: off}\n").config
    assert config.storage.sqlite.enable_wal is False
    assert config.execution_tracking.durability == "off"


def test_anchors_and_merges_work() -> None:
    text = "storage:\n  mysql: &db\n    host: db\n  postgresql:\n    <<: *db\n    ssl_mode: require\n"
    storage = load(text).config.storage
    assert (storage.mysql.host, storage.postgresql.host, storage.postgresql.ssl_mode) == ("db", "db", "require")


def test_variables_are_read_by_the_type_of_their_key() -> None:
    environ = {
        "BRIDGE__AUTH__TOKEN": "12345",
        "BRIDGE__PLUGINS__DIRECTORIES": '["/a", "/b"]',
        "BRIDGE__STORAGE__SQLITE__ENABLE_WAL": "no",
        "BRIDGE__EXECUTION_TRACKING__CLEANUP_INTERVAL": "1h30m",
        "BRIDGE__EXECUTION_TRACKING__RETENTION_DAYS": "7",
        "BRIDGE__EXECUTION_TRACKING__DURABILITY": "off",
    }
    config = Config.load(None, environ).config
    assert config.auth.token == "12345"
    assert config.plugins.directories == ("/a", "/b")
    assert config.storage.sqlite.enable_wal is False
    assert config.execution_tracking.cleanup_interval == 5400
    assert config.execution_tracking.durability == "off"
    assert config.retention_days() == 7


@pytest.mark.parametrize(
    ("text", "size", "shown"),
    [
        ('"10GB"', 10_000_000_000, "10GB"),
        ("512MiB", 512 * 2**20, "512MiB"),
        ("1073741824", 2**30, "1GiB"),
        ("1000001", 1_000_001, "1000001B"),
        ("null", None, "null"),
    ],
)
def test_a_size_is_a_number_with_its_unit_or_of_bytes(text: str, size: int | None, shown: str) -> None:
    loaded = load(f"execution_tracking: {{max_bytes: {text}}}")
    assert loaded.config.execution_tracking.max_bytes == size
    assert ("execution_tracking.max_bytes", shown) in [row[:2] for row in effective_tree(loaded)]
    environ = {"BRIDGE__EXECUTION_TRACKING__MAX_BYTES": text.strip('"')}
    assert Config.load(None, environ).config.execution_tracking.max_bytes == size


def test_an_unknown_variable_is_refused_with_the_nearest() -> None:
    assert refusal("", BRIDGE__SERVER__PROT="1") == (
        "environment BRIDGE__SERVER__PROT: no such setting; did you mean BRIDGE__SERVER__PORT?"
    )


def test_a_wrong_variable_is_named() -> None:
    assert refusal("", BRIDGE__SERVER__PORT="many").startswith(
        "server.port is 'many' (environment BRIDGE__SERVER__PORT): expected a port"
    )


def test_references_are_replaced_whole_and_inside() -> None:
    text = 'server:\n  host: "${H}.example"\n  port: "${P}"\nplugins:\n  directories: ["/x/${H}", "/$${H}"]\n'
    config = load(text, H="a", P="9000").config
    assert (config.server.host, config.server.port) == ("a.example", 9000)
    assert config.plugins.directories == ("/x/a", "/${H}")


def test_a_missing_reference_is_named_unless_the_key_is_overridden() -> None:
    text = "server:\n  port: ${PORT_OF_MINE}\n"
    assert refusal(text) == (
        "server.port refers to ${PORT_OF_MINE} (config.yaml, line 2): PORT_OF_MINE is not in the environment"
    )
    assert load(text, BRIDGE__SERVER__PORT="1").config.server.port == 1


def test_a_malformed_reference_is_refused() -> None:
    assert "expected ${NAME}" in refusal("server: {host: '${H:-x}'}")


def test_a_token_in_the_file_is_refused() -> None:
    message = refusal("auth:\n  token: hunter2\n")
    assert message.startswith("auth.token is written into the file (config.yaml, line 2): expected a reference")
    assert "hunter2" not in message
    assert load('auth:\n  token: "${T}"\n', T="hunter2").config.auth.token == "hunter2"


SECRET_FAULTS = [
    "auth: hunter2",
    "auth: {token: 'x${T}'}",
    "auth: {token: '${T}', token: hunter2}",
    "auth: {token: [hunter2]}",
    "server: {port: '${T}'}",
    "logging: {level: '${T}'}",
    "execution_tracking: {cleanup_interval: '${T}'}",
    "storage: {mysql: {password: *hunter2 }}",
    "storage: {mysql: {password: !hunter2 x}}",
    "storage: {mysql: {password: [hunter2]}}",
    "storage: {mysql: {password: {hunter2: hunter2}}}",
    "storage:\n  mysql:\n    password: hunter2: hunter2\n",
    "storage:\n  mysql:\n    password: 'hunter2\n",
    "storage:\n  mysql:\n    password: %hunter2\n",
    "storage:\n  mysql:\n    password: 'hunter2' hunter2\n",
    "storage:\n  mysql:\n    password: hunter2\n   hunter2\n",
]


@pytest.mark.parametrize("text", SECRET_FAULTS)
def test_no_secret_is_in_a_message(text: str) -> None:
    assert "hunter2" not in refusal(text, T="hunter2")


def test_a_wrong_token_is_masked() -> None:
    assert refusal("", BRIDGE__AUTH__TOKEN="hunter2 x").startswith(
        "auth.token is *** (environment BRIDGE__AUTH__TOKEN): expected printable ASCII without spaces"
    )


def test_no_secret_is_in_a_repr_or_in_the_effective_tree() -> None:
    loaded = load("storage: {mysql: {password: hunter2}}", BRIDGE__AUTH__TOKEN="hunter2")
    rows = effective_tree(loaded)
    assert ("auth.token", "***", "environment BRIDGE__AUTH__TOKEN") in rows
    assert ("storage.mysql.password", "***", "config.yaml line 1") in rows
    assert ("execution_tracking.cleanup_interval", "24h", "default") in rows
    assert "hunter2" not in repr(loaded) + repr(loaded.config.auth) + repr(rows)


def test_relative_paths_are_relative_to_the_file(folder: Path) -> None:
    (folder / "etc").mkdir()
    file = folder / "etc" / "bridge.yaml"
    file.write_text("plugins: {directories: [../hooks, /abs], python: venv/bin/python}\n")
    config = Config.load(Path("etc/bridge.yaml"), {}).config
    assert config.plugins.directories == (str(folder / "hooks"), "/abs")
    assert config.plugins.python == str(folder / "etc/venv/bin/python")
    assert config.storage.sqlite.database_path == str(folder / "etc/data/executions.db")
    assert config.spool_directory() == folder / "etc/data/spool"


def test_the_sqlite_url_leads_back_to_the_file() -> None:
    config = load("storage: {sqlite: {database_path: '/tmp/a?b %41 é.db'}}").config
    assert make_url(config.storage_url()).database == "/tmp/a?b %41 é.db"  # noqa: S108 - nothing is written


def test_server_urls_quote_every_part() -> None:
    section = "{host: '::1', username: 'u@x', password: 'p/w:#?', database: 'd b'}"
    text = f"storage:\n  type: postgresql\n  postgresql: {section}\n  mysql: {section}\n"
    config = load(text).config
    assert config.storage_url() == "postgresql+psycopg://u%40x:p%2Fw%3A%23%3F@[::1]:5432/d b?sslmode=prefer"
    url = make_url(config.storage.mysql.url())
    assert (url.drivername, url.host, url.port) == ("mysql+pymysql", "::1", 3306)
    assert (url.username, url.password, url.database) == ("u@x", "p/w:#?", "d b")


def test_the_tracking_retention_wins_over_the_store_of_the_chosen_type() -> None:
    assert load("storage: {type: mysql}").config.retention_days() == 90
    assert load("execution_tracking: {retention_days: 5}").config.retention_days() == 5


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_bind_needs_no_token(host: str) -> None:
    require_safe_bind(load(f"server: {{host: '{host}'}}").config)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", "127.0.0.1.example.com"])
def test_any_other_bind_needs_a_token(host: str) -> None:
    config = load(f"server: {{host: '{host}'}}").config
    with pytest.raises(ConfigError, match=r"BRIDGE__AUTH__TOKEN=\$\(openssl rand -hex 32\), or bind to 127\.0\.0\.1"):
        require_safe_bind(config)
    require_safe_bind(load(f"server: {{host: '{host}'}}", BRIDGE__AUTH__TOKEN="secret").config)


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86_400), ("90m", 5400), ("30s", 30), ("7d", 604_800), ("1h30m", 5400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "1.5h", "-1h", "1h 30m", "30m1h", "1H", "\u0661h", "1h\n"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_a_formatted_duration_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("serv: pot\n -[]{}'\"*&!%#|>?,0189.e~<$_\t\x00é"), max_size=60) | st.binary(max_size=20))
def test_any_file_gives_a_configuration_or_one_config_error(text: str | bytes) -> None:
    for content in (text, f"server:\n  port: {text!s}\n", f"auth: {{token: {text!s}}}\n"):
        with contextlib.suppress(ConfigError):
            load(content)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """A place to log to; the loggers are as before afterwards."""
    levels = {name: logging.getLogger(name).level for name in (*OWN_LOGGERS, "")}
    handlers = list(logging.getLogger().handlers)
    yield io.StringIO()
    logging.getLogger().handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_logging_leaves_foreign_levels_alone(log: io.StringIO) -> None:
    root = logging.getLogger().level
    set_up_logging(LoggingConfig(level="DEBUG"), stream=log)
    handler = set_up_logging(LoggingConfig(level="DEBUG"), stream=log)
    assert logging.getLogger().level == root
    assert logging.getLogger().handlers.count(handler) == 1
    logging.getLogger("foreign.library").info("chatter")
    logging.getLogger("bridge_app.x").debug("ours")
    assert log.getvalue().endswith(" DEBUG bridge_app.x: ours\n")
    assert log.getvalue().count("\n") == 1


def test_a_message_cannot_forge_a_line(log: io.StringIO) -> None:
    set_up_logging(LoggingConfig(), stream=log)
    logging.getLogger("bridge_app").info("plugin %s", "x\n2026 INFO forged")
    assert log.getvalue().endswith("INFO bridge_app: plugin x\\n2026 INFO forged\n")


def test_json_lines_hold_extra_fields_and_the_traceback(log: io.StringIO) -> None:
    set_up_logging(LoggingConfig(format="json"), stream=log)
    try:
        int("gone")
    except ValueError:
        logging.getLogger("exporters").exception("failed", extra={"plugin": "a"})
    event = json.loads(log.getvalue())
    assert (event["level"], event["logger"], event["message"]) == ("ERROR", "exporters", "failed")
    assert event["plugin"] == "a"
    assert event["exception"].endswith("ValueError: invalid literal for int() with base 10: 'gone'")
    assert event["time"][:4] == time.strftime("%Y", time.gmtime())
