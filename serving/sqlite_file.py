"""One SQLite file, shared by threads and by processes, each thread on a connection of its own."""

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.refusals import UnavailableError

_BUSY_S = 5.0
_CACHE_KIB = 65_536


class SqliteFile:
    """Connections whose commits are on the disk before they return, and whose deletions leave nothing behind.

    It writes ahead (WAL), so readers never wait for a writer, and syncs the log at every commit (synchronous=FULL).
    With NORMAL, what is acknowledged would survive the death of the process, which leaves the system's page cache
    alone, but not that of the machine: SQLite would then sync at checkpoints only. The price of FULL is one fdatasync
    for each commit, however much is written in it.
    """

    def __init__(self, path: Path, tables: str) -> None:
        """Open or make it.

        Args:
            path: Of the file; two more lie beside it while it is open.
            tables: SQL that makes what is not there.
        """
        self._path = path
        self._mine = threading.local()
        self._opened: list[sqlite3.Connection] = []
        weakref.finalize(self, _close_all, self._opened)
        with self.connection() as connection:
            connection.executescript(tables)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """This thread's own: one that is shared would mix their transactions.

        Raises:
            UnavailableError: The file is locked for too long or damaged, or the disk is full or fails.
        """
        try:
            if not hasattr(self._mine, "connection"):
                self._mine.connection = self._connect()
                self._opened.append(self._mine.connection)
            yield self._mine.connection
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise  # our own mistakes
        except sqlite3.DatabaseError as cause:
            raise UnavailableError(f"{self._path.name}: {cause}.") from cause

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done inside, or nothing of it."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite has rolled back by itself where the disk was full
                    connection.execute("ROLLBACK")
                raise

    def scrub(self) -> None:
        """Empty the log, which still holds what was deleted; the pages themselves were overwritten at once."""
        with self.connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Let go of the file. Nobody may be using it."""
        _close_all(self._opened)
        self._mine = threading.local()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection


def _close_all(opened: list[sqlite3.Connection]) -> None:
    while opened:
        opened.pop().close()
