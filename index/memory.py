"""How many bytes a million vectors cost in each kind, to leave out what would not fit before it is built."""

from index.approximate import code_count
from index.kinds import (
    HNSW,
    Exact,
    FastScan,
    GpuCagra,
    GpuExact,
    GpuIVFFlat,
    GpuIVFPQ,
    IVFFastScan,
    IVFFlat,
    Kind,
)


def bytes_per_row(kind: Kind, dim: int) -> float:
    """Bytes a vector of width ``dim`` takes: itself, its id, and what its kind adds. Attributes are extra.

    Example:
        >>> bytes_per_row(Exact(), 128), bytes_per_row(FastScan(half=True), 128)
        (520.0, 328.0)
    """
    vector = dim * (2 if kind.half else 4)
    return float(8 + vector + _added(kind, dim, vector))


def _added(kind: Kind, dim: int, vector: int) -> float:
    match kind:
        case Exact():
            return 0.0
        case GpuExact():
            return vector  # once more on the GPU, as for every GPU kind
        case FastScan(numbers_per_code=numbers):
            return code_count(dim, numbers) / 2  # four bits each
        case IVFFastScan(numbers_per_code=numbers):
            return code_count(dim, numbers) / 2 + 8
        case IVFFlat() | GpuIVFFlat():
            return vector + 8
        case HNSW(neighbours=neighbours):
            return dim + 4 * 2.1 * neighbours + 28  # codes, links on all levels, bookkeeping
        case GpuIVFPQ(subquantizers=subquantizers):
            return subquantizers + 8
        case GpuCagra(graph_degree=degree):
            return 4 * dim + 4 * degree  # float32 there, whatever is kept on the host
