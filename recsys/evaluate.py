"""Judge recommenders on held-out cases: the same cases, the same masks, the same ties for all of them.

Shapes: Q cases, N items, L targets, K ranking length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from scipy import sparse
from torch import Tensor

from recsys.baselines import Scorer
from recsys.catalogue import Catalogue
from recsys.interactions import Interactions
from recsys.metrics import bootstrap_means, case_metrics, paired_p_values
from recsys.ranking import OUT, expected_ranks, mask_seen, ranked_up_to
from recsys.split import Cases

RANKING_LENGTH = 200
CASES_AT_ONCE = 256
LIST_LENGTH = 10
"""Coverage, novelty and the like describe lists of this length."""
DRAWS = 1000

Figure = dict[str, float]
"""value, and the 95 % interval of its bootstrap over users: low, high."""
CaseFigures = Mapping[str, npt.NDArray[np.float64]]
"""Metric → (Q,) what each case has by itself."""


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


def judge(score: Scorer, cases: Cases, interactions: Interactions, *, allow_repeats: bool = False) -> Judged:
    """Let a recommender rank the whole catalogue for every case.

    A target's rank is read off the list that is kept: what metrics.json says can be recomputed from rankings.parquet.

    Args:
        score: Gives (Q, N + 1) scores.
        cases: What is asked; at least one.
        interactions: The table that the cases point into.
        allow_repeats: Whether items of the history may be recommended again.
    """
    ranks, lists = [], []
    for part, scores in _scored(score, cases, interactions, allow_repeats=allow_repeats):
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
    score: Scorer, cases: Cases, interactions: Interactions, *, allow_repeats: bool = False
) -> npt.NDArray[np.float64]:  # (L,)
    """The expected ranks alone, without the lists: enough to choose by, and much less work than `judge`."""
    ranks = [
        expected_ranks(
            scores,
            torch.from_numpy(part.target_cases),
            torch.from_numpy(interactions.item_idx[part.target_rows].astype(np.int64)),
        ).numpy()
        for part, scores in _scored(score, cases, interactions, allow_repeats=allow_repeats)
    ]
    return np.concatenate(ranks)


def _scored(
    score: Scorer, cases: Cases, interactions: Interactions, *, allow_repeats: bool
) -> Iterator[tuple[Cases, Tensor]]:
    """Consecutive cases with their (Q, N + 1) scores, −∞ for what may not be recommended."""
    for at in range(0, len(cases), CASES_AT_ONCE):
        part = cases[at : at + CASES_AT_ONCE]
        scores = score(part)
        scores[:, 0] = OUT
        scores[scores.isnan()] = OUT  # sorting would put what is not a number first
        if not allow_repeats:
            mask_seen(scores, interactions, part)
        yield part, scores


@dataclass(frozen=True, eq=False)
class Ground:
    """What all recommenders of a report are judged on."""

    interactions: Interactions
    catalogue: Catalogue
    cases: Cases
    counts: npt.NDArray[np.int64]
    """(N + 1,) how often each item was trained on."""
    seed: int


def report(judged: Mapping[str, Judged], ground: Ground, protocol: Mapping[str, Any], *, best: str) -> dict[str, Any]:
    """Everything metrics.json says.

    Args:
        judged: Recommender → what it did; all on ``ground.cases``.
        ground: The cases and what their items and users are like.
        protocol: What was done.
        best: The recommender that is compared with every other by a paired bootstrap.
    """
    users = ground.cases.user_idx
    per_case = {name: _case_figures(one, ground) for name, one in judged.items()}
    recommenders = {
        name: figures | _list_figures(judged[name], ground)
        for name, figures in _figures(per_case, users, seed=ground.seed).items()
    }
    in_groups = {name: {metric: figures[metric] for metric in GROUP_METRICS} for name, figures in per_case.items()}
    groups: dict[str, Any] = {
        group: _figures(in_groups, users, seed=ground.seed, among=rows) | {"cases": int(rows.sum())}
        for group, rows in _groups(ground).items()
        if rows.any()
    }
    return {
        "protocol": dict(protocol),
        "recommenders": recommenders,
        "groups": groups,
        "p_values": {"better": best, "than": _compared(in_groups, users, best=best, seed=ground.seed)},
    }


GROUP_METRICS = ("recall@10", "ndcg@10", "mrr@10", "recall@200")


def rankings_frame(judged: Mapping[str, Judged], ground: Ground) -> pl.DataFrame:
    """rankings.parquet: recommender, user_id, item_id, rank (1..200), score. A row per recommended item, best first.

    Items whose scores tie share their expected rank, which is what the metrics count.
    """
    frames = []
    users = np.array(ground.interactions.user_ids, dtype=object)[ground.cases.user_idx]
    item_ids = np.array(ground.catalogue.item_ids, dtype=object)
    for name, one in judged.items():
        row, place = np.nonzero(one.item_idx)
        frames.append(
            pl.DataFrame(
                {
                    "recommender": pl.repeat(name, len(row), eager=True),
                    "user_id": pl.Series(users[row], dtype=pl.String),
                    "item_id": pl.Series(item_ids[one.item_idx[row, place]], dtype=pl.String),
                    "rank": one.list_ranks[row, place],
                    "score": one.scores[row, place],
                }
            )
        )
    return pl.concat(frames)


def cases_frame(ground: Ground) -> pl.DataFrame:
    """cases.parquet: user_id, item_id (a held-out target), requested_at. A row per target."""
    cases, interactions = ground.cases, ground.interactions
    owners = cases.user_idx[cases.target_cases]
    requested_at = cases.requested_at
    return pl.DataFrame(
        {
            "user_id": [interactions.user_ids[user] for user in owners],
            "item_id": [ground.catalogue.item_ids[idx] for idx in interactions.item_idx[cases.target_rows]],
            "requested_at": None if requested_at is None else requested_at[cases.target_cases],
        },
        schema={"user_id": pl.String, "item_id": pl.String, "requested_at": pl.Int64},
    )


def _case_figures(one: Judged, ground: Ground) -> dict[str, npt.NDArray[np.float64]]:
    """Figures that each case has by itself: accuracy, and what its list is like."""
    return case_metrics(one.ranks, ground.cases.target_cases) | _list_case_figures(one, ground)


def _list_case_figures(one: Judged, ground: Ground) -> dict[str, npt.NDArray[np.float64]]:
    items = one.item_idx[:, :LIST_LENGTH]
    listed = items > 0
    share = (ground.counts + 1) / (ground.counts.sum() + len(ground.counts))  # smoothed: a cold item is novel, not ∞
    sizes = np.maximum(listed.sum(1), 1)
    mean_count = np.where(listed, ground.counts[items], 0).sum(1) / sizes
    rows, of_case = ground.cases.history_rows()
    history_counts = np.bincount(of_case, ground.counts[ground.interactions.item_idx[rows]], minlength=len(items))
    history_count = history_counts / np.maximum(ground.cases.stops - ground.cases.starts, 1)
    # A history of cold items has no popularity that could be lifted.
    lift = np.divide(mean_count, history_count, out=np.ones(len(items)), where=history_count > 0) - 1
    figures = {
        f"novelty@{LIST_LENGTH}": np.where(listed, -np.log2(share[items]), 0).sum(1) / sizes,
        f"popularity_lift@{LIST_LENGTH}": lift,
    }
    if any(ground.catalogue.categories):
        figures[f"diversity@{LIST_LENGTH}"] = _intra_list_diversity(items, ground.catalogue.categories)
    return figures


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


def _figures(
    per_case: Mapping[str, CaseFigures],
    users: npt.NDArray[np.int64],
    *,
    seed: int,
    among: npt.NDArray[np.bool_] | slice = slice(None),
) -> dict[str, dict[str, Figure]]:
    """Recommender → metric → its mean over some cases; all on the same resamples of users."""
    names = [(name, metric) for name, figures in per_case.items() for metric in figures]
    table = np.stack([per_case[name][metric][among] for name, metric in names], axis=1)
    means = bootstrap_means(table, users[among], draws=DRAWS, rng=np.random.default_rng(seed))
    values, (low, high) = table.mean(0), np.quantile(means, [0.025, 0.975], axis=0)
    figures: dict[str, dict[str, Figure]] = {name: {} for name in per_case}
    for at, (name, metric) in enumerate(names):
        figures[name][metric] = {"value": float(values[at]), "low": float(low[at]), "high": float(high[at])}
    return figures


def _compared(
    per_case: Mapping[str, CaseFigures], users: npt.NDArray[np.int64], *, best: str, seed: int
) -> dict[str, dict[str, float]]:
    """Recommender → metric → the p-value of its not being worse than ``best``."""
    names = [(name, metric) for name, figures in per_case.items() if name != best for metric in figures]
    differences = np.stack([per_case[best][metric] - per_case[name][metric] for name, metric in names], axis=1)
    p_values = paired_p_values(differences, users, draws=10_000, rng=np.random.default_rng(seed))
    compared: dict[str, dict[str, float]] = {name: {} for name in per_case if name != best}
    for (name, metric), p_value in zip(names, p_values, strict=True):
        compared[name][metric] = float(p_value)
    return compared


def _list_figures(one: Judged, ground: Ground) -> dict[str, Figure]:
    """Coverage and Gini belong to all lists together; their interval resamples users' lists."""
    items = one.item_idx[:, :LIST_LENGTH]
    rng = np.random.default_rng(ground.seed)
    num_items = len(ground.catalogue)
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


def _interval(drawn: Sequence[float]) -> Figure:
    low, high = np.quantile(drawn[1:], [0.025, 0.975])
    return {"value": drawn[0], "low": float(low), "high": float(high)}


def _groups(ground: Ground) -> dict[str, npt.NDArray[np.bool_]]:
    """Cases by the length of their history and by how often their (first) target was trained on.

    Head items hold the most chosen half of all training interactions, middle items the next three tenths.
    """
    cases, counts = ground.cases, ground.counts
    lengths = cases.stops - cases.starts
    groups = {
        "history 1-9": lengths < 10,
        "history 10-49": (lengths >= 10) & (lengths < 50),
        "history 50-199": (lengths >= 50) & (lengths < 200),
        "history 200+": lengths >= 200,
    }
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    share_before = np.empty(len(counts))
    share_before[order] = before / counts.sum()
    first = cases.target_rows[np.unique(cases.target_cases, return_index=True)[1]]
    target = ground.interactions.item_idx[first]
    cold = counts[target] == 0
    place = share_before[target]
    return groups | {
        "target head": ~cold & (place < 0.5),
        "target middle": ~cold & (place >= 0.5) & (place < 0.8),
        "target tail": ~cold & (place >= 0.8),
        "target cold": cold,
    }
