"""The data sets of the accuracy benchmarks: where their tables lie, how they are read and what is asked of them.

Nothing here turns a knob of the model: what a data set is named must not matter, only what it is like.
"""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsys.catalogue import Catalogue, read_catalogue
from recsys.fetch import fetch_ml_100k
from recsys.interactions import Interactions, read_interactions
from recsys.report import Protocol


@dataclass(frozen=True)
class Benchmark:
    """One data set under one protocol."""

    title: str
    folder: Path
    """Of interactions.parquet and items.parquet, unless others are named."""
    split: tuple[str, ...]
    """Overrides of the config: what is held out."""
    protocol: Protocol
    seeds: tuple[int, ...]
    columns: dict[str, str] = field(default_factory=dict)
    """Of the interactions: our name → theirs; an empty name leaves a column unread."""
    item_columns: dict[str, str] = field(default_factory=dict)
    """The same of the items."""


LEAVE_ONE_OUT = ("split.kind=leave-one-out",)
BENCHMARKS = {
    "ml-100k": Benchmark(
        title="MovieLens-100K, leave-one-out, request time given",
        folder=Path("data/ml-100k"),
        split=LEAVE_ONE_OUT,
        protocol=Protocol(request_time=True),
        seeds=(0, 1, 2, 3, 4),
    ),
    "ml-1m": Benchmark(
        title="MovieLens-1M, order only, leave-one-out",
        folder=Path("data/ml-1m"),
        split=LEAVE_ONE_OUT,
        protocol=Protocol(),
        seeds=(0, 1, 2),
    ),
    # 129 rows lack a time; in the published order all 198,502 count.
    "amazon-beauty": Benchmark(
        title="Amazon Beauty 5-core, published order, leave-one-out",
        folder=Path("data/amazon-beauty"),
        split=LEAVE_ONE_OUT,
        protocol=Protocol(),
        seeds=(0, 1, 2),
        columns={"occurred_at": ""},
    ),
    "amazon-beauty-temporal": Benchmark(
        title="Amazon Beauty 5-core, temporal split at 0.9, last item, request time given",
        folder=Path("data/amazon-beauty"),
        split=("split.kind=temporal", "split.cutoff_quantile=0.9", "split.targets=last"),
        protocol=Protocol(request_time=True),
        seeds=(0, 1, 2),
    ),
    "foursquare-nyc": Benchmark(
        title="Foursquare New York check-ins, temporal split at 0.9, next place, repeats allowed, request time given",
        folder=Path("data/foursquare-nyc"),
        split=("split.kind=temporal", "split.cutoff_quantile=0.9", "split.targets=next"),
        protocol=Protocol(request_time=True, allow_repeats=True),
        seeds=(0, 1, 2),
        item_columns={"categories": "category"},
    ),
}


def read_tables(
    interactions: Path, items: Path, columns: dict[str, str], item_columns: dict[str, str]
) -> tuple[Interactions, Catalogue]:
    """The tables, with the items that anybody chose: those are the catalogue in the published figures."""
    chosen = read_interactions(interactions, columns=columns)[1].item_ids[1:]
    known = pl.read_parquet(items).filter(pl.col("item_id").cast(pl.String).is_in(list(chosen)))
    catalogue, _ = read_catalogue(known, columns=item_columns)
    table, catalogue, _ = read_interactions(interactions, catalogue, columns=columns)
    return table, catalogue


def fetch(benchmark: Benchmark) -> None:
    """Get what can be got; the other sets' terms forbid passing them on, so they are named.

    Raises:
        FileNotFoundError: The tables have to be put there by hand.
    """
    if (benchmark.folder / "interactions.parquet").exists():
        return
    if benchmark.folder != BENCHMARKS["ml-100k"].folder:
        raise FileNotFoundError(
            f"{benchmark.folder}/interactions.parquet: no such file. Put interactions.parquet and items.parquet of "
            f"{benchmark.title} there, or name them with --interactions and --items."
        )
    fetch_ml_100k(benchmark.folder)
