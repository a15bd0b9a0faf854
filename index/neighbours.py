"""What a search answers, and the ordering all answers share: highest score first, equal scores by smaller id.

B queries, E scored rows, K answer length.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


class Neighbours(NamedTuple):
    """What a search found, best first; equal scores are ordered by smaller id."""

    ids: Ids
    """(B, K) −1 where fewer than K rows are eligible."""
    scores: Scores
    """(B, K) inner products; −inf beside an id of −1."""


def nobody(queries: int, k: int) -> Neighbours:
    """An answer without rows, to be filled in place."""
    return Neighbours(np.full((queries, k), -1, dtype=np.int64), np.full((queries, k), -np.inf, dtype=np.float32))


def best_of(
    scores: Scores,  # (B, E) −inf where the row is not eligible
    ids: Ids,  # (E,)
    k: int,
) -> Neighbours:
    """The k best of E scored rows, ties at the end of the answer included in the ordering by id."""
    found = nobody(len(scores), k)
    if 0 < k < len(ids):
        kth = np.partition(scores, len(ids) - k, axis=1)[:, len(ids) - k]
    else:
        kth = np.full(len(scores), -np.inf, dtype=np.float32)
    for row, (row_scores, least) in enumerate(zip(scores, kth, strict=True)):
        near = np.flatnonzero((row_scores >= least) & (row_scores > -np.inf))
        best = near[np.lexsort((ids[near], -row_scores[near]))[:k]]
        found.ids[row, : len(best)] = ids[best]
        found.scores[row, : len(best)] = row_scores[best]
    return found


def merged(answers: Sequence[Neighbours], k: int) -> Neighbours:
    """The k best of several answers to the same queries, which share no id."""
    if len(answers) == 1:
        return answers[0]
    ids = np.concatenate([answer.ids for answer in answers], axis=1)
    scores = np.concatenate([answer.scores for answer in answers], axis=1)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return Neighbours(np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1))


def ties_by_id(found: Neighbours) -> Neighbours:
    """The same answer with equal scores ordered by id; the scores already descend."""
    flat = found.scores.ravel()  # all rows in one comparison: that two rows touch alike costs no more than a look
    (tied,) = (flat[1:] == flat[:-1]).nonzero()
    if len(tied):
        for row in np.unique(tied // found.scores.shape[1]):
            order = np.lexsort((found.ids[row], -found.scores[row]))
            found.ids[row] = found.ids[row, order]
    return found
