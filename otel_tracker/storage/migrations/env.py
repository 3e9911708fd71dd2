"""How alembic runs our revisions: on the connection, and in the transaction, of whoever calls it."""

from __future__ import annotations

from alembic import context

from otel_tracker.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
