"""From scores to rankings and to the ranks of what was held out.

Shapes: Q cases, N items, K ranking length, L targets.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys.interactions import Interactions
from recsys.split import Cases, Rows

OUT = float("-inf")
"""The score of what may not be recommended: padding, and what the user already has."""


def makes_seen(interactions: Interactions, rows: Rows, seen_by: Sequence[str] | None) -> npt.NDArray[np.bool_]:
    """Which rows of a table make their item one that the user has: all, or those of some event types.

    Args:
        interactions: The table.
        rows: Of it.
        seen_by: Names of event types; None stands for any.
    """
    if seen_by is None:
        return np.ones(len(rows), bool)
    numbers = [number for number, name in enumerate(interactions.event_names) if name in seen_by]
    return np.isin(interactions.event[rows], numbers)


def mask_seen(
    scores: Tensor, interactions: Interactions, cases: Cases, *, seen_by: Sequence[str] | None = None
) -> Tensor:
    """Put the items of each case's history out of its ranking.

    Args:
        scores: ``(Q, N + 1)``; changed in place.
        interactions: The table that ``cases`` points into.
        cases: Q cases.
        seen_by: The event types that make an item seen; None stands for any.

    Returns:
        The same scores.
    """
    rows, of_case = cases.history_rows()
    if seen_by is not None:
        seen = makes_seen(interactions, rows, seen_by)
        rows, of_case = rows[seen], of_case[seen]
    items = interactions.item_idx[rows].astype(np.int64)
    scores[torch.from_numpy(of_case), torch.from_numpy(items)] = OUT
    return scores


def expected_ranks(scores: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
    """Where each target stands among all items; those tied with it count half, as in a random order.

    A target that is masked, or that is not a number, stands last.

    Args:
        scores: ``(Q, N + 1)``.
        rows: ``(L,)`` the case of each target.
        targets: ``(L,)`` item_idx.

    Returns:
        ``(L,)`` float64 ranks, 1 = best.

    Example:
        >>> scores = torch.tensor([[OUT, 0.9, 0.5, 0.5, 0.1]])
        >>> expected_ranks(scores, torch.tensor([0, 0]), torch.tensor([1, 3])).tolist()
        [1.0, 2.5]
    """
    mine = scores[rows]  # (L, N + 1)
    target = mine.gather(1, targets[:, None])
    better = (mine > target).sum(1).double()
    tied = (mine == target).sum(1).double() - 1
    last = torch.full_like(better, scores.shape[1] - 1)
    return torch.where(torch.isfinite(target[:, 0]), 1 + better + tied / 2, last)


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The best k of each row, ties by the smaller item_idx.

    Returns:
        item_idx and scores, both ``(Q, K)`` with K ≤ k; item_idx 0 where fewer than K may be recommended.
    """
    item_idx, best = _best(scores, k)
    last = best[:, -1:]
    # Which of those tied with the last place were taken is chance: where some were left out, the whole row is sorted.
    cut = ((scores >= last).sum(1) > best.shape[1]) & (last[:, 0] > OUT)
    if cut.any():
        whole, order = torch.sort(scores[cut], dim=1, descending=True, stable=True)
        item_idx[cut], best[cut] = order[:, : best.shape[1]], whole[:, : best.shape[1]]
    return item_idx.masked_fill(best == OUT, 0), best


def ranked_up_to(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Everything whose expected rank is at most k: whole ties, so that a list says no more than its scores do.

    Whoever scores a large catalogue all alike ranks nothing, and a tie around place k comes whole or not at all.

    Returns:
        item_idx, float64 ranks (equal where tied, 1 = best) and scores, all ``(Q, K)`` with K < 2 k, best first, ties
        by the smaller item_idx; item_idx 0 where the list has ended.

    Example:
        >>> scores = torch.tensor([[OUT, 0.1, 0.9, 0.5, 0.5, 0.1]])
        >>> ranked_up_to(scores, 3)[:2]
        (tensor([[2, 3, 4]]), tensor([[1.0000, 2.5000, 2.5000]], dtype=torch.float64))
    """
    # A tie that reaches past place 2 k has an expected rank past k, wherever it begins.
    item_idx, best = _best(scores, 2 * k)
    places = torch.arange(best.shape[1]).expand_as(best)
    changes = best[:, 1:] != best[:, :-1]
    edge = torch.ones(len(best), 1, dtype=torch.bool)
    first = torch.where(torch.cat([edge, changes], 1), places, 0).cummax(1).values
    last = torch.where(torch.cat([changes, edge], 1), places, best.shape[1]).flip(1).cummin(1).values.flip(1)
    ranks = (first + last).double() / 2 + 1
    listed = (ranks <= k) & (best > OUT)
    width = int(listed.sum(1).max())
    return item_idx.masked_fill(~listed, 0)[:, :width], ranks[:, :width], best[:, :width]


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """item_idx and scores of the best k, ties among them by the smaller item_idx."""
    item_idx = torch.topk(scores, min(k, scores.shape[1]), dim=1, sorted=False).indices.sort(1).values
    best, order = scores.gather(1, item_idx).sort(dim=1, descending=True, stable=True)
    return item_idx.gather(1, order), best
