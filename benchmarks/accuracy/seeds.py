"""Train and judge one configuration under several seeds; every finished run is kept, so a stopped benchmark goes on.

Shapes: Q cases, S seeds.
"""

import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.accuracy.data import read_tables
from benchmarks.machine import describe_machine
from benchmarks.peers.judge import run_peers
from recsys.bundle import load_bundle
from recsys.config import read_config, settle_split
from recsys.metrics import bootstrap_means, case_metrics, paired_p_value
from recsys.report import BLENDED, OURS, RERANKED, Protocol, evaluate_bundle, save_report
from recsys.run import relearn_reranker, run_training
from recsys.split import make_split

SHOWN = ("ndcg@10", "recall@10", "mrr@10", "recall@50", "recall@200")
RENAMED = {"item_knn": "implicit_item_knn"}
"""A peer that bears the name of a baseline of ours."""


@dataclass(frozen=True)
class Job:
    """One configuration on one data set."""

    name: str
    interactions: Path
    items: Path
    columns: dict[str, str]
    """Of the interactions: our name → theirs."""
    overrides: tuple[str, ...]
    protocol: Protocol
    folder: Path
    """Finished runs are kept here, a folder per seed."""
    item_columns: dict[str, str] = field(default_factory=dict)
    """Of the items, likewise."""


@dataclass(frozen=True, eq=False)
class Peer:
    """A peer's figures on the cases of a job."""

    figures: dict[str, npt.NDArray[np.float64]]
    """Metric → (Q,), by user_id."""
    facts: dict[str, Any]
    """What its run says of itself: parameters, seconds, memory, versions, whether its time was up."""


def run_seed(job: Job, seed: int) -> dict[str, Any]:
    """Train and judge under one seed, unless that was done before.

    Returns:
        The metrics, and under ``"cost"`` seconds, memory and the machine.
    """
    folder = job.folder / f"{job.name}-seed{seed}"
    done = folder / "run.json"
    if done.exists():
        said: dict[str, Any] = json.loads(done.read_text())
        return said
    interactions, catalogue = read_tables(job.interactions, job.items, job.columns, job.item_columns)
    config = read_config(overrides=[*job.overrides, f"seed={seed}"])
    began = time.monotonic()
    training = run_training(interactions, catalogue, config, folder).training
    epochs = [*training["curve"], *training.get("second_curve", [])]
    cost = {
        "train_seconds": round(time.monotonic() - began, 1),
        "epoch_seconds": round(sum(epoch["seconds"] for epoch in epochs), 1),  # of those before a stop as well
    }
    return _judge(job, seed, folder, cost)


def rerank_anew(job: Job, seed: int) -> None:
    """Learn the reranker of a finished run again, its towers and prior untouched, and judge the run again."""
    folder = job.folder / f"{job.name}-seed{seed}"
    done = folder / "run.json"
    said = done.read_text()
    began = time.monotonic()
    relearn_reranker(folder)
    done.write_text(said)  # what a bundle is saved over is gone, and what the towers cost is told nowhere else
    cost = json.loads(said)["cost"]
    _judge(job, seed, folder, {**cost, "rerank_seconds": round(time.monotonic() - began, 1)})


def _judge(job: Job, seed: int, folder: Path, cost: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    metrics, rankings, cases = evaluate_bundle(load_bundle(folder), job.protocol, seed=seed)
    save_report(folder, metrics, rankings, cases)
    metrics["cost"] = {
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": describe_machine(),
        **cost,
        "evaluate_seconds": round(time.monotonic() - began, 1),
    }
    (folder / "run.json").write_text(json.dumps(metrics))
    return metrics


def summarise(job: Job, seeds: Sequence[int], peers: Mapping[str, Peer] | None = None) -> dict[str, Any]:
    """Means over seeds with bootstrap intervals over users, and ours against each other recommender, paired by case.

    Chance in a figure has two parts: a case's figure is first averaged over seeds, then users are resampled; the
    spread between seeds is told beside it.

    Args:
        job: What to train and judge; seeds that were run before are not run again.
        seeds: S of them.
        peers: `job_peers` of the same job.
    """
    peers = peers or {}
    runs = [run_seed(job, seed) for seed in seeds]
    names = list(dict.fromkeys(name for run in runs for name in run["recommenders"]))
    folders = [job.folder / f"{job.name}-seed{seed}" for seed in seeds]
    gains = {name: case_gains(folders, name) for name in names}  # name → (S, Q) of NDCG@10
    gains |= {name: peer.figures["ndcg@10"][None] for name, peer in peers.items()}
    users = np.arange(gains[OURS[0]].shape[1])
    recommenders = {}
    for name, per_seed in gains.items():
        if name in peers:
            means = {metric: [float(peers[name].figures[metric].mean())] for metric in SHOWN}
        else:
            means = {metric: [_figures(run, name)[metric]["value"] for run in runs] for metric in SHOWN}
        drawn = bootstrap_means(per_seed.mean(0)[:, None], users, draws=1000, rng=np.random.default_rng(0))
        low, high = np.quantile(drawn, [0.025, 0.975])
        recommenders[name] = {
            **{metric: float(np.mean(values)) for metric, values in means.items()},
            "ndcg@10_low": float(low),
            "ndcg@10_high": float(high),
            "ndcg@10_by_seed": means["ndcg@10"],
        }
    baselines = [name for name in gains if name not in OURS]
    p_values = {
        ours: {
            other: paired_p_value(
                gains[ours].mean(0), gains[other].mean(0), users, draws=10_000, rng=np.random.default_rng(0)
            )
            for other in (*baselines, *(name for name in OURS if name != ours and name in gains))
        }
        for ours in OURS
        if ours in gains
    }
    return {
        "name": job.name,
        "overrides": list(job.overrides),
        "seeds": list(seeds),
        "protocol": runs[0]["protocol"],
        "recommenders": recommenders,
        "p_values": p_values,
        "calibration": [run.get("calibration") for run in runs],
        "drift_groups": _by_drift(runs),
        "cost": [run["cost"] for run in runs],
        "peers": {name: peer.facts for name, peer in peers.items()},
    }


def _by_drift(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """NDCG@10 of ours for users whose interests moved, and for the others: group → recommender → mean over seeds."""
    groups = [group for group in runs[0]["groups"] if group.startswith("drift")]
    return {
        group: {
            name: float(np.mean([run["groups"][group][name]["ndcg@10"]["value"] for run in runs]))
            for name in OURS
            if all(name in run["groups"][group] for run in runs)
        }
        for group in groups
    }


def job_peers(job: Job, names: Sequence[str], *, minutes: float) -> dict[str, Peer]:
    """Let peers learn from the same rows and rank the same cases; what was run before is not run again."""
    interactions, catalogue = read_tables(job.interactions, job.items, job.columns, job.item_columns)
    config = read_config(overrides=job.overrides)
    split = make_split(interactions, settle_split(config.split, has_clock=interactions.occurred_at is not None))
    request_time = job.protocol.request_time
    found = run_peers(split, catalogue, names, job.folder / "peers", request_time=request_time, minutes=minutes)
    # A case per user: in the order of their names, as `case_gains` has them.
    by_name = np.argsort(np.array(interactions.user_ids)[split.test.user_idx], kind="stable")
    return {
        RENAMED.get(name, name): Peer(
            {metric: of[by_name] for metric, of in case_metrics(peer.judged.ranks, split.test.target_cases).items()},
            peer.facts,
        )
        for name, peer in found.items()
    }


def _figures(run: dict[str, Any], name: str) -> dict[str, Any]:
    """What a run says of a recommender; where the reranker did not pay and was left out, what is served instead."""
    found: dict[str, Any] = run["recommenders"].get(name) or run["recommenders"][BLENDED]
    return found


def case_gains(folders: Sequence[Path], recommender: str) -> npt.NDArray[np.float64]:
    """NDCG@10 of every case under every seed, recomputed from what the S runs left: (S, Q), by user_id."""
    rows = []
    for folder in folders:
        rankings = pl.scan_parquet(folder / "rankings.parquet")
        if recommender == RERANKED and rankings.filter(pl.col("recommender") == RERANKED).limit(1).collect().is_empty():
            recommender = BLENDED  # it did not pay and was left out
        found = rankings.filter((pl.col("recommender") == recommender) & (pl.col("rank") <= 10)).select(
            "user_id", "item_id", "rank"
        )
        cases = pl.scan_parquet(folder / "cases.parquet")
        gains = (
            cases.join(found, on=["user_id", "item_id"], how="left")
            .select("user_id", gain=(1 / (pl.col("rank") + 1).cast(pl.Float64).log(2)).fill_null(0.0))
            .sort("user_id")
            .collect()
        )
        rows.append(gains["gain"].to_numpy())
    return np.stack(rows)
