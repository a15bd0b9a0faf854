"""What is popular now: the answer for whom nothing is known.

N items, E interactions.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recsys.interactions import DAY_S, Interactions

RECENT_S = 30 * DAY_S


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
