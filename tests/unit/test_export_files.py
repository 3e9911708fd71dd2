"""What an export's files hold: read back with other people's readers, they give the records again."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from typing import Any

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_app.api.export import Export, ExportFormat, formats, gzip_file, parquet_file
from bridge_app.api.export.csv_text import GUARD, safe
from bridge_app.api.export.formats import PIECE_BYTES, gathered
from bridge_app.api.export.gzip_file import accepts_gzip, gzipped
from bridge_app.api.rendering import FIELDS, execution_json
from bridge_app.problems import FieldError, NotInstalledError
from otel_tracker.record import ExecutionRecord, Status

START = 1_749_220_428_123_456_789
TEXTS = ("input", "output", "error", "user_agent", "plugin_name")
FORMULAS = (
    "=1+1",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "'=1",
    "'",
)

text = st.text() | st.builds("{}{}".format, st.sampled_from(FORMULAS), st.text())
records = st.builds(
    ExecutionRecord,
    id=st.uuids().map(str),
    plugin_name=text,
    status=st.sampled_from(Status),
    start_time=st.integers(0, 4 * 10**18),
    end_time=st.none() | st.integers(0, 4 * 10**18),
    duration=st.integers(0, 2**63 - 1),
    input=text,
    output=text,
    error=text,
    user_agent=text,
)
parts = st.lists(st.lists(records, max_size=3), max_size=3)


def record(number: int = 0, **more: Any) -> ExecutionRecord:
    return ExecutionRecord(
        id=f"e-{number}", plugin_name="shop", status=Status.COMPLETED, start_time=START, created_at=START, **more
    )


def made(export: Export, written: list[list[ExecutionRecord]]) -> bytes:
    return b"".join(export.file(iter(written)))


def flat(written: list[list[ExecutionRecord]]) -> list[ExecutionRecord]:
    return [one for part in written for one in part]


def csv_rows(content: bytes) -> list[dict[str, str]]:
    """By the standard library; one leading apostrophe taken away, as the documentation says."""
    reader = csv.DictReader(io.StringIO(content.decode(), newline=""))
    return [{name: cell.removeprefix(GUARD) for name, cell in row.items()} for row in reader]


def cell_of(value: object) -> str:
    """Yes and no as in JSON; nothing is an empty cell."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@given(parts)
def test_csv_read_back_gives_every_value(written: list[list[ExecutionRecord]]) -> None:
    shown = [execution_json(one) for one in flat(written)]
    expected = [{name: cell_of(value) for name, value in row.items()} for row in shown]
    assert csv_rows(made(Export(), written)) == expected


@given(parts)
def test_no_text_cell_of_csv_begins_like_a_formula(written: list[list[ExecutionRecord]]) -> None:
    rows = csv.reader(io.StringIO(made(Export(fields=TEXTS), written).decode(), newline=""))
    assert [cell for row in rows for cell in row if cell.startswith(FORMULAS[:-2])] == []


@pytest.mark.parametrize("value", FORMULAS)
def test_what_begins_like_a_formula_gets_an_apostrophe(value: str) -> None:
    assert safe(value) == f"'{value}"


@pytest.mark.parametrize("value", ["", "plain", " =1", '{"a": -1}', "1-1", -1, None])
def test_every_other_cell_is_as_it_is(value: object) -> None:
    assert safe(value) == value


def test_csv_is_a_line_of_names_and_a_line_a_record() -> None:
    content = made(Export(fields=("id", "error", "end_time", "duration")), [[record(1, error='=a,"b"')], [record(2)]])
    assert content == b'id,error,end_time,duration\r\ne-1,"\'=a,""b""",,0\r\ne-2,,,0\r\n'


@given(parts)
def test_json_is_one_array_of_the_records_of_rest(written: list[list[ExecutionRecord]]) -> None:
    content = made(Export(format=ExportFormat.JSON), written)
    assert json.loads(content) == [execution_json(one) for one in flat(written)]


@given(parts)
def test_json_lines_are_the_records_of_rest(written: list[list[ExecutionRecord]]) -> None:
    content = made(Export(format=ExportFormat.JSONL), written)
    assert content.count(b"\n") == len(flat(written))
    assert [json.loads(line) for line in content.split(b"\n")[:-1]] == [execution_json(one) for one in flat(written)]


def test_json_that_broke_off_is_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "PIECE_BYTES", 1)
    pieces = list(Export(format=ExportFormat.JSON, fields=("id",)).file(iter([[record(1)], [record(2)]])))
    assert pieces == [b'[\n{"id":"e-1"}', b',\n{"id":"e-2"}', b"\n]\n", b""]


@given(st.lists(st.binary(max_size=100_000)))
def test_pieces_are_gathered_and_none_is_lost(chunks: list[bytes]) -> None:
    *pieces, last = gathered(iter(chunks))
    assert b"".join([*pieces, last]) == b"".join(chunks)
    assert all(len(piece) >= PIECE_BYTES > len(last) for piece in pieces)


@pytest.mark.parametrize(
    ("name", "empty"), [("csv", b"id,error\r\n"), ("json", b"[]\n"), ("jsonl", b"")], ids=["csv", "json", "jsonl"]
)
def test_an_empty_history_is_a_whole_file(name: str, empty: bytes) -> None:
    assert made(Export(format=ExportFormat(name), fields=("id", "error")), [[]]) == empty


@given(parts)
def test_parquet_read_back_gives_every_value(written: list[list[ExecutionRecord]]) -> None:
    table = pq.read_table(io.BytesIO(made(Export(format=ExportFormat.PARQUET), written)))
    assert table.column_names == list(FIELDS)
    for name in FIELDS:
        column = table.column(name)
        values = column.cast("int64") if name.endswith(("_time", "_at")) else column
        assert values.to_pylist() == [getattr(one, name) for one in flat(written)], name


def test_parquet_has_times_in_utc_and_numbers_as_numbers() -> None:
    content = made(Export(format=ExportFormat.PARQUET, fields=("start_time", "end_time", "duration", "status")), [[]])
    types = {field.name: str(field.type) for field in pq.read_schema(io.BytesIO(content))}
    assert types == {
        "start_time": "timestamp[ns, tz=UTC]",
        "end_time": "timestamp[ns, tz=UTC]",
        "duration": "int64",
        "status": "string",
    }


@pytest.mark.parametrize("bound", ["GROUP_ROWS", "GROUP_BYTES"])
def test_parquet_is_given_a_row_group_at_a_time(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, bound, 4)
    written = [[record(1), record(2)], [record(3), record(4)], [record(5)]]
    pieces = list(parquet_file.parquet_chunks(iter(written), ("duration",)))
    groups = pq.ParquetFile(io.BytesIO(b"".join(pieces))).metadata.num_row_groups
    assert (groups, len(pieces)) == ((2, 3) if bound == "GROUP_ROWS" else (3, 4))


def test_parquet_that_broke_off_cannot_be_opened() -> None:
    *pieces, index = parquet_file.parquet_chunks(iter([[record(1)]]), FIELDS)
    assert index.endswith(b"PAR1")
    with pytest.raises(ValueError, match="magic bytes not found"):
        pq.read_table(io.BytesIO(b"".join(pieces)))


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bridge_app.api.export.parquet_file", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NotInstalledError, match=r"pip install 'otel-webhook-bridge\[parquet\]'"):
        Export(format=ExportFormat.PARQUET)


@given(st.lists(st.binary()))
def test_gzip_read_back_gives_the_bytes(chunks: list[bytes]) -> None:
    assert gzip.decompress(b"".join(gzipped(chunks))) == b"".join(chunks)


def test_a_gzip_file_holds_the_file() -> None:
    content = made(Export(fields=("id",), as_gzip=True), [[record(1)]])
    assert gzip.decompress(content) == b"id\r\ne-1\r\n"


def test_gzip_that_broke_off_has_no_end() -> None:
    *pieces, _ = gzipped([b"a", b"b"])
    with pytest.raises(EOFError):
        gzip.decompress(b"".join(pieces) or gzip.compress(b"a")[:-8])


def test_gzip_around_parquet_is_refused() -> None:
    with pytest.raises(FieldError, match="compressed in itself"):
        Export(format=ExportFormat.PARQUET, as_gzip=True)


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5, br", True),
        ("gzip ; q=1.0", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("gzip;q=much", False),
        ("gzip;level=9", False),
    ],
)
def test_gzip_is_sent_to_those_who_take_it(header: str, *, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted
    assert gzip_file.accepts_gzip(f" {header} ") is accepted
