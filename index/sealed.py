"""The sealed block: most rows of an index, sorted by id, never changed; an engine searches them under filters.

B queries, N rows, D vector width, K answer length. A slot is the number of a row within its block.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from index import bitmaps
from index.attribute_table import AttributeTable
from index.bitmaps import Slots
from index.engine import Engine
from index.grouping import grouped
from index.neighbours import Ids, Neighbours, Scores, Vectors, nobody
from index.plan import WORTH_BEING_EXACT, Plan, cheapest
from index.vectors import SealedVectors


class Group(NamedTuple):
    """The queries of a batch that share a filter."""

    eligible: BitMap
    members: Slots
    """Their places in the batch."""
    fetch: int
    """How many rows to ask for."""


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
        if self._first is not None:
            slots = ids - self._first
            return slots[(slots >= 0) & (slots < len(self))]
        slots = np.minimum(np.searchsorted(self.ids, ids), len(self) - 1)
        found: Slots = slots[self.ids[slots] == ids]
        return found

    @cached_property
    def _first(self) -> int | None:
        """The first id where no gap follows: then nothing must be looked up, an id is a slot and so much more."""
        first, last = self.ids[[0, -1]].tolist() if len(self) else (0, -1)
        return first if last - first + 1 == len(self) else None

    @cached_property
    def _most(self) -> int:
        """The largest k the engine can be asked for and have."""
        return min(len(self), self.engine.most)

    def _ids_at(self, slots: Slots) -> Ids:
        if self._first is None:
            return self.ids[slots]
        return slots + self._first if self._first else slots

    def search_whole(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        *,
        exact: bool,
    ) -> Neighbours:
        """As ``search`` where every row is eligible: the common case, kept short."""
        if k <= self._most:
            scores, slots = (self.vectors if exact else self.engine).search(queries, k)
            if -1 not in slots[:, -1].tolist():  # the engine found k for every query
                return Neighbours(self._ids_at(slots), scores)
        return self.search(queries, k, [bitmaps.of_range(len(self))] * len(queries), visible=len(self), exact=exact)

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        eligible: Sequence[BitMap],  # B, one object for queries that share a filter
        *,
        visible: int,
        exact: bool,
    ) -> Neighbours:
        """The k best eligible rows of each query; never fewer than k where k are eligible.

        Where fewer are eligible than are ``visible`` at all, a filter holds, and being exact is worth something.
        """
        found = nobody(len(queries), k)
        k = min(k, len(self))
        jobs: dict[tuple[Engine | None, bool], list[Group]] = {}
        for bitmap, members in grouped(eligible) if k else ():
            worth = WORTH_BEING_EXACT if len(bitmap) < visible else 1.0
            plan = self._plan(len(bitmap), len(members), len(queries), k, worth=worth, exact=exact)
            jobs.setdefault((plan.engine, plan.selects), []).append(Group(bitmap, members, plan.fetch))
        for (engine, selects), groups in jobs.items():
            if engine is None:
                answers: Iterable[tuple[Scores, Slots]] = [
                    self._among(queries[group.members], k, group.eligible) for group in groups
                ]
            else:
                answers = self._ask(engine, queries, k, groups, selects=selects)
            for group, (scores, slots) in zip(groups, answers, strict=True):
                found.scores[group.members, :k] = np.where(slots < 0, -np.inf, scores)
                found.ids[group.members, :k] = np.where(slots < 0, -1, self._ids_at(slots))
        return found

    def _plan(self, eligible: int, queries: int, batch: int, k: int, *, worth: float, exact: bool) -> Plan:
        engines: list[Engine] = [self.vectors] if exact or self.engine is self.vectors else [self.engine, self.vectors]
        if eligible == len(self) and k <= engines[0].most:
            return Plan(engines[0], selects=False, fetch=k)
        return cheapest(
            engines,
            rows=len(self),
            eligible=eligible,
            queries=queries,
            batch=batch,
            k=k,
            among_ns=self.vectors.among_cost_ns(queries, eligible),
            worth=worth,
        )

    def _ask(
        self, engine: Engine, queries: Vectors, k: int, groups: list[Group], *, selects: bool
    ) -> Iterator[tuple[Scores, Slots]]:
        """One search for all groups: a batch in which each query has seen other items stays one batch."""
        members = np.concatenate([group.members for group in groups])
        each = [group.eligible for group in groups for _ in group.members] if selects else None
        share = 1.0 if selects else max(1, min(len(group.eligible) for group in groups)) / len(self)
        scores, slots = engine.search(queries[members], max(group.fetch for group in groups), each, share=share)
        start = 0
        for group in groups:
            part = slice(start, start := start + len(group.members))
            verify = not selects and len(group.eligible) < len(self)
            kept = bitmaps.contains(group.eligible, slots[part], len(self)) if verify else slots[part] >= 0
            yield self._sifted(queries[members[part]], k, group.eligible, scores[part], slots[part], kept)

    def _sifted(
        self, queries: Vectors, k: int, eligible: BitMap, scores: Scores, slots: Slots, kept: npt.NDArray[np.bool_]
    ) -> tuple[Scores, Slots]:
        """The first k that are kept of an engine's answer; where too few are, all that is eligible is scored."""
        if slots.shape[1] > k or not kept.all():
            order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
            kept = np.take_along_axis(kept, order, axis=1)
            scores = np.take_along_axis(scores, order, axis=1)
            slots = np.where(kept, np.take_along_axis(slots, order, axis=1), -1)
        short = np.flatnonzero(kept.sum(axis=1) < min(k, len(eligible)))
        if len(short):
            scores[short], slots[short] = self._among(queries[short], k, eligible)
        return scores, slots

    def _among(self, queries: Vectors, k: int, eligible: BitMap) -> tuple[Scores, Slots]:
        return self.vectors.search_among(queries, k, bitmaps.slots_of(eligible))
