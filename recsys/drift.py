"""Whether a user's interests move at all: how far they drift, beyond what chance makes of a user who stays.

A history is cut in two at every place, and in three at every pair of places, and the parts are compared: how much
they differ where they differ most is the user's *contrast*. Chance makes a contrast too, the larger the fewer the
events, so it is held against that of the user's own events in shuffled order: what comes out depends on the order
alone, not on how many events, interests or categories there are, nor on when they came. One cut alone would miss who
moved and came back, or moved twice within few visits.

What happened at one instant is shuffled as a whole, and so is a visit where visits have moods of their own: an
evening's mood is no move. Shapes: H events, oldest first, C interests, P shuffles, S places to cut, T pairs of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from recsys.interactions import Interactions
from recsys.split import Cases
from recsys.taxonomy import Taxonomy

Floats = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]

LEAST_EVENTS = 5
"""On each side of a cut."""
PLACES_IN_PAIRS = 32
"""So many places, evenly apart, are paired in every shuffle: all pairs of 2,000 would be two million."""
MOST_PAIRED_PLACES = 512
"""So many are paired to tell where to cut."""
OFTEN = 3
"""Events of an interest from which on it is looked at by itself."""
MOST_EVENTS = 2_000
"""The newest events of a user that are read."""
VISIT_GAP_S = 1_800
"""A longer silence ends a visit (half an hour, as web analytics has it)."""
ENOUGH_VISITS = 3
"""Fewer do not show whether visits have moods."""
FIRST_SHUFFLES, ALL_SHUFFLES = 99, 499
"""Users who clearly stay are told by the first."""
CLEARLY_NOT = 0.1
"""The p-value after the first shuffles from which on no more are made."""
NUMBERS_AT_ONCE = 4_000_000
ROUNDING = 1e-3
"""Scores that differ by less are taken for equal."""
HIGH_DRIFT = 0.05
"""The p-value below which a user is of the group of high drift."""


@dataclass(frozen=True)
class Drift:
    """How far one user's interests moved."""

    score: float
    """The contrast less its mean under shuffling, in standard deviations under shuffling, of one cut or of two, the
    larger: about 0 for who stays."""
    p_value: float
    """The share of shuffles with as large a score: uniform for who stays. 1 where there are too few events."""
    cuts: tuple[int, ...]
    """The first event after each cut, ascending: of the one cut or the two that part most. There may be none."""


NO_DRIFT = Drift(score=0.0, p_value=1.0, cuts=())


def instants(occurred_at: Whole | None, *, events: int) -> Whole:  # (H,)
    """The number of the instant of each of a user's events, ascending from 0.

    Args:
        occurred_at: ``(H,)`` unix seconds; None where there is only an order, in which every event stands alone.
        events: H.
    """
    return np.arange(events) if occurred_at is None or not events else _parted_by(np.diff(occurred_at) > 0)


def shuffled_whole(mass: Floats, occurred_at: Whole | None) -> Whole:  # (H,)
    """What of a user's events is shuffled as a whole: the number of the visit of each, or of its instant.

    Args:
        mass: ``(H, C)`` the share of each interest in each event, oldest first.
        occurred_at: As for `instants`.
    """
    if occurred_at is not None and len(mass):
        visits = _parted_by(np.diff(occurred_at) > VISIT_GAP_S)
        if have_moods(scaled_mass(mass), visits):
            return visits
    return instants(occurred_at, events=len(mass))


def have_moods(scaled: Floats, visits: Whole) -> bool:
    """Whether two events of one visit are more alike than two of visits that follow each other.

    It compares their mean products, and rather says yes by chance than no: a user who stays, and has evenings for this
    or that, must not be taken for one who moves. Where there are no moods, single events tell more than whole visits.

    Args:
        scaled: ``(H, C)`` from `scaled_mass`.
        visits: ``(H,)`` the number of each event's visit, ascending from 0.
    """
    sizes = np.bincount(visits)
    within, across = (sizes * (sizes - 1)).sum() / 2, (sizes[1:] * sizes[:-1]).sum()  # pairs of events
    if len(sizes) < ENOUGH_VISITS or not within:
        return False
    sums = np.add.reduceat(scaled, np.cumsum(sizes) - sizes, axis=0)
    alike_within = ((sums**2).sum() - (scaled**2).sum()) / 2 / within
    alike_across = (sums[1:] * sums[:-1]).sum() / across
    return bool(alike_within > alike_across)


def contrasts(scaled: Floats) -> Floats:
    """How much the two parts differ for every cut with enough events on both sides.

    With shares p and q of the parts of a and b events: a·b/(a + b) · Σ (p − q)² / π, the score test of two multinomials
    (Pearson's χ² of the 2 × C table).

    Args:
        scaled: ``(..., H, C)`` from `scaled_mass`, in some order.

    Returns:
        ``(..., S)``; the first cut comes after `LEAST_EVENTS`.
    """
    events = scaled.shape[-2]
    sums = np.cumsum(scaled, axis=-2)[..., LEAST_EVENTS - 1 : events - LEAST_EVENTS, :]
    first = np.arange(LEAST_EVENTS, events - LEAST_EVENTS + 1, dtype=np.float32)
    differences: Floats = np.einsum("...sc,...sc->...s", sums, sums) * (events / (first * (events - first)))
    return differences


def paired_contrasts(scaled: Floats, places: Whole) -> tuple[Floats, Whole, Whole]:
    """How much the three parts differ for every pair of cuts with enough events before, between and after them.

    With parts of a, b, c events and shares p, q, r: a Σ (p − m)² / π + b Σ (q − m)² / π + c Σ (r − m)² / π, m being the
    shares of all, which is Pearson's χ² of the 3 × C table.

    Args:
        scaled: ``(..., H, C)`` from `scaled_mass`, in some order.
        places: ``(S,)`` where it may be cut, ascending.

    Returns:
        ``(..., T)``, and ``(T,)`` both places of each pair.
    """
    events = scaled.shape[-2]
    earlier, later = np.nonzero(places - places[:, None] >= LEAST_EVENTS)
    sums = np.cumsum(scaled, axis=-2)[..., places - 1, :]
    products = sums @ np.swapaxes(sums, -1, -2)  # (..., S, S)
    squares = np.einsum("...ss->...s", products)  # of what comes before a place, and of what comes after: all sum to 0
    between = squares[..., earlier] + squares[..., later] - 2 * products[..., earlier, later]
    first, last = places[earlier].astype(np.float32), places[later].astype(np.float32)
    differences = squares[..., earlier] / first + between / (last - first) + squares[..., later] / (events - last)
    return differences, places[earlier], places[later]


def scaled_mass(mass: Floats) -> Floats:
    """(H, at most C): each event's shares less the user's own, on the scale of chance.

    Interests of fewer than `OFTEN` events are taken together: one by one they would add more noise than they tell. The
    variance of an interest is about its share; one event's worth is added, so that what is rare stays small.
    """
    often = mass.sum(0) >= OFTEN
    told_apart = np.column_stack([mass[:, often], mass[:, ~often].sum(1)])
    share = told_apart.mean(0)
    scaled: Floats = ((told_apart - share) / np.sqrt(share + 1 / len(mass))).astype(np.float32)
    return scaled


def measure_drift(mass: Floats, whole: Whole, *, rng: np.random.Generator) -> Drift:
    """The drift of one user.

    Args:
        mass: ``(H, C)`` the share of each interest in each event, oldest first.
        whole: ``(H,)`` from `shuffled_whole`.
        rng: Shuffles.
    """
    if len(mass) < 2 * LEAST_EVENTS:
        return NO_DRIFT
    scaled = scaled_mass(mass)
    seen = _largest(scaled)
    if seen[0] <= 0:  # every event alike
        return NO_DRIFT
    by_chance = np.concatenate(list(_by_chance(scaled, whole, FIRST_SHUFFLES, rng)))
    if _p_value(*_scores(seen, by_chance)) < CLEARLY_NOT:
        more = _by_chance(scaled, whole, ALL_SHUFFLES - FIRST_SHUFFLES, rng)
        by_chance = np.concatenate([by_chance, *more])
    score, theirs = _scores(seen, by_chance)
    two = len(seen) > 1 and score.argmax() == 1
    return Drift(
        score=float(score.max()),
        p_value=_p_value(score, theirs),
        cuts=(two and sharpest_pair(scaled, whole)) or sharpest_cut(scaled, whole),
    )


def sharpest_cut(scaled: Floats, parts: Whole) -> tuple[int, ...]:
    """The first event after the cut of the largest contrast, among cuts that go through no part; empty if none is.

    Args:
        scaled: ``(H, C)`` from `scaled_mass`.
        parts: ``(H,)`` instants or visits.
    """
    allowed = _between(parts)
    return (int(allowed[contrasts(scaled)[allowed - LEAST_EVENTS].argmax()]),) if len(allowed) else ()


def sharpest_pair(scaled: Floats, parts: Whole) -> tuple[int, ...]:
    """The first events after the two cuts of the largest contrast, likewise."""
    allowed = _between(parts)
    paired = min(len(allowed), MOST_PAIRED_PLACES)
    differences, first, last = paired_contrasts(
        scaled, allowed[np.linspace(0, len(allowed) - 1, paired).astype(np.int64)]
    )
    if not len(differences):
        return ()
    largest = differences.argmax()
    return int(first[largest]), int(last[largest])


def user_rng(user_id: str, *, seed: int) -> np.random.Generator:
    """Chance of a user's own, so that what is said of one depends neither on the others nor on who asks."""
    return np.random.default_rng([seed, crc32(user_id.encode())])


def case_drifts(interactions: Interactions, taxonomy: Taxonomy, cases: Cases, *, seed: int) -> list[Drift]:
    """The drift of each case's user, from the history before the case and nothing else."""
    drifts = []
    for user, start, stop in zip(cases.user_idx, cases.starts, cases.stops, strict=True):
        rows = slice(int(start), int(stop))
        mass = taxonomy.shares_of(interactions.item_idx[rows])
        known = np.flatnonzero(mass.any(1))[-MOST_EVENTS:]
        when = None if interactions.occurred_at is None else interactions.occurred_at[rows][known]
        whole = shuffled_whole(mass[known], when)
        drifts.append(measure_drift(mass[known], whole, rng=user_rng(interactions.user_ids[user], seed=seed)))
    return drifts


def drift_groups(
    interactions: Interactions, taxonomy: Taxonomy, cases: Cases, *, seed: int
) -> dict[str, npt.NDArray[np.bool_]]:
    """Cases of users who moved before the case, and of all others: group → (Q,) mask.

    Among users who stay, one in twenty is taken for one who moved. No event at or after a case's targets is read.
    """
    p_values = np.array([drift.p_value for drift in case_drifts(interactions, taxonomy, cases, seed=seed)])
    return {"drift high": p_values < HIGH_DRIFT, "drift low": p_values >= HIGH_DRIFT}


def _parted_by(ends: npt.NDArray[np.bool_]) -> Whole:
    return np.concatenate([[0], np.cumsum(ends)])


def _between(parts: Whole) -> Whole:
    """The first events of parts that leave enough events on both sides."""
    firsts = np.flatnonzero(np.diff(parts)) + 1
    return firsts[(firsts >= LEAST_EVENTS) & (firsts <= len(parts) - LEAST_EVENTS)]


def _largest(scaled: Floats) -> Floats:
    """(..., H, C) → (..., 2) the largest contrast of one cut and of two; (..., 1) where there is no room for two."""
    events = scaled.shape[-2]
    one: Floats = contrasts(scaled).max(-1)[..., None]
    if events < 3 * LEAST_EVENTS:
        return one
    places = np.unique(np.linspace(LEAST_EVENTS, events - LEAST_EVENTS, PLACES_IN_PAIRS).round().astype(np.int64))
    return np.concatenate([one, paired_contrasts(scaled, places)[0].max(-1)[..., None]], axis=-1)


def _by_chance(scaled: Floats, whole: Whole, shuffles: int, rng: np.random.Generator) -> Iterator[Floats]:
    """`_largest` of a user's events in shuffled order, in parts that fit into memory: (P, 1 or 2) in all."""
    at_once = max(NUMBERS_AT_ONCE // max(scaled.size, PLACES_IN_PAIRS**2), 1)
    for at in range(0, shuffles, at_once):
        keys = rng.random((min(at_once, shuffles - at), int(whole[-1]) + 1), dtype=np.float32)
        order = np.argsort(keys[:, whole], axis=1, kind="stable")  # what belongs together keeps its order
        yield _largest(scaled[order])


def _scores(seen: Floats, by_chance: Floats) -> tuple[Floats, Floats]:
    """Contrasts of one cut and of two on one scale: (2,) as seen, (P, 2) by chance."""
    mean, spread = by_chance.mean(0), np.maximum(by_chance.std(0), 1e-6)
    return (seen - mean) / spread, (by_chance - mean) / spread


def _p_value(score: Floats, by_chance: Floats) -> float:
    """With the order that was seen counted among the shuffles, so that it is never 0; rounding breaks no tie."""
    as_large = int(np.count_nonzero(by_chance.max(-1) >= score.max() - ROUNDING))
    return (1 + as_large) / (1 + len(by_chance))
