"""From scores to rankings and to the ranks of what was held out.

Shapes: Q cases, N items, K ranking length, L targets.
"""

import torch
from torch import Tensor

from recsys.interactions import Interactions
from recsys.split import Cases

OUT = float("-inf")
"""The score of what may not be recommended: padding, and what the user already has."""


def mask_seen(scores: Tensor, interactions: Interactions, cases: Cases) -> Tensor:
    """Put the items of each case's history out of its ranking.

    Args:
        scores: ``(Q, N + 1)``; changed in place.
        interactions: The table that ``cases`` points into.
        cases: Q cases.

    Returns:
        The same scores.
    """
    items = torch.from_numpy(interactions.item_idx.astype("int64"))
    for row, (start, stop) in enumerate(zip(cases.starts, cases.stops, strict=True)):
        scores[row, items[start:stop]] = OUT
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
    best, item_idx = torch.sort(scores, dim=1, descending=True, stable=True)
    best, item_idx = best[:, :k], item_idx[:, :k]
    return item_idx.masked_fill(best == OUT, 0), best
