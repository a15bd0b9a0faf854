"""What a user is interested in, how it moves, and when it changed: taxonomy, strata and migration put together.

Shapes: H events of one user, oldest first, C interests.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from recsys.bundle import Bundle
from recsys.drift import MOST_EVENTS, Floats, measure_drift, shuffled_whole, user_rng
from recsys.errors import InputError
from recsys.interest_classifier import ExpectedInterest, InterestForecast
from recsys.migration import differing, find_breaks, window_bounds
from recsys.strata import Population, Rates, Strata, Stratum, decayed_rates, strata
from recsys.taxonomy import Taxonomy, discover_interests

RatesOf = Callable[[npt.NDArray[np.float64], npt.NDArray[np.int64]], Rates]
"""(H, C) shares of the interests in each event and (H,) when → what the strata are told from."""

MOST_NAMED = 5
"""Interests named on each side of a change."""


class UnknownUserError(InputError):
    """A user of whom no event is stored, or none before the instant asked about. The message names them."""


@dataclass(frozen=True)
class InterestState:
    """Where one interest stands now."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    name: str
    """Which interest."""
    stratum: Stratum
    """core, rising, fading, dormant or exploring."""
    share: float
    """Of the user's events now; the estimate."""
    low: float
    """The share is above this with a probability of 95 %."""
    high: float
    """The share is below this with a probability of 95 %."""
    share_before: float
    """What the share was; the estimate."""
    rising: float
    """The probability that the share is larger than it was."""
    events: float
    """How many events it has had; an event of two interests is half of each."""
    newest_at: int | None
    """Unix seconds of its newest event; absent where there is no clock."""
    events_ago: int
    """How many events ago that was; 0 is the newest."""


@dataclass(frozen=True)
class Window:
    """A stretch of the trajectory; every window has as many events as the others."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    first_at: int | None
    """Unix seconds of its first event; absent where there is no clock."""
    newest_at: int | None
    """Unix seconds of its last event."""
    first_event: int
    """The place of its first event in the history, from 0."""
    events: int
    """How many it has."""
    shares: dict[str, float]
    """Interest → its share of the window's events; all of them 1."""


@dataclass(frozen=True)
class Shift:
    """An interest whose share differs across a change."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    name: str
    """Which interest."""
    before: float
    """Its share of the events up to the change."""
    after: float
    """Its share of the events since."""


@dataclass(frozen=True)
class Change:
    """When the interests changed, and from what to what."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    at: int | None
    """Unix seconds of the first event after it; absent where there is no clock."""
    not_before: int | None
    """Unix seconds of the last event before it: it happened between the two."""
    event: int
    """The place in the history of the first event after it, from 0."""
    p_value: float
    """How often shuffled events show as much."""
    fell: list[Shift]
    """Interests that lost more than sampling makes likely, the largest loss first."""
    rose: list[Shift]
    """Interests that gained, the largest gain first."""


@dataclass(frozen=True)
class UserInterests:
    """All that is told of one user."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    user_id: str
    """Whose."""
    events: int
    """How many were read: those that are of any interest, the newest 2,000 at most."""
    newest_at: int | None
    """Unix seconds of the newest event read; the strata are as of then. Absent where there is no clock."""
    drift_score: float
    """How far the interests moved, in standard deviations of what chance makes: about 0 for who stays."""
    drift_p_value: float
    """How often the user's own events in shuffled order drift as far."""
    strata: list[InterestState] = field(default_factory=list)
    """Every interest ever met, the largest share first."""
    changes: list[Change] = field(default_factory=list)
    """Oldest first."""
    trajectory: list[Window] = field(default_factory=list)
    """Oldest first."""
    horizon: str | None = None
    """How far ahead ``expected`` looks: a time, or the next event. Absent where the bundle has no classifier."""
    expected: list[ExpectedInterest] | None = None
    """Every interest with the probability that the user turns to it within the horizon, should they come at the
    instant asked about; the likeliest first. Absent where the bundle has no classifier: `recsys interests train`."""


@dataclass(frozen=True, eq=False)
class InterestReader:
    """Reads the interests of any history; made once for a bundle."""

    taxonomy: Taxonomy
    population: Population
    seed: int
    """Of the shuffles: the same history is always told the same."""
    rates_of: RatesOf = decayed_rates
    """What the strata are told from; a model's estimates may take the place of the counts."""

    @classmethod
    def of(cls, bundle: Bundle) -> "InterestReader":
        """With the bundle's interests, and its whole table as the population."""
        taxonomy = bundle_taxonomy(bundle)
        return cls(taxonomy, Population.of(bundle.interactions, taxonomy), bundle.config.seed)

    def read(
        self,
        user_id: str,
        mass: Floats,  # (H, C)
        occurred_at: npt.NDArray[np.int64] | None,  # (H,)
    ) -> UserInterests:
        """The interests that a history shows.

        Args:
            user_id: Whose it is.
            mass: What each event is of, oldest first: see `Taxonomy.shares_of`. Those of no interest are passed over.
            occurred_at: Unix seconds; None where there is only an order.
        """
        known = np.flatnonzero(mass.any(1))[-MOST_EVENTS:]
        mass = mass[known]
        when = None if occurred_at is None else occurred_at[known]
        if not len(mass):
            return UserInterests(user_id, events=0, newest_at=None, drift_score=0.0, drift_p_value=1.0)
        whole = shuffled_whole(mass, when)
        drift = measure_drift(mass, whole, rng=user_rng(user_id, seed=self.seed))
        return UserInterests(
            user_id=user_id,
            events=len(mass),
            newest_at=_instant(when, -1),
            drift_score=drift.score,
            drift_p_value=drift.p_value,
            strata=self._states(mass, when),
            changes=self._changes(user_id, mass, when),
            trajectory=self._trajectory(mass, when),
        )

    def _states(self, mass: Floats, when: npt.NDArray[np.int64] | None) -> list[InterestState]:
        rates = self.rates_of(mass.astype(np.float64), np.arange(len(mass)) if when is None else when)
        found = strata(rates, self.population)
        met = np.flatnonzero(mass.any(0))
        by_share = met[np.argsort(-found.share[met], kind="stable")]
        return [self._state(found, int(column), mass[:, column], when) for column in by_share]

    def _state(self, found: Strata, column: int, mine: Floats, when: npt.NDArray[np.int64] | None) -> InterestState:
        newest = int(np.flatnonzero(mine)[-1])
        return InterestState(
            name=self.taxonomy.names[column],
            stratum=found.stratum[column],
            share=float(found.share[column]),
            low=float(found.low[column]),
            high=float(found.high[column]),
            share_before=float(found.share_before[column]),
            rising=float(found.rising[column]),
            events=float(mine.sum()),
            newest_at=_instant(when, newest),
            events_ago=len(mine) - 1 - newest,
        )

    def _changes(self, user_id: str, mass: Floats, when: npt.NDArray[np.int64] | None) -> list[Change]:
        breaks = find_breaks(mass, when, rng=user_rng(user_id, seed=self.seed))
        bounds = [0, *(found.place for found in breaks), len(mass)]
        changes = []
        for at, found in enumerate(breaks, start=1):
            shifts = self._shifts(mass[bounds[at - 1] : bounds[at]], mass[bounds[at] : bounds[at + 1]])
            changes.append(
                Change(
                    at=_instant(when, found.place),
                    not_before=_instant(when, found.place - 1),
                    event=found.place,
                    p_value=found.p_value,
                    fell=[shift for shift in shifts if shift.after < shift.before][:MOST_NAMED],
                    rose=[shift for shift in shifts if shift.after > shift.before][:MOST_NAMED],
                )
            )
        return changes

    def _shifts(self, before: Floats, after: Floats) -> list[Shift]:
        shares = before.mean(0), after.mean(0)
        moved = np.flatnonzero(differing(before, after))
        largest = moved[np.argsort(-np.abs(shares[1] - shares[0])[moved], kind="stable")]
        return [Shift(self.taxonomy.names[it], float(shares[0][it]), float(shares[1][it])) for it in largest]

    def _trajectory(self, mass: Floats, when: npt.NDArray[np.int64] | None) -> list[Window]:
        met = np.flatnonzero(mass.any(0))
        bounds = window_bounds(len(mass)).tolist()
        return [
            Window(
                first_at=_instant(when, first),
                newest_at=_instant(when, last - 1),
                first_event=first,
                events=last - first,
                shares={self.taxonomy.names[it]: float(mass[first:last, it].mean()) for it in met},
            )
            for first, last in pairwise(bounds)
        ]


def interests_of(
    bundle: Bundle,
    user_id: str,
    *,
    at: int | None = None,
    reader: InterestReader | None = None,
    forecast: InterestForecast | None = None,
) -> UserInterests:
    """The interests of a user of a bundle, from what is stored of them.

    Args:
        bundle: With the stored histories.
        user_id: Whose.
        at: Unix seconds; only what happened before is read. Without it, and where there is no clock, everything is.
        reader: Of this bundle, where one is kept.
        forecast: Of this bundle, where it has a classifier; it tells what is expected next.

    Raises:
        UnknownUserError: Nothing is stored of the user, or nothing before ``at``.
    """
    interactions = bundle.interactions
    user_idx = interactions.user_index(user_id)
    if user_idx is None:
        raise UnknownUserError(f"user {user_id!r}: nothing is stored in bundle {bundle.fingerprint[:12]}.")
    rows = interactions.of_user(user_idx)
    occurred_at = None if interactions.occurred_at is None else interactions.occurred_at[rows]
    events = rows.stop - rows.start
    if at is not None and occurred_at is not None:
        events = int(np.searchsorted(occurred_at, at, side="left"))
        occurred_at = occurred_at[:events]
    if not events:
        raise UnknownUserError(f"user {user_id!r}: nothing is stored of the time before {at}. Ask about a later one.")
    reader = reader or InterestReader.of(bundle)
    found = reader.read(user_id, reader.taxonomy.shares_of(interactions.item_idx[rows][:events]), occurred_at)
    if forecast is None:
        return found
    return replace(found, horizon=forecast.horizon, expected=forecast.of_user(user_idx, events, at))


def bundle_taxonomy(bundle: Bundle) -> Taxonomy:
    """The interests of a bundle's items: those discovered in training, or the items' categories.

    A bundle that has neither, since an older version trained it, has them discovered from its item vectors.
    """
    if bundle.interests is not None:
        return Taxonomy.of(bundle.interests)
    if any(bundle.catalogue.categories):
        return Taxonomy.of(bundle.catalogue.categories)
    return Taxonomy.of(discover_interests(bundle.catalogue, bundle.item_vectors, seed=bundle.config.seed))


def _instant(when: npt.NDArray[np.int64] | None, event: int) -> int | None:
    return None if when is None else int(when[event])
