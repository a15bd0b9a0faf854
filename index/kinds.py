"""The kinds of index on offer, as data: what is stored and how hard it is searched. Choose by measurement (index.tune).

Every kind keeps the vectors themselves beside its codes: they settle the final order, answer filtered searches exactly
and are what compaction rebuilds from. ``half`` keeps them as float16, which halves that memory and rounds the scores
to about three digits.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from index.errors import VectorIndexError


class _Checked:
    """What every kind refuses: a number that is not above zero."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, bool) and not (isinstance(value, int | float) and value > 0):
                raise VectorIndexError(f"{type(self).__name__}, {name}: {value!r}. Give a number above 0.")


@dataclass(frozen=True)
class Exact(_Checked):
    """Every vector is scored. The default, and the judge of all others."""

    half: bool = False


@dataclass(frozen=True)
class FastScan(_Checked):
    """4-bit product codes, all of them scanned; the best ``k × k_factor`` are scored again with their vectors.

    The quickest to build by far, without a knob that can be set wrong.
    """

    k_factor: float = 4.0
    """How many candidates are scored again, per answer."""
    numbers_per_code: int = 1
    """How many numbers of a vector share four bits: 2 halves the codes, and asks for a higher ``k_factor``."""
    half: bool = False


@dataclass(frozen=True)
class IVFFastScan(_Checked):
    """As FastScan, within the ``nprobe`` of ``nlist`` clusters nearest to the query; codes of what a cluster leaves."""

    nlist: int = 1024
    nprobe: int = 64
    k_factor: float = 4.0
    numbers_per_code: int = 1
    half: bool = False


@dataclass(frozen=True)
class IVFFlat(_Checked):
    """Whole vectors within the ``nprobe`` of ``nlist`` clusters nearest to the query."""

    nlist: int = 1024
    nprobe: int = 64
    half: bool = False


@dataclass(frozen=True)
class HNSW(_Checked):
    """A neighbour graph over 8-bit codes, scored again with the vectors. Quick one query at a time, slow to build."""

    neighbours: int = 16
    ef_construction: int = 80
    ef_search: int = 200
    k_factor: float = 2.0
    half: bool = False


@dataclass(frozen=True)
class GpuExact(_Checked):
    """Every vector is scored, on the GPU."""

    half: bool = False


@dataclass(frozen=True)
class GpuIVFFlat(_Checked):
    """IVFFlat on the GPU."""

    nlist: int = 4096
    nprobe: int = 64
    half: bool = False


@dataclass(frozen=True)
class GpuIVFPQ(_Checked):
    """8-bit product codes in clusters on the GPU; the best ``k × k_factor`` are scored again on the host."""

    nlist: int = 4096
    nprobe: int = 64
    subquantizers: int = 32
    """Bytes a vector; divides the width."""
    k_factor: float = 4.0
    half: bool = False


@dataclass(frozen=True)
class GpuCagra(_Checked):
    """A neighbour graph on the GPU. Needs the cuVS build of FAISS."""

    graph_degree: int = 32
    search_width: int = 1
    itopk: int = 256
    """Size of the candidate list the graph walk keeps; raised to k where k is larger."""
    half: bool = False


CpuKind = Exact | FastScan | IVFFastScan | IVFFlat | HNSW
GpuKind = GpuExact | GpuIVFFlat | GpuIVFPQ | GpuCagra
Kind = CpuKind | GpuKind

EXACT = Exact()

_FEWEST_CANDIDATES = 200

EXACT_UP_TO_ROWS = 50_000
"""Where exact search takes about a millisecond (50,000 × 128, one core) and a batch is as quick as any other kind's."""


def default_for(rows: int) -> Kind:
    """The kind for so many rows where nothing was measured; ``recsys index tune`` measures.

    Example:
        >>> default_for(10_000), default_for(1_000_000)
        (Exact(half=False), FastScan(k_factor=4.0, numbers_per_code=1, half=False))
    """
    return EXACT if rows <= EXACT_UP_TO_ROWS else FastScan()


def candidates(k: int, k_factor: float) -> int:
    """How many rows the codes propose for an answer of k: however short it is, they err by some dozens of places.

    Example:
        >>> candidates(10, 4.0), candidates(100, 4.0)
        (200, 400)
    """
    return max(_FEWEST_CANDIDATES, math.ceil(k * k_factor))


def to_json(kind: Kind) -> dict[str, Any]:
    """A kind as its name and fields.

    Example:
        >>> to_json(Exact(half=True))
        {'name': 'Exact', 'half': True}
    """
    return {"name": type(kind).__name__, **asdict(kind)}


def from_json(document: dict[str, Any]) -> Kind:
    """The kind that ``to_json`` wrote.

    Raises:
        VectorIndexError: a name or field that no kind has.
    """
    fields = {name: value for name, value in document.items() if name != "name"}
    try:
        match document.get("name"):
            case "Exact":
                return Exact(**fields)
            case "FastScan":
                return FastScan(**fields)
            case "IVFFastScan":
                return IVFFastScan(**fields)
            case "IVFFlat":
                return IVFFlat(**fields)
            case "HNSW":
                return HNSW(**fields)
            case "GpuExact":
                return GpuExact(**fields)
            case "GpuIVFFlat":
                return GpuIVFFlat(**fields)
            case "GpuIVFPQ":
                return GpuIVFPQ(**fields)
            case "GpuCagra":
                return GpuCagra(**fields)
    except TypeError as cause:
        raise VectorIndexError(f"index kind {document}: {cause}. Leave the field out, or build again.") from cause
    raise VectorIndexError(
        f"index kind {document.get('name')!r} is unknown here. Known are Exact, FastScan, IVFFastScan, IVFFlat, HNSW, "
        "GpuExact, GpuIVFFlat, GpuIVFPQ and GpuCagra; an index of another kind needs the version that saved it."
    )
