"""Retrieve, drop what was seen, reorder: the one path by which evaluation, notebooks and the service rank.

Shapes: B histories, C candidates, D width, K ranking length, N items, E event types with a head.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys.embed import embed_histories
from recsys.errors import InputError
from recsys.histories import Histories
from recsys.intents import refusal
from recsys.rerank import Reranking, Weighed
from recsys.towers import TwoTower

Search = Callable[[npt.NDArray[np.float32], int], tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]
"""(B, D) unit rows and k → ids and cosines, both (B, k), best first; id −1 where there are fewer than k."""
Reorder = Callable[[Tensor, Tensor, Histories], Tensor]
"""(B, C) cosines, (B, C) candidates, 0 where there is none, and B histories → (B, C) scores: prior or reranker."""
Intent = str | Sequence[str | None] | None
"""An event type that is wished for: by all histories, or by each; None wishes for none."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """What one user is recommended, best first."""

    item_idx: npt.NDArray[np.int64]
    """(K,) rows of the catalogue, without repeats."""
    score: npt.NDArray[np.float32]
    """(K,) what the ranking is sorted by."""
    cosine: npt.NDArray[np.float32]
    """(K,) how well the towers think it fits."""
    probability: npt.NDArray[np.float64] | None = None
    """(K,) how likely the user chooses it next; NaN behind what was reranked. None where there is no reranker."""
    intents: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    """Event type → (K,) how likely the user does that with it now; NaN as above. Empty where there are no heads."""

    def at(self, places: npt.NDArray[np.int64] | slice) -> "Ranking":
        """What stands at some places of it, in their order."""
        return Ranking(
            self.item_idx[places],
            self.score[places],
            self.cosine[places],
            None if self.probability is None else self.probability[places],
            {event: likely[places] for event, likely in self.intents.items()},
        )

    def first(self, k: int) -> "Ranking":
        """The best k of it."""
        return self.at(slice(k))


@dataclass(frozen=True, eq=False)
class Recommender:
    """Trained towers, what reorders and a way to search the item vectors."""

    model: TwoTower
    """In evaluation mode."""
    item_vectors: Tensor
    """(N + 1, D) unit rows, row 0 zeros."""
    reorder: Reorder | None
    """None leaves the order of the search. A `Reranking` says as well how likely each item is, and what for."""
    num_candidates: int
    """How many of the retrieved it may reorder; the rest keep their order behind them."""
    search: Search
    """Over the same vectors."""

    def recommend(
        self,
        histories: Histories,
        *,
        k: int,
        seen: Sequence[npt.NDArray[np.int64]] | None = None,
        intent: Intent = None,
    ) -> list[Ranking]:
        """The best k items for each history.

        Args:
            histories: B of them, each with at least one event.
            k: How many; fewer come back only where fewer may be recommended.
            seen: Per history, item_idx that may not be recommended; None leaves nothing out.
            intent: The event type that is wished for, such as "buy": items are ordered by how likely the user does that
                with them now, and not by how likely they choose them at all.

        Raises:
            InputError: There is no head for an intent.
        """
        users = embed_histories(self.model, self.item_vectors, histories)
        return self.rank(users, histories, k=k, seen=seen, intent=intent)

    def rank(
        self,
        users: Tensor,
        histories: Histories,
        *,
        k: int,
        seen: Sequence[npt.NDArray[np.int64]] | None = None,
        intent: Intent = None,
    ) -> list[Ranking]:
        """The best k items for users whose vectors are known already.

        Args:
            users: ``(B, D)`` unit rows.
            histories: Theirs.
            k: As in `recommend`.
            seen: As in `recommend`.
            intent: As in `recommend`.

        Raises:
            InputError: There is no head for an intent.
        """
        wished = [intent] * len(users) if intent is None or isinstance(intent, str) else list(intent)
        candidates, cosines = self._retrieved(users, seen, wanted=max(k, self.num_candidates))
        if not isinstance(self.reorder, Reranking):
            _refuse(wished)
            scores = rescore(self.reorder, self.num_candidates, cosines, candidates, histories)
            return _rankings(candidates, cosines, scores, k=k)
        head = slice(self.num_candidates)
        weighed = self.reorder.weigh(cosines[:, head], candidates[:, head], histories)
        return _rankings(candidates, cosines, _before(weighed.scores_for(wished), cosines), k=k, weighed=weighed)

    def _retrieved(
        self, users: Tensor, seen: Sequence[npt.NDArray[np.int64]] | None, *, wanted: int
    ) -> tuple[Tensor, Tensor]:
        """(B, wanted) item_idx that may be recommended, best first, 0 where there are fewer, and their cosines."""
        excluded = [np.zeros(0, np.int64)] * len(users) if seen is None else seen
        # As many more as could be dropped: exactly the wanted number is left without asking the index for filters.
        depth = min(wanted + max(map(len, excluded)), len(self.item_vectors) - 1)
        ids, cosines = self.search(users.numpy(), depth)
        candidates = np.zeros((len(users), wanted), np.int64)
        kept_cosines = np.full((len(users), wanted), -np.inf, np.float32)
        for row, unwanted in enumerate(excluded):
            kept = np.flatnonzero((ids[row] > 0) & ~np.isin(ids[row], unwanted))[:wanted]
            candidates[row, : len(kept)] = ids[row, kept]
            kept_cosines[row, : len(kept)] = cosines[row, kept]
        return torch.from_numpy(candidates), torch.from_numpy(kept_cosines)


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
    return _before(reorder(cosines[:, :num_candidates], candidates[:, :num_candidates], histories), cosines)


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


def _before(head: Tensor, cosines: Tensor) -> Tensor:
    """The scores of the first candidates, and those of all others `behind` them: (B, fewer) and (B, C) → (B, C)."""
    return torch.cat([head, behind(head, cosines[:, head.shape[1] :])], dim=1)


def _rankings(
    candidates: Tensor,  # (B, C)
    cosines: Tensor,  # (B, C)
    scores: Tensor,  # (B, C)
    *,
    k: int,
    weighed: Weighed | None = None,  # of the first candidates
) -> list[Ranking]:  # (B,)
    best, order = torch.sort(scores, dim=1, descending=True, stable=True)
    best, order = best[:, :k], order[:, :k]
    items, fit = candidates.gather(1, order), cosines.gather(1, order)
    probability, doing = (None, None) if weighed is None else _likely(weighed, order)
    events = () if weighed is None else weighed.reranker.intent_names
    rankings = []
    for row, length in enumerate((items > 0).sum(1).tolist()):
        place = row, slice(length)
        rankings.append(
            Ranking(
                items[place].numpy(),
                best[place].numpy(),
                fit[place].numpy(),
                None if probability is None else probability[place].numpy(),
                {} if doing is None else {event: doing[*place, at].numpy() for at, event in enumerate(events)},
            )
        )
    return rankings


def _likely(weighed: Weighed, order: Tensor) -> tuple[Tensor, Tensor]:  # (B, K), (B, K, E)
    """How likely the items at some places are chosen, and done what with; NaN behind those that were weighed."""
    weighed_places = weighed.candidates.shape[1]
    behind_them, places = order >= weighed_places, order.clamp(max=weighed_places - 1)
    return (
        weighed.probabilities.gather(1, places).masked_fill(behind_them, torch.nan),
        weighed.doing_at(places).masked_fill(behind_them[..., None], torch.nan),
    )


def _refuse(wished: Sequence[str | None]) -> None:
    for intent in wished:
        if intent is not None:
            raise InputError(f"intent: {refusal(intent, ())}")
