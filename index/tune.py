"""Choosing a kind by measurement: recall against exact search and time at batch 1 and 64, on queries held out.

B queries, N rows, D vector width, K answer length.
"""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np

from index import engines
from index.attribute_table import AttributeTable
from index.candidates import that_fit
from index.engine import Engine
from index.kinds import Exact, Kind, to_json
from index.memory import bytes_per_row
from index.neighbours import Neighbours, Vectors
from index.sealed import Sealed
from index.state import State
from index.vector_index import VectorIndex
from index.vectors import SealedVectors

BATCH = 64
WORTH_APPROXIMATING = 1.25
"""Exact search is chosen unless something is this much quicker: it has no recall to watch and nothing to build."""
_SECONDS_A_READING = 1.0
_SCORE_NOISE = 1e-5


@dataclass(frozen=True)
class Reading:
    """What one kind did."""

    kind: Kind
    recall: float
    """The share of the exact answer found, mean over the queries."""
    batch_1_ms: float
    """Median time of one query."""
    batch_1_p99_ms: float
    batch_64_qps: float
    """Queries a second, 64 at a time."""
    build_s: float
    """0 where the engine of an earlier reading was searched harder or less hard."""
    megabytes: float
    """All rows, as they lie in memory."""

    @property
    def slowness(self) -> float:
        """What is made small: the product of the two times, so that a halving of either counts the same."""
        return self.batch_1_ms / self.batch_64_qps


@dataclass(frozen=True)
class Tuning:
    """All readings, and the kind they speak for."""

    rows: int
    dim: int
    k: int
    target_recall: float
    queries: int
    threads: int
    machine: str
    faiss: str
    readings: Sequence[Reading]
    left_out: Sequence[str]
    """What was not measured, and why."""
    chosen: Kind
    why: str

    def to_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        readings = [{**asdict(reading), "kind": to_json(reading.kind)} for reading in self.readings]
        return {**asdict(self), "readings": readings, "chosen": to_json(self.chosen)}


def tune(
    vectors: Vectors,  # (N, D)
    queries: Vectors,  # (B, D) held out: real questions, not rows
    *,
    k: int = 100,
    target_recall: float = 0.99,
    memory_bytes: float = float("inf"),
    patience_s: float = 600.0,
    progress: Callable[[Reading], None] = lambda reading: None,
) -> Tuning:
    """Measure the kinds that fit the memory and the patience, and choose the quickest that meets the target.

    Times are those of the whole interface with the threads FAISS is set to.
    """
    rows, dim = vectors.shape
    fitting, left_out = that_fit(rows, dim, memory_bytes=memory_bytes, patience_s=patience_s)
    kept = SealedVectors.of([vectors], dim, half=False)
    expected = _over(kept, Exact(), kept).search(queries, k)
    readings = []
    for family in fitting:
        for reading in _read_family(family, vectors, queries, expected, k):
            progress(reading)
            readings.append(reading)
    chosen, why = choose(readings, target_recall)
    return Tuning(
        rows=rows,
        dim=dim,
        k=k,
        target_recall=target_recall,
        queries=len(queries),
        threads=faiss.omp_get_max_threads(),
        machine=f"{platform.system()} {platform.machine()}, FAISS compiled for {faiss.get_compile_options().strip()}",
        faiss=faiss.__version__,
        readings=readings,
        left_out=left_out,
        chosen=chosen.kind,
        why=why,
    )


def choose(readings: Sequence[Reading], target_recall: float) -> tuple[Reading, str]:
    """The quickest reading that meets the target, and why it is the one."""
    meeting = [reading for reading in readings if reading.recall >= target_recall]
    if not meeting:
        best = max(readings, key=lambda reading: reading.recall)
        return best, f"nothing met recall {target_recall}; this came closest with {best.recall:.4f}"
    best = min(meeting, key=lambda reading: reading.slowness)
    exact = next((reading for reading in meeting if reading.kind == Exact()), None)
    if exact is not None and exact.slowness <= best.slowness * WORTH_APPROXIMATING:
        return exact, f"exact search is within {WORTH_APPROXIMATING}× of the quickest and never errs"
    said = f"quickest of {len(meeting)} that met recall {target_recall}: {best.recall:.4f}"
    if exact is not None:
        said += (
            f", {exact.batch_1_ms / best.batch_1_ms:.1f}× exact search at batch 1"
            f" and {best.batch_64_qps / exact.batch_64_qps:.1f}× at batch {BATCH}"
        )
    return best, said


def recall_against_exact(
    index: VectorIndex,
    queries: Vectors,  # (B, D)
    k: int,
) -> float:
    """The share of the exact answer that an index finds as it stands; 1.0 for an exact kind."""
    if not len(index):
        return 1.0
    k = min(k, len(index))
    found, expected = index.search(queries, k), index.search(queries, k, exact=True)
    return float((found.scores >= expected.scores[:, -1:] - _SCORE_NOISE).mean())


@dataclass(frozen=True)
class AgainstExact:
    """What an index gives up for speed, and what it gets for it."""

    recall: float
    batch_1_ms: float
    """Median time of one query."""
    exact_batch_1_ms: float
    """The same for exact search over the same rows."""


def against_exact(
    index: VectorIndex,
    queries: Vectors,  # (B, D)
    k: int,
) -> AgainstExact:
    """An index as it stands, measured against exact search."""
    quick, exact = _times(index.search, queries, k), _times(partial(index.search, exact=True), queries, k)
    recall = recall_against_exact(index, queries, k)
    return AgainstExact(recall, 1000 * float(np.median(quick)), 1000 * float(np.median(exact)))


def _read_family(
    family: Sequence[Kind], vectors: Vectors, queries: Vectors, expected: Neighbours, k: int
) -> Iterator[Reading]:
    started = time.perf_counter()
    kept = SealedVectors.of([vectors], vectors.shape[1], half=family[0].half)
    engine = engines.build(family[0], kept)
    build_s = time.perf_counter() - started
    for kind in family:
        index = _over(kept, kind, engines.searching(engine, kind))
        times = _times(index.search, queries, k)
        yield Reading(
            kind=kind,
            recall=_recall(index.search(queries, k), expected, vectors, queries),
            batch_1_ms=1000 * float(np.median(times)),
            batch_1_p99_ms=1000 * float(np.quantile(times, 0.99)),
            batch_64_qps=_throughput(index, queries, k),
            build_s=build_s,
            megabytes=bytes_per_row(kind, vectors.shape[1]) * len(vectors) / 1e6,
        )
        build_s = 0.0


def _over(kept: SealedVectors, kind: Kind, engine: Engine) -> VectorIndex:
    """An index whose ids are row numbers."""
    sealed = Sealed(np.arange(len(kept)), kept, AttributeTable(len(kept)), engine)
    return VectorIndex(State.of(sealed), kind, fingerprint="")


def _recall(found: Neighbours, expected: Neighbours, vectors: Vectors, queries: Vectors) -> float:
    """The share of answers that score at least as high as the exact K-th: of rows that tie, any will do."""
    true = np.einsum("bkd,bd->bk", vectors[found.ids], queries)
    good = (found.ids >= 0) & (true >= expected.scores[:, -1:] - _SCORE_NOISE)
    return float(good.mean())


def _times(search: Callable[[Vectors, int], Neighbours], queries: Vectors, k: int) -> list[float]:
    """Seconds of single queries, until a second has passed or each was asked three times."""
    times: list[float] = []
    search(queries[:1], k)
    for query in range(3 * len(queries)):
        started = time.perf_counter()
        search(queries[query % len(queries)][None], k)
        times.append(time.perf_counter() - started)
        if sum(times) > _SECONDS_A_READING and len(times) >= 10:
            break
    return times


def _throughput(index: VectorIndex, queries: Vectors, k: int) -> float:
    """Queries a second, ``BATCH`` at a time: the best of what a second allows, since noise only ever slows."""
    batch = np.resize(queries, (BATCH, queries.shape[1]))
    index.search(batch, k)
    times: list[float] = []
    while sum(times) < _SECONDS_A_READING or len(times) < 3:
        started = time.perf_counter()
        index.search(batch, k)
        times.append(time.perf_counter() - started)
    return BATCH / min(times)
