"""Filtered search against unfiltered: right, full, and no slower than exact search."""

from typing import Any

import numpy as np

from benchmarks.index.clock import BATCH, batch_1_ms, batch_64_qps
from benchmarks.index.material import Vectors
from index.filters import Attributes, Filter
from index.kinds import Exact, Kind
from index.vector_index import VectorIndex

SELECTIVITIES = (0.0001, 0.01, 0.1, 0.5, 0.99)


def measure(vectors: Vectors, queries: Vectors, k: int, kind: Kind, seconds: float, seed: int) -> list[dict[str, Any]]:
    """Exact and one approximate kind, at every selectivity, with a category and with a range; and with seen items."""
    rng = np.random.default_rng(seed)
    draws = rng.random(len(vectors))
    categories = [[f"{share}" for share in SELECTIVITIES if draw < share] for draw in draws]
    attributes = Attributes(categories, {"draw": draws})
    readings = []
    for served in (Exact(), kind):
        index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=served, attributes=attributes)
        readings.append({"kind": str(served), "filter": "none", **_times(index, queries, k, None, seconds)})
        for share in SELECTIVITIES:
            for name, condition in (
                ("category", Filter(any_of=[f"{share}"])),
                ("range", Filter(ranges={"draw": (None, float(np.nextafter(share, 0)))})),
            ):
                times = _times(index, queries, k, condition, seconds)
                right = _right(index, vectors, queries[:BATCH], k, condition, draws < share)
                readings.append({"kind": str(served), "filter": name, "selectivity": share, **times, **right})
        seen = rng.integers(len(vectors), size=(BATCH, 300))
        times = _seen_times(index, queries, k, [Filter(deny=items) for items in seen], seconds)
        readings.append({"kind": str(served), "filter": "300 seen items, other ones for each query", **times})
    return readings


def _times(index: VectorIndex, queries: Vectors, k: int, condition: Filter | None, seconds: float) -> dict[str, Any]:
    return {
        "batch_1": batch_1_ms(lambda rows: index.search(rows, k, filters=condition), queries, seconds),
        "batch_64_qps": batch_64_qps(lambda rows: index.search(rows, k, filters=condition), queries, seconds),
    }


def _seen_times(
    index: VectorIndex, queries: Vectors, k: int, conditions: list[Filter], seconds: float
) -> dict[str, Any]:
    return {
        "batch_1": batch_1_ms(lambda rows: index.search(rows, k, filters=conditions[0]), queries, seconds),
        "batch_64_qps": batch_64_qps(lambda rows: index.search(rows, k, filters=conditions), queries, seconds),
    }


def _right(
    index: VectorIndex, vectors: Vectors, queries: Vectors, k: int, condition: Filter, mask: np.ndarray[Any, Any]
) -> dict[str, Any]:
    """Recall against brute force, and whether every answer is as full as it can be."""
    eligible = np.flatnonzero(mask)
    length = min(k, len(eligible))
    found = index.search(queries, k, filters=condition)
    if not length:
        return {"recall": 1.0, "full": bool((found.ids < 0).all())}
    scores = queries @ vectors[eligible].T
    kth = -np.partition(-scores, length - 1, axis=1)[:, length - 1, None]
    return {
        "recall": float((found.scores[:, :length] >= kth - 1e-5).mean()),
        "full": bool(((found.ids >= 0).sum(axis=1) == length).all()),
    }
