"""The numbers by which the classifier judges an interest: how often, how lately, in what rhythm, of which items.

Q cases, C interests, F features, G grid points.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.interactions import Interactions
from recsys.interest_pasts import Floats, Ints, Pasts
from recsys.interest_repeats import MOMENT, repeats
from recsys.taxonomy import Taxonomy

EVENT_HALF_LIVES = (1.0, 4.0, 16.0, 64.0, np.inf)
TIME_HALF_LIVES = (0.25, 1.0, 4.0, 16.0)
"""In horizons."""
VISIT_HALF_LIVES = (1.0, 4.0, 16.0, np.inf)
HABIT_HALF_LIFE = 16.0
USUAL_VISITS = 4.0
"""The half-life, in visits, of how many events a user's visit has."""
PRIOR_EVENTS = 1.0
"""Events that the population's shares are worth beside a user's own."""
PRIOR_TREND = 50.0
"""The same beside all users' events of late."""
LATELY = 4
"""Steps of the grid that count as late."""
MOST_STEPS = 1_000
RAREST = 1e-6
"""The share of an interest nobody has ever had."""
NEVER = 1e4
"""Horizons, or events, since an interest that was never met."""
SELDOM = 3e-4
"""Visits per horizon with an interest that was never met."""


@dataclass(frozen=True, eq=False)
class Trend:
    """What all users together turned to lately, as of any instant of a table and knowing nothing later."""

    usual: Floats
    """(C,) shares of the interests in the training rows."""
    begin: int
    """Unix seconds of the first grid point."""
    step_s: int
    sums: Floats
    """(G, C) events of each interest before each grid point."""

    @classmethod
    def of(cls, interactions: Interactions, taxonomy: Taxonomy, usual: Floats, *, horizon_s: int | None) -> "Trend":
        """Count a table, in steps of a horizon; longer ones where the table spans very many."""
        occurred_at = interactions.occurred_at
        if occurred_at is None or horizon_s is None:
            return cls(usual, 0, 1, np.zeros((1, len(taxonomy))))
        begin = int(occurred_at.min())
        step_s = max(horizon_s, -(-(int(occurred_at.max()) + 1 - begin) // MOST_STEPS))
        step = (occurred_at - begin) // step_s
        counts = np.zeros((int(step.max()) + 1, len(taxonomy)))
        of_events = taxonomy.shares[interactions.item_idx].tocoo()
        np.add.at(counts, (step[of_events.row], of_events.col), of_events.data)
        return cls(usual, begin, step_s, np.concatenate([np.zeros((1, len(taxonomy))), np.cumsum(counts, axis=0)]))

    def lately(self, requested_at: Ints | None, *, cases: int) -> Floats:
        """(Q, C) shares in the last steps that were over at each instant; the usual ones where nothing happened."""
        if requested_at is None:
            return np.tile(self.usual, (cases, 1))
        newest = np.clip((requested_at - self.begin) // self.step_s, 0, None)
        last = len(self.sums) - 1
        counts = self.sums[np.minimum(newest, last)] - self.sums[np.clip(newest - LATELY, 0, last)]
        lately: Floats = (counts + PRIOR_TREND * self.usual) / (counts.sum(1, keepdims=True) + PRIOR_TREND)
        return lately


def interest_features(pasts: Pasts, trend: Trend, requested_at: Ints | None) -> npt.NDArray[np.float32]:
    """What is known of each interest of each case, ``(Q, C, F)``; the same for all cases of a table.

    Shares are given as logarithms, since their ratios tell; all are drawn to the population's where events are few.

    Args:
        pasts: Q of them.
        trend: Of the table.
        requested_at: ``(Q,)`` unix seconds; None where there is no clock.
    """
    usual, visits = trend.usual, pasts.visits()
    columns: list[Floats] = [_log_shares(pasts.counted_by_events(half_life), usual) for half_life in EVENT_HALF_LIVES]
    for half_life in TIME_HALF_LIVES:
        events, total = pasts.counted_by_time(half_life)
        columns += [_log_shares((events, total), usual), np.log1p(events), np.log1p(total)[:, None]]
    columns += [_log_shares(visits.counted_by_events(half_life), usual) for half_life in VISIT_HALF_LIVES]
    events_ago, ago = pasts.newest_of_each(pasts.events_ago), pasts.newest_of_each(pasts.age)
    columns += [np.isfinite(ago), np.log1p(np.minimum(events_ago, NEVER)), np.log1p(np.minimum(ago, NEVER))]
    columns += rhythm(pasts, visits)
    columns += repeats(pasts)
    columns += [case[:, None] for case in _of_the_case(pasts, visits)]
    columns += [np.log((trend.lately(requested_at, cases=pasts.cases) + RAREST) / (usual + RAREST))]
    features = np.empty((pasts.cases, len(usual), len(columns)), np.float32)
    for number, column in enumerate(columns):
        features[:, :, number] = column
    return features


def habits(pasts: Pasts, usual: Floats) -> npt.NDArray[np.float32]:
    """(Q, C) the logarithm of the share of a user's visits that had each interest, older ones less."""
    return _log_shares(pasts.visits().counted_by_events(HABIT_HALF_LIFE), usual).astype(np.float32)


def _log_shares(counts: tuple[Floats, Floats], usual: Floats) -> Floats:
    """(Q, C) from the events of each interest and of all."""
    events, total = counts
    prior = PRIOR_EVENTS * np.maximum(usual, RAREST)
    return np.asarray(np.log((events + prior) / (total[:, None] + PRIOR_EVENTS)), np.float64)


def rhythm(pasts: Pasts, visits: Pasts) -> list[Floats]:
    """(Q, C) each: in how many visits there was any of it, how often since the first, and whether it is due again.

    Due is the time since the newest against the usual time between two: what is bought every four weeks is not wanted
    the week after. Where an interest was never met, or once, nothing is due.
    """
    came = visits.counted(np.ones(len(visits.owner)))[0]
    met = came > 0
    newest, oldest = (
        np.where(met, ago, 0.0) for ago in (pasts.newest_of_each(pasts.age), pasts.oldest_of_each(pasts.age))
    )
    rate = np.where(met, came / (oldest + 1), SELDOM)
    due = np.where(met, (newest + MOMENT) * came / (oldest + MOMENT), 1.0)
    return [np.log1p(came), np.log(rate), np.log(due)]


def _of_the_case(pasts: Pasts, visits: Pasts) -> tuple[Floats, Floats, Floats]:
    """(Q,) each: how long ago the user last came, how many events they have, and how many a visit usually has."""
    since = np.full(pasts.cases, NEVER)
    np.minimum.at(since, pasts.owner, pasts.age)
    weights = 2.0 ** (-visits.events_ago / USUAL_VISITS)
    events, came = (
        np.bincount(visits.owner, weights=each, minlength=pasts.cases) for each in (weights * visits.events, weights)
    )
    return np.log1p(since), np.log1p(pasts.lengths()), np.log1p(events / np.maximum(came, 1e-9))
