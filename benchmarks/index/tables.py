"""README's tables about the index, rebuilt from the committed results.

python -m benchmarks.index.tables benchmarks/results/index-1m/index.json
python -m benchmarks.index.tables benchmarks/results/index-gpu/gpu.json
"""

import json
import sys
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from typing import Any

from benchmarks.accuracy.tables import READMES, put
from index.kinds import from_json, to_json

TARGET = 0.99

Result = dict[str, Any]


def kinds_table(result: Result) -> str:
    """A row for each kind and peer: its quickest reading at recall ≥ .99, or where none has it, its best recall."""
    lines = [
        f"| | recall@{result['k']} | batch 1, ms | batch 64, queries/s | built in | MB |",
        "|---|---|---|---|---|---|",
    ]
    for readings in _alike(result["kinds"]["readings"], _built_as):
        best = _best(readings)
        build_s = max(reading["build_s"] for reading in readings)
        lines.append(
            f"| {_said(best['kind'])} | {best['recall']:.4f} | {best['batch_1_ms']:.2f} "
            f"| {best['batch_64_qps']:,.0f} | {build_s:.1f} s | {best['megabytes']:,.0f} |"
        )
    for readings in _alike(result["peers"], lambda reading: reading["engine"]):
        best = _best(readings)
        lines.append(
            f"| {best['engine']}, {best['effort']} | {best['recall']:.4f} | {best['batch_1']['p50_ms']:.2f} "
            f"| {best['batch_64_qps']:,.0f} | {best['build_s']:.1f} s | |"
        )
    return "\n".join(lines)


def filters_table(result: Result) -> str:
    """A row for each kind and filter, unfiltered first."""
    lines = [
        "| kind | eligible (all: no filter) | recall | batch 1, ms | batch 64, queries/s |",
        "|---|---|---|---|---|",
    ]
    for reading in result["filters"]:
        if reading["filter"] == "range":
            continue  # differs from a category by the time to compare a column
        eligible = f"{100 * reading['selectivity']:g} %" if "selectivity" in reading else reading["filter"]
        recall = f"{reading['recall']:.4f}" if "recall" in reading else ""
        lines.append(
            f"| {reading['kind'].partition('(')[0]} | {eligible.replace('none', 'all')} | {recall} "
            f"| {reading['batch_1']['p50_ms']:.2f} | {reading['batch_64_qps']:,.0f} |"
        )
    return "\n".join(lines)


def memory_table(result: Result) -> str:
    """A row for each kind: what a million vectors take, and how many millions a machine of 24 GiB holds."""
    what_is_stored = {"numbers_per_code", "half"}
    lines = [f"| kind, {result['dim']}-d | MB a million | millions in 24 GiB |", "|---|---|---|"]
    for reading in result["memory"]:
        a_million, fit = reading["megabytes_per_million"], reading["millions_in_24_gib"]
        lines.append(f"| {_said(reading['kind'], what_is_stored)} | {a_million:,.0f} | {fit:.0f} |")
    return "\n".join(lines)


def live_table(result: Result) -> str:
    """What changing and calling an index costs: one figure a row."""
    updates = result["updates"]
    search, beside = updates["sustained"]["search"], updates["compaction"]["beside_compaction"]
    rows = [
        (
            "1,000 items upserted, logged on the disk and in an answer",
            f"{updates['visible']['p50_ms']:.1f} ms, worst {updates['visible']['worst_ms']:.1f}",
        ),
        (
            "upserts a second, sustained beside searches",
            f"{updates['sustained']['updates_per_s']:,.0f}; searches {search['p50_ms']:.1f} ms, "
            f"p99 {search['p99_ms']:.1f}",
        ),
        (
            "searches beside a compaction: blocked by it, worst",
            f"{beside['blocked_worst_ms']:.1f} ms of {beside['searches']:,} searches",
        ),
    ]
    for reading in result["overhead"]:
        one, many = reading["batch_1"], reading["batch_64"]
        rows.append(
            (
                f"our interface over raw FAISS, {reading['kind'].partition('(')[0]}",
                f"{one['more_us']:+.0f} µs at batch 1, {100 * many['more']:+.1f} % at batch 64",
            )
        )
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)])


def gpu_table(result: Result) -> str:
    """A row for each kind on a GPU, the matrix product first: recall and time of a batch, unfiltered and filtered."""
    shares = [reading["selectivity"] for reading in result["kinds"][0]["filters"]]
    eligible = [f"{100 * share:g} % eligible, ms" for share in shares]
    lines = [
        " | ".join([f"| {result['batch']:,} queries", f"recall@{result['k']}", "built in", "all, ms", *eligible])
        + " |",
        "|---" * (4 + len(shares)) + "|",
        f"| torch, matrix product and top-k | 1 | | {result['torch']['batch_ms']:.1f} |" + " |" * len(shares),
    ]
    for reading in result["kinds"]:
        if "left out" in reading:
            continue
        filtered = [f"{found['batch_ms']:.0f}" for found in reading["filters"]]
        cells = [
            reading["kind"],
            f"{reading['recall']:.4f}",
            f"{reading['build_s']:.1f} s",
            f"{reading['batch_ms']:.1f}",
        ]
        lines.append(f"| {' | '.join([*cells, *filtered])} |")
    return "\n".join(lines)


def tables_of(result: Result) -> dict[str, str]:
    """Every table that can be made of the sections that were measured."""
    if "torch" in result:
        return {"index-gpu": gpu_table(result)}
    made_of = {
        "index-kinds": (kinds_table, {"kinds", "peers"}),
        "index-filters": (filters_table, {"filters"}),
        "index-live": (live_table, {"updates", "overhead"}),
        "index-memory": (memory_table, {"memory"}),
    }
    return {name: table(result) for name, (table, sections) in made_of.items() if sections <= result.keys()}


def write_tables(result: Result) -> None:
    """Put every table between its markers in both READMEs."""
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        for name, table in tables_of(result).items():
            text = put(text, name, table)
        readme.write_text(text, encoding="utf-8")


def _said(kind: Result, told: Container[str] | None = None) -> str:
    """A kind without what it shares with its default, and without what need not be told.

    Example:
        >>> _said({"name": "IVFFlat", "nlist": 1024, "nprobe": 32, "half": True})
        'IVFFlat, nprobe 32, half'
    """
    usual = to_json(from_json({"name": kind["name"]}))
    differing = [name for name in usual if kind[name] != usual[name] and (told is None or name in told)]
    return ", ".join([kind["name"], *(name if kind[name] is True else f"{name} {kind[name]:g}" for name in differing)])


def _alike(readings: Iterable[Result], shared: Callable[[Result], object]) -> Iterable[list[Result]]:
    groups: dict[object, list[Result]] = {}
    for reading in readings:
        groups.setdefault(shared(reading), []).append(reading)
    return groups.values()


def _built_as(reading: Result) -> object:
    kind = reading["kind"]
    return kind["name"], kind["half"], kind.get("numbers_per_code")


def _best(readings: list[Result]) -> Result:
    meeting = [reading for reading in readings if reading["recall"] >= TARGET]
    if meeting:
        return max(meeting, key=lambda reading: float(reading["batch_64_qps"]))
    return max(readings, key=lambda reading: float(reading["recall"]))


if __name__ == "__main__":
    write_tables(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
