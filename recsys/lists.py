"""What lists are like besides right: how novel, how popular, how diverse, and how much of the catalogue they show.

Shapes: Q cases, N items, K list length.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsys.interactions import Interactions
from recsys.split import Cases

LIST_LENGTH = 10
"""All of them describe lists of this length."""

Figure = dict[str, float]
"""value, and the 95 % interval of its bootstrap over users: low, high."""


def list_case_figures(
    item_idx: npt.NDArray[np.int64],
    cases: Cases,
    interactions: Interactions,
    counts: npt.NDArray[np.int64],
    categories: Sequence[Sequence[str]],
) -> dict[str, npt.NDArray[np.float64]]:
    """What each case's list is like by itself.

    Args:
        item_idx: ``(Q, K)`` rankings, best first, 0 where a list has ended.
        cases: Whose they are.
        interactions: The table that ``cases`` points into.
        counts: ``(N + 1,)`` how often each item was trained on.
        categories: ``(N + 1,)`` of each item; without any, there is no diversity to tell.

    Returns:
        Novelty (mean bits of surprise, −log2 of an item's share), popularity lift (mean count of the list over that of
        the history, less 1) and diversity, each ``(Q,)``.
    """
    items = item_idx[:, :LIST_LENGTH]
    listed = items > 0
    share = (counts + 1) / (counts.sum() + len(counts))  # smoothed: a cold item is novel, not ∞
    sizes = np.maximum(listed.sum(1), 1)
    mean_count = np.where(listed, counts[items], 0).sum(1) / sizes
    rows, of_case = cases.history_rows()
    history_counts = np.bincount(of_case, counts[interactions.item_idx[rows]], minlength=len(items))
    history_count = history_counts / np.maximum(cases.stops - cases.starts, 1)
    # A history of cold items has no popularity that could be lifted.
    lift = np.divide(mean_count, history_count, out=np.ones(len(items)), where=history_count > 0) - 1
    figures = {
        f"novelty@{LIST_LENGTH}": np.where(listed, -np.log2(share[items]), 0).sum(1) / sizes,
        f"popularity_lift@{LIST_LENGTH}": lift,
    }
    if any(categories):
        figures[f"diversity@{LIST_LENGTH}"] = _intra_list_diversity(items, categories)
    return figures


def list_figures(item_idx: npt.NDArray[np.int64], *, num_items: int, seed: int) -> dict[str, Figure]:
    """Coverage and Gini belong to all lists together; their interval resamples users' lists."""
    items = item_idx[:, :LIST_LENGTH]
    rng = np.random.default_rng(seed)
    everyone = np.arange(len(items))
    draws = [everyone] + [rng.integers(0, len(items), len(items)) for _ in range(100)]
    coverages, ginis = [], []
    for rows in draws:
        exposure = np.bincount(items[rows].ravel(), minlength=num_items + 1)[1:]
        coverages.append(np.count_nonzero(exposure) / num_items)
        ginis.append(gini(exposure))
    return {f"coverage@{LIST_LENGTH}": _interval(coverages), f"gini@{LIST_LENGTH}": _interval(ginis)}


def gini(exposure: npt.NDArray[np.int64]) -> float:
    """How unequally items are shown: 0 when all equally often, towards 1 when one alone is shown.

    Example:
        >>> gini(np.array([5, 5, 5, 5])), gini(np.array([0, 0, 0, 8]))
        (0.0, 0.75)
    """
    ascending = np.sort(exposure).astype(np.float64)
    places = np.arange(1, len(ascending) + 1)
    total = ascending.sum() * len(ascending)
    return float(((2 * places - len(ascending) - 1) * ascending).sum() / total) if total else 0.0


def _intra_list_diversity(items: npt.NDArray[np.int64], categories: Sequence[Sequence[str]]) -> npt.NDArray[np.float64]:
    """Mean over pairs of a list of 1 − Jaccard similarity of their categories; two items without any are alike."""
    column = {name: at for at, name in enumerate(sorted({name for item in categories for name in item}))}
    sizes = np.array([len(item) for item in categories])
    columns = [column[name] for item in categories for name in item]
    has = sparse.csr_matrix(
        (np.ones(len(columns)), columns, np.concatenate([[0], np.cumsum(sizes)])), shape=(len(categories), len(column))
    )
    dissimilar, pairs = np.zeros(len(items)), np.zeros(len(items))
    for one, other in combinations(items.T, 2):  # (Q,) the items at two places of every list
        both = (one > 0) & (other > 0)
        shared = np.asarray(has[one].multiply(has[other]).sum(1)).ravel()
        either = sizes[one] + sizes[other] - shared
        dissimilar += both * np.where(either > 0, 1 - shared / np.maximum(either, 1), 0.0)
        pairs += both
    return dissimilar / np.maximum(pairs, 1)


def _interval(drawn: Sequence[float]) -> Figure:
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return {"value": drawn[0], "low": float(low), "high": float(high)}
