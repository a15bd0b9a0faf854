"""Judge recommenders on held-out cases: the same cases, the same masks, the same ties for all of them.

Shapes: Q cases, N items, L targets, K ranking length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from recsys.baselines import Scorer
from recsys.catalogue import Catalogue
from recsys.interactions import Interactions
from recsys.metrics import bootstrap_means, case_metrics, paired_p_value
from recsys.ranking import OUT, expected_ranks, mask_seen, top_k
from recsys.split import Cases

RANKING_LENGTH = 200
CASES_AT_ONCE = 256
LIST_LENGTH = 10
"""Coverage, novelty and the like describe lists of this length."""
DRAWS = 1000

Figure = dict[str, float]
"""value, and the 95 % interval of its bootstrap over users: low, high."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What one recommender did with all cases."""

    ranks: npt.NDArray[np.float64]
    """(L,) expected rank of each target, 1 = best."""
    item_idx: npt.NDArray[np.int64]
    """(Q, K) what it ranked first, 0 where nothing more could be recommended."""
    scores: npt.NDArray[np.float32]
    """(Q, K) of those."""


def judge(score: Scorer, cases: Cases, interactions: Interactions, *, allow_repeats: bool = False) -> Judged:
    """Let a recommender score the whole catalogue for every case.

    Args:
        score: Gives (Q, N + 1) scores.
        cases: What is asked.
        interactions: The table that the cases point into.
        allow_repeats: Whether items of the history may be recommended again.
    """
    ranks, rankings, scores = [], [], []
    for at in range(0, len(cases), CASES_AT_ONCE):
        part = cases[at : at + CASES_AT_ONCE]
        of_items = score(part)
        of_items[:, 0] = OUT
        if not allow_repeats:
            mask_seen(of_items, interactions, part)
        targets = torch.from_numpy(interactions.item_idx[part.target_rows].astype(np.int64))
        ranks.append(expected_ranks(of_items, torch.from_numpy(part.target_cases), targets).numpy())
        best, best_scores = top_k(of_items, RANKING_LENGTH)
        rankings.append(best.numpy())
        scores.append(best_scores.numpy())
    return Judged(np.concatenate(ranks), np.concatenate(rankings), np.concatenate(scores))


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
    cases = ground.cases
    per_case = {name: _case_figures(one, ground) for name, one in judged.items()}
    recommenders = {
        name: _figures(per_case[name], cases.user_idx, seed=ground.seed) | _list_figures(judged[name], ground)
        for name in judged
    }
    groups = {
        group: {
            name: _figures({m: per_case[name][m][rows] for m in GROUP_METRICS}, cases.user_idx[rows], seed=ground.seed)
            for name in judged
        }
        | {"cases": int(rows.sum())}
        for group, rows in _groups(ground).items()
        if rows.any()
    }
    compared = {
        name: {
            metric: paired_p_value(
                per_case[best][metric],
                per_case[name][metric],
                cases.user_idx,
                draws=10_000,
                rng=np.random.default_rng(ground.seed),
            )
            for metric in GROUP_METRICS
        }
        for name in judged
        if name != best
    }
    return {
        "protocol": dict(protocol),
        "recommenders": recommenders,
        "groups": groups,
        "p_values": {"better": best, "than": compared},
    }


GROUP_METRICS = ("recall@10", "ndcg@10", "mrr@10", "recall@200")


def rankings_frame(judged: Mapping[str, Judged], ground: Ground) -> pl.DataFrame:
    """rankings.parquet: recommender, user_id, item_id, rank (1..200), score. A row per recommended item."""
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
                    "rank": (place + 1).astype(np.int16),
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
    history_count = np.array(
        [
            ground.counts[ground.interactions.item_idx[start:stop]].mean() if stop > start else np.nan
            for start, stop in zip(ground.cases.starts, ground.cases.stops, strict=True)
        ]
    )
    figures = {
        f"novelty@{LIST_LENGTH}": np.where(listed, -np.log2(share[items]), 0).sum(1) / sizes,
        f"popularity_lift@{LIST_LENGTH}": np.nan_to_num(mean_count / np.maximum(history_count, 1e-12) - 1),
    }
    if any(ground.catalogue.categories):
        figures[f"diversity@{LIST_LENGTH}"] = _intra_list_diversity(items, ground.catalogue.categories)
    return figures


def _intra_list_diversity(items: npt.NDArray[np.int64], categories: Sequence[Sequence[str]]) -> npt.NDArray[np.float64]:
    """Mean over pairs of a list of 1 − Jaccard similarity of their categories; two items without any are alike."""
    names = sorted({name for item in categories for name in item})
    column = {name: at for at, name in enumerate(names)}
    has = np.zeros((len(categories), len(names)), np.float32)
    for row, item in enumerate(categories):
        has[row, [column[name] for name in item]] = 1
    diversity = np.zeros(len(items))
    for row, listed in enumerate(items):
        mine = has[listed[listed > 0]]
        if len(mine) < 2:
            continue
        shared = mine @ mine.T
        sizes = mine.sum(1)
        either = sizes[:, None] + sizes - shared
        similarity = np.where(either > 0, shared / np.maximum(either, 1), 1.0)
        pairs = np.triu_indices(len(mine), 1)
        diversity[row] = 1 - similarity[pairs].mean()
    return diversity


def _figures(
    per_case: Mapping[str, npt.NDArray[np.float64]], users: npt.NDArray[np.int64], *, seed: int
) -> dict[str, Figure]:
    table = np.stack(list(per_case.values()), axis=1)
    means = bootstrap_means(table, users, draws=DRAWS, rng=np.random.default_rng(seed))
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {
        name: {"value": float(table[:, at].mean()), "low": float(low[at]), "high": float(high[at])}
        for at, name in enumerate(per_case)
    }


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
