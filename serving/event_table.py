"""Users' events as a table: many of them in at once, all of them out.

What comes in is checked as the interactions of a training are. Imported twice, it counts once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.bundle import Bundle
from recsys.catalogue import Catalogue
from recsys.errors import InputError
from recsys.interactions import Interactions, read_interactions
from recsys.tables import names, read_table
from serving.stored_events import HistoryStore, StoredEvent, content_id

_ROWS_AT_ONCE = 50_000
_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("event_id", pa.string()),
        ("item_id", pa.string()),
        ("occurred_at", pa.int64()),
        ("event", pa.string()),
        ("value", pa.float32()),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Imported:
    """How an import went."""

    read: int
    """Events of the table."""
    new: int
    """Those the store did not hold."""
    of_deleted_users: int
    """Those left out, since their users were deleted."""


def import_events(store: HistoryStore, parts: Iterable[Sequence[StoredEvent]]) -> Imported:
    """Add the events of a table to a store, but for those of users who were deleted.

    Raises:
        UnavailableError: The store could not take a part; the parts before it are kept, and it does no harm to begin
            again.
    """
    read = new = left_out = 0
    for part in parts:
        deleted = store.forgotten({event.user_id for event in part})
        wanted = [event for event in part if event.user_id not in deleted] if deleted else part
        new += store.add([wanted])[0]
        read += len(part)
        left_out += len(part) - len(wanted)
    return Imported(read, new, left_out)


def events_of_bundle(bundle: Bundle) -> Iterator[list[StoredEvent]]:
    """Every interaction of a bundle's table, in parts.

    Raises:
        InputError: They have no clock.
    """
    return _events(bundle.interactions, bundle.catalogue, None, place="the bundle's interactions")


def events_of_file(path: Path) -> Iterator[list[StoredEvent]]:
    """Every good row of an interactions file, in parts; a column event_id is taken where there is one.

    Raises:
        InputError: It cannot be read, holds no good row, or has no clock.
    """
    interactions, catalogue, _ = read_interactions(path)
    table = read_table(path, columns=None, text=("event_id",))
    event_ids = names(table.cells("event_id")).to_list() if table.has("event_id") else None
    return _events(interactions, catalogue, event_ids, place=str(path))


def export_events(store: HistoryStore, path: Path) -> int:
    """Write all events to a Parquet file that training and import read; returns how many there are.

    The file is written beside and renamed, so that there is never half of one.
    """
    beside = path.with_name(f".{path.name}.new")
    written = 0
    with pq.ParquetWriter(beside, _SCHEMA) as writer:
        for part in store.everything():
            columns = zip(*part, strict=True) if part else [()] * len(_SCHEMA)
            writer.write_table(pa.table([list(column) for column in columns], schema=_SCHEMA))
            written += len(part)
    beside.replace(path)
    return written


def _events(
    interactions: Interactions, catalogue: Catalogue, event_ids: Sequence[str | None] | None, *, place: str
) -> Iterator[list[StoredEvent]]:
    if interactions.occurred_at is None:
        raise InputError(
            f"{place}: there is only an order, no occurred_at, and events are kept by when they happened. "
            "Train on the table instead: a bundle's own interactions are always read."
        )
    return _parts(interactions, catalogue, event_ids)


def _parts(
    interactions: Interactions, catalogue: Catalogue, event_ids: Sequence[str | None] | None
) -> Iterator[list[StoredEvent]]:
    occurred_at = interactions.occurred_at
    assert occurred_at is not None
    whose = interactions.user_idx
    kinds = [name or None for name in interactions.event_names]
    for start in range(0, len(interactions), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        part = []
        for user_idx, item_idx, instant, kind, value, lat, lon, file_row in zip(
            whose[rows].tolist(),
            interactions.item_idx[rows].tolist(),
            occurred_at[rows].tolist(),
            interactions.event[rows].tolist(),
            _cells(interactions.value, rows),
            _cells(interactions.lat, rows),
            _cells(interactions.lon, rows),
            interactions.file_row[rows].tolist(),
            strict=False,  # places are endless Nones where there are none
        ):
            item_id, event = catalogue.item_ids[item_idx], kinds[kind]
            event_id = (event_ids and event_ids[file_row]) or content_id(item_id, instant, event, value)
            part.append(
                StoredEvent(interactions.user_ids[user_idx], event_id, item_id, instant, event, value, lat, lon)
            )
        yield part


def _cells(column: "np.ndarray[tuple[int], np.dtype[np.float32]] | None", rows: slice) -> list[float | None]:
    """As Python's numbers, None where unknown."""
    if column is None:
        return [None] * _ROWS_AT_ONCE
    return [None if value != value else value for value in column[rows].tolist()]
