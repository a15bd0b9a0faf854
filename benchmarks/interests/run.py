"""The interest classifier measured on the time after everything was learnt.

    python -m benchmarks.interests.run ml-100k          # the next five minutes, by genre
    python -m benchmarks.interests.run completejourney  # the next week's baskets, by department and product category

Towers are trained on a temporal split, so that neither they nor the classifier have seen what is asked. Choices are
made on the validation period; the test period is judged once, by this. Seeds are those of the classifier.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe_machine
from recsys.bundle import MANIFEST, Bundle, load_bundle
from recsys.catalogue import read_catalogue
from recsys.config import read_config
from recsys.fetch import fetch_completejourney, fetch_ml_100k
from recsys.interactions import read_interactions
from recsys.interest_baselines import BASELINES
from recsys.interest_head import HeadConfig
from recsys.interest_report import CLASSIFIER, interest_report
from recsys.interest_training import train_interest_classifier
from recsys.run import run_training

RESULTS = Path("benchmarks/results")
SMALL = (
    "width=64",
    "user_tower.layers=1",
    "user_tower.history_length=64",
    "item_tower.text=false",
    "item_tower.warm_ids=false",
    "train.negatives=1024",
    "train.epochs=2",
    "prior.enabled=false",
)
"""Towers that learn 1.2 million purchases of 92,331 products in some minutes of one core."""


@dataclass(frozen=True)
class Benchmark:
    """One data set."""

    overrides: tuple[str, ...]
    seeds: tuple[int, ...]


BENCHMARKS = {
    "ml-100k": Benchmark(("train.epochs=10",), seeds=(0, 1, 2, 3, 4)),
    "completejourney": Benchmark(SMALL, seeds=(0, 1, 2, 3, 4)),
}


def main() -> None:
    """Train what is missing, judge every seed, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=BENCHMARKS)
    parser.add_argument("--bundle", type=Path, default=None, help="a trained bundle (runs/interests-DATA)")
    parser.add_argument("--seed", type=int, nargs="+", default=None, help="other seeds than the benchmark's")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    given = parser.parse_args()
    benchmark = BENCHMARKS[given.data]
    bundle = _bundle(given.data, given.bundle or Path("runs") / f"interests-{given.data}", benchmark)
    began = time.perf_counter()
    reports = [_report(bundle, seed) for seed in given.seed or benchmark.seeds]
    for report in reports[1:]:
        del report["labels"]  # hundreds of interests; one seed's tell which are hard
    result = {
        "data": given.data,
        "towers": {"trained_with": list(benchmark.overrides), "protocol": bundle.training["protocol"]},
        "over_best_baseline": _over_seeds(
            [report["over_best_baseline"]["mean_average_precision"] for report in reports]
        ),
        "over_baselines": {
            kind: _over_seeds([report["over_baselines"][kind]["mean_average_precision"] for report in reports])
            for kind in BASELINES
        },
        "seeds": reports,
        "machine": describe_machine(),
        "seconds": round(time.perf_counter() - began),
        "command": " ".join(["python -m benchmarks.interests.run", *sys.argv[1:]]),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    target = given.out / f"interests-{given.data}.json"
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    print(target, json.dumps(result["over_baselines"]))


def _bundle(name: str, folder: Path, benchmark: Benchmark) -> Bundle:
    if (folder / MANIFEST).exists():
        return load_bundle(folder)
    data = Path("data") / name
    {"ml-100k": fetch_ml_100k, "completejourney": fetch_completejourney}[name](data)
    catalogue, _ = read_catalogue(data / "items.parquet")
    interactions, catalogue, _ = read_interactions(data / "interactions.parquet", catalogue)
    config = read_config(overrides=["split.kind=temporal", "train.tracker=none", *benchmark.overrides])
    return run_training(interactions, catalogue, config, folder)


def _report(bundle: Bundle, seed: int) -> dict[str, Any]:
    trained = train_interest_classifier(bundle, config=HeadConfig(seed=seed))
    report = interest_report(bundle, trained)
    best = report["over_best_baseline"]["baseline"]
    for scorer in (CLASSIFIER, best):
        figure = report["scorers"][scorer]["mean_average_precision"]
        print(f"seed {seed}  {scorer}: {figure['value']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})", flush=True)
    return report


def _over_seeds(figures: list[dict[str, float]]) -> dict[str, float]:
    """By how much the mean average precision is larger: mean and spread over the seeds."""
    gains = [figure["value"] for figure in figures]
    return {"mean": float(np.mean(gains)), "standard_deviation": float(np.std(gains))}


if __name__ == "__main__":
    main()
