"""What our interface costs over raw FAISS: the same index searched through both, taking turns."""

from typing import Any

import faiss
import numpy as np

from benchmarks.index.clock import side_by_side
from benchmarks.index.material import Vectors
from index.approximate import CpuEngine
from index.kinds import Exact, FastScan, IVFFastScan, Kind
from index.vector_index import VectorIndex
from index.vectors import SealedVectors


def measure(vectors: Vectors, queries: Vectors, k: int, seconds: float) -> list[dict[str, Any]]:
    """Batch 1 and 64, for the kinds that FAISS serves itself."""
    nlist = 2 ** round(np.log2(2 * np.sqrt(len(vectors))))
    kinds: list[Kind] = [Exact(), FastScan(), IVFFastScan(nlist, nlist // 4)]
    return [_reading(kind, vectors, queries, k, seconds) for kind in kinds]


def _reading(kind: Kind, vectors: Vectors, queries: Vectors, k: int, seconds: float) -> dict[str, Any]:
    index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=kind)
    engine = index._state.sealed.engine
    raw, params = _raw(engine, k)
    reading: dict[str, Any] = {"kind": str(kind)}
    for batch in (1, 64):
        asked = np.ascontiguousarray(np.take(queries, np.arange(batch), axis=0, mode="wrap"))
        theirs, ours = side_by_side(
            lambda rows: raw.search(rows, k, params=params), lambda rows: index.search(rows, k), asked, seconds
        )
        more = np.median(ours - theirs)  # of each turn: a machine that slows down slows both
        reading[f"batch_{batch}"] = {
            "faiss_ms": 1e3 * float(np.median(theirs)),
            "ours_ms": 1e3 * float(np.median(ours)),
            "more_us": 1e6 * float(more),
            "more": float(more / np.median(theirs)),
        }
    return reading


def _raw(engine: Any, k: int) -> tuple[faiss.Index, Any]:
    """The FAISS index below an engine, and the parameters the engine would pass."""
    if isinstance(engine, SealedVectors):
        return engine.flat, None
    assert isinstance(engine, CpuEngine)
    return engine._searched, engine._parameters(k, 1.0, None)
