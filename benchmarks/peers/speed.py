"""Training speed beside RecTools' SASRec: same table, width, depth, heads, history length, full softmax and cores.

    python -m benchmarks.peers.speed --interactions data/ml-1m/interactions.parquet --out benchmarks/results

RecTools runs as it comes (fp32, batches of 128 histories), and also in bf16 and with smaller batches. Each reading is
of a process of its own, one after the other. An event is one that the loss is asked to predict.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.machine import describe_machine
from benchmarks.peers.judge import PYTHON

SHAPE = {"width": 128, "layers": 2, "heads": 4, "length": 200}
RECTOOLS = {
    "as it comes": {"batch": 128, "precision": "32-true"},
    "bf16": {"batch": 128, "precision": "bf16-mixed"},
    "bf16, batches of 32": {"batch": 32, "precision": "bf16-mixed"},
}
OURS = (
    f"width={SHAPE['width']}",
    f"user_tower.layers={SHAPE['layers']}",
    f"user_tower.heads={SHAPE['heads']}",
    f"user_tower.history_length={SHAPE['length']}",
    "item_tower.text=false",
    "item_tower.categories=false",
    "item_tower.numbers=false",
    "train.loss=full",
    "train.tracker=none",
    "split.kind=leave-one-out",
)


def main() -> None:
    """Take all readings, then write speed.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=Path, default=Path("data/ml-1m/interactions.parquet"))
    parser.add_argument("--users", type=int, default=1500, help="the first so many users of the table")
    parser.add_argument("--epochs", type=int, default=2, help="the fastest counts")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="further knobs of ours")
    parser.add_argument("--python", type=Path, default=PYTHON, help="the interpreter that has RecTools")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "interactions.parquet"
        first_users(pl.read_parquet(given.interactions), given.users).write_parquet(table)
        readings = {
            "ours": _read(
                Path(sys.executable),
                "our_epoch",
                table,
                {
                    "threads": given.threads,
                    "overrides": [*OURS, f"train.epochs={given.epochs}", *given.overrides],
                },
            )
        }
        for name, knobs in RECTOOLS.items():
            knobs = {**SHAPE, **knobs, "epochs": given.epochs, "threads": given.threads}
            readings[f"RecTools SASRec, {name}"] = _read(given.python, "rectools_epoch", table, knobs)
    result = {
        "command": " ".join(["python -m benchmarks.peers.speed", *sys.argv[1:]]),
        "shape": SHAPE,
        "users": given.users,
        "threads": given.threads,
        "readings": readings,
        "ours_against": compare(readings),
        "machine": describe_machine(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "speed.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["ours_against"], indent=1))


def first_users(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """user_id, item_id and position of the first users, in the table's order."""
    if "position" not in table.columns:
        table = table.sort("occurred_at", maintain_order=True)
    users = table["user_id"].unique(maintain_order=True)[:most]
    kept = table.filter(pl.col("user_id").is_in(users.implode()))
    if "position" not in table.columns:
        kept = kept.with_columns(position=pl.int_range(pl.len()).over("user_id"))
    return kept.select("user_id", "item_id", "position")


def compare(readings: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each other reading → how many times as fast ours is, and ours as a share of its memory."""
    ours = readings["ours"]
    return {
        name: {
            "times_as_fast": round(ours["events_per_second"] / reading["events_per_second"], 2),
            "share_of_memory": round(ours["peak_memory_mib"] / reading["peak_memory_mib"], 2),
        }
        for name, reading in readings.items()
        if name != "ours"
    }


def _read(python: Path, module: str, table: Path, knobs: dict[str, Any]) -> dict[str, Any]:
    """What one process measured."""
    command = [str(python), "-m", f"benchmarks.peers.{module}", str(table), json.dumps(knobs)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    reading: dict[str, Any] = json.loads(said.splitlines()[-1])
    reading["events_per_second"] = round(reading["events"] / reading["seconds"], 1)
    print(module, knobs, reading, flush=True)
    return reading | {"knobs": knobs}


if __name__ == "__main__":
    main()
