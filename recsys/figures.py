"""Everything metrics.json says, from what recommenders did: means, intervals, groups, comparisons.

Shapes: Q cases, N items, L targets, K ranking length.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.catalogue import Catalogue
from recsys.drift import drift_groups
from recsys.evaluate import Judged
from recsys.interactions import Interactions
from recsys.lists import Figure, list_case_figures, list_figures
from recsys.metrics import bootstrap_means, case_metrics, paired_p_values
from recsys.split import Cases
from recsys.taxonomy import Taxonomy

DRAWS = 1000
GROUP_METRICS = ("recall@10", "ndcg@10", "mrr@10", "recall@200")

CaseFigures = Mapping[str, npt.NDArray[np.float64]]
"""Metric → (Q,) what each case has by itself."""


@dataclass(frozen=True, eq=False)
class Ground:
    """What all recommenders of a report are judged on."""

    interactions: Interactions
    catalogue: Catalogue
    cases: Cases
    counts: npt.NDArray[np.int64]
    """(N + 1,) how often each item was trained on."""
    seed: int
    taxonomy: Taxonomy | None = None
    """What items are of interest for; None leaves the groups by drift out."""


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
        name: figures | list_figures(judged[name].item_idx, num_items=len(ground.catalogue), seed=ground.seed)
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
    return case_metrics(one.ranks, ground.cases.target_cases) | list_case_figures(
        one.item_idx, ground.cases, ground.interactions, ground.counts, ground.catalogue.categories
    )


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


def _groups(ground: Ground) -> dict[str, npt.NDArray[np.bool_]]:
    """Cases by the length of their history, whether interests moved in it, and how often their target was trained on.

    It is the first target that counts. Head items hold the most chosen half of all training interactions, middle
    items the next three tenths.
    """
    cases, counts = ground.cases, ground.counts
    lengths = cases.stops - cases.starts
    groups = {
        "history 1-9": lengths < 10,
        "history 10-49": (lengths >= 10) & (lengths < 50),
        "history 50-199": (lengths >= 50) & (lengths < 200),
        "history 200+": lengths >= 200,
    }
    if ground.taxonomy is not None:
        groups |= drift_groups(ground.interactions, ground.taxonomy, cases, seed=ground.seed)
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    share_before = np.empty(len(counts))
    share_before[order] = before / counts.sum()
    first = cases.first_targets()
    target = ground.interactions.item_idx[first]
    cold = counts[target] == 0
    place = share_before[target]
    return groups | {
        "target head": ~cold & (place < 0.5),
        "target middle": ~cold & (place >= 0.5) & (place < 0.8),
        "target tail": ~cold & (place >= 0.8),
        "target cold": cold,
    }
