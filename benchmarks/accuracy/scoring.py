"""What it takes to order the candidates of one user: to read the history, which is remembered, and to score them.

    python -m benchmarks.accuracy.scoring --bundle runs/demo

Milliseconds of one core, the median over test cases whose histories are about as long as is told.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any, TypeVar

import numpy as np
import torch

from benchmarks.accuracy.run import RESULTS
from benchmarks.accuracy.tables import write_tables
from benchmarks.machine import describe_machine
from recsys.bundle import Bundle, load_bundle
from recsys.embed import embed_histories
from recsys.errors import InputError
from recsys.histories import Histories, case_histories
from recsys.rerank import Reranker
from recsys.run import bundle_split

T = TypeVar("T")
LENGTHS = (10, 40, 100, 200)
"""Of histories, in events."""
STAGES = ("first tower", "second towers and lately", "scoring")
CASES, WARM_UP = 40, 3


def main() -> None:
    """Measure bundles, write what was found, and README's table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=RESULTS / "scoring.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        "bundles": {str(folder): measured(load_bundle(folder)) for folder in given.bundle},
        "machine": describe_machine(),
        "command": " ".join(["python -m benchmarks.accuracy.scoring", *sys.argv[1:]]),
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_tables(RESULTS)
    print(json.dumps(found, indent=1))


def measured(bundle: Bundle) -> dict[str, Any]:
    """Milliseconds of every stage for every length.

    Raises:
        InputError: The bundle has no reranker.
    """
    if bundle.reranker is None:
        raise InputError(f"bundle {bundle.fingerprint[:12]}: has no reranker, so nothing is scored. Take another one.")
    split, tower = bundle_split(bundle), bundle.config.user_tower
    lengths = np.minimum(split.test.stops - split.test.starts, tower.history_length)
    times: dict[str, dict[str, float]] = {}
    for length in LENGTHS:
        nearest = np.argsort(np.abs(lengths - length), kind="stable")[:CASES]
        histories = [
            case_histories(
                split.interactions,
                split.test[row : row + 1],
                length=tower.history_length,
                request_time=tower.request_time,
            )
            for row in nearest.tolist()
        ]
        taken = [milliseconds(bundle, bundle.reranker, one) for one in histories[:WARM_UP] + histories]
        times[str(length)] = {stage: round(median(one[stage] for one in taken[WARM_UP:]), 2) for stage in STAGES}
    return {
        "fingerprint": bundle.fingerprint,
        "candidates": bundle.config.prior.num_candidates,
        "evidence": len(bundle.reranker.evidence.names),
        "milliseconds": times,
    }


def milliseconds(bundle: Bundle, reranker: Reranker, history: Histories) -> dict[str, float]:
    """Of every stage, for one history."""
    vectors = torch.from_numpy(bundle.item_vectors)
    users, first = _timed(lambda: embed_histories(bundle.model, vectors, history))
    cosines, rows = (users @ vectors[1:].T).topk(min(bundle.config.prior.num_candidates, len(vectors) - 1))
    candidates = rows + 1
    read, second = _timed(lambda: reranker.evidence.read(history, vectors))
    _, scoring = _timed(
        lambda: reranker.weigh(cosines, candidates, history, item_vectors=vectors, users=read).probabilities
    )
    return dict(zip(STAGES, (first, second, scoring), strict=True))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = process_time()
    done = work()
    return done, (process_time() - began) * 1_000


if __name__ == "__main__":
    main()
