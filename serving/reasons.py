"""Why an item was recommended: what of the history carried it, what it often follows, what it is like and is of.

H events of the history, oldest first, K recommended items, M distinct items of the history, N items of the bundle,
D vector width, E events tried.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from recsys.bundle import Bundle
from recsys.histories import Histories
from recsys.occlusion import score_drops
from recsys.recommend import Ranking, Recommender
from recsys.transitions import TransitionCounter
from serving.schemas import Carrier, Reasons

Name = Callable[[int, float], Carrier | None]
"""An item_idx and a weight → the item as a reason; None for one that must not be named."""

STRONGEST = 2
"""How many carriers of a kind are named."""

Items = npt.NDArray[np.integer]
Weights = npt.NDArray[np.float64]


def explain(
    bundle: Bundle,
    history: Histories,
    ranking: Ranking,
    *,
    recommender: Recommender,
    places: Items,  # (K,)
    carrier: Name,
    interests: Callable[[int], Sequence[str]],
    intent: str | None = None,
) -> list[Reasons]:  # (K,)
    """The reasons of each item of a ranking.

    Args:
        bundle: That made the ranking.
        history: That it was made from: one, of at least one event.
        ranking: Of K items.
        recommender: That ranked them.
        places: Where each of the K stood before diversity moved it: the prior only blends into the first.
        carrier: Names an item_idx and gives it a weight.
        interests: Of an item.
        intent: The event type the ranking was made for.
    """
    items = history.item_idx[0][history.item_idx[0] > 0].numpy()  # (H,)
    vectors = recommender.item_vectors.numpy()
    distinct = np.unique(items)
    cosines = vectors[distinct] @ vectors[ranking.item_idx].T  # (M, K)
    followed = _followed(bundle, items, ranking, carrier)
    drops = score_drops(recommender, history, torch.from_numpy(ranking.item_idx), intent=intent).numpy()  # (E, K)
    tried = items[len(items) - len(drops) :]
    parts = _parts(bundle, history, ranking, recommender, intent=intent)
    held = Counter(name for item in items.tolist() for name in interests(item))
    return [
        Reasons(
            cosine=float(ranking.cosine[row]),
            prior=_prior_part(bundle, ranking, row, place=int(places[row])),
            carried=_strongest(tried, drops[:, row], carrier, most=STRONGEST, least=0.0),
            followed=followed[row],
            alike=_strongest(distinct, cosines[:, row], carrier, most=1, least=-2.0),
            interests=sorted((name for name in interests(item_idx) if held[name]), key=lambda name: -held[name]),
            parts={group: float(part[row]) for group, part in parts.items()},
        )
        for row, item_idx in enumerate(ranking.item_idx.tolist())
    ]


def carried_by(
    counter: TransitionCounter,
    history: Items,  # (H,)
    candidates: Items,  # (K,)
) -> tuple[Items, Weights]:  # (M,), (M, K)
    """How much each item of the history adds to each candidate's count: the sum of its `TransitionCounter.part_of`.

    One cut through the counts instead of a look-up for each pair: a thousand candidates take milliseconds. Items beyond
    N, which the counter does not know, are counted as its padding is: never.
    """
    newest = history[::-1][: counter.history_items]
    distinct, whose = np.unique(newest, return_inverse=True)
    known = counter.counts.shape[0]
    rows, columns = np.where(newest < known, newest, 0), np.where(candidates < known, candidates, 0)
    parts = counter.counts[rows][:, columns].toarray()  # (H, K)
    decayed = parts * counter.history_decay ** np.arange(len(newest))[:, None]
    summed = np.zeros((len(distinct), len(candidates)))
    np.add.at(summed, whose, decayed)
    return distinct, summed


def _followed(bundle: Bundle, history: Items, ranking: Ranking, carrier: Name) -> Sequence[list[Carrier]]:
    if bundle.prior is None or not bundle.prior.weight:
        return [[]] * len(ranking.item_idx)
    distinct, parts = carried_by(bundle.prior.counter, history, ranking.item_idx)
    shares = parts / np.maximum(parts.sum(0), 1e-12)
    return [_strongest(distinct, share, carrier, most=STRONGEST, least=0.0) for share in shares.T]


def _strongest(
    items: Items, weights: npt.NDArray[np.floating], carrier: Name, *, most: int, least: float
) -> list[Carrier]:
    """The heaviest of those that may be named, all heavier than ``least``."""
    carriers: list[Carrier] = []
    for row in np.argsort(-weights, kind="stable"):
        if len(carriers) == most or weights[row] <= least:
            break
        if (named := carrier(int(items[row]), float(weights[row]))) is not None:
            carriers.append(named)
    return carriers


def _prior_part(bundle: Bundle, ranking: Ranking, row: int, *, place: int) -> float | None:
    """It moves the first candidates only; the others stand behind them in the order of their cosines."""
    if bundle.prior is None or bundle.reranker is not None or place >= bundle.config.prior.num_candidates:
        return None
    return float(ranking.score[row] - ranking.cosine[row] / bundle.prior.temperature)


def _parts(
    bundle: Bundle, history: Histories, ranking: Ranking, recommender: Recommender, *, intent: str | None
) -> Mapping[str, npt.NDArray[np.float32]]:  # group → (K,)
    if bundle.reranker is None or not len(ranking.item_idx):
        return {}
    cosines, candidates = torch.from_numpy(ranking.cosine)[None], torch.from_numpy(ranking.item_idx)[None]
    parts = bundle.reranker.parts(cosines, candidates, history, item_vectors=recommender.item_vectors, intent=intent)
    return {group: part[0].numpy() for group, part in parts.items()}
