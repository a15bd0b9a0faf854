"""Let recommenders rank held-out cases: the same cases, the same masks, the same ties for all of them.

Shapes: Q cases, N items, L targets, K ranking length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recsys.baselines import Scorer
from recsys.interactions import Interactions
from recsys.ranking import OUT, expected_ranks, mask_seen, ranked_up_to
from recsys.split import Cases

RANKING_LENGTH = 200
CASES_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Judged:
    """What one recommender did with all cases."""

    ranks: npt.NDArray[np.float64]
    """(L,) expected rank of each target, 1 = best; ∞ where it is past `RANKING_LENGTH`, or may not be recommended."""
    item_idx: npt.NDArray[np.int64]
    """(Q, K) what it ranked up to `RANKING_LENGTH`, best first; 0 where the list has ended."""
    list_ranks: npt.NDArray[np.float64]
    """(Q, K) expected rank of those: equal where scores tie."""
    scores: npt.NDArray[np.float32]
    """(Q, K) of those."""


def judge(
    score: Scorer,
    cases: Cases,
    interactions: Interactions,
    *,
    allow_repeats: bool = False,
    seen_by: Sequence[str] | None = None,
) -> Judged:
    """Let a recommender rank the whole catalogue for every case.

    A target's rank is read off the list that is kept: what metrics.json says can be recomputed from rankings.parquet.

    Args:
        score: Gives (Q, N + 1) scores.
        cases: What is asked; at least one.
        interactions: The table that the cases point into.
        allow_repeats: Whether items of the history may be recommended again.
        seen_by: Where they may not, the event types that make an item one of those; None stands for any.
    """
    ranks, lists = [], []
    for part, scores in _scored(score, cases, interactions, allow_repeats=allow_repeats, seen_by=seen_by):
        item_idx, list_ranks, best = (array.numpy() for array in ranked_up_to(scores, RANKING_LENGTH))
        targets = interactions.item_idx[part.target_rows]
        found = item_idx[part.target_cases] == targets[:, None]  # (L, K)
        ranks.append(np.where(found, list_ranks[part.target_cases], np.inf).min(1, initial=np.inf))
        lists.append((item_idx, list_ranks, best))
    return Judged(np.concatenate(ranks), *(_one_below_another(arrays) for arrays in zip(*lists, strict=True)))


def _one_below_another(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Lists of several widths in one array, filled up with zeros."""
    width = max(array.shape[1] for array in arrays)
    return np.concatenate([np.pad(array, ((0, 0), (0, width - array.shape[1]))) for array in arrays])


def target_ranks(
    score: Scorer,
    cases: Cases,
    interactions: Interactions,
    *,
    allow_repeats: bool = False,
    seen_by: Sequence[str] | None = None,
) -> npt.NDArray[np.float64]:  # (L,)
    """The expected ranks alone, without the lists: enough to choose by, and much less work than `judge`."""
    ranks = [
        expected_ranks(
            scores,
            torch.from_numpy(part.target_cases),
            torch.from_numpy(interactions.item_idx[part.target_rows].astype(np.int64)),
        ).numpy()
        for part, scores in _scored(score, cases, interactions, allow_repeats=allow_repeats, seen_by=seen_by)
    ]
    return np.concatenate(ranks)


def _scored(
    score: Scorer, cases: Cases, interactions: Interactions, *, allow_repeats: bool, seen_by: Sequence[str] | None
) -> Iterator[tuple[Cases, Tensor]]:
    """Consecutive cases with their (Q, N + 1) scores, −∞ for what may not be recommended."""
    for at in range(0, len(cases), CASES_AT_ONCE):
        part = cases[at : at + CASES_AT_ONCE]
        scores = score(part)
        scores[:, 0] = OUT
        scores[scores.isnan()] = OUT  # sorting would put what is not a number first
        if not allow_repeats:
            mask_seen(scores, interactions, part, seen_by=seen_by)
        yield part, scores
