"""Ranking metrics from the ranks of held-out items, and their uncertainty.

Each takes the ranks of all targets (1 = best, fractional where scores tie) and the case each belongs to, and gives one
figure per case. Q cases, L targets.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Cases = npt.NDArray[np.int64]

CUTOFFS = (1, 5, 10, 20, 50, 100, 200)
WEIGHTS_AT_ONCE = 4_000_000
"""Resampling weights held in memory at a time."""


def recall(ranks: Floats, cases: Cases, *, k: int) -> Floats:
    """The share of a case's targets among the best k.

    Example:
        >>> recall(np.array([1.0, 12.0, 3.0]), np.array([0, 0, 1]), k=10).tolist()
        [0.5, 1.0]
    """
    return _sum(ranks <= k, cases) / _sum(np.ones_like(ranks), cases)


def hit_rate(ranks: Floats, cases: Cases, *, k: int) -> Floats:
    """1 where any target is among the best k. Equal to recall where a case has one target."""
    return np.minimum(_sum(ranks <= k, cases), 1.0)


def ndcg(ranks: Floats, cases: Cases, *, k: int) -> Floats:
    """Gain 1 / log2(rank + 1) per target among the best k, over the best that was possible.

    Järvelin and Kekäläinen, ACM TOIS 2002, with binary relevance.
    """
    gains = np.where(ranks <= k, 1 / np.log2(ranks + 1), 0.0)
    most = np.minimum(_sum(np.ones_like(ranks), cases), k).astype(np.int64)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    per_case: Floats = _sum(gains, cases) / ideal[most]
    return per_case


def mrr(ranks: Floats, cases: Cases, *, k: int) -> Floats:
    """1 / the rank of the best target, if it is among the best k."""
    best = np.full(int(cases.max()) + 1, np.inf)
    np.minimum.at(best, cases, ranks)
    return np.where(best <= k, 1 / best, 0.0)


METRICS: dict[str, Callable[..., Floats]] = {"recall": recall, "ndcg": ndcg, "mrr": mrr, "hit_rate": hit_rate}


def case_metrics(ranks: Floats, cases: Cases) -> dict[str, Floats]:
    """Every metric at every cutoff: ``"recall@10"`` → (Q,)."""
    return {f"{name}@{k}": metric(ranks, cases, k=k) for name, metric in METRICS.items() for k in CUTOFFS}


def bootstrap_means(figures: Floats, users: npt.NDArray[np.int64], *, draws: int, rng: np.random.Generator) -> Floats:
    """Means of resampled users: users are drawn with replacement and bring all their cases.

    Args:
        figures: ``(Q, M)``, a column per metric.
        users: ``(Q,)`` whose case each row is.
        draws: How many means to draw.
        rng: The source of chance; the same generator state gives the same users, so paired columns stay paired.

    Returns:
        ``(draws, M)``.
    """
    _, owner = np.unique(users, return_inverse=True)
    num_users = int(owner.max()) + 1
    sums = np.zeros((num_users, figures.shape[1]))
    np.add.at(sums, owner, figures)
    sizes = np.bincount(owner, minlength=num_users).astype(np.float64)
    means = []
    at_once = max(WEIGHTS_AT_ONCE // num_users, 1)
    for at in range(0, draws, at_once):
        size = min(at_once, draws - at)
        weights = rng.multinomial(num_users, np.full(num_users, 1 / num_users), size=size).astype(np.float64)
        means.append((weights @ sums) / (weights @ sizes)[:, None])
    return np.concatenate(means)


def paired_p_value(
    ours: Floats, theirs: Floats, users: npt.NDArray[np.int64], *, draws: int, rng: np.random.Generator
) -> float:
    """How often a resample of users says that ours is not better: a one-sided paired bootstrap.

    Args:
        ours: ``(Q,)`` figures of one recommender.
        theirs: ``(Q,)`` of another on the same cases.
        users: ``(Q,)``.
        draws: The smallest p that can be told is 1 / (draws + 1).
        rng: The source of chance.
    """
    return float(paired_p_values((ours - theirs)[:, None], users, draws=draws, rng=rng)[0])


def paired_p_values(
    differences: Floats, users: npt.NDArray[np.int64], *, draws: int, rng: np.random.Generator
) -> Floats:
    """`paired_p_value` of many comparisons on the same resamples.

    Args:
        differences: ``(Q, M)`` ours − theirs, a column per comparison.
        users: ``(Q,)``.
        draws: As there.
        rng: As there.

    Returns:
        ``(M,)``.
    """
    means = bootstrap_means(differences, users, draws=draws, rng=rng)
    p_values: Floats = (1 + np.count_nonzero(means <= 0, axis=0)) / (draws + 1)
    return p_values


def _sum(values: npt.NDArray[np.generic], cases: Cases) -> Floats:
    return np.bincount(cases, weights=values.astype(np.float64)).astype(np.float64)
