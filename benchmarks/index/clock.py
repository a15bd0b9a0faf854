"""How a search is timed, the same for every engine."""

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Search = Callable[[npt.NDArray[np.float32]], object]

BATCH = 64


def batch_1_ms(search: Search, queries: npt.NDArray[np.float32], seconds: float) -> dict[str, float]:
    """Median and 99th percentile of single queries, each another one."""
    search(queries[:1])
    times: list[float] = []
    while sum(times) < seconds:
        for query in queries:
            started = time.perf_counter()
            search(query[None])
            times.append(time.perf_counter() - started)
            if sum(times) >= seconds:
                break
    return {"p50_ms": 1e3 * float(np.median(times)), "p99_ms": 1e3 * float(np.quantile(times, 0.99))}


def batch_64_qps(search: Search, queries: npt.NDArray[np.float32], seconds: float) -> float:
    """Queries a second in batches of 64: the median batch."""
    search(queries[:BATCH])
    times: list[float] = []
    start = 0
    while sum(times) < seconds or len(times) < 3:
        batch = np.take(queries, np.arange(start, start + BATCH), axis=0, mode="wrap")
        started = time.perf_counter()
        search(batch)
        times.append(time.perf_counter() - started)
        start += BATCH
    return BATCH / float(np.median(times))


def side_by_side(
    one: Search, other: Search, queries: npt.NDArray[np.float32], seconds: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Seconds of two searches that take turns at going first, so that what disturbs the machine disturbs both.

    They take at least ten turns each, and at most four hundred.
    """
    times: dict[Search, list[float]] = {one: [], other: []}
    for turn in range(-2, 400):
        if turn >= 10 and sum(map(sum, times.values())) > seconds:
            break
        for search in (one, other) if turn % 2 else (other, one):
            started = time.perf_counter()
            search(queries)
            if turn >= 0:
                times[search].append(time.perf_counter() - started)
    return np.array(times[one]), np.array(times[other])
