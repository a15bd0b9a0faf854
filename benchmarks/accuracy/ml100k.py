"""MovieLens-100K, leave-one-out, request time given: five seeds against four baselines, and what each part brings.

python -m benchmarks.accuracy.ml100k            # the table, benchmarks/results/ml-100k.json
python -m benchmarks.accuracy.ml100k --ablation # the ablation, benchmarks/results/ml-100k-ablation.json
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy.seeds import Job, run_seed, summarise
from benchmarks.accuracy.tables import write_tables
from recsys.fetch import fetch_ml_100k
from recsys.report import Protocol

RESULTS = Path("benchmarks/results")
ABLATION = {
    "everything": (),
    "no text": ("item_tower.text=false",),
    "no id": ("item_tower.item_id=false",),
    "no gaps": ("user_tower.gaps=false",),
    "no ages": ("user_tower.ages=false",),
    "no calendar": ("user_tower.calendar=false",),
    "no request time": ("user_tower.request_time=false",),
}


def main() -> None:
    """Run what is missing, then write the results and README's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=Path, default=Path("data/ml-100k/interactions.parquet"))
    parser.add_argument("--items", type=Path, default=Path("data/ml-100k/items.parquet"))
    parser.add_argument(
        "--seed", type=int, nargs="+", default=None, help="seeds (0 to 4 for the table, 0 for the ablation)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench-ml-100k"), help="where runs are kept")
    parser.add_argument("--ablation", action="store_true", help="leave out one part at a time")
    parser.add_argument("--only", default=None, help="train just this variant of the ablation, and write no table")
    given = parser.parse_args()
    if not given.interactions.exists():
        fetch_ml_100k(given.interactions.parent)

    def job(name: str, overrides: tuple[str, ...]) -> Job:
        return Job(
            name=name.replace(" ", "-"),
            interactions=given.interactions,
            items=given.items,
            overrides=("split.kind=leave-one-out", *overrides),
            protocol=Protocol(request_time=True),
            folder=given.out,
        )

    if given.only is not None:
        for seed in given.seed or (0,):
            run_seed(job(given.only, ABLATION[given.only]), seed)
        return
    result: dict[str, Any]
    if given.ablation:
        seeds = given.seed or [0]
        result = {"variants": [summarise(job(name, knobs), seeds) for name, knobs in ABLATION.items()]}
        target = RESULTS / "ml-100k-ablation.json"
    else:
        result = summarise(job("everything", ()), given.seed or [0, 1, 2, 3, 4])
        target = RESULTS / "ml-100k.json"
    result["command"] = " ".join(["python -m benchmarks.accuracy.ml100k", *sys.argv[1:]])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_tables(RESULTS)


if __name__ == "__main__":
    main()
