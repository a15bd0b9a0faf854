"""What each kind of evidence brings: the reranker learnt again without one kind at a time, judged on the same cases.

    python -m benchmarks.accuracy.evidence ml-100k

Reads the runs that `benchmarks.accuracy.run` has kept; their towers and priors are not touched. "Lately against for
long" leaves out whatever could tell what the user was interested in of late from what the user always was. Users whose
interests moved and the others are told apart.

Shapes: Q cases, S seeds.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.data import BENCHMARKS
from benchmarks.machine import describe_machine
from recsys.bundle import Bundle, load_bundle
from recsys.drift import drift_groups
from recsys.evaluate import target_ranks
from recsys.evidence import HABITS, INTERESTS, LIKENESS, TIMES, Evidence
from recsys.interests import bundle_taxonomy
from recsys.metrics import ndcg, paired_p_value
from recsys.report import BLENDED, RERANKED, TOWERS, tower_scorers
from recsys.run import bundle_split, learn_reranker, reranker_evidence
from recsys.split import Split, without_request_time

EVERYTHING = "all evidence"
LEFT_OUT = {
    EVERYTHING: (),
    "no habits": HABITS,
    "no likeness": LIKENESS,
    "no interests": (*INTERESTS, "moved"),
    "lately not told from for long": ("interest_short", "interest_middle", "interest_gap", "moved"),
    "no popularity in time": TIMES,
}
"""Name of a variant → columns of the evidence that it does without."""


@dataclass(frozen=True, eq=False)
class Without(Evidence):
    """Evidence of which some columns are not measured."""

    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns that stay."""
        return tuple(name for name in super().names if name not in self.left_out)


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
    """(Q,) NDCG@10 of the test cases: of the towers, of the prior, and of rerankers learnt from some of the evidence.

    Where a reranker does not pay, the prior's order is what would be served, and counts.
    """
    whole = reranker_evidence(bundle, split)
    scorers = {name: tower_scorers(bundle, allow_repeats=False)[name] for name in (TOWERS, BLENDED)}
    for name, left_out in LEFT_OUT.items():
        evidence = Without(**{part.name: getattr(whole, part.name) for part in fields(whole)}, left_out=left_out)
        learnt = replace(bundle, reranker=learn_reranker(bundle, split, evidence=evidence))
        scorers[name] = tower_scorers(learnt, allow_repeats=False)[BLENDED if learnt.reranker is None else RERANKED]
    return {
        name: ndcg(target_ranks(scorer, split.test, split.interactions), split.test.target_cases, k=10)
        for name, scorer in scorers.items()
    }


def summary(
    gains: Mapping[str, npt.NDArray[np.float64]], groups: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, dict[str, Any]]:
    """NDCG@10 by variant and group, and how likely it is by chance that all the evidence ranks better.

    Args:
        gains: Variant → ``(Q,)``, means over seeds.
        groups: Name → ``(Q,)`` mask.
    """
    everybody = {"all": np.ones(len(gains[EVERYTHING]), bool), **groups}
    return {
        name: {
            group: {
                "ndcg@10": float(figures[mask].mean()) if mask.any() else None,
                "p": _p_value(gains[EVERYTHING][mask], figures[mask]) if name != EVERYTHING and mask.any() else None,
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
