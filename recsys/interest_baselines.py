"""What needs no learning: how often the user turned to each interest, of late or ever, and how often everybody did.

Each kind has several forms, of which validation chooses; the best of them all is what a classifier must beat.
Q cases, C interests.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from recsys.interest_features import EVENT_HALF_LIVES, PRIOR_EVENTS, TIME_HALF_LIVES, VISIT_HALF_LIVES
from recsys.interest_pasts import Floats, Pasts

Score = Callable[[Pasts, Floats], Floats]
"""Pasts and (C,) the usual shares → (Q, C), the larger the likelier."""


def popularity(pasts: Pasts, usual: Floats) -> Floats:
    """The share of all training events, the same for everyone."""
    return np.log(np.tile(usual, (pasts.cases, 1)) + 1e-9)


def share_of_events(pasts: Pasts, usual: Floats, *, half_life: float) -> Floats:
    """The share of the user's events, drawn to the usual one where they are few."""
    return _share(pasts.counted_by_events(half_life), usual)


def share_of_recent_time(pasts: Pasts, usual: Floats, *, half_life: float) -> Floats:
    """The share of the user's events, older ones less by the clock."""
    return _share(pasts.counted_by_time(half_life), usual)


def number_of_events(pasts: Pasts, usual: Floats, *, half_life: float) -> Floats:
    """How many events, older ones less: who does much turns to much."""
    return np.log(pasts.counted_by_time(half_life)[0] + usual + 1e-9)


def share_of_visits(pasts: Pasts, usual: Floats, *, half_life: float) -> Floats:
    """The share of the user's visits, a horizon long each, in which there was any of it."""
    return _share(pasts.visits().counted_by_events(half_life), usual)


BASELINES: Mapping[str, Mapping[str, Score]] = {
    "popularity": {"share of all events": popularity},
    "own frequencies": {
        "share of events": partial(share_of_events, half_life=np.inf),
        "number of events": partial(number_of_events, half_life=np.inf),
    },
    "recency-weighted": {
        **{f"share, half-life {n:g} events": partial(share_of_events, half_life=n) for n in EVENT_HALF_LIVES[:-1]},
        **{f"share, half-life {n:g} horizons": partial(share_of_recent_time, half_life=n) for n in TIME_HALF_LIVES},
        **{f"number, half-life {n:g} horizons": partial(number_of_events, half_life=n) for n in TIME_HALF_LIVES},
    },
    "visits": {
        "share of visits": partial(share_of_visits, half_life=np.inf),
        **{f"share, half-life {n:g} visits": partial(share_of_visits, half_life=n) for n in VISIT_HALF_LIVES[:-1]},
    },
}
"""Kind → form → its score. Visits count what is asked of the next one, so they are the hardest of all to beat."""


def _share(counts: tuple[Floats, Floats], usual: Floats) -> Floats:
    events, total = counts
    return np.asarray(np.log((events + PRIOR_EVENTS * usual + 1e-9) / (total[:, None] + PRIOR_EVENTS)), np.float64)
