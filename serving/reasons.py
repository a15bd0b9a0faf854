"""Why an item was recommended: what of the history it often follows, and what it is like.

H events of the history, oldest first, K recommended items, M distinct items of the history, D vector width.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from recsys.bundle import Bundle
from recsys.recommend import Ranking
from recsys.transitions import TransitionCounter
from serving.schemas import Carrier, Reasons

STRONGEST = 2
"""How many carriers of a kind are named."""

Items = npt.NDArray[np.integer]
Weights = npt.NDArray[np.float64]


def explain(
    bundle: Bundle,
    history: Items,  # (H,)
    ranking: Ranking,
    *,
    carrier: Callable[[int, float], Carrier],
) -> list[Reasons]:  # (K,)
    """The reasons of each item of a ranking.

    Args:
        bundle: That made the ranking.
        history: item_idx it was made from; at least one.
        ranking: Of K items.
        carrier: Names an item_idx and gives it a weight.
    """
    distinct = np.unique(history)
    cosines = bundle.item_vectors[distinct] @ bundle.item_vectors[ranking.item_idx].T  # (M, K)
    nearest = cosines.argmax(0)  # (K,)
    followed = _followed(bundle, history, ranking, carrier)
    return [
        Reasons(
            cosine=float(ranking.cosine[place]),
            prior=_prior_part(bundle, ranking, place),
            followed=followed[place],
            alike=[carrier(int(distinct[nearest[place]]), float(cosines[nearest[place], place]))],
        )
        for place in range(len(ranking.item_idx))
    ]


def carried_by(
    counter: TransitionCounter,
    history: Items,  # (H,)
    candidates: Items,  # (K,)
) -> tuple[Items, Weights]:  # (M,), (M, K)
    """How much each item of the history adds to each candidate's count: the sum of its `TransitionCounter.part_of`.

    One cut through the counts instead of a look-up for each pair: a thousand candidates take milliseconds.
    """
    newest = history[::-1][: counter.history_items]
    distinct, whose = np.unique(newest, return_inverse=True)
    parts = counter.counts[newest][:, candidates].toarray()  # (H, K)
    decayed = parts * counter.history_decay ** np.arange(len(newest))[:, None]
    summed = np.zeros((len(distinct), len(candidates)))
    np.add.at(summed, whose, decayed)
    return distinct, summed


def _followed(
    bundle: Bundle, history: Items, ranking: Ranking, carrier: Callable[[int, float], Carrier]
) -> Sequence[list[Carrier]]:
    if bundle.prior is None or not bundle.prior.weight:
        return [[]] * len(ranking.item_idx)
    distinct, parts = carried_by(bundle.prior.counter, history, ranking.item_idx)
    carriers = []
    for column in parts.T:
        strongest = np.argsort(-column, kind="stable")[:STRONGEST]
        carriers.append(
            [carrier(int(distinct[row]), float(column[row] / column.sum())) for row in strongest if column[row] > 0]
        )
    return carriers


def _prior_part(bundle: Bundle, ranking: Ranking, place: int) -> float | None:
    """The prior moves the first candidates only; the others stand behind them in the order of their cosines."""
    if bundle.prior is None or place >= bundle.config.prior.num_candidates:
        return None
    return float(ranking.score[place] - ranking.cosine[place] / bundle.prior.temperature)
