"""Choosing k of a longer ranking so that they are not all alike, and saying what it cost.

P items of the ranking chosen from, K chosen, D vector width.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.wishes import Diversity, DiversityPrice

Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def diversified(
    scores: Scores,  # (P,) descending
    vectors: Vectors,  # (P, D) unit rows
    categories: Sequence[Sequence[str]],  # (P,)
    *,
    k: int,
    wish: Diversity,
) -> Places:  # (K,) at most k
    """Where in the ranking the chosen items stand, in the order of their choice.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): each choice has the largest
    ``(1 − strength) · score − strength · (largest cosine to a choice before it)``, scores brought to [0, 1] first. An
    item whose category is full is passed over, so fewer than k come where nothing else is left.

    Example:
        >>> alike = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
        >>> scores, kinds = np.array([3, 2, 1], np.float32), [("a",), ("a",), ("b",)]
        >>> diversified(scores, alike, kinds, k=2, wish=Diversity(strength=0.6)).tolist()
        [0, 2]
        >>> diversified(scores, alike, kinds, k=3, wish=Diversity(strength=0.0, max_per_category=1)).tolist()
        [0, 2]
    """
    relevance = _to_unit(scores)
    nearest = np.full(len(scores), -1.0, np.float32)  # the largest cosine to any choice so far
    free = np.ones(len(scores), bool)
    held: Counter[str] = Counter()
    chosen: list[int] = []
    while len(chosen) < k and free.any():
        unlike = wish.strength * nearest if chosen else 0.0
        place = int(np.argmax(np.where(free, (1 - wish.strength) * relevance - unlike, -np.inf)))
        free[place] = False
        if wish.max_per_category and any(held[name] >= wish.max_per_category for name in categories[place]):
            continue
        chosen.append(place)
        held.update(categories[place])
        nearest = np.maximum(nearest, vectors @ vectors[place])
    return np.array(chosen, np.int64)


def price(scores: Scores, vectors: Vectors, chosen: Places, *, k: int) -> DiversityPrice:
    """What the choice cost against the k best of the ranking it was made from."""
    best = np.arange(min(k, len(scores)))
    given_up = 0.0
    if len(chosen):
        given_up = float(scores[: len(chosen)].mean() - scores[chosen].mean())
    return DiversityPrice(
        score_given_up=max(given_up, 0.0),
        replaced=len(np.setdiff1d(best, chosen)),
        alikeness_before=_alikeness(vectors[best]),
        alikeness_after=_alikeness(vectors[chosen]),
    )


def _to_unit(scores: Scores) -> Scores:
    if not len(scores) or scores[0] == scores[-1]:
        return np.ones_like(scores)
    return np.asarray((scores - scores[-1]) / (scores[0] - scores[-1]), np.float32)


def _alikeness(vectors: Vectors) -> float:
    """Mean over the rows of the cosine to the nearest other row; 0 where there are no two."""
    if len(vectors) < 2:
        return 0.0
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return float(cosines.max(1).mean())
