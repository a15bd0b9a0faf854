"""``recsys interests``: what a user is interested in, how it moves, when it changed, and what comes next."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recsys.interests import Change, Shift, UserInterests

BARS = " ▁▂▃▄▅▆▇█"
REPORT = "interests.json"
TEXT_REPORT = "text_interests.json"
MOST_EXPECTED = 10
"""Interests of which is told how likely they are."""
UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
COLOURS = {"core": "green", "rising": "cyan", "fading": "yellow", "dormant": "red", "exploring": "dim"}


app = typer.Typer(
    help="Tell a user's interests: core, rising, fading, dormant or exploring; how far they drifted; what changed "
    "when; and, once a classifier is trained, what they will turn to next.",
    invoke_without_command=True,
)


@app.callback()
def interests(
    context: typer.Context,
    bundle: Annotated[Path | None, typer.Option(help="The folder that `recsys train` left.")] = None,
    user: Annotated[str | None, typer.Option(help="A user_id of the bundle's interactions.")] = None,
    requested_at: Annotated[
        str | None,
        typer.Option(help="As of when, knowing nothing later: unix seconds or ISO 8601, UTC unless it says otherwise."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the HTTP service answers.")] = False,
) -> None:
    """Tell a user's interests, unless a verb follows."""
    if context.invoked_subcommand is not None:
        return
    if bundle is None or user is None:
        raise typer.BadParameter("give both --bundle DIR and --user ID, or a verb: recsys interests --help lists them.")
    from pydantic import TypeAdapter

    from recsys.bundle import load_bundle
    from recsys.interest_classifier import InterestForecast, load_classifier
    from recsys.interests import UserInterests, bundle_taxonomy, interests_of

    loaded = load_bundle(bundle)
    classifier = load_classifier(bundle, fingerprint=loaded.fingerprint)
    forecast = None if classifier is None else InterestForecast.of(loaded, bundle_taxonomy(loaded), classifier)
    at = None if requested_at is None else _unix_seconds(requested_at)
    found = interests_of(loaded, user, at=at, forecast=forecast)
    if as_json:
        typer.echo(TypeAdapter(UserInterests).dump_json(found, exclude_none=True).decode())
    else:
        _print_interests(found)


@app.command()
def train(
    bundle: Annotated[Path, typer.Option(help="The folder that `recsys train` left.")],
    horizon: Annotated[
        str | None,
        typer.Option(help="How far ahead to look: 7d, 12h, 30m or seconds. Without it, the training rows settle it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report.")] = False,
) -> None:
    """Train the classifier of what a user turns to next, and report it beside what needs no learning.

    It is kept in the bundle, and the report beside it as interests.json.
    """
    from recsys.bundle import load_bundle
    from recsys.interest_classifier import save_classifier
    from recsys.interest_report import interest_report
    from recsys.interest_training import train_interest_classifier

    loaded = load_bundle(bundle)
    trained = train_interest_classifier(loaded, horizon_s=None if horizon is None else _seconds(horizon))
    report = interest_report(loaded, trained)
    text = json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False)
    (bundle / REPORT).write_text(text + "\n", encoding="utf-8")
    save_classifier(trained.classifier, bundle)
    if as_json:
        typer.echo(text)
    else:
        _print_report(report)
        typer.echo(f"{bundle} has an interest classifier now. Next: recsys interests --bundle {bundle} --user ID")


@app.command("train-text")
def train_text(
    bundle: Annotated[Path, typer.Option(help="The folder that `recsys train` left.")],
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Fine-tune a copy of the sentence encoder too; kept where validation likes it."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report.")] = False,
) -> None:
    """Train the classifier of what a text is about, from the texts of the items, and report it on held-out items.

    It is kept in the bundle, and the report beside it as text_interests.json.
    """
    from recsys.bundle import load_bundle
    from recsys.encoders import TextEncoder, load_encoder
    from recsys.text_interests import save_text_interests
    from recsys.text_training import train_text_interests

    loaded = load_bundle(bundle)
    encoder = TextEncoder(loaded.config.item_tower.encoder)
    to_tune = load_encoder(encoder.folder) if tune else None  # on a GPU where there is one
    trained = train_text_interests(loaded, encoder, encoder=encoder.fingerprint, to_tune=to_tune)
    text = json.dumps(trained.report, ensure_ascii=False, indent=1, allow_nan=False)
    (bundle / TEXT_REPORT).write_text(text + "\n", encoding="utf-8")
    save_text_interests(trained.classifier, bundle, tuned=trained.tuned)
    if as_json:
        typer.echo(text)
    else:
        protocol = trained.report["protocol"]
        typer.echo(f"{protocol['items']['test']:,} held-out items, {protocol['interests']} interests.")
        _print_scorers(trained.report["scorers"])
        if tune:
            _print_tuning(protocol["mean_average_precision_on_validation"], kept=trained.tuned is not None)
        typer.echo(f"{bundle} can read texts now. Next: recsys interests classify --bundle {bundle} 'some words'")


@app.command()
def classify(
    text: Annotated[str, typer.Argument(help="What a user writes: a query, a review, a line about themselves.")],
    bundle: Annotated[Path, typer.Option(help="A bundle with a text classifier: recsys interests train-text.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the HTTP service answers.")] = False,
) -> None:
    """Tell which interests a text is about."""
    from dataclasses import asdict

    from recsys.bundle import load_bundle
    from recsys.encoders import TextEncoder
    from recsys.errors import InputError
    from recsys.text_interests import load_text_interests

    loaded = load_bundle(bundle)
    trained = load_text_interests(bundle, fingerprint=loaded.fingerprint)
    if trained is None:
        raise InputError(f"{bundle}: has no text classifier. Train one: recsys interests train-text --bundle {bundle}.")
    if not text.strip():
        raise InputError("TEXT '': nothing to read. Write some words.")
    encoder = TextEncoder(str(trained.tuned or loaded.config.item_tower.encoder))
    ranked = trained.ranked(encoder([text]), encoder=encoder.fingerprint)
    if as_json:
        typer.echo(json.dumps({"interests": [asdict(one) for one in ranked]}, ensure_ascii=False))
    else:
        for one in ranked[:MOST_EXPECTED]:
            typer.echo(f"{one.probability:6.1%}  {one.name}{'  *' if one.about else ''}")


def sparkline(shares: list[float], *, most: float) -> str:
    """Shares over time as a row of bars.

    Example:
        >>> sparkline([0.0, 0.1, 0.4], most=0.4)
        ' ▂█'
    """
    return "".join(BARS[round(share / max(most, 1e-9) * (len(BARS) - 1))] for share in shares)


def _print_interests(found: "UserInterests") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    table.add_column("interest", no_wrap=True)
    table.add_column("stratum", no_wrap=True)
    for heading in ("share", "90 %", "before", "events", "last"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("over time", no_wrap=True)
    most = max((share for window in found.trajectory for share in window.shares.values()), default=0.0)
    for state in found.strata:
        table.add_row(
            state.name,
            f"[{COLOURS[state.stratum]}]{state.stratum}[/]",
            f"{state.share:.0%}",
            f"{state.low:.0%}–{state.high:.0%}",
            f"{state.share_before:.0%}",
            f"{state.events:.1f}",
            f"{state.events_ago} ago" if state.newest_at is None else _day(state.newest_at),
            sparkline([window.shares[state.name] for window in found.trajectory], most=most),
        )
    newest = "" if found.newest_at is None else f", the newest {_day(found.newest_at)}"
    drifted = f"drift {found.drift_score:+.1f} standard deviations of chance, p = {found.drift_p_value:.3f}"
    typer.echo(f"user {found.user_id}: {found.events} events{newest}; {drifted}")
    Console(width=max(Console().width, 100)).print(table)  # a log has no width of its own
    for change in found.changes:
        typer.echo(_sentence(change))
    if not found.changes:
        typer.echo("No change that chance would not make as well.")
    if found.expected:
        likeliest = ", ".join(f"{one.name} {one.probability:.0%}" for one in found.expected[:MOST_EXPECTED])
        typer.echo(f"Expected, should they come (horizon: {found.horizon}): {likeliest}.")


def _print_report(report: dict[str, Any]) -> None:
    protocol = report["protocol"]
    typer.echo(
        f"{protocol['cases']['test']:,} cases of {protocol['test_users']:,} users, {protocol['interests']} interests; "
        f"horizon: {protocol['horizon']}."
    )
    _print_scorers(report["scorers"])


def _print_scorers(scorers: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    names = ("mean_average_precision", "auc", "macro_f1", "micro_f1", "expected_calibration_error")
    table = Table("", *(name.replace("_", " ") for name in names), box=box.SIMPLE)
    for scorer, figures in scorers.items():
        table.add_row(scorer, *(f"{figures[name]['value']:.4f}" for name in names))
    Console(width=max(Console().width, 100)).print(table)


def _print_tuning(validation: dict[str, float], *, kept: bool) -> None:
    from recsys.text_training import FROZEN, TUNED

    became = "kept" if kept else "not kept, texts are read as before"
    typer.echo(
        f"Fine-tuned: mean average precision {validation[TUNED]:.4f} on the validation items, against "
        f"{validation[FROZEN]:.4f}: {became}."
    )


def _sentence(change: "Change") -> str:
    when = f"event {change.event}" if change.at is None else _day(change.at)
    moves = [*map(_shift, change.fell), *map(_shift, change.rose)]
    return f"Changed at {when} (p = {change.p_value:.3f}): {', '.join(moves) or 'many interests a little'}."


def _shift(shift: "Shift") -> str:
    return f"{shift.name} {shift.before:.0%} → {shift.after:.0%}"


def _day(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%d %H:%M}"


def _seconds(horizon: str) -> int:
    from recsys.errors import InputError

    number, unit = (horizon[:-1], horizon[-1]) if horizon[-1:] in UNITS else (horizon, "s")
    if not number.isdecimal() or not int(number):
        raise InputError(f"--horizon {horizon}: no time. Write 7d, 12h, 30m or seconds.")
    return int(number) * UNITS[unit]


def _unix_seconds(instant: str) -> int:
    import polars as pl

    from recsys.errors import InputError
    from recsys.instants import unix_seconds

    seconds = unix_seconds(pl.Series([instant]), unit="s")[0]
    if seconds is None:
        raise InputError(f"--requested-at {instant}: no instant. Write 2026-11-22T09:30 or unix seconds.")
    return int(seconds)
