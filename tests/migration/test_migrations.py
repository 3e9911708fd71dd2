"""The migrated schema is the declared one, on every database; what is newer, older or foreign is told apart."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import databases
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from otel_tracker.errors import StorageSchemaError
from otel_tracker.query import PageRequest
from otel_tracker.record import ExecutionRecord, Status
from otel_tracker.storage import open_store, schema
from otel_tracker.storage.tables import executions, metadata, payloads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

DRIVERS = {"postgresql://": "postgresql+psycopg://", "mysql://": "mysql+pymysql://"}


@pytest.fixture(params=databases.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with databases.made(request.param, folder=tmp_path / "data") as made:
        yield made


@pytest.fixture(params=["postgresql", "mysql"])
def server_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with databases.made(request.param, folder=tmp_path / "data") as made:
        yield made


def engine_of(url: str) -> Engine:
    for plain, full in DRIVERS.items():
        url = url.replace(plain, full)
    return create_engine(url)


def change(url: str, *statements: str) -> None:
    engine = engine_of(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def differences(url: str) -> list[Any]:
    engine = engine_of(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[Any] = compare_metadata(context, metadata)
    engine.dispose()
    return found


def record(number: int) -> ExecutionRecord:
    return ExecutionRecord(id=f"id-{number}", plugin_name="p", status=Status.COMPLETED, start_time=number)


def test_the_head_is_the_newest_revision_and_every_revision_is_known() -> None:
    config = Config()
    config.set_main_option("script_location", "otel_tracker.storage:migrations")
    script = ScriptDirectory.from_config(config)
    assert script.get_current_head() == schema.HEAD
    assert {found.revision for found in script.walk_revisions()} == set(schema.KNOWN)


def test_the_migrated_schema_is_the_declared_one(url: str) -> None:
    open_store(url).close()
    assert differences(url) == []


def test_a_difference_would_be_seen(url: str) -> None:
    """So that the test above can fail: a column dropped, an index dropped."""
    open_store(url).close()
    drop_index = "DROP INDEX executions_by_trace" + (" ON executions" if url.startswith("mysql") else "")
    change(url, drop_index, "ALTER TABLE spans DROP COLUMN events")
    assert {found[0] for found in differences(url)} == {"add_index", "add_column"}


def test_long_text_is_long_and_compared_byte_by_byte_on_mysql(tmp_path: Path) -> None:
    with databases.made("mysql", folder=tmp_path) as url:
        open_store(url).close()
        engine = engine_of(url)
        with engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT table_name, column_name, data_type, collation_name FROM information_schema.columns"
                    " WHERE table_schema = DATABASE() AND collation_name IS NOT NULL"
                    " AND table_name <> 'alembic_version'"
                )
            ).all()
        engine.dispose()
    ours = {(table.name, column.name) for table in metadata.sorted_tables for column in table.columns}
    assert {(table, column) for table, column, _, _ in rows} < ours
    assert {collation for *_, collation in rows} == {"utf8mb4_bin"}
    kinds = {(table, column): kind for table, column, kind, _ in rows}
    assert kinds[payloads.name, "input"] == kinds[executions.name, "error"] == "mediumtext"


def test_opening_twice_changes_nothing(url: str) -> None:
    for number in range(2):
        with closing(open_store(url)) as store:
            store.write([record(number)])
            assert store.page(PageRequest()).total == number + 1


def test_a_newer_schema_is_refused_and_left_alone(url: str) -> None:
    open_store(url).close()
    change(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageSchemaError, match=r"has revision 9999, which is newer .*`webhook-bridge migrate`"):
        open_store(url)
    assert differences(url) == []


def test_a_table_that_is_not_ours_is_refused(url: str) -> None:
    open_store(url).close()
    change(url, "DROP TABLE alembic_version")
    with pytest.raises(StorageSchemaError, match="without a revision"):
        open_store(url)


def test_without_auto_migrate_a_server_without_tables_is_refused_with_the_command_to_run(server_url: str) -> None:
    with pytest.raises(StorageSchemaError, match=r"has no tables yet.*run `webhook-bridge migrate`"):
        open_store(server_url, auto_migrate=False)
    engine = engine_of(server_url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    open_store(server_url).close()
    open_store(server_url, auto_migrate=False).close()


def test_a_migration_that_was_cut_off_in_the_middle_is_finished_by_the_next_start(tmp_path: Path) -> None:
    """MySQL commits every CREATE TABLE by itself: a crash leaves some of them."""
    with databases.made("mysql", folder=tmp_path) as url:
        open_store(url).close()
        change(url, "DELETE FROM alembic_version", "DROP TABLE spans", "DROP TABLE execution_tags")
        open_store(url).close()
        assert differences(url) == []


def test_several_processes_that_start_at_once_make_the_tables_once(url: str) -> None:
    program = "import sys; from otel_tracker.storage import open_store; open_store(sys.argv[1]).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    assert [process.communicate(timeout=60)[1] for process in started] == [""] * 4
    assert differences(url) == []
