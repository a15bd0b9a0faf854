"""Engines on a GPU. They only propose: a GPU index takes a selector and may ignore it, so filters are checked outside.

The vectors stay on the host as well; they answer what a GPU cannot (k above 2,048, filters that leave little).
B queries, N rows, K answer length.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from pyroaring import BitMap

from index import faiss_build
from index.approximate import clusters_for, fill, training_rows
from index.bitmaps import Slots
from index.errors import VectorIndexError
from index.kinds import GpuCagra, GpuExact, GpuIVFFlat, GpuIVFPQ, GpuKind, candidates
from index.neighbours import Scores, Vectors
from index.vectors import SealedVectors

_MOST = 2048  # of k, and of nprobe, in FAISS's own GPU code
_ROWS_TO_TRAIN_A_CLUSTER = 64
_ROWS_TO_TRAIN_CODES = 262_144


class GpuEngine:
    """A FAISS index in the memory of a GPU. One search at a time: FAISS shares scratch memory between them."""

    takes_selector = False

    def __init__(self, kind: GpuKind, base: faiss.Index, vectors: SealedVectors, resources: Any) -> None:
        """Put a filled GPU index over the vectors it was filled from."""
        self.kind, self.base, self._vectors = kind, base, vectors
        self._resources = resources  # must outlive the index
        self._one_at_a_time = threading.Lock()
        self._searched = faiss.IndexRefine(base, vectors.flat) if isinstance(kind, GpuIVFPQ) else base
        self.exact = isinstance(kind, GpuExact)
        self.most = int(_MOST / kind.k_factor) if isinstance(kind, GpuIVFPQ) else _MOST

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        eligible: Sequence[BitMap] | None = None,
        *,
        share: float = 1.0,
    ) -> tuple[Scores, Slots]:  # (B, K) each
        """The k best rows the GPU finds; of clusters it looks into as many more as ``share`` is less."""
        assert eligible is None, "a GPU index is never trusted with a selector"
        with self._one_at_a_time:
            scores, slots = self._searched.search(queries, k, params=self._parameters(k, share))
        return scores, slots

    def _parameters(self, k: int, share: float) -> faiss.SearchParameters | None:
        match self.kind:
            case GpuExact():
                return None
            case GpuIVFFlat():
                return faiss.SearchParametersIVF(nprobe=self._nprobe(self.kind, share))
            case GpuIVFPQ(k_factor=k_factor):
                inner = faiss.SearchParametersIVF(nprobe=self._nprobe(self.kind, share))
                proposed = candidates(k, k_factor) / k
                return faiss.IndexRefineSearchParameters(k_factor=proposed, base_index_params=inner)
            case GpuCagra(itopk=itopk, search_width=search_width):
                params = faiss.SearchParametersCagra()
                params.itopk_size = -(-max(itopk, k) // 32) * 32  # it must be a multiple of 32
                params.search_width = search_width
                return params

    def _nprobe(self, kind: GpuIVFFlat | GpuIVFPQ, share: float) -> int:
        nlist: int = self.base.nlist  # fewer than asked for where rows are few; the probed share stays
        return max(1, min(nlist, _MOST, round(kind.nprobe * nlist / kind.nlist / share)))

    def cost_ns(self, queries: int, k: int, share: float = 1.0, *, selects: bool = False) -> float:
        """About how long a batch takes: a launch, then hundreds of times a core's pace."""
        return 1e5 + queries * (0.001 * self._vectors.dim * len(self._vectors) + 10 * k)

    def searching(self, kind: GpuKind) -> "GpuEngine":
        """The same index searched as hard as another kind says, which must be built alike."""
        engine = GpuEngine(kind, self.base, self._vectors, self._resources)
        engine._one_at_a_time = self._one_at_a_time
        return engine

    def write(self, path: Path) -> None:
        """Write what ``mapped`` reads, where that is quicker than building from the vectors."""
        if isinstance(self.kind, GpuIVFFlat | GpuIVFPQ):
            with self._one_at_a_time:  # the copy uses the same scratch memory as a search
                copied = faiss.index_gpu_to_cpu(self.base)
            faiss.write_index(copied, str(path))


def build(kind: GpuKind, vectors: SealedVectors) -> GpuEngine:
    """Train on the GPU and fill it.

    Raises:
        VectorIndexError: FAISS finds no GPU, or is not the build the kind needs, or codes that do not divide the width.
    """
    _refuse_unequal_codes(kind, vectors.dim)
    _refuse_without_gpu(kind)
    resources = faiss.StandardGpuResources()
    match kind:
        case GpuExact():
            config = faiss.GpuIndexFlatConfig()
            config.useFloat16 = kind.half
            base = faiss.GpuIndexFlatIP(resources, vectors.dim, config)
            fill(base, vectors)
        case GpuIVFFlat() | GpuIVFPQ():
            empty = faiss.index_factory(vectors.dim, _factory(kind, len(vectors)), faiss.METRIC_INNER_PRODUCT)
            if isinstance(kind, GpuIVFFlat):
                empty.by_residual = False  # float16 of a row, as it is kept, not of what its cluster's centre leaves
            base = _on_gpu(empty, kind, resources)
            wanted = max(_ROWS_TO_TRAIN_CODES, kind.nlist * _ROWS_TO_TRAIN_A_CLUSTER)
            base.train(training_rows(vectors, wanted))
            fill(base, vectors)
        case GpuCagra():
            cagra = faiss.GpuIndexCagraConfig()
            cagra.graph_degree = kind.graph_degree
            cagra.intermediate_graph_degree = 2 * kind.graph_degree
            base = faiss.GpuIndexCagra(resources, vectors.dim, faiss.METRIC_INNER_PRODUCT, cagra)
            base.train(vectors.take(np.arange(len(vectors))))  # builds the graph; there is no add
    return GpuEngine(kind, base, vectors, resources)


def mapped(kind: GpuKind, path: Path, vectors: SealedVectors) -> GpuEngine:
    """The engine that was written; kinds that write no file are built from the vectors.

    Raises:
        VectorIndexError: as ``build``.
    """
    if isinstance(kind, GpuExact | GpuCagra):
        return build(kind, vectors)
    _refuse_without_gpu(kind)
    resources = faiss.StandardGpuResources()
    return GpuEngine(kind, _on_gpu(faiss.read_index(str(path)), kind, resources), vectors, resources)


def _on_gpu(index: faiss.Index, kind: GpuIVFFlat | GpuIVFPQ, resources: Any) -> faiss.Index:
    options = faiss.GpuClonerOptions()
    options.useFloat16 = isinstance(kind, GpuIVFPQ)  # of the tables a query is scored with
    if isinstance(kind, GpuIVFFlat) and kind.half:
        options.use_cuvs = False  # which has no float16 rows in clusters; FAISS's own GPU code does
    return faiss.index_cpu_to_gpu(resources, 0, index, options)


def _factory(kind: GpuIVFFlat | GpuIVFPQ, rows: int) -> str:
    clusters = clusters_for(kind.nlist, rows)
    match kind:
        case GpuIVFFlat(half=half):
            return f"IVF{clusters},{'SQfp16' if half else 'Flat'}"
        case GpuIVFPQ(subquantizers=subquantizers):
            return f"IVF{clusters},PQ{subquantizers}x8"


def _refuse_unequal_codes(kind: GpuKind, dim: int) -> None:
    if isinstance(kind, GpuIVFPQ) and dim % kind.subquantizers:
        raise VectorIndexError(
            f"kind GpuIVFPQ, subquantizers {kind.subquantizers}: does not divide the width {dim}. Give one that does."
        )


def _refuse_without_gpu(kind: GpuKind) -> None:
    build_at_hand = faiss_build.at_hand()
    name = type(kind).__name__
    if not build_at_hand.gpus:
        why = "finds no GPU" if build_at_hand.gpu_code else "is the CPU build"
        raise VectorIndexError(
            f"kind {name}: FAISS {build_at_hand.version} {why}. "
            "Install the extra gpu in place of cpu on a machine with a GPU, or build again with a CPU kind."
        )
    if isinstance(kind, GpuCagra) and not build_at_hand.cuvs:
        raise VectorIndexError(f"kind {name}: this FAISS has no cuVS. Install the extra gpu-cuvs in place of gpu.")
