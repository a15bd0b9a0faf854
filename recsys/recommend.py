"""Retrieve, drop what was seen, reorder: the one path by which evaluation, notebooks and the service rank.

Shapes: B histories, D width, K ranking length, N items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys.embed import embed_histories
from recsys.histories import Histories
from recsys.towers import TwoTower

Search = Callable[[npt.NDArray[np.float32], int], tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]
"""(B, D) unit rows and k → ids and cosines, both (B, k), best first; id −1 where there are fewer than k."""
Reorder = Callable[[Tensor, Tensor, Histories], Tensor]
"""(B, C) cosines, (B, C) candidates, 0 where there is none, and B histories → (B, C) scores: prior or reranker."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """What one user is recommended, best first."""

    item_idx: npt.NDArray[np.int64]
    """(K,) rows of the catalogue, without repeats."""
    score: npt.NDArray[np.float32]
    """(K,) what the ranking is sorted by."""
    cosine: npt.NDArray[np.float32]
    """(K,) how well the towers think it fits."""

    def first(self, k: int) -> "Ranking":
        """The best k of it."""
        return Ranking(self.item_idx[:k], self.score[:k], self.cosine[:k])


@dataclass(frozen=True, eq=False)
class Recommender:
    """Trained towers, what reorders and a way to search the item vectors."""

    model: TwoTower
    """In evaluation mode."""
    item_vectors: Tensor
    """(N + 1, D) unit rows, row 0 zeros."""
    reorder: Reorder | None
    """None leaves the order of the search."""
    num_candidates: int
    """How many of the retrieved it may reorder; the rest keep their order behind them."""
    search: Search
    """Over the same vectors."""

    def recommend(
        self, histories: Histories, *, k: int, seen: Sequence[npt.NDArray[np.int64]] | None = None
    ) -> list[Ranking]:
        """The best k items for each history.

        Args:
            histories: B of them, each with at least one event.
            k: How many; fewer come back only where fewer may be recommended.
            seen: Per history, item_idx that may not be recommended; None leaves nothing out.
        """
        users = embed_histories(self.model, self.item_vectors, histories)
        return self.rank(users, histories, k=k, seen=seen)

    def rank(
        self, users: Tensor, histories: Histories, *, k: int, seen: Sequence[npt.NDArray[np.int64]] | None = None
    ) -> list[Ranking]:
        """The best k items for users whose vectors are known already.

        Args:
            users: ``(B, D)`` unit rows.
            histories: Theirs.
            k: As in `recommend`.
            seen: As in `recommend`.
        """
        excluded = [np.zeros(0, np.int64)] * len(users) if seen is None else seen
        wanted = max(k, self.num_candidates)
        # As many more as could be dropped: exactly the wanted number is left without asking the index for filters.
        depth = min(wanted + max(map(len, excluded)), len(self.item_vectors) - 1)
        ids, cosines = self.search(users.numpy(), depth)
        candidates = np.zeros((len(users), wanted), np.int64)
        kept_cosines = np.full((len(users), wanted), -np.inf, np.float32)
        for row, unwanted in enumerate(excluded):
            kept = np.flatnonzero((ids[row] > 0) & ~np.isin(ids[row], unwanted))[:wanted]
            candidates[row, : len(kept)] = ids[row, kept]
            kept_cosines[row, : len(kept)] = cosines[row, kept]
        scores = rescore(
            self.reorder,
            self.num_candidates,
            torch.from_numpy(kept_cosines),
            torch.from_numpy(candidates),
            histories,
        )
        best, order = torch.sort(scores, dim=1, descending=True, stable=True)
        rankings = []
        for row in range(len(users)):
            places = order[row, : min(k, np.count_nonzero(candidates[row]))].numpy()
            rankings.append(
                Ranking(candidates[row, places], best[row, : len(places)].numpy(), kept_cosines[row, places])
            )
        return rankings


def rescore(
    reorder: Reorder | None, num_candidates: int, cosines: Tensor, candidates: Tensor, histories: Histories
) -> Tensor:
    """Scores of retrieved candidates: the first ``num_candidates`` reordered, the others behind them.

    Args:
        reorder: None scores by cosine.
        num_candidates: How many may change places.
        cosines: ``(B, C)`` best first; −inf where there is no candidate.
        candidates: ``(B, C)`` item_idx, 0 where there is none.
        histories: B of them.

    Returns:
        ``(B, C)``; −inf where there is no candidate.
    """
    if reorder is None:
        return cosines
    head = reorder(cosines[:, :num_candidates], candidates[:, :num_candidates], histories)
    return torch.cat([head, behind(head, cosines[:, num_candidates:])], dim=1)


def behind(head: Tensor, cosines: Tensor) -> Tensor:
    """Scores that leave items in the order of their cosines, all of them behind the head.

    Args:
        head: ``(B, C)`` scores; −inf where there is no candidate.
        cosines: ``(B, any)``.
    """
    lowest = head.masked_fill(~torch.isfinite(head), float("inf")).amin(1, keepdim=True)
    lowest = lowest.masked_fill(torch.isposinf(lowest), 0.0)  # no head at all: nothing to stand behind
    return lowest - 2 + cosines  # a cosine is at most 1


def exact_search(item_vectors: Tensor) -> Search:
    """Every item scored, ties by the smaller item_idx: what an index is measured against.

    Args:
        item_vectors: ``(N + 1, D)``; row 0 is never found.
    """

    def search(users: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        cosines = torch.from_numpy(users) @ item_vectors[1:].T
        best, rows = torch.sort(cosines, dim=1, descending=True, stable=True)
        return rows[:, :k].numpy() + 1, best[:, :k].numpy()

    return search
