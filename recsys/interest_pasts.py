"""What each user had done when they were asked about, ready to be counted: one row per event, older ones less.

Q cases, R events of all their histories, C interests.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsys.interactions import Interactions
from recsys.split import Cases, spread
from recsys.taxonomy import Taxonomy

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_EVENTS = 4_000
"""The newest of a history that are counted."""


@dataclass(frozen=True, eq=False)
class Pasts:
    """The events before each of Q requests, case by case and oldest first."""

    shares: sparse.csr_matrix
    """(R, C) the part of each interest in each event."""
    owner: Ints
    """(R,) the case each belongs to, ascending."""
    events_ago: Ints
    """(R,) how many newer ones there are."""
    age: Floats
    """(R,) how long before the request, in horizons; where the next event is asked for, in events."""
    events: Floats
    """(R,) how many events a row stands for: one, or those of a visit."""
    items: Ints | None
    """(R,) of which item each is; None of visits, which may be of several."""
    cases: int
    """Q; a case may have no event at all."""

    @classmethod
    def of_cases(
        cls, cases: Cases, interactions: Interactions, taxonomy: Taxonomy, *, horizon_s: int | None
    ) -> "Pasts":
        """The histories of cases.

        Args:
            cases: Q.
            interactions: Whose rows they name.
            taxonomy: What the events are of.
            horizon_s: In which ages are measured; None counts events instead.
        """
        rows, owner = spread(np.maximum(cases.starts, cases.stops - MOST_EVENTS), cases.stops)
        events_ago = cases.stops[owner] - 1 - rows
        age = events_ago.astype(np.float64) + 1
        if horizon_s is not None and interactions.occurred_at is not None and cases.requested_at is not None:
            age = (cases.requested_at[owner] - interactions.occurred_at[rows]) / horizon_s
        items = interactions.item_idx[rows].astype(np.int64)
        shares = taxonomy.shares[items].astype(np.float64)
        return cls(shares, owner, events_ago, age, np.ones(len(rows)), items, len(cases))

    @classmethod
    def of_history(
        cls, mass: npt.NDArray[np.float32], history: Interactions, requested_at: int, *, horizon_s: int | None
    ) -> "Pasts":
        """One history, Q = 1.

        Args:
            mass: ``(H, C)`` what each event is of, oldest first: see `Taxonomy.shares_of`.
            history: These H events of one user.
            requested_at: Unix seconds; none of the events is newer.
            horizon_s: As for `of_cases`.
        """
        mass = mass[-MOST_EVENTS:]
        events_ago = np.arange(len(mass))[::-1].astype(np.int64)
        age = events_ago.astype(np.float64) + 1
        if horizon_s is not None and history.occurred_at is not None:
            age = (requested_at - history.occurred_at[-MOST_EVENTS:]) / horizon_s
        shares, owner = sparse.csr_matrix(mass.astype(np.float64)), np.zeros(len(mass), np.int64)
        items = history.item_idx[-MOST_EVENTS:].astype(np.int64)
        return cls(shares, owner, events_ago, age, np.ones(len(mass)), items, 1)

    def lengths(self) -> Ints:
        """(Q,) how many events each case has."""
        return np.bincount(self.owner, minlength=self.cases)

    def counted(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weighted counts: (Q, C) events of each interest and (Q,) of all, from ``(R,)`` weights."""
        summing = sparse.csr_matrix((weights, (self.owner, np.arange(len(self.owner)))), (self.cases, len(self.owner)))
        of_all = np.bincount(self.owner, weights=weights, minlength=self.cases).astype(np.float64)
        return np.asarray((summing @ self.shares).todense(), np.float64), of_all

    def counted_by_events(self, half_life: float) -> tuple[Floats, Floats]:
        """`counted` with weights that halve every so many events."""
        return self.counted(2.0 ** (-self.events_ago / half_life))

    def counted_by_time(self, half_life: float) -> tuple[Floats, Floats]:
        """`counted` with weights that halve every so many horizons."""
        return self.counted(2.0 ** (-self.age / half_life))

    def visits(self) -> "Pasts":
        """Every horizon before the request in which the user came, as one event of all the interests it was of.

        Weighed, these give the share of visits that had an interest at all, which is what is asked of the next one.
        """
        visit_age = np.floor(np.minimum(self.age, 1e9)).astype(np.int64)
        new = np.ones(len(self.owner), bool)
        new[1:] = (self.owner[1:] != self.owner[:-1]) | (visit_age[1:] != visit_age[:-1])
        number = np.cumsum(new) - 1
        visits = int(new.sum())
        having = sparse.csr_matrix((np.ones(len(number)), (number, np.arange(len(number)))), (visits, len(number)))
        shares = (having @ self.shares).tocsr()
        shares.data[:] = 1.0
        owner = self.owner[new]
        newer = np.cumsum(np.bincount(owner, minlength=self.cases))[owner] - 1 - np.arange(visits)
        age = visit_age[new].astype(np.float64) + 1
        return Pasts(shares, owner, newer, age, np.bincount(number).astype(np.float64), None, self.cases)

    def newest_of_each(self, places: npt.NDArray[np.generic]) -> Floats:
        """(Q, C) the least of ``(R,)`` places among the events of each interest; infinite where there is none."""
        least = np.full((self.cases, self.shares.shape[1]), np.inf)
        met = self.shares.tocoo()
        np.minimum.at(least, (self.owner[met.row], met.col), places[met.row].astype(np.float64))
        return least

    def oldest_of_each(self, places: npt.NDArray[np.generic]) -> Floats:
        """(Q, C) the greatest instead; minus infinity where there is none."""
        return -self.newest_of_each(-places.astype(np.float64))
