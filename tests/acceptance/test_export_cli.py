"""`webhook-bridge export` as people and scripts meet it: the real command, in processes of its own."""

from __future__ import annotations

import gzip
import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from export_rows import seed_small

from bridge_app.cli.root import run

COMMAND = str(Path(sys.executable).with_name("webhook-bridge"))


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a history in it."""
    monkeypatch.chdir(tmp_path)
    seed_small(tmp_path)
    return tmp_path


Call = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def call(capfdbinary: pytest.CaptureFixture[bytes]) -> Call:
    """The command, in this process: an interpreter for each would take most of the time."""

    def called(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        status = run(["export", *arguments])
        return subprocess.CompletedProcess(arguments, status, *capfdbinary.readouterr())

    return called


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"data"}


@pytest.mark.parametrize(
    "name", ["all.csv", "all.json", "all.jsonl", "all.parquet", "all.csv.gz", "all.json.gz", "all"]
)
def test_a_file_is_of_the_format_that_its_name_says(history: Path, name: str, call: Call) -> None:
    done = call("--output", name, "--fields", "id")
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.fullmatch(rf"1234 executions in {name}, [\d.]+ KiB\n", done.stdout.decode())
    content = (history / name).read_bytes()
    content = gzip.decompress(content) if name.endswith(".gz") else content
    ending = name.removesuffix(".gz").partition(".")[2] or "csv"
    assert content == call("--format", ending, "--fields", "id").stdout
    assert files(history) == {name}


def test_the_options_narrow_it(history: Path, call: Call) -> None:
    shown = call(
        "--since", "2025-06-06T14:00:30Z", "--until", "2025-06-06T14:01:30Z", "--status", "failed", "--fields", "id"
    ).stdout  # fmt: skip
    assert shown.decode().split() == ["id", *(f"{number:036}" for number in range(260, 80, -10))]


def test_a_duration_and_a_text_narrow_it(history: Path, call: Call) -> None:
    shown = call("--min-duration", "500", "--max-duration", "530ns", "--q", "=CMD", "--fields", "id").stdout
    assert shown.decode().split() == ["id", *(f"{number:036}" for number in (530, 520, 510, 500))]


def test_the_outcome_as_json_stays_out_of_the_data(history: Path, call: Call) -> None:
    done = call("--json", "--output", "a.jsonl", "--tag", "team:a")
    assert json.loads(done.stdout) == {
        "output": "a.jsonl", "format": "jsonl", "executions": 617, "bytes": (history / "a.jsonl").stat().st_size
    }  # fmt: skip
    done = call("--json", "--format", "jsonl", "--tag", "team:a")
    assert done.stdout == (history / "a.jsonl").read_bytes()
    assert json.loads(done.stderr)["output"] == "-"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "a.parquet.gz"], "--output is 'a.parquet.gz': parquet is compressed in itself; leave .gz away"),
        (["--format", "parquet", "--output", "a.gz"], "--output is 'a.gz': parquet is compressed in itself"),
        (["--fields", "stauts"], "--fields is 'stauts': expected one of id, plugin_name"),
        (["--until", "soon"], "--until is 'soon': expected a duration such as 24h or 7d, or a time"),
        (
            ["--min-duration", "2s", "--max-duration", "1s"],
            "--min-duration is '2s': expected no more than max_duration",
        ),
        (["--status", "bad"], "--status is 'bad': expected one of pending"),
        (["--output", "no/such/folder.csv"], "no/such/folder.csv cannot be written: No such file or directory"),
        (["--output", "data"], "data cannot be written: Is a directory"),
        (["--output", "/dev/full"], "/dev/full cannot be written: No space left on device"),
        (["--format", "xml"], "'xml' is not one of 'csv', 'json', 'jsonl', 'parquet'"),
        (["--config", "no.yaml"], "no.yaml is not there"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_status_2(
    history: Path, arguments: list[str], message: str, call: Call
) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
    assert files(history) == set()


def test_without_a_history_no_file_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("--output", "a.csv")
    assert (done.returncode, files(tmp_path)) == (2, set())
    assert b"webhook-bridge: there is no history in " in done.stderr


def test_standard_output_that_cannot_be_written_is_told(history: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([COMMAND, "export"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr == b"webhook-bridge: standard output cannot be written: No space left on device\n"


def test_a_reader_that_has_enough_ends_it_quietly(history: Path) -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", f"{COMMAND} export | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.count(b"\n"), done.stderr) == (141, 1, b"")


FAULT = """
import pathlib, sys
from bridge_app.api.export import formats
from bridge_app.cli import main
whole = formats.parts
def parts(*arguments, **options):
    for number, page in enumerate(whole(*arguments, **options)):
        if number == 3:
            for path in pathlib.Path("data").glob("executions.db*"):
                path.unlink()
        yield page
formats.parts = parts
main()
"""
"""The command, with the store's file deleted behind its back in the middle."""


def call_with_fault(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", FAULT, "export", *arguments], capture_output=True, check=False, timeout=60
    )


def test_a_store_that_goes_away_leaves_the_old_file(history: Path) -> None:
    (history / "all.csv").write_text("the one before")
    done = call_with_fault("--output", "all.csv")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"webhook-bridge: the export broke off, all.csv was not written: the store was replaced" in done.stderr
    assert (history / "all.csv").read_text() == "the one before"
    assert files(history) == {"all.csv"}


def test_a_store_that_goes_away_leaves_no_new_file(history: Path) -> None:
    assert call_with_fault("--output", "all.json").returncode == 2
    assert files(history) == set()


def test_a_store_that_goes_away_leaves_json_open(history: Path) -> None:
    done = call_with_fault("--format", "json")
    assert done.returncode == 2
    assert b"the export broke off, what was printed is not whole: " in done.stderr
    assert done.stdout.startswith(b'[\n{"id":')
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)


def test_a_file_that_is_replaced_keeps_who_may_read_it(history: Path, call: Call) -> None:
    (history / "all.csv").touch(mode=0o600)
    (history / "link.csv").symlink_to("all.csv")
    assert call("--output", "link.csv").returncode == 0
    assert (history / "link.csv").is_symlink()
    assert stat.S_IMODE((history / "all.csv").stat().st_mode) == 0o600
    assert (history / "all.csv").stat().st_size > 100_000
