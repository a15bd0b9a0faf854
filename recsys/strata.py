"""Where each interest of a user stands: core, rising, fading, dormant or exploring.

An interest's rate is its share of the user's events: how often, out of all they do, it is this. So someone who does
less of everything has lost no interest, and a burst of events is no change by itself. Events count less with age, once
quickly (*recent*) and once slowly; the slow weight less the quick one is how it was *before*. Every rate is a Gamma
posterior, since few events leave much open:

    before ~ Gamma(s·π + mass before, s + events before)        π: share of the interest in the population,
    recent ~ Gamma(r·b + mass recent, r + events recent)        s: events the population is worth, b: the mean of before

Weighed by w in [0, 1], events tell as much as (Σ w)² / Σ w² whole ones, and are counted so (Kish, 1965).
Shapes: H events, oldest first, C interests, M moments.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import betainc, gammainc, gammaincinv

from recsys.interactions import Interactions
from recsys.taxonomy import Taxonomy

Floats = npt.NDArray[np.float64]

SURE = 0.95
"""The probability from which something is said."""
ALWAYS_HELD = 0.1
"""The share from which an interest is held however few interests there are."""
FEWEST_EVENTS = 3.0
"""Of an interest with fewer nothing is said but that it has been met."""
PAST_WORTH = 2.0
"""Events that a user's past is worth when the present is judged."""
MOMENTS = 32
"""At how many points of the past it is asked whether an interest was held."""
STRONGEST_PRIOR = 50.0
"""Events that the population may be worth at most."""
TINY = 1e-9
"""The least shape of a Gamma: of an interest that nobody has ever had."""


class Stratum(StrEnum):
    """Where an interest stands: the first of these that is true, once it has had `FEWEST_EVENTS`.

    Held means a share above `Population.held_from`, surely a probability of `SURE`.
    """

    DORMANT = "dormant"
    """At some moment of the past it was surely held, and by recent events it surely no longer is."""
    FADING = "fading"
    """Before, it was surely held, and its recent share is surely smaller than that."""
    RISING = "rising"
    """Its recent share is surely larger than it was before, and it is probably held."""
    CORE = "core"
    """All the past taken together, the recent counting more, it is surely held."""
    EXPLORING = "exploring"
    """It has been met; whether it is held cannot be told yet."""


@dataclass(frozen=True, eq=False)
class Population:
    """What all users together are interested in: where nothing is known of a user yet, this is."""

    share: Floats
    """(C,) of all events; sums to 1."""
    worth: float
    """In events: how much alike users are, so how much of one's own it takes to outweigh it."""

    @property
    def held_from(self) -> float:
        """The share from which an interest counts as held: half an even share of as many interests as there are.

        Rare interests hardly count: it is the exponential of the entropy that is taken (Hill, Ecology 1973).
        """
        known = self.share[self.share > 0]
        effective = float(np.exp(-(known * np.log(known)).sum()))
        return min(ALWAYS_HELD, 0.5 / effective)

    @classmethod
    def of(cls, interactions: Interactions, taxonomy: Taxonomy) -> "Population":
        """Count all events of a table; hand in the training rows where later ones must not be known.

        The population is worth the variance of a user's events over the variance between users: Bühlmann's
        credibility (ASTIN Bulletin 1967), from the sums of squares of a one-way analysis of variance.
        """
        mass = taxonomy.shares[interactions.item_idx]  # (E, C)
        known = np.diff(mass.indptr) > 0
        mass, user_idx = mass[known], interactions.user_idx[known]
        if not mass.shape[0]:
            return cls(np.full(len(taxonomy), 1 / max(len(taxonomy), 1)), 1.0)
        share = np.asarray(mass.mean(0), dtype=np.float64).ravel()
        return cls(share, _worth(mass, user_idx, share))


@dataclass(frozen=True, eq=False)
class Rates:
    """What was counted of each interest, recently and before that. A model's estimate may stand in for a count."""

    recent: Floats
    """(C,) events."""
    recent_events: float
    """Of all interests together."""
    before: Floats
    """(C,) events, the weight of those that count as recent taken off."""
    before_events: float
    then: Floats
    """(M, C) the slow count as it stood at moments of the past."""
    then_events: Floats
    """(M,) of all interests together."""


@dataclass(frozen=True, eq=False)
class Strata:
    """Every interest of one user at one moment. Interests never met are exploring, with no events."""

    stratum: tuple[Stratum, ...]
    """(C,)"""
    share: Floats
    """(C,) of the user's events now: the posterior mean."""
    low: Floats
    """(C,) the share is above it with 95 %."""
    high: Floats
    """(C,) the share is below it with 95 %."""
    share_before: Floats
    """(C,) what it was, in the mean."""
    rising: Floats
    """(C,) the probability that the share is larger than it was."""


def decayed_rates(
    mass: Floats,  # (H, C)
    when: npt.NDArray[np.int64],  # (H,)
    *,
    half_lives: tuple[float, float] | None = None,
) -> Rates:
    """Count a user's events, older ones less.

    Ages are measured from the newest event, not from the request: silence tells nothing of which interest moved.

    Args:
        mass: The share of each interest in each event, oldest first; rows sum to 1.
        when: Unix seconds, or positions where there is no clock.
        half_lives: Of the quick and of the slow decay, in the unit of ``when``; a twelfth and a half of the time
            between the first and the newest event unless given, so that quick and slow users are read alike.
    """
    when = when if when[-1] > when[0] else np.arange(len(when))  # all at one instant: only the order is left
    quick, slow = half_lives or (max(when[-1] - when[0], 1) / 12, max(when[-1] - when[0], 1) / 2)
    age = (when[-1] - when).astype(np.float64)
    recent, long = 2 ** (-age / quick), 2 ** (-age / slow)
    moments = when[np.unique(np.linspace(0, len(when) - 1, MOMENTS).astype(int))]
    age_then = moments[:, None] - when  # (M, H)
    then = np.where(age_then >= 0, 2.0 ** (-np.maximum(age_then, 0) / slow), 0.0)
    recent, before, then = (_in_whole_events(weights) for weights in (recent, np.maximum(long - recent, 0.0), then))
    return Rates(
        recent=recent @ mass,
        recent_events=float(recent.sum()),
        before=before @ mass,
        before_events=float(before.sum()),
        then=then @ mass,
        then_events=then.sum(1),
    )


def strata(rates: Rates, population: Population) -> Strata:
    """Tell where every interest stands, from what was counted."""
    floor, worth, prior = population.held_from, population.worth, population.worth * population.share
    before, before_rate = prior + rates.before, worth + rates.before_events
    recent = PAST_WORTH * before / before_rate + rates.recent
    recent_rate = PAST_WORTH + rates.recent_events
    long, long_rate = before + rates.recent, before_rate + rates.recent_events
    once = _above(prior + rates.then, (worth + rates.then_events)[:, None], floor).max(0)
    rising = _larger(recent, recent_rate, before, before_rate)
    held_now = _above(recent, recent_rate, floor)
    chosen = np.select(
        [
            rates.then.max(0) < FEWEST_EVENTS,
            (once >= SURE) & (held_now <= 1 - SURE) & (rising < 0.5),
            (_above(before, before_rate, floor) >= SURE) & (rising <= 1 - SURE),
            (rising >= SURE) & (held_now >= 0.5),
            _above(long, long_rate, floor) >= SURE,
        ],
        [4, 0, 1, 2, 3],
        default=4,
    )
    return Strata(
        stratum=tuple(list(Stratum)[which] for which in chosen),
        share=recent / recent_rate,
        low=_quantile(recent, recent_rate, 0.05),
        high=_quantile(recent, recent_rate, 0.95),
        share_before=before / before_rate,
        rising=rising,
    )


def _in_whole_events(weights: Floats) -> Floats:
    """(..., H) weights on the scale on which their sum is the number of whole events that tell as much."""
    squares = (weights**2).sum(-1, keepdims=True)
    scaled: Floats = weights * np.divide(weights.sum(-1, keepdims=True), squares, out=squares * 0, where=squares > 0)
    return scaled


def _above(shape: Floats, rate: Floats | float, floor: float) -> Floats:
    """The probability that a Gamma lies above a floor."""
    return np.asarray(1 - gammainc(np.maximum(shape, TINY), rate * floor), np.float64)


def _larger(shape: Floats, rate: float, other_shape: Floats, other_rate: float) -> Floats:
    """The probability that one Gamma is larger than another: their ratio is a Beta's odds."""
    odds = other_rate / (rate + other_rate)
    return np.asarray(betainc(np.maximum(other_shape, TINY), np.maximum(shape, TINY), odds), np.float64)


def _quantile(shape: Floats, rate: float, probability: float) -> Floats:
    """Of a Gamma, which a share of at most 1 cuts off."""
    return np.asarray(np.minimum(gammaincinv(np.maximum(shape, TINY), probability) / rate, 1.0), np.float64)


def _worth(mass: sparse.csr_matrix, user_idx: npt.NDArray[np.int32], share: Floats) -> float:
    """The variance within users over the variance between them, in [1, STRONGEST_PRIOR]."""
    _, owner, sizes = np.unique(user_idx, return_inverse=True, return_counts=True)
    rows, events = len(sizes), len(owner)
    if rows < 2 or events == rows:
        return STRONGEST_PRIOR
    of_user = sparse.csr_matrix((np.ones(events), (owner, np.arange(events))), shape=(rows, events)) @ mass
    users_squared = float((of_user.multiply(of_user).sum(1).A1 / sizes).sum())
    within = (float((mass.data**2).sum()) - users_squared) / (events - rows)
    between = (users_squared - events * float(share @ share)) / (rows - 1)
    usual_size = (events - (sizes**2).sum() / events) / (rows - 1)
    differing = (between - within) / usual_size
    return float(np.clip(within / differing, 1, STRONGEST_PRIOR)) if differing > 0 else STRONGEST_PRIOR
