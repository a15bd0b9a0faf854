"""hnswlib, usearch and ScaNN on the same rows. Run by the interpreter of an environment of their own; needs only numpy.

    python -m benchmarks.index.peers FOLDER K THREADS SECONDS

FOLDER holds vectors.npy, queries.npy and truth.npy (the exact answers); the readings go to standard output as JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.index.clock import batch_1_ms, batch_64_qps

Vectors = npt.NDArray[np.float32]
Reading = dict[str, Any]
EFFORTS = (100, 200, 400, 800, 1600)


def main(folder: Path, k: int, threads: int, seconds: float) -> None:
    """Measure all three, each at several efforts."""
    vectors, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")
    truth = np.load(folder / "truth.npy")[:, :k]
    readings: list[Reading] = []
    for measure in (_hnswlib, _usearch, _scann):
        for name, build_s, search in measure(vectors, k, threads):
            found = np.asarray(search(queries))
            recall = float(np.mean([np.isin(want, got).mean() for want, got in zip(truth, found, strict=True)]))
            reading = {"engine": measure.__name__.strip("_"), "effort": name, "recall": recall, "build_s": build_s}
            reading["batch_1"] = batch_1_ms(search, queries, seconds)
            reading["batch_64_qps"] = batch_64_qps(search, queries, seconds)
            readings.append(reading)
            print(json.dumps(reading), file=sys.stderr, flush=True)
    print(json.dumps(readings))


def _hnswlib(vectors: Vectors, k: int, threads: int) -> Iterator[tuple[str, float, Callable[[Vectors], Any]]]:
    import hnswlib

    started = time.perf_counter()
    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), M=16, ef_construction=200, random_seed=0)
    index.set_num_threads(threads)
    index.add_items(vectors, np.arange(len(vectors)))
    build_s = time.perf_counter() - started
    for effort in EFFORTS:
        index.set_ef(effort)
        yield f"M 16, ef {effort}", build_s, lambda batch: index.knn_query(batch, k=k)[0]


def _usearch(vectors: Vectors, k: int, threads: int) -> Iterator[tuple[str, float, Callable[[Vectors], Any]]]:
    from usearch.index import Index

    started = time.perf_counter()
    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=128)
    index.add(np.arange(len(vectors)), vectors, threads=threads)
    build_s = time.perf_counter() - started

    def search(batch: Vectors) -> Any:
        keys = index.search(batch, k, threads=threads).keys
        return keys[None] if len(batch) == 1 else keys

    for effort in EFFORTS:
        index.expansion_search = effort
        yield f"connectivity 16, expansion {effort}", build_s, search


def _scann(vectors: Vectors, k: int, threads: int) -> Iterator[tuple[str, float, Callable[[Vectors], Any]]]:
    import scann

    leaves = int(2 * np.sqrt(len(vectors)))
    started = time.perf_counter()
    builder = scann.scann_ops_pybind.builder(vectors, k, "dot_product").set_n_training_threads(threads)
    builder = builder.tree(
        num_leaves=leaves, num_leaves_to_search=leaves // 8, training_sample_size=min(len(vectors), 250_000)
    )
    searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(10 * k).build()
    build_s = time.perf_counter() - started
    searcher.set_num_threads(threads)
    for share in (32, 16, 8, 4, 2):
        probes = max(1, leaves // share)

        def search(batch: Vectors, probes: int = probes) -> Any:
            how = {"leaves_to_search": probes, "pre_reorder_num_neighbors": 10 * k, "final_num_neighbors": k}
            if len(batch) == 1:
                return searcher.search(batch[0], **how)[0][None]
            return searcher.search_batched_parallel(batch, **how)[0]

        yield f"{leaves} leaves, {probes} searched, {10 * k} reordered", build_s, search


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
