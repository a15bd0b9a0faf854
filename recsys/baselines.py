"""What any model must beat: popularity, popularity of late, item-kNN, the transition counter, one's own habits.

Each is a function of a history (and perhaps the request's time) fitted on training rows only, and gives a score to
every item. Where a baseline has a knob, it is set by validation, as ours are.

Shapes: Q cases, N items, U users, E training interactions.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from recsys.histories import case_histories
from recsys.interactions import Interactions
from recsys.split import Cases
from recsys.transitions import TransitionCounter

Scorer = Callable[[Cases], Tensor]
"""Cases → (Q, N + 1) scores, higher is better; what stands at padding is not looked at."""

DAY_S = 86_400
RECENT_DAYS = (1, 3, 7, 14, 30, 90, 180, 365)
NEIGHBOURS = (20, 50, 100, 200)
HALF_LIVES = (5.0, 20.0, 100.0, float("inf"))
"""In events."""


def popularity(train: Interactions, *, num_items: int) -> Scorer:
    """How often each item was chosen."""
    counts = torch.from_numpy(np.bincount(train.item_idx, minlength=num_items + 1).astype(np.float32))
    return lambda cases: counts.repeat(len(cases), 1)


def recent_popularity(train: Interactions, *, num_items: int, days: float) -> Scorer:
    """How often each item was chosen in the days before the request; where there is no clock, among users' newest five.

    What happened at the instant of the request does not count. A case whose last days hold no event at all gets zeros
    throughout: an order of nothing in particular.
    """
    occurred_at = train.occurred_at
    if occurred_at is None:
        last_five = train.starts[1:][train.user_idx] - np.arange(len(train)) <= 5
        counts = torch.from_numpy(np.bincount(train.item_idx[last_five], minlength=num_items + 1).astype(np.float32))
        return lambda cases: counts.repeat(len(cases), 1)
    order = np.argsort(occurred_at, kind="stable")
    instants, items = occurred_at[order], train.item_idx[order]

    def score(cases: Cases) -> Tensor:
        assert cases.requested_at is not None
        firsts = np.searchsorted(instants, cases.requested_at - days * DAY_S)
        lasts = np.searchsorted(instants, cases.requested_at)
        scores = np.empty((len(cases), num_items + 1), np.float32)
        counts, first, last = np.zeros(num_items + 1, np.int64), 0, 0
        # The window slides over the cases in the order of their requests, and counts only what it gains and loses.
        for row in np.argsort(cases.requested_at, kind="stable"):
            counts += np.bincount(items[last : lasts[row]], minlength=num_items + 1)
            counts -= np.bincount(items[first : firsts[row]], minlength=num_items + 1)
            first, last = firsts[row], lasts[row]
            scores[row] = counts
        return torch.from_numpy(scores)

    return score


def item_cosines(train: Interactions, *, num_items: int) -> sparse.csr_matrix:
    """(N + 1, N + 1) cosines between the sets of users who chose two items; 0 of an item with itself."""
    shape = (len(train.user_ids), num_items + 1)
    ones = np.ones(len(train), np.float32)
    chosen = sparse.csr_matrix((ones, (train.user_idx, train.item_idx)), shape=shape)
    chosen.data[:] = 1  # a repeat is one choice
    lengths = np.sqrt(np.asarray(chosen.sum(0)).ravel())
    unit = chosen @ sparse.diags(1 / np.maximum(lengths, 1e-12))
    similar = sparse.csr_matrix(unit.T @ unit)
    others = similar - sparse.diags(similar.diagonal())
    others.eliminate_zeros()
    others.sort_indices()
    return others


def nearest_items(interactions: Interactions, similar: sparse.csr_matrix, *, neighbours: int) -> Scorer:
    """Item-kNN: the summed similarity to what is in the history, each item of which knows its nearest few.

    Deshpande and Karypis, ACM TOIS 2004.

    Args:
        interactions: The whole table.
        similar: ``(N + 1, N + 1)``, with sorted indices.
        neighbours: How many each item keeps, ties by the smaller item_idx.
    """
    nearest = _keep_largest(similar, neighbours)

    def score(cases: Cases) -> Tensor:
        rows, of_case = cases.history_rows()
        items = interactions.item_idx[rows]
        shape = (len(cases), similar.shape[0])
        had = sparse.csr_matrix((np.ones(len(items), np.float32), (of_case, items)), shape=shape)
        return torch.from_numpy(np.asarray((had @ nearest).todense(), dtype=np.float32))

    return score


def transitions(interactions: Interactions, counter: TransitionCounter) -> Scorer:
    """What tends to follow the newest events: the counter by itself."""

    def score(cases: Cases) -> Tensor:
        histories = case_histories(interactions, cases, length=counter.history_items)
        return torch.from_numpy(counter.scores(histories.item_idx))

    return score


def revisits(interactions: Interactions, *, num_items: int, half_life: float) -> Scorer:
    """How often the user had each item, each time counting half as much as one so many events later."""

    def score(cases: Cases) -> Tensor:
        rows, of_case = cases.history_rows()
        weights = 0.5 ** ((cases.stops[of_case] - 1 - rows) / half_life)
        shape = (len(cases), num_items + 1)
        had = sparse.csr_matrix((weights.astype(np.float32), (of_case, interactions.item_idx[rows])), shape=shape)
        return torch.from_numpy(np.asarray(had.todense(), dtype=np.float32))

    return score


def choose(scorers: Sequence[Scorer], judge: Callable[[Scorer], float]) -> Scorer:
    """The one that validation likes best, so that a baseline is not beaten for want of tuning."""
    return max(scorers, key=judge)


def _keep_largest(matrix: sparse.csr_matrix, most: int) -> sparse.csr_matrix:
    kept_rows, kept_columns, kept = [], [], []
    for row in range(matrix.shape[0]):
        start, stop = matrix.indptr[row], matrix.indptr[row + 1]
        values = matrix.data[start:stop]
        largest = np.argsort(-values, kind="stable")[:most]
        kept.append(values[largest])
        kept_columns.append(matrix.indices[start:stop][largest])
        kept_rows.append(np.full(len(largest), row))
    entries: tuple[npt.NDArray[np.float32], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = (
        np.concatenate(kept),
        (np.concatenate(kept_rows), np.concatenate(kept_columns)),
    )
    return sparse.csr_matrix(entries, shape=matrix.shape)
