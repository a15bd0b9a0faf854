"""What a million vectors cost in each kind, from the size of what is mapped when an index is loaded."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index.material import Vectors
from index.candidates import families
from index.kinds import FastScan, IVFFastScan, Kind, to_json
from index.vector_index import VectorIndex

MOST_ROWS = 100_000
MEMORY_GIB = 24
_FOR_THE_PROCESS_GIB = 2


def measure(vectors: Vectors) -> list[dict[str, Any]]:
    """Every kind on up to 100,000 rows, saved, and what that means for a machine of 24 GiB."""
    rows = vectors[:MOST_ROWS]
    kinds: list[Kind] = [family[0] for family in families(len(rows))]
    kinds += [FastScan(half=True), IVFFastScan(half=True)]
    return [_reading(kind, rows) for kind in kinds]


def _reading(kind: Kind, vectors: Vectors) -> dict[str, Any]:
    index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=kind)
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        held = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.suffix in (".faiss", ".npy"))
    a_row = held / len(vectors)
    return {
        "kind": to_json(kind),
        "megabytes_per_million": a_row,
        "millions_in_24_gib": (MEMORY_GIB - _FOR_THE_PROCESS_GIB) * 2**30 / a_row / 1e6,
    }
