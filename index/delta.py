"""The delta block: rows that came or changed since the last compaction, scored one and all.

Rows are only ever appended, by one writer; readers see as many as the bitmap they hold says, without a lock.
B queries, D vector width, K answer length.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from index import bitmaps
from index.attribute_table import AttributeTable
from index.bitmaps import Slots
from index.filters import Attributes
from index.grouping import grouped
from index.neighbours import Ids, Neighbours, Vectors, best_of, nobody

_FIRST_ROOM = 1024
_SCORES_AT_ONCE = 1 << 22

Scalar = TypeVar("Scalar", bound=np.generic)


class Delta:
    """A growing block of rows. An id may stand in several rows; the newest counts."""

    def __init__(self, dim: int) -> None:
        """Start empty."""
        self.rows = 0
        self.attributes = AttributeTable()
        self._newest: dict[int, int] = {}
        self._previous: Slots = np.empty(_FIRST_ROOM, dtype=np.int64)
        self._ids: Ids = np.empty(_FIRST_ROOM, dtype=np.int64)
        self._vectors: Vectors = np.empty((_FIRST_ROOM, dim), dtype=np.float32)

    def append(self, ids: Ids, vectors: Vectors, attributes: Attributes) -> BitMap:
        """Add rows; returns their slots. Nobody sees them until a reader is given a bitmap that holds them."""
        start, stop = self.rows, self.rows + len(ids)
        self._make_room(stop)
        self._ids[start:stop] = ids
        self._vectors[start:stop] = vectors
        self.attributes.append(attributes, len(ids))
        self._previous[start:stop] = [self._newest.get(row_id, -1) for row_id in ids.tolist()]
        self._newest.update(zip(ids.tolist(), range(start, stop), strict=True))
        self.rows = stop
        return BitMap(range(start, stop))

    def _make_room(self, rows: int) -> None:
        if rows <= len(self._ids):
            return
        # Readers go on with the arrays they hold, which keep every row those readers may see.
        self._ids, self._previous = _grown(self._ids, 2 * rows), _grown(self._previous, 2 * rows)
        self._vectors = _grown(self._vectors, 2 * rows)

    def slots_of(self, ids: Ids, rows: int) -> Slots:
        """The newest slots, among the first ``rows``, of those ids that stand there."""
        slots = []
        for row_id in ids.tolist() if self._newest else ():
            slot = self._newest.get(row_id, -1)
            while slot >= rows:  # written since the reader began: the one before it counts
                slot = int(self._previous[slot])
            if slot >= 0:
                slots.append(slot)
        return np.array(slots, dtype=np.int64)

    def ids_of(self, slots: Slots) -> Ids:
        """The ids of some rows."""
        return self._ids[slots]

    def vectors_of(self, slots: Slots) -> Vectors:  # (n, D)
        """Copies of the vectors of some rows."""
        return np.take(self._vectors, slots, axis=0)

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        eligible: Sequence[BitMap],  # B
    ) -> Neighbours:
        """The k best eligible rows of each query."""
        found = nobody(len(queries), k)
        rows = max((bitmap.max() + 1 for bitmap in eligible if bitmap), default=0)
        ids, vectors = self._ids[:rows], self._vectors[:rows]
        at_once = max(1, _SCORES_AT_ONCE // max(rows, 1))
        for start in range(0, len(queries) if rows else 0, at_once):
            part = slice(start, start + at_once)
            scores = queries[part] @ vectors.T
            for bitmap, members in grouped(eligible[part]):
                if len(bitmap) < rows:
                    scores[np.ix_(members, ~bitmaps.mask_of(bitmap, rows))] = -np.inf
                best = best_of(scores[members], ids, k)
                found.ids[start + members], found.scores[start + members] = best
        return found


def _grown(array: npt.NDArray[Scalar], rows: int) -> npt.NDArray[Scalar]:
    grown = np.empty((rows, *array.shape[1:]), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
