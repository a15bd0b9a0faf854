"""Train one peer and let it rank the cases. Run by the interpreter of the peers' environment; knows nothing of ours.

    .venv-recommenders/bin/python -m benchmarks.peers.run --peer sasrec --train F --validation F --cases F --out DIR

`benchmarks.peers.judge` writes the three tables and reads back what is left in DIR; `benchmarks.peers.exchange` says
what stands in them.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.exchange import PEERS


def main() -> None:
    """Read the tables, train, rank, write."""
    given = _arguments()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(given.threads)  # before numpy and torch are imported
    from benchmarks.peers.material import read_material

    began = time.monotonic()
    tables = {"train": given.train, "validation": given.validation, "cases": given.cases}
    material = read_material(**tables)
    rankings, facts = _peer(given.peer)(material, minutes=given.minutes, seed=given.seed, threads=given.threads)
    rankings["user_id"] = material.user_ids[rankings["user"]]
    rankings["item_id"] = material.item_ids[rankings["item"]]
    given.out.mkdir(parents=True, exist_ok=True)
    rankings[["user_id", "item_id", "rank", "score"]].to_parquet(given.out / "rankings.parquet", index=False)
    facts = {
        "peer": given.peer,
        **facts,
        "minutes_allowed": given.minutes,
        "seed": given.seed,
        "threads": given.threads,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "versions": _versions(),
        "tables_sha256": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in tables.items()},
    }
    (given.out / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _peer(name: str) -> Callable[..., Any]:
    """The function behind a name; a linear peer does not wait for torch to be imported."""
    if name in ("ease", "ials", "item_knn"):
        from benchmarks.peers import linear

        return {"ease": linear.ease, "ials": linear.ials, "item_knn": linear.item_knn}[name]
    from benchmarks.peers import neural

    return {"sasrec": neural.sasrec, "esasrec": neural.esasrec, "hstu": neural.hstu, "bert4rec": neural.bert4rec}[name]


def _versions() -> dict[str, str]:
    """Of what the figures depend on."""
    versions = {"python": sys.version.split()[0]}
    for name in ("rectools", "pm-implicit", "torch", "pytorch-lightning", "numpy", "scipy", "pandas"):
        versions[name] = importlib.metadata.version(name)
    return versions


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--train", type=Path, required=True, help="user_id, item_id, occurred_at or position")
    parser.add_argument("--validation", type=Path, required=True, help="the same, requested_at, target")
    parser.add_argument("--cases", type=Path, required=True, help="the same without target")
    parser.add_argument("--out", type=Path, required=True, help="the folder that takes rankings.parquet and run.json")
    parser.add_argument("--minutes", type=float, default=30, help="of its cores' time; then the best so far is taken")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
