"""What our interface costs over raw FAISS: the same index searched through both, taking turns."""

import time
from typing import Any

import faiss
import numpy as np

from benchmarks.index.clock import BATCH, Search, side_by_side
from benchmarks.index.material import Vectors
from index.approximate import CpuEngine
from index.kinds import Exact, FastScan, IVFFastScan, Kind
from index.vector_index import VectorIndex
from index.vectors import SealedVectors

_WARM_UP, _FEWEST_TURNS, _MOST_TURNS = 2, 10, 2000


def measure(vectors: Vectors, queries: Vectors, k: int, chosen: Kind, seconds: float) -> list[dict[str, Any]]:
    """Batch 1 and 64, for the kinds that FAISS serves itself, clusters as they were chosen if they were."""
    nlist = 2 ** round(np.log2(2 * np.sqrt(len(vectors))))
    in_clusters = chosen if isinstance(chosen, IVFFastScan) else IVFFastScan(nlist, nlist // 4)
    kinds: list[Kind] = [Exact(), FastScan(), in_clusters]
    return [_reading(kind, vectors, queries, k, seconds) for kind in kinds]


def _reading(kind: Kind, vectors: Vectors, queries: Vectors, k: int, seconds: float) -> dict[str, Any]:
    index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=kind)
    return {
        "kind": str(kind),
        "batch_1": _one_query(index, queries, k, seconds),
        "batch_64": _batch(index, queries, k, seconds),
    }


def _one_query(index: VectorIndex, queries: Vectors, k: int, seconds: float) -> dict[str, float]:
    """What our call does outside of the call to FAISS within it, less what the same clock reads around raw FAISS.

    Both are read within one call: that a search of 50 ms takes a millisecond more the next time disturbs neither.
    """
    engine = index._state.sealed.engine
    raw, params = _raw(engine, k)
    clocked = _Clocked(raw)
    _put(engine, clocked)
    totals: dict[str, list[float]] = {"theirs": [], "ours": []}
    outside: dict[str, list[float]] = {"theirs": [], "ours": []}
    searches: dict[str, Search] = {
        "theirs": lambda rows: clocked.search(rows, k, params=params),
        "ours": lambda rows: index.search(rows, k),
    }
    for turn in range(-_WARM_UP, _MOST_TURNS):
        if turn >= _FEWEST_TURNS and sum(map(sum, totals.values())) > seconds:
            break
        query = queries[turn % len(queries)][None]
        for name in list(searches)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            searches[name](query)
            took = time.perf_counter() - started
            if turn >= 0:
                totals[name].append(took)
                outside[name].append(took - clocked.took)
    _put(engine, raw)
    theirs, more = float(np.median(totals["theirs"])), np.median(outside["ours"]) - np.median(outside["theirs"])
    return {
        "faiss_ms": 1e3 * theirs,
        "ours_ms": 1e3 * float(np.median(totals["ours"])),
        "more_us": 1e6 * float(more),
        "more": float(more) / theirs,
    }


def _batch(index: VectorIndex, queries: Vectors, k: int, seconds: float) -> dict[str, float]:
    """Both ways to the same answer, taking turns; for exact search ours is not FAISS's."""
    raw, params = _raw(index._state.sealed.engine, k)
    asked = np.ascontiguousarray(np.take(queries, np.arange(BATCH), axis=0, mode="wrap"))
    theirs, ours = side_by_side(
        lambda rows: raw.search(rows, k, params=params), lambda rows: index.search(rows, k), asked, seconds
    )
    more = np.median(ours - theirs)  # of each turn: a machine that slows down slows both
    return {
        "faiss_ms": 1e3 * float(np.median(theirs)),
        "ours_ms": 1e3 * float(np.median(ours)),
        "more_us": 1e6 * float(more),
        "more": float(more / np.median(theirs)),
    }


class _Clocked:
    """A FAISS index that notes how long its last search took."""

    def __init__(self, index: faiss.Index) -> None:
        self.index = index
        self.took = 0.0

    def search(self, queries: Vectors, k: int, *, params: Any = None) -> Any:
        started = time.perf_counter()
        found = self.index.search(queries, k, params=params)
        self.took = time.perf_counter() - started
        return found


def _raw(engine: Any, k: int) -> tuple[faiss.Index, Any]:
    """The FAISS index below an engine, and the parameters the engine would pass."""
    if isinstance(engine, SealedVectors):
        return engine.flat, None
    assert isinstance(engine, CpuEngine)
    return engine._searched, engine._parameters(k, 1.0, None)


def _put(engine: Any, searched: Any) -> None:
    """Let an engine search another index than its own."""
    setattr(engine, "flat" if isinstance(engine, SealedVectors) else "_searched", searched)
