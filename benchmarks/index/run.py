"""The vector index measured, beside hnswlib, usearch and ScaNN.

    python -m benchmarks.index.run --bundle runs/demo --rows 1000000 --out runs/bench-index

Without --rows the true item vectors are used; without --bundle invented ones. The peers need an interpreter of their
own (benchmarks/index/requirements-peers.txt), by default .venv-peers/bin/python. Cores are limited from outside:
``taskset -c 0 python -m …``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.index import filtered, material, memory, overhead, updates
from benchmarks.machine import describe_machine
from index.kinds import Exact, FastScan, Kind, from_json
from index.tune import Reading, tune
from index.vector_index import VectorIndex

SECTIONS = ("kinds", "peers", "overhead", "filters", "updates", "memory")


def main() -> None:
    """Measure the sections asked for and write index.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=None, help="a trained bundle")
    parser.add_argument("--rows", type=int, default=None, help="grow the vectors to so many")
    parser.add_argument("--dim", type=int, default=128, help="width of invented vectors")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--target-recall", type=float, default=0.99)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each reading takes")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds one kind may take to build")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    if given.bundle is None:
        world = material.invented(given.rows or 100_000, given.dim, rng)
    else:
        world = material.of_bundle(given.bundle, given.rows, rng)
    result = _kept(given, len(world.vectors))
    result |= {
        "command": "python -m benchmarks.index.run " + " ".join(sys.argv[1:]),
        "seed": given.seed,
        "machine": {**describe_machine(), "faiss": faiss.__version__, "faiss_threads": faiss.omp_get_max_threads()},
        "material": world.description,
        "rows": len(world.vectors),
        "dim": world.vectors.shape[1],
        "k": given.k,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    for section in given.only:
        chosen = _chosen(result)
        match section:
            case "kinds":
                result[section] = _kinds(world, given)
            case "peers":
                result[section] = _peers(world, given)
            case "overhead":
                result[section] = overhead.measure(world.vectors, world.queries, given.k, chosen, 5 * given.seconds)
            case "filters":
                result[section] = filtered.measure(
                    world.vectors, world.queries, given.k, chosen, given.seconds, given.seed
                )
            case "updates":
                result[section] = updates.measure(world.vectors, world.queries, given.k, chosen, 5 * given.seconds)
            case "memory":
                result[section] = memory.measure(world.vectors)
        (given.out / "index.json").write_text(json.dumps(result, indent=2))
        print(f"{section} done", flush=True)
    if "kinds" in result and "peers" in result:
        result["verdict"] = _verdict(result, given.target_recall)
        (given.out / "index.json").write_text(json.dumps(result, indent=2))
        print(json.dumps(result["verdict"], indent=2))


def _kept(given: argparse.Namespace, rows: int) -> dict[str, Any]:
    """The sections that are not measured now, as they were measured before into the same place on as many rows."""
    before = given.out / "index.json"
    if not before.exists():
        return {}
    sections: dict[str, Any] = json.loads(before.read_text(encoding="utf-8"))
    wanted = set(SECTIONS) - set(given.only) if sections.get("rows") == rows else set()
    return {name: section for name, section in sections.items() if name in wanted}


def _chosen(result: dict[str, Any]) -> Kind:
    """The approximate kind that filters and updates are measured on: the quickest, where kinds were measured."""
    fastest = from_json(result["kinds"]["chosen"]) if "kinds" in result else FastScan()
    return FastScan() if isinstance(fastest, Exact) else fastest


def _kinds(world: material.Material, given: argparse.Namespace) -> dict[str, Any]:
    def show(reading: Reading) -> None:
        times = f"{reading.batch_1_ms:.3f} ms, {reading.batch_64_qps:,.0f}/s, built in {reading.build_s:.1f} s"
        print(f"  {reading.kind}: {reading.recall:.4f}, {times}", flush=True)

    tuning = tune(
        world.vectors,
        world.queries,
        k=given.k,
        target_recall=given.target_recall,
        patience_s=given.patience,
        progress=show,
    )
    return tuning.to_json()


def _peers(world: material.Material, given: argparse.Namespace) -> list[dict[str, Any]] | str:
    """The peers, in a process of their interpreter; what to do where there is none."""
    if not given.peers_python.exists():
        return f"not measured: {given.peers_python} is missing, see benchmarks/index/requirements-peers.txt"
    exact = VectorIndex.build(world.vectors, np.arange(len(world.vectors)))
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "vectors.npy", world.vectors)
        np.save(Path(folder) / "queries.npy", world.queries)
        np.save(Path(folder) / "truth.npy", exact.search(world.queries, given.k).ids)
        arguments = [folder, str(given.k), str(len(os.sched_getaffinity(0))), str(given.seconds)]
        command = [given.peers_python, "-m", "benchmarks.index.peers", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    readings: list[dict[str, Any]] = json.loads(done.stdout)
    return readings


def _verdict(result: dict[str, Any], target: float) -> dict[str, Any]:
    """Ours at the target recall against the best graph index, and against hnswlib's build.

    Where no graph meets the target, the one of highest recall stands in for the best.
    """
    ours = [reading for reading in result["kinds"]["readings"] if reading["recall"] >= target]
    if isinstance(result["peers"], str) or not ours:
        return {"not decided": result["peers"] if isinstance(result["peers"], str) else "nothing met the target"}
    best = max(ours, key=lambda reading: reading["batch_64_qps"])
    built = next(r["build_s"] for r in result["kinds"]["readings"] if r["build_s"] and _alike(r, best))
    graphs = [r for r in result["peers"] if r["engine"] in ("hnswlib", "usearch") and r["recall"] >= target]
    hnswlib = next(r["build_s"] for r in result["peers"] if r["engine"] == "hnswlib")
    nearest = max(
        (r for r in result["peers"] if r["engine"] in ("hnswlib", "usearch")), key=lambda r: float(r["recall"])
    )
    return {
        "ours": best["kind"],
        "recall": best["recall"],
        "batch_64_qps": best["batch_64_qps"],
        "best_graph": max(graphs, key=lambda reading: reading["batch_64_qps"], default="none met the target"),
        "graph_of_highest_recall": nearest,
        "qps_over_best_graph": best["batch_64_qps"] / max(r["batch_64_qps"] for r in graphs or [nearest]),
        "build_s": built,
        "hnswlib_build_over_ours": hnswlib / built if built else None,
    }


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two readings share what was built."""
    return all(one["kind"].get(name) == other["kind"].get(name) for name in ("name", "half", "nlist"))


if __name__ == "__main__":
    main()
