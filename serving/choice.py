"""From a ranking to the answer: the first k of it, or k that are not all alike.

P items of the ranking, K of the answer.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.recommend import Ranking
from serving.diversity import diversified, price
from serving.live_items import LiveItems
from serving.wishes import Diversity, DiversityPrice


@dataclass(frozen=True, eq=False)
class Choice:
    """What one request is answered with."""

    ranking: Ranking
    """Of K items, in the order of the answer."""
    places: npt.NDArray[np.int64]
    """(K,) where each stood in the ranking it was chosen from."""
    price: DiversityPrice | None
    """What diversity cost; None where it was not asked for."""


def choose(ranking: Ranking, items: LiveItems, *, k: int, wish: Diversity | None) -> Choice:
    """The answer that a ranking of P items gives.

    Args:
        ranking: Best first; longer than k where there is a wish.
        items: That it ranks.
        k: How many at most.
        wish: None takes the first.
    """
    if wish is None:
        first = ranking.first(k)
        return Choice(first, np.arange(len(first.item_idx)), None)
    vectors = items.vectors.numpy()[ranking.item_idx]  # (P, D)
    categories = [items.categories(item_idx) for item_idx in ranking.item_idx.tolist()]
    places = diversified(ranking.score, vectors, categories, k=k, wish=wish)
    return Choice(ranking.at(places), places, price(ranking.score, vectors, places, k=k))
