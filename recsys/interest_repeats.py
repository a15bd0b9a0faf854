"""What is known of the single items of each past, gathered by interest: how many there are, and which are due again.

A user may have an interest every week and each of its items once a month; which of these are due tells more of the next
week than the interest's own rhythm does. Q cases, R events, C interests, G items of all cases.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse

from recsys.interest_pasts import Floats, Ints, Pasts

DUE = (0.0, 0.33, 0.66, 1.0, 1.5, 2.5, 5.0, np.inf)
"""The time since an item's newest visit in its own usual times between two: items are told apart by these edges."""
AGES = (0.0, 2.0, 6.0, 16.0, np.inf)
"""In horizons: items that came in one visit only are told apart by how long ago that was."""
MOMENT = 0.5
"""Horizons that are added to times before they are divided: what just happened is not infinitely lately."""
FEW_RETURNS = 0.05
"""Returns per horizon below which their logarithm hardly tells any more."""


@dataclass(frozen=True, eq=False)
class ItemsHad:
    """Every item of every past, once."""

    member: sparse.csr_matrix
    """(G, C) 1 where the item is of an interest."""
    owner: Ints
    """(G,) the case it belongs to."""
    came: Floats
    """(G,) in how many visits it was; a visit is all of a horizon before the request."""
    newest: Floats
    """(G,) its age in the newest of them, in horizons."""
    oldest: Floats
    """(G,) and in the oldest."""
    cases: int
    """Q"""

    @classmethod
    def of(cls, pasts: Pasts) -> "ItemsHad":
        """Gather the events of pasts, which must be told by item."""
        assert pasts.items is not None  # visits are of several
        order = np.lexsort((pasts.items, pasts.owner))  # stable: the oldest event of an item stays the first of it
        owner, items, age = pasts.owner[order], pasts.items[order], pasts.age[order]
        first = np.ones(len(order), bool)
        first[1:] = (owner[1:] != owner[:-1]) | (items[1:] != items[:-1])
        visit_age = np.floor(age)
        another = first.copy()
        another[1:] |= visit_age[1:] != visit_age[:-1]
        begins = np.flatnonzero(first)
        ends = np.append(begins[1:], len(order))[: len(begins)] - 1
        came = np.bincount(np.cumsum(first) - 1, weights=another).astype(np.float64)
        member = (pasts.shares[order[begins]] > 0).astype(np.float64).tocsr()
        return cls(member, owner[begins], came, age[ends], age[begins], pasts.cases)

    def by_interest(self, weights: Floats) -> Floats:
        """(Q, C) the sums of ``(G,)`` weights over the items of each interest."""
        summing = sparse.csr_matrix((weights, (self.owner, np.arange(len(weights)))), (self.cases, len(weights)))
        return np.asarray((summing @ self.member).todense(), np.float64)


def repeats(pasts: Pasts) -> list[Floats]:
    """(Q, C) each: logarithms of what the items of an interest add up to.

    How many items, and how many that came in several visits; of the latter, how often they return per horizon, by how
    due they are again (`DUE`); how many that came once, by how long ago that was (`AGES`).
    """
    had = ItemsHad.of(pasts)
    again = had.came > 1
    rate = had.came / (had.oldest + 1)
    due = (had.newest + MOMENT) * had.came / (had.oldest + MOMENT)
    columns = [np.log1p(had.by_interest(each.astype(np.float64))) for each in (np.ones(len(again)), again)]
    for low, high in pairwise(DUE):
        columns.append(np.log(had.by_interest(rate * (again & (due >= low) & (due < high))) + FEW_RETURNS))
    for low, high in pairwise(AGES):
        once = ~again & (had.newest >= low) & (had.newest < high)
        columns.append(np.log1p(had.by_interest(once.astype(np.float64))))
    return columns
