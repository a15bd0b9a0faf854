"""From a kind to the engine that serves it, built or read from a file."""

from pathlib import Path

from index import gpu
from index.approximate import LEAST_ROWS, CpuApproximate, CpuEngine
from index.engine import Engine
from index.gpu import GpuEngine
from index.kinds import Exact, GpuKind, Kind
from index.vectors import SealedVectors


def build(kind: Kind, vectors: SealedVectors, previous: Engine | None = None) -> Engine:
    """An engine of this kind over the rows.

    An engine that served earlier rows of the same index lends its trained codes while they still fit in number.

    Raises:
        VectorIndexError: a GPU kind where FAISS finds no GPU, or lacks what the kind needs.
    """
    if isinstance(kind, Exact) or len(vectors) < LEAST_ROWS:
        return vectors
    if isinstance(kind, GpuKind):
        return gpu.build(kind, vectors)
    trained = previous if isinstance(previous, CpuEngine) and previous.still_fits(kind, len(vectors)) else None
    return CpuEngine.build(kind, vectors, trained=trained)


def mapped(kind: Kind, path: Path, vectors: SealedVectors) -> Engine:
    """The engine that was written to a file, or the same anew where its kind writes none.

    Raises:
        VectorIndexError: as ``build``.
    """
    if isinstance(kind, Exact) or len(vectors) < LEAST_ROWS:
        return vectors
    if isinstance(kind, GpuKind):
        return gpu.mapped(kind, path, vectors)
    return CpuEngine.mapped(kind, path, vectors)


def searching(engine: Engine, kind: Kind) -> Engine:
    """The same engine searching as hard as a kind that is built alike."""
    if isinstance(engine, CpuEngine) and isinstance(kind, CpuApproximate):
        return engine.searching(kind)
    if isinstance(engine, GpuEngine) and isinstance(kind, GpuKind):
        return engine.searching(kind)
    return engine
