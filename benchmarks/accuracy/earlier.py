"""When the reranker learns: on validation cases, as it does, or on a period before them, which costs a second training.

    python -m benchmarks.accuracy.earlier ml-100k

Reads the runs that `benchmarks.accuracy.run` has kept. For each, the last event of every user is taken away and all is
trained once more: that run's validation cases lie before those of the kept run, and so does all that its reranker has
learnt from. Its networks then reorder what the kept run retrieves, beside the reranker of the kept run.

Shapes: Q cases, S seeds.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.data import BENCHMARKS
from benchmarks.machine import describe_machine
from recsys.bundle import MANIFEST, Bundle, load_bundle
from recsys.evaluate import target_ranks
from recsys.interactions import Interactions
from recsys.metrics import ndcg, paired_p_value
from recsys.report import RERANKED, TOWERS, tower_scorers
from recsys.rerank import Reranker
from recsys.run import bundle_split, reranker_evidence, run_training
from recsys.split import keep, without_request_time

EARLIER = "learnt before validation"


def main() -> None:
    """Train what is missing, judge, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=[name for name, each in BENCHMARKS.items() if "leave-one-out" in each.split[0]])
    parser.add_argument("--seed", type=int, nargs="+", default=None, help="other seeds than the benchmark's")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    seeds = given.seed or BENCHMARKS[given.data].seeds
    figures: dict[str, list[npt.NDArray[np.float64]]] = {TOWERS: [], RERANKED: [], EARLIER: []}  # S of (Q,)
    for seed in seeds:
        runs = Path("runs") / f"bench-{given.data}"
        kept = load_bundle(runs / f"everything-seed{seed}")
        found = judged(kept, trained_earlier(kept, runs / f"earlier-seed{seed}"), asks_when(given.data))
        for name, each in found.items():
            figures[name].append(each)
            print(f"seed {seed}, {name}: {each.mean():.4f}", flush=True)
    means = {name: np.mean(each, axis=0) for name, each in figures.items()}
    result = {
        "data": given.data,
        "seeds": list(seeds),
        "ndcg@10": {
            name: {
                "mean": float(mean.mean()),
                "seeds": [float(each.mean()) for each in figures[name]],
                "gain_over_towers": float(mean.mean() / means[TOWERS].mean() - 1),
            }
            for name, mean in means.items()
        },
        "p_validation_is_better": paired_p_value(
            means[RERANKED],
            means[EARLIER],
            np.arange(len(means[TOWERS])),  # a case per user
            draws=10_000,
            rng=np.random.default_rng(0),
        ),
        "cases": len(means[TOWERS]),
        "command": " ".join(["python -m benchmarks.accuracy.earlier", *sys.argv[1:]]),
        "machine": describe_machine(),
    }
    target = given.out / f"{given.data}-earlier.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def asks_when(data: str) -> bool:
    """Whether requests of a benchmark know their instant."""
    return BENCHMARKS[data].protocol.request_time


def trained_earlier(kept: Bundle, folder: Path) -> Bundle:
    """The same configuration trained on the same table without the last event of each user."""
    if (folder / MANIFEST).exists():
        return load_bundle(folder)
    return run_training(without_last(kept.interactions), kept.catalogue, kept.config, folder)


def without_last(interactions: Interactions) -> Interactions:
    """A copy of the table in which the newest event of each user never happened."""
    mask = np.ones(len(interactions.item_idx), bool)
    came = np.diff(interactions.starts) > 0
    mask[interactions.starts[1:][came] - 1] = False
    return keep(interactions, mask)


def judged(kept: Bundle, earlier: Bundle, request_time: bool) -> dict[str, npt.NDArray[np.float64]]:
    """(Q,) NDCG@10 of the kept run's test cases: its towers, its reranker, and that of the earlier run."""
    split = bundle_split(kept)
    test = split.test if request_time else without_request_time(split.test, split.interactions)
    assert earlier.reranker is not None  # it pays on all these sets
    evidence = reranker_evidence(kept, split)
    left_out = tuple(name for name in evidence.names if name not in earlier.reranker.evidence.names)
    moved = Reranker(replace(evidence, left_out=left_out), earlier.reranker.nets, earlier.reranker.platt)
    ours = tower_scorers(kept, allow_repeats=False)
    theirs = tower_scorers(replace(kept, reranker=moved), allow_repeats=False)
    scorers = {TOWERS: ours[TOWERS], RERANKED: ours[RERANKED], EARLIER: theirs[RERANKED]}
    return {
        name: ndcg(target_ranks(scorer, test, split.interactions), test.target_cases, k=10)
        for name, scorer in scorers.items()
    }


if __name__ == "__main__":
    main()
