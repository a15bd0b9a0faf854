"""Whether reasons are true: the event that is named carries the recommendation, more than one picked by chance does.

    python -m benchmarks.accuracy.reasons --bundle runs/demo

For each test case the best items are recommended, the event whose loss costs an item most is named, and another of the
user's events is drawn. A reason is faithful where the score falls without the named event, and by more than without
the drawn one.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine
from recsys.bundle import Bundle, load_bundle
from recsys.histories import case_histories
from recsys.occlusion import score_drops
from recsys.recommend import Recommender, exact_search
from recsys.run import bundle_split


def main() -> None:
    """Judge the reasons of a bundle's test cases and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--reasons", type=int, default=1000, help="how many are judged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reasons.json"))
    given = parser.parse_args()
    found = faithfulness(load_bundle(given.bundle), reasons=given.reasons, rng=np.random.default_rng(given.seed))
    found |= {"command": " ".join(["python -m benchmarks.accuracy.reasons", *sys.argv[1:]]), "seed": given.seed}
    found["machine"] = describe_machine()
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def faithfulness(bundle: Bundle, *, reasons: int, rng: np.random.Generator) -> dict[str, Any]:
    """The share of faithful reasons, and by how much scores fall without what is named and without what is drawn.

    Users with a single event, among whom nothing can be drawn, are passed over.
    """
    split, tower = bundle_split(bundle), bundle.config.user_tower
    vectors = torch.from_numpy(bundle.item_vectors)
    recommender = Recommender(
        bundle.model, vectors, bundle.reorder(vectors), bundle.config.prior.num_candidates, exact_search(vectors)
    )
    each = -(-reasons // len(split.test))
    named, drawn = [], []
    for case in range(len(split.test)):
        one = split.test[case : case + 1]
        history = case_histories(split.interactions, one, length=tower.history_length, request_time=tower.request_time)
        seen = split.interactions.item_idx[one.starts[0] : one.stops[0]].astype(np.int64)
        items = recommender.recommend(history, k=each, seen=[seen])[0].item_idx
        drops = score_drops(recommender, history, torch.from_numpy(items)).numpy()  # (E, K)
        if len(drops) < 2:
            continue
        for column in drops.T:
            best = int(column.argmax())
            named.append(column[best])
            drawn.append(column[rng.choice(np.delete(np.arange(len(column)), best))])
    lost, by_chance = np.array(named[:reasons]), np.array(drawn[:reasons])
    return {
        "bundle": bundle.fingerprint,
        "reasons": len(lost),
        "faithful": float(((lost > 0) & (lost > by_chance)).mean()),
        "score_lost_without_named": float(lost.mean()),
        "score_lost_without_drawn": float(by_chance.mean()),
    }


if __name__ == "__main__":
    main()
