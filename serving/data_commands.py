"""``recsys data``: fetch a public data set, or see what is wrong with one's own tables."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recsys.catalogue import Catalogue
    from recsys.checks import CheckReport
    from recsys.interactions import Interactions

app = typer.Typer(help="Fetch public data sets and check tables.", no_args_is_help=True)


class DataSet(StrEnum):
    """The data sets that can be fetched."""

    ML_100K = "ml-100k"
    COMPLETEJOURNEY = "completejourney"


class Unit(StrEnum):
    """What one step of a numeric time is."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    MICROSECONDS = "us"
    NANOSECONDS = "ns"


@app.command()
def fetch(
    name: Annotated[DataSet, typer.Argument(help="Which data set.")],
    out: Annotated[Path, typer.Option(help="The folder to fill; it must not hold anything else.")],
) -> None:
    """Fetch a public data set as interactions.parquet and items.parquet."""
    from recsys.fetch import COMPLETEJOURNEY_TERMS, ML_100K_TERMS, fetch_completejourney, fetch_ml_100k

    if name is DataSet.ML_100K:
        fetch_ml_100k(out)
        terms = ML_100K_TERMS
    else:
        fetch_completejourney(out)
        terms = COMPLETEJOURNEY_TERMS
    typer.echo(f"{out} holds {name}.\nTerms: {terms}")


@app.command()
def check(
    interactions: Annotated[Path, typer.Option(help="Who did what when: .parquet, .csv, .tsv, .jsonl or .ndjson.")],
    items: Annotated[Path | None, typer.Option(help="What the things are. Without it, every item seen is one.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="OURS=THEIRS for a column of the interactions, such as user_id=uid; OURS= leaves it unread."),
    ] = None,
    item_column: Annotated[list[str] | None, typer.Option(help="The same for a column of the items.")] = None,
    time_unit: Annotated[Unit, typer.Option(help="What one step of a numeric occurred_at is.")] = Unit.SECONDS,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Take equal rows as so many events, not as one written twice.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with code 1 if any row is bad.")] = False,
    quarantine: Annotated[
        Path | None,
        typer.Option(help="Write the bad rows here (.parquet or .csv); those of the items to FILE.items.parquet."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check interactions, and items if given: what is in them, and which rows are bad."""
    from recsys.catalogue import read_catalogue
    from recsys.interactions import read_interactions
    from recsys.tables import parse_columns

    reports = []
    catalogue = None
    if items:
        aside = quarantine and quarantine.with_stem(f"{quarantine.stem}.items")
        catalogue, report = read_catalogue(items, columns=parse_columns(item_column or []), quarantine=aside)
        reports.append(report)
    kept, catalogue, report = read_interactions(
        interactions,
        catalogue,
        columns=parse_columns(column or []),
        time_unit=time_unit.value,
        keep_duplicates=keep_duplicates,
        quarantine=quarantine,
    )
    reports.append(report)
    contents = _contents(kept, catalogue)
    if as_json:
        typer.echo(json.dumps(contents | {"reports": [report.as_dict() for report in reports]}, ensure_ascii=False))
    else:
        _print_tables(contents, reports)
    if strict and not all(report.ok for report in reports):
        raise typer.Exit(1)


def _contents(kept: "Interactions", catalogue: "Catalogue") -> dict[str, Any]:
    """What the good rows hold."""
    import numpy as np

    counts = np.bincount(kept.event, minlength=len(kept.event_names)).tolist()
    contents = {
        "users": len(kept.user_ids),
        "items": len(catalogue),
        "items_seen": int(np.count_nonzero(np.bincount(kept.item_idx))),
        "interactions": len(kept),
        "events": {name: count for name, count in zip(kept.event_names, counts, strict=True) if name},
    }
    if kept.occurred_at is not None:
        span = np.array([kept.occurred_at.min(), kept.occurred_at.max()], dtype="datetime64[s]")
        contents["first"], contents["last"] = np.datetime_as_string(span, timezone="UTC").tolist()
    return contents


def _print_tables(contents: dict[str, Any], reports: "list[CheckReport]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    summary = Table(show_header=False)
    for name, value in contents.items():
        if isinstance(value, dict):
            value = ", ".join(f"{event} {count:,}" for event, count in value.items())
        if value != "":
            summary.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else value)
    console.print(summary)
    for report in reports:
        headline, *details = report.lines()
        console.print(Text(headline, style="green" if report.ok else "yellow"), soft_wrap=True)
        for detail in details:
            console.print(Text(detail), soft_wrap=True)
