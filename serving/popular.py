"""What is popular now: the answer for whom nothing is known.

N items, E interactions.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from index.filters import Filter, as_ids
from index.vector_index import VectorIndex
from recsys.interactions import DAY_S, Interactions
from recsys.recommend import Ranking
from serving.live_items import LiveItems

RECENT_S = 30 * DAY_S
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Popularity:
    """Interactions in order of time, to be counted up to any instant."""

    item_idx: npt.NDArray[np.int32]
    """(E,)"""
    occurred_at: npt.NDArray[np.int64] | None
    """(E,) ascending; None where there is no clock."""
    num_items: int

    @classmethod
    def of(cls, interactions: Interactions, *, num_items: int) -> "Popularity":
        """The interactions of all users."""
        if interactions.occurred_at is None:
            return cls(interactions.item_idx, None, num_items)
        order = np.argsort(interactions.occurred_at, kind="stable")
        return cls(interactions.item_idx[order], interactions.occurred_at[order], num_items)

    def ranking(
        self, *, before: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # (N,) item_idx, (N,) interactions of late
        """All items, the most chosen of late first, and how often each was.

        Of late is the 30 days before the instant, or before the newest interaction where that is earlier; all there is
        where there is no clock. Ties are settled by all earlier interactions, then by item_idx.
        """
        if self.occurred_at is None or before > self.occurred_at[-1]:
            return self._now
        return self._rank(before)

    @cached_property
    def _now(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        return self._rank(0 if self.occurred_at is None else int(self.occurred_at[-1]) + 1)

    def _rank(self, before: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        first, last = 0, len(self.item_idx)
        if self.occurred_at is not None:
            first, last = np.searchsorted(self.occurred_at, [before - RECENT_S, before])
        ever = np.bincount(self.item_idx[:last], minlength=self.num_items + 1)[1:]
        of_late = np.bincount(self.item_idx[first:last], minlength=self.num_items + 1)[1:]
        order = np.lexsort((-ever, -of_late))
        return order + 1, of_late[order]


def rank_by_popularity(
    popularity: Popularity, items: LiveItems, index: VectorIndex, *, before: int, filters: Filter | None, k: int
) -> Ranking:
    """The k most popular items of late that are offered and that a filter lets through.

    Items that came after training stand behind all others, the newest first: nobody can have chosen them much.
    """
    known, counts = popularity.ranking(before=before)
    live = np.fromiter(items.live, np.int64)
    item_idx = np.concatenate([known, live])
    counts = np.concatenate([counts, np.zeros(len(live), counts.dtype)])
    places = np.arange(min(k, len(item_idx)))
    if filters is not None or not items.untouched:
        places = _first_eligible(item_idx, index, filters or Filter(), k=k)
    unknown = np.full(len(places), np.nan, np.float32)
    return Ranking(item_idx[places], counts[places].astype(np.float32), unknown)


def _first_eligible(
    item_idx: npt.NDArray[np.int64], index: VectorIndex, condition: Filter, *, k: int
) -> npt.NDArray[np.int64]:
    """The places of the first k that are in the index and that a filter lets through."""
    allowed = None if condition.allow is None else as_ids(condition.allow)
    nowhere = np.zeros((1, index.dim), np.float32)  # every item is equally near to it
    found: list[int] = []
    start, step = 0, max(_AT_ONCE, 2 * k)
    while len(found) < k and start < len(item_idx):
        part = item_idx[start : start + step]
        asked = part if allowed is None else part[np.isin(part, allowed)]
        if len(asked):
            eligible = index.search(nowhere, len(asked), filters=replace(condition, allow=asked)).ids[0]
            found += (start + np.flatnonzero(np.isin(part, eligible[eligible >= 0]))).tolist()
        start, step = start + step, 2 * step
    return np.array(found[:k], np.int64)
