"""README's tables, rebuilt from the committed results, so that no figure in it drifts from the one measured."""

import json
import re
from pathlib import Path
from typing import Any

from recsys.report import OURS

READMES = (Path("README.md"), Path("README.zh.md"))
LABELS = {
    "two_tower+rerank": "**two towers + reranker**",
    "two_tower+prior": "**two towers + transition prior**",
    "two_tower": "**two towers alone**",
    "transitions": "transition counter",
    "revisits": "own revisits",
    "item_knn": "item-kNN",
    "recent_popularity": "recent popularity",
    "popularity": "popularity",
    "all evidence": "**all evidence that pays**",
    "sasrec": "RecTools SASRec, full softmax",
    "esasrec": "RecTools eSASRec",
    "hstu": "RecTools HSTU",
    "bert4rec": "RecTools BERT4Rec",
    "ease": "RecTools EASE",
    "ials": "iALS (implicit)",
    "implicit_item_knn": "item-kNN (implicit)",
}
DATA = ("ml-100k", "ml-1m", "amazon-beauty", "amazon-beauty-temporal", "foursquare-nyc")


def write_tables(results: Path) -> None:
    """Put every table whose results are there between its markers in both READMEs."""
    tables = {}
    for data in DATA:
        if (path := results / f"{data}.json").exists():
            tables[data] = accuracy_table(json.loads(path.read_text(encoding="utf-8")))
        if (path := results / f"{data}-ablation.json").exists():
            tables[f"{data}-ablation"] = ablation_table(json.loads(path.read_text(encoding="utf-8"))["variants"])
    if evidence := read_results(results, "evidence"):
        tables["evidence"] = evidence_table(evidence)
    if seeds := read_results(results, "seeds"):
        tables["seeds"] = seeds_table(seeds)
    if (path := results / "scoring.json").exists():
        tables["scoring"] = scoring_table(json.loads(path.read_text(encoding="utf-8"))["bundles"])
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = put(text, name, table)
        readme.write_text(text, encoding="utf-8")


def put(text: str, name: str, table: str) -> str:
    """Replace what stands between ``<!-- name -->`` and ``<!-- /name -->``.

    Example:
        >>> print(put("a <!-- t -->old<!-- /t --> z", "t", "new"))
        a <!-- t -->
        new
        <!-- /t --> z
    """
    between = re.compile(rf"(<!-- {name} -->).*?(<!-- /{name} -->)", re.DOTALL)
    return between.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)


def accuracy_table(result: dict[str, Any]) -> str:
    """A row per recommender, best first; p says how likely chance alone makes each of ours better than the row's."""
    lines = [
        "| | NDCG@10 (95 %) | recall@10 | MRR@10 | recall@200 | p, reranked | p, with prior | p, towers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in sorted(result["recommenders"].items(), key=lambda row: -row[1]["ndcg@10"]):
        p_values = [result["p_values"].get(ours, {}).get(name) for ours in reversed(OURS)]
        told = ["" if p is None or p > 0.5 else f"{p:.4f}" for p in p_values]
        lines.append(
            f"| {LABELS[name]} | {figures['ndcg@10']:.4f} ({figures['ndcg@10_low']:.3f}–{figures['ndcg@10_high']:.3f}) "
            f"| {figures['recall@10']:.4f} | {figures['mrr@10']:.4f} | {figures['recall@200']:.4f} "
            f"| {' | '.join(told)} |"
        )
    return "\n".join(lines)


def ablation_table(variants: list[dict[str, Any]]) -> str:
    """A row per variant: NDCG@10 and recall@200 of the towers alone, NDCG@10 with the prior."""
    lines = ["| | towers NDCG@10 | towers recall@200 | with the prior NDCG@10 |", "|---|---|---|---|"]
    for variant in variants:
        towers, prior = variant["recommenders"]["two_tower"], variant["recommenders"]["two_tower+prior"]
        lines.append(
            f"| {variant['name'].replace('-', ' ')} | {towers['ndcg@10']:.4f} | {towers['recall@200']:.4f} "
            f"| {prior['ndcg@10']:.4f} |"
        )
    return "\n".join(lines)


def read_results(results: Path, kind: str) -> dict[str, dict[str, Any]]:
    """Data set → its results of a kind (evidence, seeds), where there are any."""
    paths = {data: results / f"{data}-{kind}.json" for data in DATA}
    return {data: json.loads(path.read_text(encoding="utf-8")) for data, path in paths.items() if path.exists()}


def seeds_table(results: dict[str, dict[str, Any]]) -> str:
    """A row per data set: NDCG@10 of the towers alone, with the prior and reranked, and what reranking gains.

    p says how likely chance alone makes the reranked better than the towers; the gain is told of users whose interests
    moved and of the others as well.
    """
    lines = [
        "| NDCG@10 | seeds | towers | with the prior | reranked | gain | p | who moved | who did not | ECE, worst |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for data, result in results.items():
        figures = [result["recommenders"][name]["ndcg@10"] for name in OURS]
        groups = {group: result["drift_groups"].get(group) for group in ("drift high", "drift low")}
        gains = [_gain(figures[-1], figures[0])]
        gains += ["" if of is None else _gain(of[OURS[-1]], of[OURS[0]]) for of in groups.values()]
        ece = max(run[OURS[-1]]["ece"] for run in result["calibration"])
        lines.append(
            f"| {data} | {len(result['seeds'])} | {' | '.join(f'{figure:.4f}' for figure in figures)} | {gains[0]} "
            f"| {result['p_values'][OURS[-1]][OURS[0]]:.4f} | {gains[1]} | {gains[2]} | {ece:.4f} |"
        )
    return "\n".join(lines)


def _gain(better: float, than: float) -> str:
    return f"{100 * (better / than - 1):+.1f} %"


def evidence_table(results: dict[str, dict[str, Any]]) -> str:
    """A row per variant, two columns per data set: NDCG@10 of all cases, and of users whose interests moved.

    A cell is empty where a variant was not judged.
    """
    heads = [f"{data} | who moved ({result['cases']['drift high']})" for data, result in results.items()]
    lines = [f"| NDCG@10 | {' | '.join(heads)} |", "|---" * (1 + 2 * len(heads)) + "|"]
    for variant in next(iter(results.values()))["variants"]:
        told = []
        for result in results.values():
            judged = result["variants"].get(variant, {})
            figures = (judged.get(group, {}).get("ndcg@10") for group in ("all", "drift high"))
            told += ["" if figure is None else f"{figure:.4f}" for figure in figures]
        lines.append(f"| {LABELS.get(variant, variant)} | {' | '.join(told)} |")
    return "\n".join(lines)


def scoring_table(bundles: dict[str, dict[str, Any]]) -> str:
    """A row per bundle and length of history: milliseconds of one core for each stage."""
    stages = list(next(iter(next(iter(bundles.values()))["milliseconds"].values())))
    lines = [f"| ms of a core | events of history | {' | '.join(stages)} |", "|---" * (2 + len(stages)) + "|"]
    for name, found in bundles.items():
        for length, taken in found["milliseconds"].items():
            lines.append(f"| {name} | {length} | {' | '.join(f'{taken[stage]:.2f}' for stage in stages)} |")
    return "\n".join(lines)
