"""GPU kinds on many rows, beside torch's matrix product and top-k, which is the floor an index must beat.

    python -m benchmarks.index.gpu --rows 10000000 --batch 1024 --out runs/bench-index-gpu

Filters are checked against brute force on the GPU. Kinds that the FAISS build at hand lacks are named and left out.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.index import material
from benchmarks.machine import describe_machine
from index import faiss_build
from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.kinds import GpuCagra, GpuExact, GpuIVFFlat, GpuIVFPQ, Kind
from index.vector_index import VectorIndex

SELECTIVITIES = (0.01, 0.1, 0.5, 0.99)
_ROWS_AT_ONCE = 1_000_000


def main() -> None:
    """Measure and write gpu.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=None, help="a trained bundle, whose item vectors are grown")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    if given.bundle is None:
        world = material.invented(given.rows, given.dim, rng)
    else:
        world = material.of_bundle(given.bundle, given.rows, rng)
    queries = np.take(world.queries, np.arange(given.batch), axis=0, mode="wrap")
    draws = rng.random(len(world.vectors))
    rows = torch.from_numpy(world.vectors).cuda()
    asked = torch.from_numpy(queries).cuda()
    truth = _torch_search(rows, asked, given.k, None)
    result: dict[str, Any] = {
        "command": "python -m benchmarks.index.gpu " + " ".join(sys.argv[1:]),
        "seed": given.seed,
        "machine": {**describe_machine(), "faiss": str(faiss_build.at_hand())},
        "material": world.description,
        "rows": len(world.vectors),
        "batch": given.batch,
        "k": given.k,
        "torch": {"batch_ms": _median_ms(lambda: _torch_search(rows, asked, given.k, None).cpu())},
        "kinds": [],
    }
    kinds: list[Kind] = [GpuExact(), GpuExact(half=True), GpuIVFFlat(16384, 128), GpuIVFPQ(16384, 128), GpuCagra()]
    for kind in kinds:
        try:
            reading = _reading(kind, world.vectors, queries, draws, rows, asked, truth, given.k)
        except VectorIndexError as refusal:
            reading = {"kind": str(kind), "left out": str(refusal)}
        result["kinds"].append(reading)
        print(json.dumps(reading), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu.json").write_text(json.dumps(result, indent=2))


def _reading(
    kind: Kind,
    vectors: material.Vectors,
    queries: material.Vectors,
    draws: np.ndarray[Any, np.dtype[np.float64]],
    rows: torch.Tensor,
    asked: torch.Tensor,
    truth: torch.Tensor,
    k: int,
) -> dict[str, Any]:
    started = time.perf_counter()
    index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=kind, attributes=Attributes(numbers={"u": draws}))
    reading: dict[str, Any] = {"kind": str(kind), "build_s": time.perf_counter() - started}
    reading["recall"] = _recall(index.search(queries, k).ids, truth)
    reading["batch_ms"] = _median_ms(lambda: index.search(queries, k))
    reading["filters"] = []
    for share in SELECTIVITIES:
        condition = Filter(ranges={"u": (None, share)})
        mask = torch.from_numpy(draws <= share).cuda()
        found = index.search(queries, k, filters=condition)
        reading["filters"].append(
            {
                "selectivity": share,
                "recall": _recall(found.ids, _torch_search(rows, asked, k, mask)),
                "all_eligible": bool((draws[found.ids[found.ids >= 0]] <= share).all()),
                "full": bool((found.ids >= 0).all()),
                "batch_ms": _median_ms(partial(index.search, queries, k, filters=condition), turns=3),
            }
        )
    return reading


def _torch_search(rows: torch.Tensor, queries: torch.Tensor, k: int, mask: torch.Tensor | None) -> torch.Tensor:
    """(B, K) the best rows by matrix product and top-k, a million rows at a time."""
    best = torch.full((len(queries), k), -torch.inf, device=rows.device)
    ids = torch.full((len(queries), k), -1, device=rows.device)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        scores = queries @ rows[start : start + _ROWS_AT_ONCE].T
        if mask is not None:
            scores[:, ~mask[start : start + _ROWS_AT_ONCE]] = -torch.inf
        top = scores.topk(min(k, scores.shape[1]))
        merged = torch.cat([best, top.values], dim=1).topk(k)
        ids = torch.cat([ids, top.indices + start], dim=1).gather(1, merged.indices)
        best = merged.values
    return ids


def _recall(found: np.ndarray[Any, np.dtype[np.int64]], truth: torch.Tensor) -> float:
    want = truth.cpu().numpy()
    return float(np.mean([np.isin(w[w >= 0], f).mean() for w, f in zip(want, found, strict=True)]))


def _median_ms(search: Callable[[], object], turns: int = 10) -> float:
    search()
    times = []
    for _ in range(turns):
        torch.cuda.synchronize()
        started = time.perf_counter()
        search()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 1e3 * float(np.median(times))


if __name__ == "__main__":
    main()
