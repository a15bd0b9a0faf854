"""The sealed block: most rows of an index, sorted by id, never changed; an engine searches them under filters.

B queries, N rows, D vector width, K answer length. A slot is the number of a row within its block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyroaring import BitMap

from index import bitmaps
from index.attribute_table import AttributeTable
from index.bitmaps import Slots
from index.engine import Engine
from index.neighbours import Ids, Neighbours, Scores, Vectors, best_of, nobody
from index.plan import Plan, cheapest
from index.vectors import SealedVectors


@dataclass(frozen=True, eq=False)
class Sealed:
    """Rows in the order of their ids."""

    ids: Ids
    """(N,) ascending."""
    vectors: SealedVectors
    attributes: AttributeTable
    engine: Engine
    """The vectors themselves where the kind is exact or the rows are few."""

    def __len__(self) -> int:
        return len(self.ids)

    def slots_of(self, ids: Ids) -> Slots:
        """The slots of those ids that stand here."""
        if not len(self):
            return np.empty(0, dtype=np.int64)
        first, last = int(self.ids[0]), int(self.ids[-1])
        if last - first + 1 == len(self):  # no gaps, nothing to look up
            return ids[(ids >= first) & (ids <= last)] - np.int64(first)
        slots = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
        found: Slots = slots[self.ids[slots] == ids]
        return found

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        eligible: Sequence[BitMap],  # B, one object for queries that share a filter
        *,
        exact: bool = False,
    ) -> Neighbours:
        """The k best eligible rows of each query; never fewer than k where k are eligible."""
        found = nobody(len(queries), k)
        k = min(k, len(self))
        if not k:
            return found
        engines: list[Engine] = [self.vectors] if exact or self.engine is self.vectors else [self.engine, self.vectors]
        overfetched: dict[Engine, list[tuple[BitMap, Slots, int]]] = {}
        for bitmap, members in bitmaps.grouped(eligible):
            plan = self._plan(engines, bitmap, len(members), k)
            if plan.engine is None:
                self._gather(found, queries, k, bitmap, members)
            elif plan.selects:
                scores, slots = plan.engine.search(queries[members], k, bitmap)
                self._sift(found, queries, k, bitmap, members, scores, slots)
            else:
                overfetched.setdefault(plan.engine, []).append((bitmap, members, plan.fetch))
        for engine, groups in overfetched.items():
            self._overfetch(found, queries, k, engine, groups)
        return found

    def _plan(self, engines: list[Engine], eligible: BitMap, queries: int, k: int) -> Plan:
        rows = len(self)
        if len(eligible) == rows and k <= engines[0].most:
            return Plan(engines[0], selects=False, fetch=k)
        return cheapest(engines, rows=rows, dim=self.vectors.dim, eligible=len(eligible), queries=queries, k=k)

    def _overfetch(
        self, found: Neighbours, queries: Vectors, k: int, engine: Engine, groups: list[tuple[BitMap, Slots, int]]
    ) -> None:
        """One search for all groups: a batch in which each query has seen other items stays one batch."""
        together = np.concatenate([members for _, members, _ in groups])
        scores, slots = engine.search(queries[together], max(fetch for _, _, fetch in groups))
        start = 0
        for bitmap, members, _ in groups:
            part = slice(start, start := start + len(members))
            self._sift(found, queries, k, bitmap, members, scores[part], slots[part])

    def _sift(
        self,
        found: Neighbours,
        queries: Vectors,
        k: int,
        eligible: BitMap,
        members: Slots,
        scores: Scores,
        slots: Slots,
    ) -> None:
        """Keep what is eligible of an engine's answer; where too little is left, score everything that is."""
        kept = slots >= 0 if len(eligible) == len(self) else bitmaps.contains(eligible, slots, len(self))
        if slots.shape[1] > k or not kept.all():
            order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
            kept, slots = np.take_along_axis(kept, order, axis=1), np.take_along_axis(slots, order, axis=1)
            scores = np.take_along_axis(scores, order, axis=1)
        found.ids[members, :k] = np.where(kept, self.ids[slots], -1)
        found.scores[members, :k] = np.where(kept, scores, -np.inf)
        short = np.flatnonzero(kept.sum(axis=1) < min(k, len(eligible)))
        if len(short):
            self._gather(found, queries, k, eligible, members[short])

    def _gather(self, found: Neighbours, queries: Vectors, k: int, eligible: BitMap, members: Slots) -> None:
        """Score the eligible rows and nothing else."""
        slots = bitmaps.slots_of(eligible)
        best = best_of(queries[members] @ self.vectors.take(slots).T, self.ids[slots], k)
        found.ids[members, :k], found.scores[members, :k] = best
