"""``recsys train`` and ``recsys evaluate``: from two tables to a bundle, from a bundle to an honest report."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.errors import InputError
from serving.data_commands import Unit
from serving.index_commands import build_index

if TYPE_CHECKING:
    from recsys.bundle import Bundle
    from recsys.config import Config

InteractionsFile = Annotated[
    Path | None, typer.Option("--interactions", help="Who did what when: .parquet, .csv, .tsv, .jsonl or .ndjson.")
]
ItemsFile = Annotated[Path | None, typer.Option("--items", help="What the things are. Without it, every item seen.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file of knobs.")]
Override = Annotated[list[str] | None, typer.Option("--set", help="A knob, such as train.temperature=0.05.")]
SplitKind = Annotated[str | None, typer.Option("--split", help="leave-one-out or temporal.")]
Quantile = Annotated[float | None, typer.Option("--cutoff-quantile", help="Of the temporal split.")]
Device = Annotated[str | None, typer.Option("--device", help="auto (CUDA where there is one), cpu or cuda.")]
Seed = Annotated[int, typer.Option("--seed", help="Of weights, batches, dropout and bootstrap.")]
Columns = Annotated[list[str] | None, typer.Option("--column", help="OURS=THEIRS for a column of the interactions.")]
ItemColumns = Annotated[list[str] | None, typer.Option("--item-column", help="The same for a column of the items.")]
TimeUnit = Annotated[Unit, typer.Option("--time-unit", help="What one step of a numeric occurred_at is.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a table with any bad row.")]
Quarantine = Annotated[Path | None, typer.Option("--quarantine", help="Where bad rows go (.parquet or .csv).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, everything else on the other.")]


def train(
    interactions: InteractionsFile = None,
    items: ItemsFile = None,
    out: Annotated[Path, typer.Option(help="The bundle's folder.")] = Path("runs/latest"),
    config: ConfigFile = None,
    override: Override = None,
    split: SplitKind = None,
    cutoff_quantile: Quantile = None,
    device: Device = None,
    seed: Seed = 0,
    column: Columns = None,
    item_column: ItemColumns = None,
    time_unit: TimeUnit = Unit.SECONDS,
    strict: Strict = False,
    quarantine: Quarantine = None,
) -> None:
    """Train on two tables and leave a bundle with its index, ready to serve.

    Killed on the way, the same command goes on where it stopped.
    """
    from recsys.config import read_config

    knobs = read_config(config, _overrides(override, split, cutoff_quantile, device, seed))
    train_files(
        interactions,
        items,
        knobs,
        out,
        columns=(column or [], item_column or []),
        time_unit=time_unit,
        strict=strict,
        quarantine=quarantine,
    )
    typer.echo(f"{out} holds the bundle. Next: recsys evaluate --bundle {out}, recsys serve --bundle {out}", err=True)


def evaluate(
    bundle: Annotated[Path | None, typer.Option(help="A bundle that `recsys train` left.")] = None,
    interactions: InteractionsFile = None,
    items: ItemsFile = None,
    out: Annotated[Path | None, typer.Option(help="Where the report goes; the bundle unless given.")] = None,
    config: ConfigFile = None,
    override: Override = None,
    split: SplitKind = None,
    cutoff_quantile: Quantile = None,
    request_time: Annotated[bool, typer.Option("--request-time", help="Tell models when the target happened.")] = False,
    allow_repeats: Annotated[
        bool, typer.Option("--allow-repeats", help="Items of the history may come again.")
    ] = False,
    seen_by: Annotated[
        list[str] | None,
        typer.Option(help="Of the history's items leave out those alone with which this event happened; any number."),
    ] = None,
    device: Device = None,
    seed: Seed = 0,
    column: Columns = None,
    item_column: ItemColumns = None,
    time_unit: TimeUnit = Unit.SECONDS,
    as_json: AsJson = False,
) -> None:
    """Judge a bundle on its held-out cases beside four baselines: whole catalogue, no leaks, intervals.

    Given tables instead of a bundle, it trains one into --out first. Leaves metrics.json, rankings.parquet and
    cases.parquet.
    """
    if (bundle is None) == (interactions is None):
        raise InputError("evaluate: pass either --bundle DIR or --interactions FILE (with --items FILE and --out DIR).")
    if bundle is not None and (config or override or split or cutoff_quantile or items or column or item_column):
        raise InputError(
            "evaluate: --config, --set, --split, --cutoff-quantile, --items and column maps belong to training; "
            "a bundle is judged by the split and tables it was trained with. Leave them out, or pass --interactions."
        )
    from recsys.bundle import load_bundle
    from recsys.card import model_card
    from recsys.config import read_config
    from recsys.report import Protocol, evaluate_bundle, save_report
    from serving.index_report import index_section

    if bundle is None:
        bundle = out or Path("runs/latest")
        train_files(
            interactions,
            items,
            read_config(config, _overrides(override, split, cutoff_quantile, device, seed)),
            bundle,
            columns=(column or [], item_column or []),
            time_unit=time_unit,
        )
    protocol = Protocol(request_time, allow_repeats, tuple(seen_by) if seen_by else None)
    loaded = load_bundle(bundle)
    lost_to_the_index = index_section(loaded, bundle)  # first: a damaged index is told before minutes have passed
    metrics, rankings, cases = evaluate_bundle(loaded, protocol, seed=seed)
    metrics |= lost_to_the_index
    save_report(out or bundle, metrics, rankings, cases, card=model_card(loaded, metrics))
    if as_json:
        typer.echo(json.dumps(metrics, ensure_ascii=False))
    else:
        print_report(metrics)
    typer.echo(f"{out or bundle} holds metrics.json, rankings.parquet and cases.parquet.", err=True)


def train_files(
    interactions: Path | None,
    items: Path | None,
    config: "Config",
    out: Path,
    *,
    columns: tuple[list[str], list[str]] = ([], []),
    time_unit: Unit = Unit.SECONDS,
    strict: bool = False,
    quarantine: Path | None = None,
) -> "Bundle":
    """Read and check the files, say what was found, train, and index the item vectors.

    Args:
        interactions: Required; optional only so that the command can name what is missing.
        items: None takes every item seen.
        config: Not yet settled.
        out: The bundle's folder.
        columns: OURS=THEIRS maps of the two tables.
        time_unit: Of a numeric occurred_at.
        strict: Refuse bad rows.
        quarantine: Where bad interactions go.
    """
    if interactions is None:
        raise InputError("train: --interactions FILE is missing: who did what when.")
    from recsys.bundle import write_manifest
    from recsys.card import CARD, model_card
    from recsys.catalogue import read_catalogue
    from recsys.interactions import read_interactions
    from recsys.run import run_training
    from recsys.tables import parse_columns

    catalogue = None
    if items is not None:
        catalogue, found = read_catalogue(items, columns=parse_columns(columns[1]), strict=strict)
        typer.echo(str(found), err=True)
    table, catalogue, found = read_interactions(
        interactions,
        catalogue,
        columns=parse_columns(columns[0]),
        time_unit=time_unit.value,
        strict=strict,
        quarantine=quarantine,
    )
    typer.echo(str(found), err=True)
    bundle = run_training(table, catalogue, config, out)
    build_index(bundle, out)
    (out / CARD).write_text(model_card(bundle, None), encoding="utf-8")
    write_manifest(out)
    return bundle


def print_report(metrics: dict[str, Any]) -> None:
    """The table of recommenders, best first, with the 95 % interval of NDCG@10; below it, what the index loses."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from recsys.intent_report import intent_lines
    from serving.index_report import index_line

    said = metrics["protocol"]
    table = Table(
        title=f"{said['split']}, {said['cases']:,} cases, {said['catalogue']:,} items, "
        f"request time {'given' if said['request_time'] else 'not given'}, "
        f"repeats {'allowed' if said['allow_repeats'] else ', '.join(['masked', *said.get('seen_by', ())])}",
        title_justify="left",
        box=box.SIMPLE,
    )
    shown = ("ndcg@10", "recall@10", "recall@200", "coverage@10")
    table.add_column("recommender", no_wrap=True)
    for heading in ("NDCG@10", "95 %", "recall@10", "recall@200", "coverage@10"):
        table.add_column(heading, justify="right", no_wrap=True)
    ranked = sorted(metrics["recommenders"].items(), key=lambda entry: -entry[1]["ndcg@10"]["value"])
    for name, figures in ranked:
        cells = [f"{figures[metric]['value']:.4f}" for metric in shown]
        ndcg = figures["ndcg@10"]
        table.add_row(name, cells[0], f"{ndcg['low']:.3f}–{ndcg['high']:.3f}", *cells[1:])
    Console(width=max(Console().width, 96)).print(table)  # a log has no width of its own
    compared = metrics["p_values"]
    worst = max(compared["than"].items(), key=lambda entry: entry[1]["ndcg@10"])
    typer.echo(
        f"NDCG@10 of {compared['better']} is better than every other with p ≤ {worst[1]['ndcg@10']:.4f} "
        f"(paired bootstrap over users; the closest is {worst[0]})."
    )
    if "intents" in metrics:
        typer.echo("\n".join(intent_lines(metrics["intents"])))
    if "index" in metrics:
        typer.echo(index_line(metrics["index"]))


def _overrides(
    given: list[str] | None, split: str | None, quantile: float | None, device: str | None, seed: int
) -> list[str]:
    named = {"split.kind": split, "split.cutoff_quantile": quantile, "train.device": device, "seed": seed}
    return [*(given or []), *(f"{key}={value}" for key, value in named.items() if value is not None)]
