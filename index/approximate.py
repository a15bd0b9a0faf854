"""Approximate engines on the CPU: FAISS codes find the candidates, the vectors themselves settle their order.

B queries, N rows, D vector width, K answer length.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Self

import faiss
import numpy as np
from pyroaring import BitMap

from index.bitmaps import Slots
from index.grouping import grouped
from index.kinds import HNSW, FastScan, IVFFastScan, IVFFlat, candidates
from index.neighbours import Scores, Vectors
from index.vectors import SealedVectors, selector_of

LEAST_ROWS = 1000
"""Below it no codes are trained: there is nothing to gain, and exact search serves every kind."""

CpuApproximate = FastScan | IVFFastScan | IVFFlat | HNSW

_ROWS_TO_PLACE_A_CLUSTER = 39  # FAISS's own lower bound
_ROWS_TO_TRAIN_A_CLUSTER = 64
_ROWS_TO_TRAIN_CODES = 65_536
_ROWS_AT_ONCE = 65_536


class CpuEngine:
    """A trained FAISS index over sealed vectors."""

    exact = False
    most = 1 << 31

    def __init__(self, kind: CpuApproximate, base: faiss.Index, vectors: SealedVectors) -> None:
        """Put a filled FAISS index over the vectors it was filled from."""
        self.kind, self.base, self._vectors = kind, base, vectors
        self.takes_selector = not isinstance(kind, FastScan)  # FAISS refuses one there
        self._searched = base if isinstance(kind, IVFFlat) else faiss.IndexRefine(base, vectors.flat)
        self._unfiltered = lru_cache(maxsize=16)(lambda k: self._parameters(k, 1.0, None))
        self._trained_on: int = base.ntotal

    @classmethod
    def build(cls, kind: CpuApproximate, vectors: SealedVectors, *, trained: Self | None = None) -> Self:
        """Train codes and encode every row; with ``trained``, an engine of the same kind, only encode."""
        if trained is None:
            base = faiss.index_factory(vectors.dim, _factory(kind, vectors), faiss.METRIC_INNER_PRODUCT)
            if isinstance(kind, HNSW):
                base.hnsw.efConstruction = kind.ef_construction
            if isinstance(kind, IVFFlat):
                base.by_residual = False  # float16 of a row, as it is kept, not of what its cluster's centre leaves
            base.train(_training_rows(kind, vectors))
        else:
            base = faiss.clone_index(trained.base)
            base.reset()
        fill(base, vectors)
        engine = cls(kind, base, vectors)
        engine._trained_on = len(vectors) if trained is None else trained._trained_on
        return engine

    @classmethod
    def mapped(cls, kind: CpuApproximate, path: Path, vectors: SealedVectors) -> Self:
        """The engine whose FAISS index was written to a file."""
        return cls(kind, faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), vectors)

    def searching(self, kind: CpuApproximate) -> Self:
        """The same index searched as hard as another kind says, which must be built alike."""
        return type(self)(kind, self.base, self._vectors)

    def still_fits(self, kind: CpuApproximate, rows: int) -> bool:
        """Whether what was trained will do for so many rows of a kind."""
        enough = not isinstance(kind, IVFFastScan | IVFFlat) or self.base.nlist == clusters_for(kind.nlist, rows)
        return kind == self.kind and enough and rows <= 2 * self._trained_on

    def write(self, path: Path) -> None:
        """Write what ``mapped`` reads; the vectors have a file of their own."""
        faiss.write_index(self.base, str(path))

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        eligible: Sequence[BitMap] | None = None,  # B, one object where queries share a filter
        *,
        share: float = 1.0,
    ) -> tuple[Scores, Slots]:  # (B, K) each
        """The k best rows the codes lead to. A filter widens the search by as much as it thins out the rows."""
        if eligible is None:
            params = self._unfiltered(k) if share == 1.0 else self._parameters(k, share, None)
            found: tuple[Scores, Slots] = self._searched.search(queries, k, params=params)
            return found
        rows = len(self._vectors)
        scores, slots = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        for bitmap, members in grouped(eligible):
            params = self._parameters(k, max(len(bitmap), 1) / rows, selector_of(bitmap, rows))
            scores[members], slots[members] = self._searched.search(queries[members], k, params=params)
        return scores, slots

    def _parameters(self, k: int, share: float, selector: faiss.IDSelector | None) -> faiss.SearchParameters:
        match self.kind:
            case FastScan():
                return faiss.IndexRefineSearchParameters(k_factor=self._candidates(k) / k)
            case IVFFastScan():
                inner = faiss.IVFSearchParameters(nprobe=self._nprobe(share), sel=selector)
                return faiss.IndexRefineSearchParameters(k_factor=self._candidates(k) / k, base_index_params=inner)
            case IVFFlat():
                return faiss.IVFSearchParameters(nprobe=self._nprobe(share), sel=selector)
            case HNSW():
                inner = faiss.SearchParametersHNSW(
                    efSearch=self._ef(k, share, selects=selector is not None), sel=selector
                )
                return faiss.IndexRefineSearchParameters(k_factor=self._candidates(k) / k, base_index_params=inner)

    def _candidates(self, k: int) -> int:
        assert not isinstance(self.kind, IVFFlat)
        return candidates(k, self.kind.k_factor)

    def _nprobe(self, share: float) -> int:
        assert isinstance(self.kind, IVFFastScan | IVFFlat)
        nlist: int = self.base.nlist  # fewer than asked for where rows are few; the probed share stays
        return min(nlist, math.ceil(self.kind.nprobe * nlist / self.kind.nlist / share))

    def _ef(self, k: int, share: float, *, selects: bool) -> int:
        assert isinstance(self.kind, HNSW)
        proposed = self._candidates(k) / (share if selects else 1.0)  # where k was not raised to be sifted
        return math.ceil(max(self.kind.ef_search / share, proposed))

    def cost_ns(self, queries: int, k: int, share: float = 1.0, *, selects: bool = False) -> float:
        """About how long a batch takes on one core when only a share of the rows counts."""
        rows, dim = len(self._vectors), self._vectors.dim
        nlist: int = getattr(self.base, "nlist", 1)
        match self.kind:
            case FastScan(numbers_per_code=numbers):
                a_query = 0.036 / numbers * rows + self._candidates(k)
            case IVFFastScan(numbers_per_code=numbers):
                a_query = 0.3 * nlist + 0.036 / numbers * rows * self._nprobe(share) / nlist + self._candidates(k)
            case IVFFlat():
                a_query = 0.3 * nlist + 0.25 * rows * self._nprobe(share) / nlist
            case HNSW():
                a_query = 6.0 * self._ef(k, share, selects=selects) + self._candidates(k)
        selector = 2.0 * rows if selects else 0.0
        return queries * (dim * a_query + selector)


def fill(base: faiss.Index, vectors: SealedVectors) -> None:
    """Encode every row, in order, a part at a time so that float16 rows never stand in memory twice."""
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        base.add(vectors.take(np.arange(start, min(start + _ROWS_AT_ONCE, len(vectors)))))


def clusters_for(nlist: int, rows: int) -> int:
    """As many clusters as were asked for, or as many as the rows can place."""
    return max(1, min(nlist, rows // _ROWS_TO_PLACE_A_CLUSTER))


def code_count(dim: int, numbers_per_code: int) -> int:
    """How many codes a vector has: one for so many numbers, or for each where that does not divide the width."""
    return dim // numbers_per_code if dim % numbers_per_code == 0 else dim


def training_rows(vectors: SealedVectors, wanted: int) -> Vectors:
    """Evenly spaced rows: the same ones each time, without chance."""
    return vectors.take(np.unique(np.linspace(0, len(vectors) - 1, min(wanted, len(vectors)), dtype=np.int64)))


def _training_rows(kind: CpuApproximate, vectors: SealedVectors) -> Vectors:
    clusters = kind.nlist if isinstance(kind, IVFFastScan | IVFFlat) else 0
    return training_rows(vectors, max(_ROWS_TO_TRAIN_CODES, clusters * _ROWS_TO_TRAIN_A_CLUSTER))


def _factory(kind: CpuApproximate, vectors: SealedVectors) -> str:
    rows, dim = len(vectors), vectors.dim
    match kind:
        case FastScan(numbers_per_code=numbers):
            return f"PQ{code_count(dim, numbers)}x4fs"
        case IVFFastScan(nlist=nlist, numbers_per_code=numbers):
            # The r codes what is left of a row when its cluster's centre is taken away: far finer for the same bits.
            return f"IVF{clusters_for(nlist, rows)},PQ{code_count(dim, numbers)}x4fsr"
        case IVFFlat(nlist=nlist, half=half):
            return f"IVF{clusters_for(nlist, rows)},{'SQfp16' if half else 'Flat'}"
        case HNSW(neighbours=neighbours):
            return f"HNSW{neighbours}_SQ8"
