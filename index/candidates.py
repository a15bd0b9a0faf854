"""The kinds worth measuring for a number of rows, within a memory and a patience."""

from dataclasses import replace

import numpy as np

from index import faiss_build
from index.approximate import LEAST_ROWS
from index.kinds import HNSW, Exact, FastScan, GpuCagra, GpuExact, GpuIVFFlat, GpuIVFPQ, IVFFastScan, IVFFlat, Kind
from index.memory import bytes_per_row

Family = list[Kind]
"""Kinds that are built alike and differ in how hard they search."""

_HNSW_S_PER_ROW = 1.5e-4
_MOST_PROBES_ON_GPU = 2048


def families(rows: int) -> list[Family]:
    """Everything worth a look for so many rows, on the hardware at hand."""
    if rows < LEAST_ROWS:
        return [[Exact()]]  # which is what would serve every other kind
    nlist = 2 ** round(np.log2(max(2 * np.sqrt(rows), 16)))  # twice as many are as quick, and four times the training
    probes = [max(1, nlist // share) for share in (64, 32, 16, 8, 4)]
    found: list[Family] = [
        [Exact()],
        [Exact(half=True)],
        [FastScan(k_factor, 1) for k_factor in (2.0, 4.0, 10.0)],
        [FastScan(k_factor, 2) for k_factor in (4.0, 10.0, 20.0)],
        [IVFFastScan(nlist, nprobe, k_factor, 1) for nprobe in probes for k_factor in (2.0, 4.0)],
        [IVFFastScan(nlist, nprobe, k_factor, 2) for nprobe in probes for k_factor in (4.0, 10.0)],
        [IVFFlat(nlist, nprobe) for nprobe in probes],
        [HNSW(ef_search=ef) for ef in (100, 200, 400, 800)],
    ]
    build = faiss_build.at_hand()
    if build.gpus:
        probes = [min(nprobe, _MOST_PROBES_ON_GPU) for nprobe in probes]
        found += [
            [GpuExact()],
            [GpuIVFFlat(nlist, nprobe) for nprobe in probes],
            [GpuIVFPQ(nlist, nprobe, k_factor=k_factor) for nprobe in probes for k_factor in (4.0, 10.0)],
        ]
    if build.gpus and build.cuvs:
        found.append([GpuCagra(itopk=itopk) for itopk in (128, 256, 512)])
    return found


def that_fit(rows: int, dim: int, *, memory_bytes: float, patience_s: float) -> tuple[list[Family], list[str]]:
    """The families to measure, kept as float16 where float32 is too much, and what was left out and why."""
    fitting, left_out = [], []
    for family in families(rows):
        name = type(family[0]).__name__
        if rows * bytes_per_row(family[0], dim) > memory_bytes:
            family = [replace(kind, half=True) for kind in family]
        needed = rows * bytes_per_row(family[0], dim)
        if needed > memory_bytes:
            left_out.append(f"{name}: {needed / 1e6:,.0f} MB, where {memory_bytes / 1e6:,.0f} MB are given")
        elif isinstance(family[0], GpuIVFPQ) and dim % family[0].subquantizers:
            left_out.append(f"{name}: {family[0].subquantizers} codes do not divide the width {dim}")
        elif isinstance(family[0], HNSW) and rows * _HNSW_S_PER_ROW > patience_s:
            left_out.append(f"{name}: takes some {rows * _HNSW_S_PER_ROW:,.0f} s to build, over {patience_s:,.0f} s")
        elif family not in fitting:
            fitting.append(family)
    return fitting, left_out
