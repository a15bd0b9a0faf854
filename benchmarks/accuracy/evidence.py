"""What each kind of evidence brings: the reranker learnt again without one kind at a time, judged on the same cases.

    python -m benchmarks.accuracy.evidence ml-100k

Reads the runs that `benchmarks.accuracy.run` has kept; their towers and priors are not touched. "Lately against for
long" leaves out whatever could tell what the user was interested in of late from what the user always was. "Weights
fixed" retrieves by the items of the history alone, each event weighing half as much as one so many events later:
what the towers' attention, which learns such weights, has to be better than. Users whose interests moved and the
others are told apart.

Shapes: Q cases, S seeds, N items.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.accuracy.data import BENCHMARKS
from benchmarks.machine import describe_machine
from recsys.baselines import Scorer
from recsys.bundle import Bundle, load_bundle
from recsys.drift import drift_groups
from recsys.evaluate import target_ranks
from recsys.evidence import HABITS, INTERESTS, LIKENESS, TIMES, steps_back
from recsys.histories import case_histories
from recsys.interests import bundle_taxonomy
from recsys.metrics import ndcg, paired_p_value
from recsys.report import BLENDED, RERANKED, TOWERS, tower_scorers
from recsys.run import bundle_split, learn_reranker, reranker_evidence
from recsys.split import Cases, Split, without_request_time

EVERYTHING = "all evidence"
LEFT_OUT = {
    EVERYTHING: (),
    "no habits": HABITS,
    "no likeness": LIKENESS,
    "no interests": (*INTERESTS, "moved"),
    "lately not told from for long": ("interest_short", "interest_middle", "interest_gap", "moved"),
    "no popularity in time": TIMES,
    "no second towers": ("fit_again", "fit_again_lately"),
    "no reading of lately alone": ("fit_lately", "fit_again_lately"),
}
"""Name of a variant → columns of the evidence that it does without."""
WEIGHTS_FIXED = {
    "weights fixed, half-life 3 events": 3.0,
    "weights fixed, half-life 10 events": 10.0,
    "weights fixed, all events alike": float("inf"),
}


def main() -> None:
    """Learn, judge, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=BENCHMARKS)
    parser.add_argument("--seed", type=int, nargs="+", default=None, help="other seeds than the benchmark's")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    benchmark = BENCHMARKS[given.data]
    seeds = given.seed or benchmark.seeds
    gains: dict[str, list[npt.NDArray[np.float64]]] = {}  # variant → S of (Q,)
    for seed in seeds:
        bundle = load_bundle(Path("runs") / f"bench-{given.data}" / f"everything-seed{seed}")
        split = bundle_split(bundle)
        if not benchmark.protocol.request_time:
            split = replace(split, test=without_request_time(split.test, split.interactions))
        for name, figures in gains_of(bundle, split).items():
            gains.setdefault(name, []).append(figures)
            print(f"seed {seed}, {name}: {figures.mean():.4f}", flush=True)
    # The last seed's cases are those of all: the split does not depend on the seed.
    groups = drift_groups(split.interactions, bundle_taxonomy(bundle), split.test, seed=0)
    result = {
        "data": given.data,
        "seeds": list(seeds),
        "variants": summary({name: np.mean(each, axis=0) for name, each in gains.items()}, groups),
        "cases": {"all": len(split.test), **{group: int(mask.sum()) for group, mask in groups.items()}},
        "command": " ".join(["python -m benchmarks.accuracy.evidence", *sys.argv[1:]]),
        "machine": describe_machine(),
    }
    target = given.out / f"{given.data}-evidence.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def gains_of(bundle: Bundle, split: Split) -> dict[str, npt.NDArray[np.float64]]:
    """(Q,) NDCG@10 of the test cases: of the towers, with weights fixed, of the prior, of rerankers with some evidence.

    Where a reranker does not pay, the prior's order is what would be served, and counts.
    """
    whole = reranker_evidence(bundle, split)
    scorers = {name: tower_scorers(bundle, allow_repeats=False)[name] for name in (TOWERS, BLENDED)}
    scorers |= {name: fixed_weights(bundle, half_life) for name, half_life in WEIGHTS_FIXED.items()}
    for name, left_out in LEFT_OUT.items():
        evidence = replace(whole, left_out=left_out)
        learnt = replace(bundle, reranker=learn_reranker(bundle, split, evidence=evidence))
        scorers[name] = tower_scorers(learnt, allow_repeats=False)[BLENDED if learnt.reranker is None else RERANKED]
    return {
        name: ndcg(target_ranks(scorer, split.test, split.interactions), split.test.target_cases, k=10)
        for name, scorer in scorers.items()
    }


def fixed_weights(bundle: Bundle, half_life: float) -> Scorer:
    """What is near the mean of the history's items, each event weighing half as much as one ``half_life`` later."""
    item_vectors, length = torch.from_numpy(bundle.item_vectors), bundle.config.user_tower.history_length

    def scores(cases: Cases) -> Tensor:  # (Q, N + 1)
        item_idx = case_histories(bundle.interactions, cases, length=length).item_idx
        weight = 0.5 ** (steps_back(item_idx) / half_life) * (item_idx > 0)
        users = (weight[:, None] @ F.embedding(item_idx, item_vectors))[:, 0]
        return F.normalize(users, dim=-1) @ item_vectors.T

    return scores


def summary(
    gains: Mapping[str, npt.NDArray[np.float64]], groups: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, dict[str, Any]]:
    """NDCG@10 by variant and group, and how likely it is by chance that all the evidence ranks better.

    Where weights are fixed, how likely it is by chance that the towers do.

    Args:
        gains: Variant → ``(Q,)``, means over seeds.
        groups: Name → ``(Q,)`` mask.
    """

    def whole_of(name: str) -> npt.NDArray[np.float64]:
        return gains[TOWERS if name in WEIGHTS_FIXED else EVERYTHING]

    everybody = {"all": np.ones(len(gains[EVERYTHING]), bool), **groups}
    return {
        name: {
            group: {
                "ndcg@10": float(figures[mask].mean()) if mask.any() else None,
                "p": _p_value(whole_of(name)[mask], figures[mask]) if name != EVERYTHING and mask.any() else None,
            }
            for group, mask in everybody.items()
        }
        for name, figures in gains.items()
    }


def _p_value(whole: npt.NDArray[np.float64], part: npt.NDArray[np.float64]) -> float:
    """One-sided, paired; every case is of another user."""
    return paired_p_value(whole, part, np.arange(len(whole)), draws=10_000, rng=np.random.default_rng(0))


if __name__ == "__main__":
    main()
