"""How good the rankings are: several seeds on one data set beside baselines and peers, and what each part brings.

    python -m benchmarks.accuracy.run ml-100k             # the table, benchmarks/results/ml-100k.json
    python -m benchmarks.accuracy.run ml-100k --ablation  # the ablation, benchmarks/results/ml-100k-ablation.json
    python -m benchmarks.accuracy.run ml-1m --ours --seed 0 1 2 3 4  # no peers, benchmarks/results/ml-1m-seeds.json

Choices are made on the validation cases; the test cases are judged once, by this.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy.data import BENCHMARKS, fetch
from benchmarks.accuracy.seeds import Job, job_peers, rerank_anew, run_seed, summarise
from benchmarks.accuracy.tables import write_tables
from benchmarks.peers.exchange import PEERS

RESULTS = Path("benchmarks/results")
EVERYTHING = "everything"
ABLATION = {
    EVERYTHING: (),
    "BERT layers": ("user_tower.block=bert",),
    "no text": ("item_tower.text=false",),
    "no id": ("item_tower.item_id=false",),
    "ids from chance": ("item_tower.warm_ids=false",),
    "ids never hidden": ("item_tower.id_dropout=0",),
    "one layer": ("user_tower.layers=1",),
    "four layers": ("user_tower.layers=4",),
    "width 256": ("width=256",),
    "dropout 0.5": ("user_tower.dropout=0.5",),
    "temperature 0.1": ("train.temperature=0.1",),
    "seen items as negatives": ("train.exclude_seen=false",),
    "512 sampled negatives": ("train.loss=sampled", "train.negatives=512"),
    "384 sampled and 128 mined": ("train.loss=sampled", "train.negatives=384", "train.hard_negatives=128"),
    "896 sampled and 128 mined, streamed counts": (
        "train.loss=sampled",
        "train.negatives=896",
        "train.hard_negatives=128",
        "train.hard_margin=-0.1",
        "train.log_q=streamed",
    ),
    "one user tower": ("rerank.second_tower=false",),
    "no clock": (
        "user_tower.gaps=false",
        "user_tower.ages=false",
        "user_tower.calendar=false",
        "user_tower.request_time=false",
    ),
}


def main() -> None:
    """Run what is missing, then write the results and README's tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=BENCHMARKS)
    parser.add_argument("--interactions", type=Path, default=None, help="where else the table lies")
    parser.add_argument("--items", type=Path, default=None)
    parser.add_argument("--seed", type=int, nargs="+", default=None, help="other seeds than the benchmark's")
    parser.add_argument("--out", type=Path, default=None, help="where runs are kept (runs/bench-DATA)")
    parser.add_argument(
        "--ablation", nargs="*", choices=ABLATION, default=None, help="change one part at a time: these, or all"
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="who runs beside ours")
    parser.add_argument("--ours", action="store_true", help="no peers and no table: more seeds, DATA-seeds.json")
    parser.add_argument("--minutes", type=float, default=30, help="how long one of them may learn")
    parser.add_argument("--only", choices=ABLATION, default=None, help="train just this variant, and write no table")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other knobs for all of them")
    parser.add_argument("--rerank-anew", action="store_true", help="learn the rerankers of finished runs again")
    given = parser.parse_args()
    benchmark = BENCHMARKS[given.data]
    if given.interactions is None:
        fetch(benchmark)

    def job(variant: str) -> Job:
        return Job(
            name=variant.replace(",", "").replace(" ", "-"),
            interactions=given.interactions or benchmark.folder / "interactions.parquet",
            items=given.items or benchmark.folder / "items.parquet",
            columns=benchmark.columns,
            item_columns=benchmark.item_columns,
            overrides=(*benchmark.split, *ABLATION[variant], *given.set),
            protocol=benchmark.protocol,
            folder=given.out or Path("runs") / f"bench-{given.data}",
        )

    if given.only is not None:
        for seed in given.seed or benchmark.seeds[:1]:
            run_seed(job(given.only), seed)
        return
    if given.rerank_anew:
        for seed in given.seed or benchmark.seeds:
            rerank_anew(job(EVERYTHING), seed)
    result: dict[str, Any]
    if given.ablation is not None:
        seeds = given.seed or benchmark.seeds[:1]
        variants = [EVERYTHING, *given.ablation] if given.ablation else list(ABLATION)
        result = {"variants": [summarise(job(variant), seeds) for variant in variants]}
    else:
        peers = {} if given.ours else job_peers(job(EVERYTHING), given.peers, minutes=given.minutes)
        result = summarise(job(EVERYTHING), given.seed or benchmark.seeds, peers)
    result["command"] = " ".join(["python -m benchmarks.accuracy.run", *sys.argv[1:]])
    kind = "-ablation" if given.ablation is not None else "-seeds" if given.ours else ""
    target = RESULTS / f"{given.data}{kind}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_tables(RESULTS)


if __name__ == "__main__":
    main()
