"""Updates while searches run: how soon they are seen, how many a second, and whether compaction holds a search up."""

import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np

from benchmarks.index.material import Vectors
from benchmarks.index.waiting import Spent, Watch
from index.kinds import Kind
from index.vector_index import VectorIndex

ROWS_A_CALL = 500


def measure(vectors: Vectors, queries: Vectors, k: int, kind: Kind, seconds: float) -> dict[str, Any]:
    """On an index that is saved, so that every update is on the disk before it is acknowledged."""
    index = VectorIndex.build(vectors, np.arange(len(vectors)), kind=kind)
    with tempfile.TemporaryDirectory() as folder:
        index.save(folder)
        reading = {
            "kind": str(kind),
            "visible": _visible(index, vectors),
            "sustained": _sustained(index, vectors, queries, k, seconds),
            "compaction": _compaction(index, vectors, queries, k),
        }
        index.close()
    return reading


def _visible(index: VectorIndex, vectors: Vectors) -> dict[str, float]:
    """From the call with 1,000 new items to an answer that holds one of them."""
    times = []
    for turn in range(10):
        ids = np.arange(1000) + 10_000_000 + 1000 * turn
        rows = 1.5 * _repeated(vectors, 1000)  # longer than any other: the best answers
        started = time.perf_counter()
        index.upsert(ids, rows)
        found = index.search(vectors[:1], 20).ids
        times.append(time.perf_counter() - started)
        assert (found >= 10_000_000).any()
        index.delete(ids)
    return {"p50_ms": 1e3 * float(np.median(times)), "worst_ms": 1e3 * max(times)}


def _sustained(index: VectorIndex, vectors: Vectors, queries: Vectors, k: int, seconds: float) -> dict[str, Any]:
    """10,000 updates a second asked for, half of them of items that are there, with one thread searching."""
    times: list[Spent] = []
    stop = threading.Event()

    def search() -> None:
        times.extend(_searches(index, queries, k, lambda began: not stop.is_set()))

    reader = threading.Thread(target=search)
    reader.start()
    rng = np.random.default_rng(0)
    started, done = time.perf_counter(), 0
    while (now := time.perf_counter() - started) < seconds:
        if done > 10_000 * now:
            time.sleep(0.001)
            continue
        ids = rng.choice(2 * len(vectors), size=ROWS_A_CALL, replace=False)
        index.upsert(ids, vectors[ids % len(vectors)])
        done += ROWS_A_CALL
    elapsed = time.perf_counter() - started
    stop.set()
    reader.join()
    return {
        "updates_per_s": done / elapsed,
        "seconds": elapsed,
        "search": _spread(times),
    }


def _compaction(index: VectorIndex, vectors: Vectors, queries: Vectors, k: int) -> dict[str, Any]:
    """Searches alone, then searches beside one compaction of the whole index, which has one core as in service."""
    index.close()
    index.upsert(np.arange(5000) + 20_000_000, _repeated(vectors, 5000))
    quiet = _searches(index, queries, k, lambda began: time.perf_counter() - began < 3)

    def compact() -> None:
        faiss.omp_set_num_threads(1)
        index.compact()

    compaction = threading.Thread(target=compact)
    started = time.perf_counter()
    compaction.start()
    busy = _searches(index, queries, k, lambda began: compaction.is_alive())
    return {"seconds": time.perf_counter() - started, "quiet": _spread(quiet), "beside_compaction": _spread(busy)}


def _repeated(vectors: Vectors, rows: int) -> Vectors:
    """As many rows as wanted, from the first on; a small catalogue's come again."""
    wanted: Vectors = vectors[np.arange(rows) % len(vectors)]
    return wanted


def _searches(index: VectorIndex, queries: Vectors, k: int, going: Callable[[float], bool]) -> list[Spent]:
    times: list[Spent] = []
    watch = Watch()
    began = time.perf_counter()
    while not times or going(began):  # a small index is compacted before it can be searched
        query = queries[len(times) % len(queries)][None]
        times.append(watch.time(partial(index.search, query, k)))
    watch.close()
    return times


def _spread(times: list[Spent]) -> dict[str, float]:
    wall, blocked = [spent.wall_ms for spent in times], [spent.blocked_ms for spent in times]
    return {
        "searches": len(times),
        "p50_ms": float(np.median(wall)),
        "p99_ms": float(np.quantile(wall, 0.99)),
        "worst_ms": max(wall),
        "blocked_p99_ms": float(np.quantile(blocked, 0.99)),
        "blocked_worst_ms": max(blocked),
    }
