"""Does reranking gain more with users whose interests moved than with the others? The difference and its interval.

    python -m benchmarks.accuracy.movers

Reads the runs that `benchmarks.accuracy.run` has kept; nothing is trained. A gain is the NDCG@10 of the reranked over
that of the towers alone, less one, in each group; users are resampled. Q cases, S seeds.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.seeds import case_gains
from benchmarks.machine import describe_machine
from recsys.bundle import load_bundle
from recsys.drift import drift_groups
from recsys.interests import bundle_taxonomy
from recsys.report import RERANKED, TOWERS
from recsys.run import bundle_split

RUNS = {"ml-100k": range(5), "ml-1m": range(5), "amazon-beauty": range(5), "foursquare-nyc": range(1)}
"""Data set → the seeds it was run under."""
DRAWS = 2_000


def main() -> None:
    """Judge what there is, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    result = {
        "data": {data: judged(Path("runs") / f"bench-{data}", list(seeds)) for data, seeds in RUNS.items()},
        "command": " ".join(["python -m benchmarks.accuracy.movers", *sys.argv[1:]]),
        "machine": describe_machine(),
    }
    (given.out / "movers.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def judged(folder: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """One data set: the gain of both groups, and how much larger that of the movers is."""
    folders = [folder / f"everything-seed{seed}" for seed in seeds]
    bundle = load_bundle(folders[0])  # who moved does not depend on the seed of training
    split = bundle_split(bundle)
    groups = drift_groups(split.interactions, bundle_taxonomy(bundle), split.test, seed=0)
    by_name = np.argsort(np.array(split.interactions.user_ids)[split.test.user_idx], kind="stable")
    moved, others = (groups[group][by_name] for group in ("drift high", "drift low"))
    towers, reranked = (case_gains(folders, name).mean(0) for name in (TOWERS, RERANKED))
    found = more_with_movers(towers, reranked, moved, others, draws=DRAWS, rng=np.random.default_rng(0))
    print(folder.name, json.dumps(found), flush=True)
    return {"seeds": list(seeds), "moved": int(moved.sum()), "others": int(others.sum()), **found}


def more_with_movers(
    towers: npt.NDArray[np.float64],
    reranked: npt.NDArray[np.float64],
    moved: npt.NDArray[np.bool_],
    others: npt.NDArray[np.bool_],
    *,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Gains by group, their difference and its 95 % interval.

    Args:
        towers: ``(Q,)`` NDCG@10, a case per user.
        reranked: ``(Q,)`` of the same cases.
        moved: ``(Q,)``.
        others: ``(Q,)``; users with too few events to tell are in neither.
        draws: Resamples of users.
        rng: The source of chance.
    """

    def gain(rows: npt.NDArray[np.int64], group: npt.NDArray[np.bool_]) -> float:
        mine = rows[group[rows]]
        return float(reranked[mine].sum() / towers[mine].sum() - 1)

    everybody = np.arange(len(towers))
    drawn = [rng.integers(len(towers), size=len(towers)) for _ in range(draws)]
    differences = [gain(rows, moved) - gain(rows, others) for rows in drawn]
    low, high = np.quantile(differences, [0.025, 0.975])
    with_movers, with_others = gain(everybody, moved), gain(everybody, others)
    return {
        "gain_moved": with_movers,
        "gain_others": with_others,
        "difference": with_movers - with_others,
        "low": float(low),
        "high": float(high),
    }


if __name__ == "__main__":
    main()
