"""``recsys interests``: what a user is interested in, how it moves, and when it changed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recsys.interests import Change, Shift, UserInterests

BARS = " ▁▂▃▄▅▆▇█"
COLOURS = {"core": "green", "rising": "cyan", "fading": "yellow", "dormant": "red", "exploring": "dim"}


def interests(
    bundle: Annotated[Path, typer.Option(help="The folder that `recsys train` left.")],
    user: Annotated[str, typer.Option(help="A user_id of the bundle's interactions.")],
    requested_at: Annotated[
        str | None,
        typer.Option(help="As of when, knowing nothing later: unix seconds or ISO 8601, UTC unless it says otherwise."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as the HTTP service answers.")] = False,
) -> None:
    """Tell a user's interests: core, rising, fading, dormant or exploring; how far they drifted; what changed when."""
    from pydantic import TypeAdapter

    from recsys.bundle import load_bundle
    from recsys.interests import UserInterests, interests_of

    found = interests_of(load_bundle(bundle), user, at=None if requested_at is None else _unix_seconds(requested_at))
    if as_json:
        typer.echo(TypeAdapter(UserInterests).dump_json(found, exclude_none=True).decode())
    else:
        _print_interests(found)


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


def _sentence(change: "Change") -> str:
    when = f"event {change.event}" if change.at is None else _day(change.at)
    moves = [*map(_shift, change.fell), *map(_shift, change.rose)]
    return f"Changed at {when} (p = {change.p_value:.3f}): {', '.join(moves) or 'many interests a little'}."


def _shift(shift: "Shift") -> str:
    return f"{shift.name} {shift.before:.0%} → {shift.after:.0%}"


def _day(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%d %H:%M}"


def _unix_seconds(instant: str) -> int:
    import polars as pl

    from recsys.errors import InputError
    from recsys.instants import unix_seconds

    seconds = unix_seconds(pl.Series([instant]), unit="s")[0]
    if seconds is None:
        raise InputError(f"--requested-at {instant}: no instant. Write 2026-11-22T09:30 or unix seconds.")
    return int(seconds)
