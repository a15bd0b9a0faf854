"""What of a history carried a recommendation: without it, the score falls.

Nothing is attributed, it is tried: each of the newest events is taken out, the user is read again, and every candidate
scored again. What is named as a reason has therefore been seen to be one.

Shapes: one history of H events, E of them tried, K candidates.
"""

from dataclasses import fields

import torch
from torch import Tensor

from recsys.embed import embed_histories
from recsys.histories import Histories
from recsys.recommend import Recommender, Reorder
from recsys.rerank import Reranking

MOST_TRIED = 20
"""The newest events; a history is read once for each."""


def score_drops(
    recommender: Recommender, history: Histories, candidates: Tensor, *, intent: str | None = None
) -> Tensor:
    """By how much each candidate's score falls when one event is taken out.

    Args:
        recommender: Whose scores are explained.
        history: One, of at least one event.
        candidates: ``(K,)`` item_idx.
        intent: The event type they were ordered for; the score is then the log-odds of `Weighed.log_odds_for` it.

    Returns:
        ``(E, K)`` for the newest E events, oldest first; negative where the score rises.

    Raises:
        InputError: The recommender has no head for the intent.
    """
    tried = without_each(history)
    users = embed_histories(recommender.model, recommender.item_vectors, tried)  # (E + 1, D)
    cosines = users @ recommender.item_vectors[candidates].T
    asked = candidates.expand(len(users), -1)
    scores = _scores(recommender.reorder, cosines, asked, tried, intent=intent)
    return scores[0] - scores[1:]


def without_each(history: Histories) -> Histories:
    """The history whole, then without each of its newest events in turn: ``(E + 1, H)``, padded on the right.

    Whoever was asked before the event that is taken out is now asked for what came after it.
    """
    length = int((history.item_idx > 0).sum())
    first = max(length - MOST_TRIED, 0)
    columns = torch.arange(length)
    kept = [columns] + [columns[columns != out] for out in range(first, length)]
    rows = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True)  # (E + 1, H)
    real = torch.tensor([len(one) for one in kept])[:, None] > torch.arange(rows.shape[1])
    parts = {f.name: getattr(history, f.name)[0][rows].masked_fill(~real, 0) for f in fields(Histories)}
    for row, out in enumerate(range(first, length), start=1):
        if out > 0 and history.asked_at[0, out - 1] == history.occurred_at[0, out]:
            parts["asked_at"][row, out - 1] = history.asked_at[0, out]
    return Histories(**parts)


def _scores(
    reorder: Reorder | None, cosines: Tensor, candidates: Tensor, histories: Histories, *, intent: str | None
) -> Tensor:  # (E + 1, K)
    if intent is not None and isinstance(reorder, Reranking):
        return reorder.weigh(cosines, candidates, histories).log_odds_for(intent)
    return cosines if reorder is None else reorder(cosines, candidates, histories)
