"""Histories in one SQLite file: what a single machine needs, shared by any number of its threads and processes."""

import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from serving.sqlite_file import SqliteFile
from serving.stored_events import Retention, StoredEvent, UserEvents
from serving.user_key import UserKey

# One tree, ordered by user: an event costs one insertion, and a user's are read together and put in order in memory.
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    user_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    event TEXT,
    value REAL,
    lat REAL,
    lon REAL,
    arrival INTEGER NOT NULL,
    PRIMARY KEY (user_id, event_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS arrivals (count INTEGER NOT NULL);
INSERT INTO arrivals SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM arrivals);
CREATE TABLE IF NOT EXISTS forgotten (user_hash TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_COLUMNS = ", ".join(StoredEvent._fields)
_ROWS_AT_ONCE = 50_000


class SqliteHistories:
    """A `HistoryStore` in a file. Events that are added together share one sync of the disk."""

    def __init__(self, path: Path, *, key: UserKey, retention: Retention) -> None:
        self.retention = retention
        self._key = key
        self._file = SqliteFile(path, _TABLES)

    def add(self, batches: Sequence[Sequence[StoredEvent]]) -> list[int]:
        """See `HistoryStore`."""
        new = []
        with self._file.transaction() as connection:
            arrival = connection.execute("SELECT count FROM arrivals").fetchone()[0]
            for events in batches:
                before = connection.total_changes
                connection.executemany(
                    "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [(*event, number) for number, event in enumerate(events, arrival)],
                )
                new.append(connection.total_changes - before)
                arrival += len(events)
            connection.execute("UPDATE arrivals SET count = ?", (arrival,))
            self._prune_users(connection, {event.user_id for events in batches for event in events})
        return new

    def read(self, user_id: str) -> UserEvents:
        """See `HistoryStore`."""
        with self._file.connection() as connection:
            # The deletion is looked up first: one that comes between the two then shows no events and forgets no user.
            forgotten = self._is_forgotten(connection, user_id)
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM events WHERE user_id = ? AND occurred_at >= ? ORDER BY occurred_at, arrival",
                (user_id, self._horizon()),
            )
            return UserEvents(list(map(StoredEvent._make, rows)), forgotten)

    def forget(self, user_id: str) -> int:
        """See `HistoryStore`. Pages are overwritten (secure_delete) and the log is emptied: no byte of it stays."""
        with self._file.transaction() as connection:
            removed = connection.execute("DELETE FROM events WHERE user_id = ?", (user_id,)).rowcount
            connection.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (self._key.hash(user_id),))
        self._file.scrub()
        return int(removed)

    def forgotten(self, user_ids: Collection[str]) -> set[str]:
        """See `HistoryStore`."""
        with self._file.connection() as connection:
            hashes = {user_hash for (user_hash,) in connection.execute("SELECT user_hash FROM forgotten")}
        return {user_id for user_id in user_ids if self._key.hash(user_id) in hashes} if hashes else set()

    def prune(self, *, now: int) -> int:
        """See `HistoryStore`."""
        if self.retention.max_age_s is None:
            return 0
        with self._file.transaction() as connection:
            horizon = self.retention.horizon(now)
            return int(connection.execute("DELETE FROM events WHERE occurred_at < ?", (horizon,)).rowcount)

    def everything(self) -> Iterator[list[StoredEvent]]:
        """See `HistoryStore`."""
        with self._file.connection() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM events WHERE occurred_at >= ? ORDER BY user_id, occurred_at, arrival",
                (self._horizon(),),
            )
            while part := rows.fetchmany(_ROWS_AT_ONCE):
                yield list(map(StoredEvent._make, part))

    def close(self) -> None:
        """See `HistoryStore`."""
        self._file.close()

    def _horizon(self) -> int:
        return self.retention.horizon(int(time.time()))

    def _is_forgotten(self, connection: sqlite3.Connection, user_id: str) -> bool:
        found = connection.execute("SELECT 1 FROM forgotten WHERE user_hash = ?", (self._key.hash(user_id),))
        return found.fetchone() is not None

    def _prune_users(self, connection: sqlite3.Connection, user_ids: Collection[str]) -> None:
        horizon, most = self._horizon(), self.retention.max_events
        connection.executemany(
            "DELETE FROM events WHERE user_id = ? AND event_id IN (SELECT event_id FROM events WHERE user_id = ? "
            "ORDER BY occurred_at DESC, arrival DESC LIMIT -1 OFFSET ?)",
            [(user_id, user_id, most) for user_id in user_ids if _has_more_than(most, connection, user_id)],
        )
        if horizon:
            connection.executemany(
                "DELETE FROM events WHERE user_id = ? AND occurred_at < ?",
                [(user_id, horizon) for user_id in user_ids],
            )


def _has_more_than(most: int, connection: sqlite3.Connection, user_id: str) -> bool:
    """Asked first, since hardly anyone has, and finding whom to drop means sorting all of a user's events."""
    found = connection.execute("SELECT 1 FROM events WHERE user_id = ? LIMIT 1 OFFSET ?", (user_id, most))
    return found.fetchone() is not None
