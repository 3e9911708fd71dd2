"""A lease in the database: of several processes on one store, one does what one should do for all.

In: a name, and who asks. Out: the lease for `LEASE_SECONDS`, again and again while it is renewed, or the name of who
has it. The database's own clock decides, so the clocks of the machines need not agree. A holder that was killed holds
it until it runs out.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

from sqlalchemy import or_, select, update

from otel_tracker.errors import CleanupRunningError, StorageUnavailableError
from otel_tracker.storage.tables import leases

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

    from otel_tracker.storage.engine import Database

LEASE_SECONDS: Final = 60
_SECOND: Final = 1_000_000_000
_HOLDER_CHARACTERS: Final = 255


class Lease:
    """One try to have it: every object is another holder."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        host = socket.gethostname()
        self.holder = f"process {os.getpid()} of {host} ({secrets.token_hex(4)})"[-_HOLDER_CHARACTERS:]
        self._clock = database.dialect.clock
        self._put = database.dialect.upsert(leases, key=("name",), guard=None)

    def take(self) -> None:
        """Raises `CleanupRunningError` where another has it."""
        of_name = leases.c.name == self._name
        is_free = or_(leases.c.holder == self.holder, leases.c.expires_at <= self._clock)
        with self._database.write() as connection:
            self._put(connection, [(self._name, "", 0)])
            if self._extend(connection, of_name, is_free):
                return
            left = (leases.c.expires_at - self._clock).label("left")
            other = connection.execute(select(leases.c.holder, left).where(of_name)).one()
        raise CleanupRunningError(other.holder, max(1, -(-int(other.left) // _SECOND)))

    def renew(self, connection: Connection) -> None:
        """In the caller's transaction. Raises `StorageUnavailableError` where another took it, after a long pause."""
        if not self._extend(connection, leases.c.name == self._name, leases.c.holder == self.holder):
            raise StorageUnavailableError("another process took the cleanup over, as this one had paused for long")

    def release(self, connection: Connection) -> None:
        """In the caller's transaction; nothing happens where another has it."""
        mine = (leases.c.name == self._name, leases.c.holder == self.holder)
        connection.execute(update(leases).where(*mine).values(expires_at=0))

    def _extend(self, connection: Connection, *conditions: ColumnElement[bool]) -> bool:
        until = self._clock + LEASE_SECONDS * _SECOND
        change = update(leases).where(*conditions).values(holder=self.holder, expires_at=until)
        return connection.execute(change).rowcount == 1
