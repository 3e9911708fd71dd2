"""The error tree of the library.

TrackerError
├── ConfigurationError      a caller's argument is wrong; raised at set-up, never while tracking
├── CursorError             a page cursor that this store did not make
├── PeriodTooLongError      more executions than may be counted one by one for an answer
└── StorageError
    ├── CleanupRunningError       another process is cleaning this store
    ├── StorageUnavailableError   the store cannot be reached or is locked: try again later
    │   ├── StorageRefusesError   it is there and takes nothing from anybody: full, read-only, not permitted
    │   └── StorageLockedError    another transaction holds a row that is needed
    └── StorageSchemaError        the store is reachable and its tables are not ours
        └── StorageNotMigratedError   they are missing or older, and a migration makes them ours
"""

from __future__ import annotations


class TrackerError(Exception):
    """Anything the library raises on purpose."""


class ConfigurationError(TrackerError, ValueError):
    """A setting is wrong. The message says which value, why, and what to write instead."""


class CursorError(TrackerError, ValueError):
    """A page cursor is not one that the store gave out."""


class PeriodTooLongError(TrackerError, ValueError):
    """A period holds too many executions for a granularity that the rollups do not have."""


class StorageError(TrackerError):
    """The store did not do what it was asked."""


class CleanupRunningError(StorageError):
    """Another process cleans the store: one does it for all. It goes on by itself; ask again later."""

    def __init__(self, holder: str, seconds: int) -> None:
        super().__init__(
            f"{holder} is cleaning this store: wait for it to end; if it is dead, its lease ends in {seconds} s"
        )
        self.holder = holder
        """Which process: its host, and its number there."""
        self.seconds = seconds
        """How long its lease lasts if it does not renew it."""


class StorageUnavailableError(StorageError):
    """The store cannot serve now; the same call may succeed later. Nothing of the batch is lost: keep it, retry it."""


class StorageRefusesError(StorageUnavailableError):
    """The store takes nothing now, whatever it is: disk or memory full, read-only, locked as a whole, not permitted."""


class StorageLockedError(StorageUnavailableError):
    """Another transaction holds a row that this one needs, or won a deadlock: it passes when that one ends."""


class StorageSchemaError(StorageError):
    """The store's tables do not fit this version; retrying does not help."""


class StorageNotMigratedError(StorageSchemaError):
    """The store has no tables yet, or those of an earlier version, and they were not to be made."""
