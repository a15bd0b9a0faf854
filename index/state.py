"""What one search sees: the sealed block, the delta, and which rows of each count. Never changed, only replaced.

A reader takes the state once and works on it undisturbed; the one writer puts a new state in its place.
B queries, D vector width, K answer length.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from pyroaring import BitMap

from index import bitmaps
from index.delta import Delta
from index.errors import VectorIndexError
from index.filters import Filter
from index.neighbours import Ids, Neighbours, Vectors, merged
from index.sealed import Sealed
from index.updates import Delete, Update, Upsert

_ROWS_PER_UPSERT = 1000  # so few are written down in a moment: while JSON is made, no other thread runs


@dataclass(frozen=True, eq=False)
class State:
    """Two blocks of rows; no id counts in both."""

    sealed: Sealed
    sealed_visible: BitMap
    delta: Delta
    delta_rows: int
    """How many rows the delta had when this state was made."""
    delta_visible: BitMap

    @classmethod
    def of(cls, sealed: Sealed) -> Self:
        """Every row of a sealed block, and an empty delta."""
        return cls(sealed, bitmaps.of_range(len(sealed)), Delta(sealed.vectors.dim), 0, BitMap())

    def __len__(self) -> int:
        return len(self.sealed_visible) + len(self.delta_visible)

    @cached_property
    def waiting(self) -> int:
        """How many rows came or went since the block was sealed."""
        return self.delta_rows + len(self.sealed) - len(self.sealed_visible)

    @cached_property
    def dim(self) -> int:
        """D, the width of a vector."""
        return self.sealed.vectors.dim

    @cached_property
    def whole(self) -> Sealed | None:
        """The sealed block where no row came or went since: a search without filters is its own."""
        return None if self.waiting else self.sealed

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        filters: Sequence[Filter | None] | None,  # B, one object for queries that share it
        *,
        exact: bool,
    ) -> Neighbours:
        """The k best rows of each query among those its filter lets through."""
        rows = self._each(filters, len(queries), self._sealed_rows)
        sealed = self.sealed.search(queries, k, rows, visible=len(self.sealed_visible), exact=exact)
        if not self.delta_visible:
            return sealed
        delta = self.delta.search(queries, k, self._each(filters, len(queries), self._delta_rows))
        return merged([sealed, delta], k)

    def _each(
        self, filters: Sequence[Filter | None] | None, queries: int, rows: Callable[[Filter | None], BitMap]
    ) -> list[BitMap]:
        """The bitmap of each query, worked out once for each distinct filter."""
        if filters is None:
            return [rows(None)] * queries
        known = {id(condition): rows(condition) for condition in {id(c): c for c in filters}.values()}
        return [known[id(condition)] for condition in filters]

    def _sealed_rows(self, condition: Filter | None) -> BitMap:
        if condition is None:
            return self.sealed_visible
        return self.sealed.attributes.eligible(condition, self.sealed_visible, self.sealed.slots_of)

    def _delta_rows(self, condition: Filter | None) -> BitMap:
        if condition is None:
            return self.delta_visible
        return self.delta.attributes.eligible(
            condition, self.delta_visible, lambda ids: self.delta.slots_of(ids, self.delta_rows)
        )

    def columns(self) -> set[str]:
        """The numeric columns a filter can ask about."""
        return {*self.sealed.attributes.columns, *self.delta.attributes.columns}

    def updated(self, update: Update) -> Self:
        """The state after an update. For the one writer: the delta takes the new rows in."""
        sealed_visible = self.sealed_visible - bitmaps.of_slots(self.sealed.slots_of(update.ids), len(self.sealed))
        replaced = BitMap(self.delta.slots_of(update.ids, self.delta_rows).astype(np.uint32))
        delta_visible = self.delta_visible - replaced
        if isinstance(update, Upsert):
            delta_visible |= self.delta.append(update.ids, update.vectors, update.attributes)
        return replace(self, sealed_visible=sealed_visible, delta_rows=self.delta.rows, delta_visible=delta_visible)

    def pending(self) -> Iterator[Update]:
        """The updates that lead from the sealed block alone to this state."""
        gone = bitmaps.of_range(len(self.sealed)) - self.sealed_visible
        if gone:
            yield Delete(self.sealed.ids[bitmaps.slots_of(gone)])
        yield from self._upserts(self.delta_visible)

    def newer_than(self, earlier: Self) -> Iterator[Update]:
        """The rows that came since an earlier state of the same blocks."""
        yield from self._upserts(self.delta_visible - bitmaps.of_range(earlier.delta_rows))

    def _upserts(self, rows: BitMap) -> Iterator[Update]:
        slots = bitmaps.slots_of(rows)
        attributes = self.delta.attributes.of_rows(slots)
        for start in range(0, len(slots), _ROWS_PER_UPSERT):
            part = slice(start, start + _ROWS_PER_UPSERT)
            ids, vectors = self.delta.ids_of(slots[part]), self.delta.vectors_of(slots[part])
            yield Upsert(ids, vectors, attributes.part(part))

    def vectors_of(self, ids: Ids) -> Vectors:
        """(n, D) the vectors of ids that all stand here.

        Raises:
            VectorIndexError: one does not.
        """
        old, new = self.sealed.slots_of(ids), self.delta.slots_of(ids, self.delta_rows)
        old = old[bitmaps.contains(self.sealed_visible, old, len(self.sealed))]
        new = new[bitmaps.contains(self.delta_visible, new, self.delta_rows)]
        rows = np.concatenate([self.sealed.vectors.take(old), self.delta.vectors_of(new)])
        found = np.concatenate([self.sealed.ids[old], self.delta.ids_of(new)])
        row_of = {row_id: row for row, row_id in enumerate(found.tolist())}
        missing = [row_id for row_id in ids.tolist() if row_id not in row_of]
        if missing:
            raise VectorIndexError(f"ids {missing[:5]}: not in the index. Upsert them first, or ask for others.")
        return rows[[row_of[row_id] for row_id in ids.tolist()]] if len(ids) else rows
