"""The command line as people and scripts meet it: the real command, in processes of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import databases
import pytest
from bridge_process import _bytecode_cache

from bridge_app.cli.root import run
from otel_tracker.record import ExecutionRecord, Rank, SpanRecord, Status
from otel_tracker.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_tracker.query import PruneResult

COMMAND = str(Path(sys.executable).with_name("webhook-bridge"))
DAY = 86_400_000_000_000
START = 1_749_220_428_000_000_000
"""2025-06-06T14:33:48Z"""
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FAILED = "01974553-0000-7000-8000-000000000002"
COMPLETED = "01974553-0000-7000-8000-000000000001"
RECORDS = (
    ExecutionRecord(
        id=COMPLETED,
        plugin_name="greet",
        http_method="POST",
        status=Status.COMPLETED,
        start_time=START,
        end_time=START + 12_300_000,
        duration=12_300_000,
        input='{"name":"Ada"}',
        output='{"greeting":"Hello, Ada!"}',
        tags='{"job_id":"job-123"}',
        logs='[{"stream":"log","level":"INFO","text":"greeting Ada"},{"stream":"stdout","text":"one\\ntwo\\n"}]',
        trace_id=TRACE,
        delivery_id="72d3162e",
    ),
    SpanRecord(
        execution_id=COMPLETED,
        trace_id=TRACE,
        span_id="00f067aa0ba902b8",
        parent_span_id="00f067aa0ba902b7",
        name="look up",
        kind="client",
        start_time=START + 2_000_000,
        end_time=START + 5_000_000,
    ),
    SpanRecord(
        execution_id=COMPLETED,
        trace_id=TRACE,
        span_id="00f067aa0ba902b9",
        parent_span_id="00f067aa0ba902b8",
        name="SELECT",
        kind="client",
        start_time=START + 3_000_000,
        end_time=START + 4_000_000,
        status="error",
        error="no such row",
    ),
    ExecutionRecord(
        id=FAILED,
        plugin_name="shop",
        http_method="POST",
        status=Status.FAILED,
        start_time=START + 1_000_000_000,
        end_time=START + 3_000_000_000,
        duration=2_000_000_000,
        error="closed \x1b[2J",
        error_type="connection_error",
        traceback="Traceback (most recent call last):\nConnectionRefusedError: closed \x1b[2J\n",
    ),
)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def history(empty: Path) -> Path:
    """The working folder, with two executions in its history."""
    write(empty, RECORDS)
    return empty


def write(folder: Path, rows: Sequence[ExecutionRecord | SpanRecord]) -> None:
    with closing(open_store(f"sqlite:///{folder}/data/executions.db")) as store:
        assert not store.write(rows).rejected


def executions(count: int, *, start: int) -> list[ExecutionRecord]:
    return [
        ExecutionRecord(
            id=f"{start + number:036}",
            plugin_name="p",
            status=Status.COMPLETED,
            start_time=start + number,
            end_time=start,
        )
        for number in range(count)
    ]


def environment(**changes: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    return {**plain, **_bytecode_cache(), "TERM": "xterm-256color", **changes}


def call(*arguments: str, given: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
    """The command in the working folder: its exit status, standard output and standard error."""
    return subprocess.run(
        [COMMAND, *arguments],
        input=given,
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def on_terminal(*arguments: str, columns: int, **changes: str) -> str:
    """What a person would see; the command must succeed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**changes)
    )
    os.close(theirs)
    seen = bytearray()
    while chunk := _read(ours):
        seen += chunk
    os.close(ours)
    assert process.wait(30) == 0, seen.decode()
    return seen.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # the other end of a terminal is closed
        return b""


# Help and errors


def test_help_imports_neither_web_server_nor_database() -> None:
    program = (
        "import sys; from bridge_app.cli.root import run; assert run(['--help']) == 0; "
        "print({'litestar', 'sqlalchemy', 'opentelemetry', 'msgspec', 'rich'}.intersection(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    lines = answer.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("Usage: webhook-bridge [OPTIONS] COMMAND [ARGS]...", "set()")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["lst"],
            "webhook-bridge: there is no command 'lst'; known are serve, check-config, plugins, run, executions, ",
        ),
        (["executions", "lst"], "webhook-bridge executions: there is no command 'lst'; did you mean list? Try "),
        (["run"], "webhook-bridge run: Missing argument 'PLUGIN'. Try 'webhook-bridge run --help'."),
        (["check-config", "-c", "no.yaml"], "webhook-bridge: no.yaml is not there: give --config the path of an "),
        (["plugins"], "webhook-bridge: there is no plugin folder "),
        (["run", "greet"], "webhook-bridge: there is no plugin folder "),
        (["run", "greet", "-d", "{"], "webhook-bridge: --data cannot be read: The body is not valid JSON: "),
        (
            ["run", "greet", "-d", "@no.json"],
            "webhook-bridge: --data @no.json cannot be read: No such file or directory",
        ),
        (
            ["run", "greet", "-H", "x"],
            "webhook-bridge: --header is 'x': expected 'Name: value', such as 'X-GitHub-Event",
        ),
        (
            ["executions", "list", "--status", "bad"],
            "webhook-bridge: --status is 'bad': expected one of pending",
        ),
        (["executions", "list", "--since", "soon"], "webhook-bridge: --since is 'soon': expected a duration such as "),
        (["executions", "list", "--limit", "0"], "webhook-bridge executions list: Invalid value for '--limit': 0 is "),
        (["cleanup", "--older-than", "10y"], "webhook-bridge: --older-than is '10y': expected a duration, such as 7d "),
        (["serve", "--host", "0.0.0.0"], "webhook-bridge: server.host is '0.0.0.0' and auth.token is not set: "),
    ],
)
def test_an_error_is_one_line_and_exit_status_2(
    empty: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(arguments) == 2
    seen = capsys.readouterr()
    assert (seen.out, seen.err.count("\n"), seen.err[: len(message)]) == ("", 1, message)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [["executions", "list"], ["executions", "show", "x"], ["executions", "tail"], ["storage", "info"], ["cleanup"]],
)
def test_a_history_that_is_not_there_is_an_error_and_is_not_made(
    empty: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err == (
        f"webhook-bridge: there is no history in {empty}/data/executions.db: the bridge makes it when it first starts; "
        "is this the right folder, or --config FILE the right configuration?\n"
    )
    assert list(empty.iterdir()) == []


def test_the_process_ends_with_the_exit_status(empty: Path) -> None:
    answer = call("storage", "info")
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)


def test_a_file_that_is_no_database_is_refused(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty / "data").mkdir()
    (empty / "data" / "executions.db").write_text("not a database " * 100)
    assert run(["storage", "info"]) == 2
    assert capsys.readouterr().err == (
        f"webhook-bridge: {empty}/data/executions.db is not an SQLite database: name another file\n"
    )


# Serve


def test_a_taken_port_is_one_line(empty: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = call("serve", "--port", str(port))
    assert answer.returncode == 2
    assert answer.stderr == (
        f"webhook-bridge: Cannot listen on 127.0.0.1:{port} ([Errno 98] Address already in use): "
        "another program listens there: stop it, or choose another port with server.port.\n"
    )


def test_workers_that_cannot_start_end_the_start_with_a_line(empty: Path) -> None:
    answer = call("serve", "--port", "0", BRIDGE__PLUGINS__PYTHON="/no/python")
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert answer.stderr.splitlines()[-1] == (
        "webhook-bridge: plugins.python is '/no/python': it cannot be started: "
        "[Errno 2] No such file or directory: '/no/python'"
    )


def test_serve_logs_json_and_stops_with_0(empty: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0", "--json"], env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = [json.loads(process.stderr.readline())]
    while not lines[-1]["message"].startswith("plugin folder"):
        lines.append(json.loads(process.stderr.readline()))
    process.send_signal(signal.SIGTERM)
    lines += [json.loads(line) for line in process.communicate(timeout=30)[1].splitlines()]
    assert process.returncode == 0
    assert lines[0]["message"].startswith("Webhook bridge on http://127.0.0.1:")


# History


def test_list_prints_columns(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["executions", "list"]) == 0
    assert capsys.readouterr().out == (
        "started (UTC)        plugin  status     took     error             id\n"
        f"2025-06-06 14:33:49  shop    failed     2.00 s   connection_error  {FAILED}\n"
        f"2025-06-06 14:33:48  greet   completed  12.3 ms                    {COMPLETED}\n"
    )


@pytest.mark.parametrize(
    "filters",
    [
        ["--plugin", "shop"],
        ["--status", "failed", "--status", "timeout"],
        ["--error-type", "connection_error"],
        ["--since", "2025-06-06T14:33:49Z"],
        ["--limit", "1"],
    ],
)
def test_a_filter_of_the_list_finds_the_failed_one(
    history: Path, capsys: pytest.CaptureFixture[str], filters: list[str]
) -> None:
    assert run(["executions", "list", "--json", *filters]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == [FAILED]


@pytest.mark.parametrize(
    "filters",
    [["--trace-id", TRACE], ["--delivery-id", "72d3162e"], ["--tag", "job_id:job-123"], ["--plugin", "greet"]],
)
def test_a_filter_of_the_list_finds_the_completed_one(
    history: Path, capsys: pytest.CaptureFixture[str], filters: list[str]
) -> None:
    assert run(["executions", "list", "--json", *filters]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["input"]) == (COMPLETED, '{"name":"Ada"}')


def test_since_takes_a_duration(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(history, executions(1, start=time.time_ns()))
    assert run(["executions", "list", "--json", "--since", "24h"]) == 0
    assert [row["plugin_name"] for row in json.loads(capsys.readouterr().out)] == ["p"]


def test_nothing_that_matches_is_no_error(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["executions", "list", "--plugin", "nobody"]) == 0
    assert capsys.readouterr() == ("", "no execution matches\n")


def test_show_lays_out_a_whole_execution(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["executions", "show", COMPLETED]) == 0
    seen = capsys.readouterr().out
    assert "\nduration     12.3 ms (12300000 ns)\n" in seen
    assert seen.endswith(
        "input\n"
        "  {\n"
        '    "name": "Ada"\n'
        "  }\n"
        "output\n"
        "  {\n"
        '    "greeting": "Hello, Ada!"\n'
        "  }\n"
        "tags\n"
        "  {\n"
        '    "job_id": "job-123"\n'
        "  }\n"
        "logs\n"
        "  INFO: greeting Ada\n"
        "  stdout: one\n"
        "  stdout: two\n"
        "spans\n"
        "  look up  3.0 ms  +0 µs\n"
        "    SELECT  1.0 ms  +1.0 ms  error: no such row\n"
    )


def test_show_as_json_has_the_spans(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["executions", "show", COMPLETED, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["trace_id"], [span["name"] for span in shown["spans"]]) == (TRACE, ["look up", "SELECT"])


def test_control_characters_of_senders_are_spelled_out(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["executions", "show", FAILED]) == 0
    seen = capsys.readouterr().out
    assert "error        closed \\x1b[2J\n" in seen
    assert "\x1b" not in seen


def test_an_unknown_execution_is_one_line(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["executions", "show", "nope"]) == 2
    assert capsys.readouterr().err == (
        "webhook-bridge: there is no execution 'nope': it may be older than the retention; "
        "`webhook-bridge executions list` shows the newest\n"
    )


def test_storage_info_says_where_and_how_much(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["storage", "info", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {name: shown[name] for name in ("type", "location", "total_records", "oldest_record", "health")} == {
        "type": "sqlite",
        "location": f"{history}/data/executions.db",
        "total_records": 2,
        "oldest_record": "2025-06-06T14:33:48Z",
        "health": "healthy",
    }
    assert run(["storage", "info"]) == 0
    assert f"location       {history}/data/executions.db\n" in capsys.readouterr().out


def test_storage_verify_finds_what_differs_and_repairs(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["storage", "verify"]) == 0
    assert capsys.readouterr().out == "2 executions recounted, all equal\n"
    with closing(sqlite3.connect(history / "data" / "executions.db")) as connection:
        connection.execute("UPDATE rollups SET total = 9 WHERE width = 3600000000000 AND status = 'completed'")
        connection.commit()
    assert run(["storage", "verify"]) == 1
    header, row, verdict = capsys.readouterr().out.splitlines()
    assert header.split() == ["bucket", "(UTC)", "of", "figure", "stored", "counted", "group", "plugin"]
    assert row.split()[:7] == ["2025-06-06", "14:00:00", "1h", "total", "9", "1", "completed"]
    assert verdict == "2 executions recounted, 1 figure wrong"
    assert run(["storage", "verify", "--repair"]) == 0
    assert capsys.readouterr().out.endswith("1 bucket repaired\n")
    assert run(["storage", "verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_good"] is True


def test_storage_verify_tells_of_another_interval(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (history / "config.yaml").write_text('execution_tracking: {metrics_aggregation_interval: "5m"}\n')
    assert run(["storage", "verify"]) == 1
    assert "the buckets are of 1h, metrics_aggregation_interval says 5m: --repair" in capsys.readouterr().out
    assert run(["storage", "verify", "--repair"]) == 0
    assert "rebuilt in buckets of 5m\n" in capsys.readouterr().out
    assert run(["storage", "verify"]) == 0


# Terminals and pipes


def test_storage_copy_prints_what_it_compared(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["storage", "copy", "--to", "sqlite:///copy.db"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 rows written"
    assert [line.split()[:3] for line in lines[1:-1]] == [
        ["table", "rows", "copied"],
        ["executions", "2", "2"],
        ["execution_payloads", "2", "2"],
        ["execution_tags", "1", "1"],
        ["spans", "2", "2"],
        ["rollups", "0", "0"],
        ["rollup_durations", "0", "0"],
        ["settings", "1", "1"],
    ]
    assert lines[-1] == f"{history}/data/executions.db and {history}/copy.db are equal"
    assert run(["storage", "copy", "--to", "sqlite:///copy.db"]) == 0
    assert capsys.readouterr().out.startswith("0 rows written\n")


def test_storage_copy_names_what_differs(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["storage", "copy", "--to", "sqlite:///copy.db"]) == 0
    with closing(sqlite3.connect(history / "copy.db")) as connection, connection:
        connection.execute("UPDATE executions SET error = 'planted' WHERE id = ?", (FAILED,))
    capsys.readouterr()
    assert run(["storage", "copy", "--verify-only", "--to", "sqlite:///copy.db"]) == 1
    shown = capsys.readouterr().out
    assert f"executions  another value  {FAILED}" in shown
    assert shown.endswith(f"{history}/data/executions.db and {history}/copy.db differ\n")
    assert run(["storage", "copy", "--verify-only", "--to", "sqlite:///copy.db", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["is_equal"], told["total_differences"]) == (False, 1)
    assert told["differences"] == [{"table": "executions", "key": FAILED, "difference": "another value"}]
    assert [one["table"] for one in told["tables"] if not one["is_equal"]] == ["executions"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///data/executions.db", "is the store that is to be copied: name another database"),
        ("sqlite:///foreign.db", "holds another program's tables: name another file"),
        ("postgresql://u:s3cret@127.0.0.1:1/d?password=s3cret", "cannot open postgresql://u@127.0.0.1:1/d: "),
        ("postgresql://u:s3cret@127.0.0.1:s3cret/d", "the storage URL cannot be read: write one like sqlite:"),
        ("oracle://u:s3cret@h/d?password=s3cret", "'oracle://u:***@h/d' names the database 'oracle': known are "),
    ],
)
@pytest.mark.parametrize("more", [(), ("--verify-only",)], ids=["copy", "verify"])
def test_storage_copy_refuses_in_one_line_without_the_password(
    history: Path, capsys: pytest.CaptureFixture[str], url: str, message: str, more: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect(history / "foreign.db")) as connection:
        connection.execute("CREATE TABLE invoices (id)")
    assert run(["storage", "copy", "--to", url, *more]) == 2
    seen = capsys.readouterr()
    assert (seen.out, seen.err.count("\n")) == ("", 1)
    assert message in seen.err
    assert "s3cret" not in seen.err


def test_storage_copy_only_looks_for_a_copy_to_verify(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["storage", "copy", "--verify-only", "--to", "sqlite:///no.db"]) == 2
    assert "the database of --to is not: copy first" in capsys.readouterr().err
    assert not (history / "no.db").exists()


def test_storage_copy_to_a_server_shows_no_password(tmp_path: Path, history: Path) -> None:
    with databases.made("postgresql", folder=tmp_path) as url:
        with_password = url.replace("@", ":s3cret@")
        answers = [
            call("storage", "copy", "--to", with_password, *more) for more in ([], ["--json"], ["--verify-only"])
        ]
    assert [answer.returncode for answer in answers] == [0, 0, 0]
    assert all("s3cret" not in answer.stdout + answer.stderr for answer in answers)
    assert json.loads(answers[1].stdout)["target"] == url


def test_storage_copy_shows_its_progress_on_a_terminal_only(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = on_terminal("storage", "copy", "--to", "sqlite:///copy.db", columns=100)
    assert "comparing" in seen
    assert "2/2" in seen
    assert run(["storage", "copy", "--to", "sqlite:///copy.db"]) == 0
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_ends_it_quietly(history: Path) -> None:
    write(history, executions(1000, start=START + DAY))
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [COMMAND, "executions", "list", "--limit", "1000", "--json"],
        env=environment(),
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    os.close(ours)
    assert (process.communicate(timeout=30)[1], process.returncode) == (b"", 141)


def test_a_narrow_terminal_cuts_no_id(history: Path) -> None:
    assert on_terminal("executions", "list", columns=60, NO_COLOR="1") == (
        f"2025-06-06 14:33:49  shop  failed  2.00 s  connection_error\n  {FAILED}\n"
        f"2025-06-06 14:33:48  greet  completed  12.3 ms\n  {COMPLETED}\n"
    )


def test_a_wide_terminal_shows_a_table_in_colours(history: Path) -> None:
    seen = on_terminal("executions", "list", columns=140)
    assert "\x1b[32mcompleted\x1b[0m   12.3 ms" in seen
    assert f" {COMPLETED}" in seen


def test_export_shows_its_progress_on_a_terminal_only(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = on_terminal("export", "--output", "all.csv", columns=100)
    assert "exporting" in seen
    assert seen.endswith("2 executions in all.csv, 966 B\n")
    assert "exporting" not in on_terminal("export", columns=100)
    assert run(["export", "--output", "all.csv"]) == 0
    assert capsys.readouterr() == ("2 executions in all.csv, 966 B\n", "")


def test_parquet_is_not_printed_on_a_terminal(history: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [COMMAND, "export", "--format", "parquet"], stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b"parquet is nothing for a terminal: give --output FILE" in done.stderr


def test_cleanup_shows_its_progress_on_a_terminal_only(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(history, executions(1000, start=START))
    assert run(["cleanup", "--dry-run"]) == 0
    assert capsys.readouterr() == ("1002 executions would be deleted\n", "")
    seen = on_terminal("cleanup", columns=100)
    assert "1002/1002" in seen
    assert "1002 executions deleted, " in seen
    write(history, executions(1, start=START))
    assert run(["cleanup"]) == 0
    out, err = capsys.readouterr()
    assert (out.partition(",")[0], err) == ("1 execution deleted", "")


def test_cleanup_keeps_what_is_young_enough_and_what_still_runs(
    history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time_ns()
    running = ExecutionRecord(id="running", plugin_name="p", status=Status.RUNNING, rank=Rank.RUNNING, start_time=START)
    write(history, [*executions(1, start=now - 40 * DAY), *executions(1, start=now - 10 * DAY), running])
    assert run(["cleanup", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] == 3
    assert run(["cleanup", "--json", "--older-than", "7d"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] == 1
    assert run(["executions", "list", "--json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["running"]


def test_cleanup_names_who_cleans_already(history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []

    def meanwhile(_: PruneResult) -> bool:
        codes.append(run(["cleanup"]))
        return not codes

    with closing(open_store(f"sqlite:///{history}/data/executions.db")) as store:
        store.prune(started_before=time.time_ns(), on_batch=meanwhile)
    assert codes == [2]
    assert f"process {os.getpid()} of {socket.gethostname()} (" in (told := capsys.readouterr().err)
    assert "is cleaning this store: wait for it to end" in told


# Plugins

GREET = (
    'def handle(event):\n    "Greets."\n    event.logger.info("greeting")\n    return {"hello": event.data["name"]}\n'
)


@pytest.fixture
def plugins(empty: Path) -> Path:
    """The working folder, with plugins."""
    (empty / "plugins").mkdir()
    (empty / "plugins" / "greet.py").write_text(GREET)
    return empty


def test_run_prints_the_result_and_what_was_logged_apart(plugins: Path) -> None:
    answer = call("run", "greet", "--data", "-", given='{"name": "Ada"}')
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, '{\n  "hello": "Ada"\n}\n', "INFO: greeting\n")
    assert sorted(path.name for path in plugins.iterdir()) == ["plugins"]


def test_run_of_a_failing_plugin_is_exit_status_1(plugins: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "greet", "--method", "get", "--query", "nobody=1"]) == 1
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[-1]) == ("", "KeyError: 'name'")
    assert run(["run", "greet", "--json"]) == 1
    outcome = json.loads(capfd.readouterr().out)
    assert (outcome["kind"], outcome["error"], outcome["result"]) == ("failed", "KeyError: 'name'", None)


def test_run_reads_a_body_as_the_bridge_does(plugins: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From a file, with headers; a form is a form."""
    (plugins / "plugins" / "show.py").write_text(
        "def handle(event):\n    return [event.data, event.headers, event.method]\n"
    )
    (plugins / "body").write_text("a=1&a=2")
    header = "Content-Type: application/x-www-form-urlencoded"
    assert run(["run", "show", "-d", "@body", "-H", header, "-H", "X-Event: push", "--method", "put"]) == 0
    assert json.loads(capfd.readouterr().out) == [
        {"a": ["1", "2"]},
        {"content-type": "application/x-www-form-urlencoded", "x-event": "push"},
        "PUT",
    ]


def test_run_of_an_unknown_plugin_or_method_is_exit_status_2(plugins: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "nobody"]) == 2
    assert capfd.readouterr().err == (
        "webhook-bridge: there is no plugin 'nobody'; `webhook-bridge plugins` lists those there are\n"
    )
    (plugins / "plugins" / "reader.py").write_text(
        "from bridge_app.plugin import BasePlugin\nclass Plugin(BasePlugin):\n    def get(self):\n        return 1\n"
    )
    assert run(["run", "reader"]) == 2
    assert capfd.readouterr().err == "webhook-bridge: plugin reader handles GET, not 'POST'\n"


def test_plugins_lists_each_with_its_methods_and_state(plugins: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["plugins"]) == 0
    assert capfd.readouterr().out == (
        "plugin  methods                        state  about\ngreet   GET, POST, PUT, PATCH, DELETE  ready  Greets.\n"
    )


def test_a_broken_plugin_is_shown_with_its_traceback_and_exit_status_1(
    plugins: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (plugins / "plugins" / "broken.py").write_text("import nowhere_to_be_found\n")
    (plugins / "plugins" / "not a plugin.py").write_text("")
    assert run(["plugins"]) == 1
    out, err = capfd.readouterr()
    assert out.startswith(
        "plugin  methods                        state   about\n"
        "broken                                 broken  ModuleNotFoundError: No module named 'nowhere_to_be_found'\n"
        "greet   GET, POST, PUT, PATCH, DELETE  ready   Greets.\n"
        f"\nbroken: {plugins}/plugins/broken.py\nTraceback (most recent call last):\n"
    )
    assert err == (
        f"webhook-bridge: {plugins}/plugins/not a plugin.py is no plugin: "
        "its name does not match ^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$\n"
    )
    assert run(["run", "broken"]) == 1
    assert "nowhere_to_be_found" in capfd.readouterr().err


def test_check_config_prints_where_each_value_came_from(
    empty: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty / "config.yaml").write_text("server:\n  port: 9000\n")
    monkeypatch.setenv("BRIDGE__AUTH__TOKEN", "tokentokentokentokentokentokentokentoken")
    assert run(["check-config", "--json"]) == 0
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(capsys.readouterr().out)}
    assert rows["server.port"] == ("9000", "config.yaml line 2")
    assert rows["auth.token"] == ("***", "environment BRIDGE__AUTH__TOKEN")
