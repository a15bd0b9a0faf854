"""Items that came, changed or went while the service ran: one SQLite file that brings every bundle up to date.

What is removed leaves its name and number, so that a bundle that holds it does not bring it back.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.sqlite_file import SqliteFile

_TABLES = """
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY,
    item_id TEXT NOT NULL UNIQUE,
    change INTEGER NOT NULL,
    document TEXT,
    encoder TEXT,
    text_vector BLOB
);
CREATE UNIQUE INDEX IF NOT EXISTS items_by_change ON items (change);
"""
_WRITE = """
INSERT INTO items (item_id, change, document, encoder, text_vector)
VALUES (?, (SELECT coalesce(max(change), 0) + 1 FROM items), ?, ?, ?)
ON CONFLICT (item_id) DO UPDATE SET
    change = excluded.change, document = excluded.document, encoder = excluded.encoder,
    text_vector = excluded.text_vector
"""


@dataclass(frozen=True, kw_only=True)
class ItemDocument:
    """What is told of an item; it replaces whatever was known before."""

    title: str = ""
    description: str = ""
    categories: tuple[str, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    """Numeric column → value; a column that is left out is unknown."""
    vector: tuple[float, ...] | None = None
    """Ready-made, of the width that the catalogue's have."""


@dataclass(frozen=True, eq=False)
class TextVector:
    """What a sentence encoder made of an item's text, kept so that no text is read twice."""

    encoder: str
    """The encoder's fingerprint."""
    values: npt.NDArray[np.float32]
    """(T,)"""


class StoredItem(NamedTuple):
    """An item as it stands after its last change."""

    number: int
    """From 1, in order of first appearance."""
    item_id: str
    change: int
    """How many changes of any item there were up to this one's last."""
    document: ItemDocument | None
    """None: it was removed."""
    text: TextVector | None


class ItemStore:
    """Items in a file. Any thread and any process may use it; what was written is on the disk."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, _TABLES)

    def put(self, item_id: str, document: ItemDocument, text: TextVector | None) -> None:
        """Add an item, or replace it whole."""
        told = json.dumps(asdict(document), ensure_ascii=False)
        read = (None, None) if text is None else (text.encoder, text.values.astype(np.float32).tobytes())
        with self._file.connection() as connection:
            connection.execute(_WRITE, (item_id, told, *read))

    def remove(self, item_id: str) -> None:
        """Remove an item, of a bundle or put here: of it no more than its name and number stay."""
        with self._file.connection() as connection:
            connection.execute(_WRITE, (item_id, None, None, None))

    def newest(self) -> int:
        """The number of the last change; 0 before the first."""
        with self._file.connection() as connection:
            return int(connection.execute("SELECT coalesce(max(change), 0) FROM items").fetchone()[0])

    def since(self, change: int) -> list[StoredItem]:
        """The items that changed after a change, the one changed last at the end."""
        with self._file.connection() as connection:
            rows = connection.execute(
                "SELECT number, item_id, change, document, encoder, text_vector FROM items WHERE change > ? "
                "ORDER BY change",
                (change,),
            )
            return [_item(*row) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _item(
    number: int, item_id: str, change: int, document: str | None, encoder: str | None, text: bytes | None
) -> StoredItem:
    told = None
    if document is not None:
        cells = json.loads(document)
        vector = cells["vector"]
        cells |= {"categories": tuple(cells["categories"]), "vector": None if vector is None else tuple(vector)}
        told = ItemDocument(**cells)
    read = None if encoder is None or text is None else TextVector(encoder, np.frombuffer(text, np.float32))
    return StoredItem(number, item_id, change, told, read)
